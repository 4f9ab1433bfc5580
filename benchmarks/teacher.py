"""What a teacher is worth: training with and without one for the same CPU time, side by side, for several seeds.

    python benchmarks/teacher.py --data photos/ --validation test-sets/ --minutes 30 [--seeds 0 1] [--runs FOLDER]

Each arm is `mambairv2 train` on a recipe: `light-x4-distilled`, and `light-x2-cpu` for ×4, which begins at the best
linear interpolation. A few steps of each show the CPU seconds that a step takes. From these each arm gets as many
iterations as take --minutes of CPU time, and its phases and warm-up are scaled with it, so that its schedule ends when
the time does. Runs that were killed go on where they stopped, and finished ones are only read.

Writes teacher.json and teacher.md into the folder of the runs: PSNR of the averaged weights, by CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from short_runs import Table, load, to_toml

RECIPES = Path(__file__).parents[1] / "recipes"
WITH, WITHOUT = "with a teacher", "without"
VALIDATIONS, LINES = 8, 5  # validations of a run, and lines of the log between two of them
PILOT = 8  # steps of each phase whose time is measured; the first few are left out


def arms(taught: Path, plain: Path) -> dict[str, Table]:
    """The recipes that are compared, at the scale of the one with a teacher."""
    recipes = {WITH: load(taught), WITHOUT: load(plain)}
    model = recipes[WITHOUT]["model"]
    model["upscale"] = recipes[WITH]["model"]["upscale"]
    return recipes


def starts(recipe: Table) -> list[int]:
    """First iterations of the phases of a recipe."""
    return sorted({0, *(phase["start"] for phase in recipe.get("phases", []))})


def scaled(recipe: Table, iterations: int, seed: int, every: int) -> Table:
    """A recipe for another number of iterations: phases keep their share of it, and so does the warm-up."""
    part = iterations / recipe["train"]["iterations"]
    train = {**recipe["train"], "iterations": iterations}
    train["warmup"] = round(part * train.get("warmup", 0))
    train["milestones"] = [max(1, round(part * at)) for at in train.get("milestones", [])]
    phases = [{**phase, "start": round(part * phase["start"])} for phase in recipe.get("phases", [])]
    phases = [{**p, "warmup": round(part * p["warmup"])} if "warmup" in p else p for p in phases]
    keep = {**recipe["keep"], "validate_every": every * LINES, "log_every": every, "checkpoint_minutes": 5}
    return {**recipe, "seed": seed, "train": train, "phases": phases, "keep": keep}


def run(folder: Path, name: str, recipe: Table, data: Path, validation: Path) -> list[dict[str, float]]:
    """Train, or go on, or only read what is finished; returns the lines of the log."""
    path, log = folder / f"{name}.toml", folder / name / "log.jsonl"
    text = to_toml(recipe)
    if path.exists() and path.read_text() != text:
        sys.exit(f"{path}: was written for other options; give another --runs, or remove {folder}")
    path.write_text(text)
    places = ["--data", data, "--validation", validation, "--runs", folder]
    if not _finished(log, recipe["train"]["iterations"]):
        subprocess.run([*map(str, [sys.executable, "-m", "mambairv2.cli", "train", path, *places])], check=True)
    return _lines(log)


def _lines(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _finished(log: Path, iterations: int) -> bool:
    lines = _lines(log) if log.exists() else []
    return any(line["iteration"] == iterations and any("/psnr" in key for key in line) for line in lines)


def seconds_a_step(recipe: Table, lines: list[dict[str, float]]) -> float:
    """CPU seconds of a step of the whole recipe, from a pilot of PILOT steps a phase: phases by their shares."""
    cpu = {line["iteration"]: line["cpu_seconds"] for line in lines if "cpu_seconds" in line}
    begin = starts(recipe)
    ends = [*begin[1:], recipe["train"]["iterations"]]
    mean = 0.0
    for number, (first, end) in enumerate(zip(begin, ends, strict=True)):
        steps = range(number * PILOT + PILOT // 2, (number + 1) * PILOT)
        second = statistics.median(cpu[step + 1] - cpu[step] for step in steps)
        mean += second * (end - first) / recipe["train"]["iterations"]
    return mean


def pilot(recipe: Table) -> Table:
    """The recipe of a pilot: PILOT steps of each phase, every one in the log."""
    begin = starts(recipe)
    short = scaled(recipe, PILOT * len(begin), 0, 1)
    phases = sorted(recipe.get("phases", []), key=lambda phase: phase["start"])
    short["phases"] = [{**phase, "start": begin.index(phase["start"]) * PILOT} for phase in phases]
    short["keep"] |= {"validate_every": 0}
    return short


def curve(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    """CPU minutes and PSNR at each validation."""
    cpu = {0: 0.0} | {line["iteration"]: line["cpu_seconds"] for line in lines if "cpu_seconds" in line}
    return [
        {"iteration": line["iteration"], "cpu_minutes": round(cpu[line["iteration"]] / 60, 3), "psnr": value}
        for line in lines
        for key, value in line.items()
        if key.endswith("/psnr") and line["iteration"] in cpu
    ]


def markdown(found: dict[str, dict[str, list[dict[str, float]]]], about: Table) -> str:
    """Two tables: the ends of all runs, then the curves."""
    seeds = list(found[WITH])
    ends = {arm: [runs[seed][-1] for seed in seeds] for arm, runs in found.items()}
    head = f"| {' | '.join(['run', *(f'seed {seed}' for seed in seeds), 'mean', 'CPU minutes', 'iterations'])} |"
    lines = [f"# {about['minutes']} CPU minutes with and without a teacher", "", _about(about), "", head]
    lines.append("|---" * (len(seeds) + 4) + "|")
    for arm, last in ends.items():
        values = [end["psnr"] for end in last]
        minutes = statistics.mean(end["cpu_minutes"] for end in last)
        cells = [
            *(f"{v:.3f}" for v in values),
            f"{statistics.mean(values):.3f}",
            f"{minutes:.1f}",
            last[0]["iteration"],
        ]
        lines.append(f"| {' | '.join(map(str, [arm, *cells]))} |")
    gains = [a["psnr"] - b["psnr"] for a, b in zip(ends[WITH], ends[WITHOUT], strict=True)]
    cells = [*(f"{gain:+.3f}" for gain in gains), f"{statistics.mean(gains):+.3f}", "", ""]
    lines.append(f"| {' | '.join(['difference', *cells])} |")
    for arm, runs in found.items():
        lines += ["", f"## {arm.capitalize()}", "", f"| CPU minutes | {' | '.join(f'seed {s}' for s in seeds)} |"]
        lines.append("|---" * (len(seeds) + 1) + "|")
        for points in zip(*runs.values(), strict=False):
            minutes = statistics.mean(point["cpu_minutes"] for point in points)
            cells = [f"{minutes:.1f}", *(f"{point['psnr']:.3f}" for point in points)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _about(about: Table) -> str:
    return f"PSNR in dB on {about['set']}, of the averaged weights. {about['processor']}, torch {about['torch']}."


def main() -> None:
    """Measure the pace of both arms, train what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of training images")
    parser.add_argument("--validation", type=Path, required=True, help="folder of test sets")
    parser.add_argument("--minutes", type=float, required=True, help="CPU minutes of each run, all threads together")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--runs", type=Path, default=Path("runs/teacher"))
    parser.add_argument(
        "--taught", type=Path, default=RECIPES / "light-x4-distilled.toml", help="recipe with a teacher"
    )
    parser.add_argument("--plain", type=Path, default=RECIPES / "light-x2-cpu.toml", help="recipe without")
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    recipes, places = arms(given.taught, given.plain), (given.data, given.validation)
    counts = {}
    for arm, recipe in recipes.items():
        file = given.runs / f"pace-{arm.split()[-1]}.json"  # kept, so that a run that goes on keeps its iterations
        if not file.exists():
            log = run(given.runs, f"pilot-{arm.split()[-1]}", pilot(recipe), *places)
            file.write_text(json.dumps({"seconds": seconds_a_step(recipe, log)}))
        wanted = given.minutes * 60 / json.loads(file.read_text())["seconds"]
        counts[arm] = max(VALIDATIONS * LINES, round(wanted / (VALIDATIONS * LINES)) * VALIDATIONS * LINES)
    found: dict[str, dict[str, list[dict[str, float]]]] = {arm: {} for arm in recipes}
    for seed in given.seeds:
        for arm, recipe in recipes.items():
            every = counts[arm] // (VALIDATIONS * LINES)
            lines = run(given.runs, f"{arm.split()[-1]}-{seed}", scaled(recipe, counts[arm], seed, every), *places)
            found[arm][str(seed)] = curve(lines)
    about: Table = {"minutes": given.minutes, "set": recipes[WITH]["keep"]["validation_sets"][0], "runs": found}
    about |= {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": version("torch"),
    }
    (given.runs / "teacher.json").write_text(json.dumps(about, indent=1) + "\n")
    (given.runs / "teacher.md").write_text(markdown(found, about))
    print(markdown(found, about), end="")


if __name__ == "__main__":
    main()
