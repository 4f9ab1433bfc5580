"""Short training runs that each differ in one setting: which settings matter, before a long run is spent on them.

    python benchmarks/short_runs.py --data photos/ --validation test-sets/ [--iterations 200] [--runs FOLDER] [NAME …]

Each run is `mambairv2 train` on a recipe written to the folder: what is killed goes on where it stopped, and what
is finished is only read. Prints a Markdown table: the validation set's PSNR at the end, its difference from the first
run, and the hours. Every run sees as many input pixels; the runs with another seed tell chance from effect.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BASE = Path(__file__).parents[1] / "recipes" / "light-x2-cpu.toml"
Table = dict[str, dict[str, object]]


def variants(iterations: int) -> dict[str, Table]:
    """What each run changes, by section of the recipe."""
    grow = [{"start": iterations // 2 + 1, "patch": 32, "total_batch": 4}]
    return {
        "as `light-x2-cpu`": {},
        "another seed": {"": {"seed": 1}},
        "a third seed": {"": {"seed": 2}},
        "no warm start": {"model": {"warm_start": False}},
        "crops drawn by area": {"data": {"sampling": "area"}},
        "1 patch of 64×64": {"data": {"patch": 64}, "train": {"total_batch": 1}},
        "16 patches of 16×16": {"data": {"patch": 16}, "train": {"total_batch": 16}},
        "16×16 growing to 32×32": {"data": {"patch": 16}, "train": {"total_batch": 16, "stages": grow}},
        "learning rate 2e-4": {"train": {"lr": 2e-4}},
        "learning rate 1e-3": {"train": {"lr": 1e-3}},
        "learning rate constant": {"train": {"schedule": "milestones"}},
        "EMA 0.9": {"train": {"ema": 0.9}},
        "EMA 0.998": {"train": {"ema": 0.998}},
        "prompts sorted with the tokens": {"model": {"overrides": {"prompt_order": "sorted"}}},
    }


def load(path: Path) -> Table:
    """A recipe as it stands in its file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def toml(value: object) -> str:
    """A value as TOML: JSON but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def to_toml(recipe: Table) -> str:
    """A recipe as TOML: keys of its own first, then its tables, then its lists of tables."""
    own = [f"{key} = {toml(value)}" for key, value in recipe.items() if not isinstance(value, dict | list)]
    lines = [*own]
    for name, part in recipe.items():
        for table in [part] if isinstance(part, dict) else part if isinstance(part, list) else []:
            lines += [f"[{name}]" if isinstance(part, dict) else f"[[{name}]]"]
            lines += [f"{key} = {toml(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def recipe(change: Table, iterations: int) -> str:
    """The recipe of one run."""
    parts = load(BASE)
    parts["train"] |= {"iterations": iterations, "warmup": iterations // 10, "ema": 0.99}
    parts["keep"] |= {"validate_every": iterations, "log_every": 10}
    tables = {key: part | change.get(key, {}) for key, part in parts.items() if isinstance(part, dict)}
    return to_toml(change.get("", {}) | tables)


def result(log: Path, iterations: int) -> tuple[float, float] | None:
    """PSNR and hours of a finished run, None for one that is not."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    last = [line for line in lines if line["iteration"] == iterations and any("psnr" in key for key in line)]
    if not last:
        return None
    psnr = next(value for key, value in last[-1].items() if "psnr" in key)
    return psnr, max(line.get("seconds", 0.0) for line in lines) / 3600


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only runs whose name has one of these in it")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--runs", type=Path, default=Path("runs/short"))
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    rows, first = [], None
    for number, (name, change) in enumerate(variants(given.iterations).items()):
        if given.names and number and not any(wanted in name for wanted in given.names):
            continue
        path = given.runs / f"{number:02d}-{given.iterations}.toml"
        path.write_text(recipe(change, given.iterations))
        log = given.runs / path.stem / "log.jsonl"
        if result(log, given.iterations) is None:
            places = ["--data", given.data, "--validation", given.validation, "--runs", given.runs]
            command = [sys.executable, "-m", "mambairv2.cli", "train", path, *places]
            subprocess.run([*map(str, command)], check=True)
        found = result(log, given.iterations)
        if found is None:
            sys.exit(f"{log}: has no validation at iteration {given.iterations}")
        first = found[0] if first is None else first
        rows.append(f"| {name} | {found[0]:.3f} | {found[0] - first:+.3f} | {found[1]:.2f} |")
    print("| run | PSNR [dB] | difference | hours |", "|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
