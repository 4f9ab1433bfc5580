"""The paper's ablations at a size for two CPU cores: equal data and iterations, two seeds, a table beside the paper's.

    python benchmarks/ablations.py --data photos/ --validation test-sets/ [--runs FOLDER] [-o ablations.json] [NAME …]

Each run is `mambairv2 train` on a recipe written to the folder: what is killed goes on where it stopped. What is
finished, in the folder or in the JSON, is only read, so the JSON alone lets another machine go on. It has every run's
figures and its loss. With --read nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from mambairv2.evaluation.literature import ABLATIONS
from mambairv2.evaluation.report import table
from mambairv2.files.atomic import write_whole
from short_runs import BASE, load, to_toml

Change = dict[str, object]
ITERATIONS = 1000
"""A step takes 0.3 to 0.5 s of one core of a slow Xeon, 0.2 s of an EPYC: 28 runs take four hours, or under two."""
SMALL: Change = {"depths": [3, 3], "num_heads": [4, 4]}
"""Six blocks of the light network instead of twenty."""
SETS = ["Set5", "Set14"]
WHOLE = "+ semantic neighbouring: the network"
RUNS: dict[str, Change] = {
    **{name: dict(change) for name, (change, _) in ABLATIONS.items()},
    "four directions without prompts": {"scan_directions": 4},
    "prompts sorted with their tokens": {"prompt_order": "sorted"},
    "τ = 0.5": {"temperature": 0.5},
    "τ = 2": {"temperature": 2.0},
    "T = 16": {"num_tokens": 16},
    "T = 128": {"num_tokens": 128},
    "R = 8": {"inner_rank": 8},
    "R = 64": {"inner_rank": 64},
}
"""What each run changes in the configuration; the network has prompts in C, τ = 1, T = 64 and R = 32."""


def recipe(change: Change, seed: int, iterations: int, small: Change = SMALL) -> str:
    """The recipe of one run."""
    parts = load(BASE)
    parts["model"] |= {"overrides": small | change}
    parts["train"] |= {"iterations": iterations, "warmup": min(100, iterations // 10), "ema": 0.99}
    parts["keep"] |= {"validate_every": iterations, "validation_sets": SETS, "log_every": max(1, iterations // 50)}
    return to_toml({"seed": seed} | {key: part for key, part in parts.items() if isinstance(part, dict)})


def read_log(log: Path, iterations: int) -> dict[str, object] | None:
    """PSNR by set, seconds and losses of a finished run, None for one that is not."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    last = [line for line in lines if line["iteration"] == iterations]
    psnr = {name: line[key] for line in last for key in line for name in SETS if key == f"{name}/psnr"}
    if set(psnr) != set(SETS):
        return None
    losses = [[line["iteration"], round(line["loss"], 5)] for line in lines if "loss" in line]
    return {"psnr": psnr, "seconds": max(line.get("seconds", 0.0) for line in lines), "loss": losses}


def train(path: Path, data: Path, validation: Path, runs: Path) -> None:
    """Train one recipe, or go on with it."""
    places = ["--data", data, "--validation", validation, "--runs", runs]
    command = [sys.executable, "-m", "mambairv2.cli", "train", path, *places]
    subprocess.run([*map(str, command)], check=True)


def to_json(results: list[dict[str, object]]) -> str:
    """The figures, a line a run."""
    return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in results) + "\n]\n"


def markdown(results: list[dict[str, object]]) -> str:
    """The table: mean and spread over seeds, the difference from the network, and the paper's figures."""
    by_name: dict[str, list[dict[str, float]]] = {}
    for one in results:
        by_name.setdefault(str(one["name"]), []).append(one["psnr"])  # type: ignore[arg-type]
    paper = {name: " / ".join(f"{psnr:.2f}" for psnr, _ in figures) for name, (_, figures) in ABLATIONS.items()}
    rows = [["network", *SETS, "difference", "seeds", "paper, Urban100 / Manga109"]]
    for name in [name for name in RUNS if name in by_name]:
        found, differences = by_name[name], []
        for one, whole in zip(found, by_name.get(WHOLE, []), strict=False):  # of the same seed
            differences.append(statistics.mean(one[s] - whole[s] for s in SETS))
        cells = [_spread([one[s] for one in found]) for s in SETS]
        apart = _spread(differences, sign="+") if differences else "–"
        rows.append([name, *cells, apart, str(len(found)), paper.get(name, "–")])
    return table(rows)


def _spread(values: list[float], sign: str = "") -> str:
    mean = f"{statistics.mean(values):{sign}.3f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.3f}"


def main() -> None:
    """Train what is missing, seed by seed, so that a run that is stopped has the first seed of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only runs whose name has one of these in it")
    parser.add_argument("--data", type=Path, help="folder of training images")
    parser.add_argument("--validation", type=Path, help="folder of test sets, with Set5 and Set14")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--read", action="store_true", help="train nothing, read the runs that are finished")
    parser.add_argument("--output", "-o", type=Path, help="JSON file for the figures of all finished runs")
    given = parser.parse_args()
    if not given.read and not (given.data and given.validation):
        parser.error("training takes --data and --validation; --read reads finished runs")
    given.runs.mkdir(parents=True, exist_ok=True)
    before = json.loads(given.output.read_text()) if given.output and given.output.exists() else []
    finished = {(one["name"], one["seed"]): one for one in before if one["iterations"] == given.iterations}
    for seed in range(given.seeds):
        for number, (name, change) in enumerate(RUNS.items()):
            if given.names and not any(wanted in name for wanted in given.names):
                continue
            path = given.runs / f"{number:02d}-{seed}-{given.iterations}.toml"
            log = given.runs / path.stem / "log.jsonl"
            if (name, seed) in finished:
                continue
            found = read_log(log, given.iterations)
            if found is None and not given.read:
                path.write_text(recipe(change, seed, given.iterations))
                train(path, given.data, given.validation, given.runs)
                if (found := read_log(log, given.iterations)) is None:
                    sys.exit(f"{log}: has no validation at iteration {given.iterations}")
            if found is not None:
                finished[name, seed] = {"name": name, "seed": seed, "iterations": given.iterations, **found}
                if given.output:
                    write_whole(given.output, to_json(list(finished.values())))
    if not finished:
        sys.exit(f"{given.runs}: has no finished runs of {given.iterations} iterations")
    print(markdown(list(finished.values())))


if __name__ == "__main__":
    main()
