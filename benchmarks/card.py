"""The card of packaged weights: measures them and writes what is said of them.

    python benchmarks/card.py NAME --log LOG.jsonl --recipe RECIPE.toml [--weights FILE] [--data TESTSETS]

Writes NAME.json and NAME.md beside the packaged weights, and the run's log and validation curve as
docs/models/NAME.jsonl and NAME.png. With --weights that file becomes NAME.safetensors. In NAME.md all from the first
`## ` heading on is written by hand (data, licences, limits) and is kept; there must be one. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import matplotlib as mpl
import torch

from mambairv2.evaluation.evaluate import Result, evaluate, mean
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.report import pair, table
from mambairv2.files.atomic import write_whole
from mambairv2.images.folders import find_data
from mambairv2.tasks import TASKS
from mambairv2.training.recipe import Recipe, load_recipe
from mambairv2.weights.load import load_model
from mambairv2.weights.model_card import Card, Figures
from mambairv2.weights.packaged import PRETRAINED
from mambairv2.weights.read_config import read_metadata

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
Line = dict[str, float]
LOSS = {"l1": "L1 loss", "charbonnier": "Charbonnier loss", "mse": "mean squared error", "psnr": "PSNR as the loss"}


def read_log(path: Path) -> list[Line]:
    """The lines of a run's log; raises ValueError if one is no JSON or there is none."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no log of a run ({error})") from None
    if not lines:
        raise ValueError(f"{path}: is empty")
    return lines


def make_card(name: str, weights: Path, recipe: Recipe, log: list[Line], results: list[Result]) -> Card:
    """What is measured and known, as data; raises ValueError where log, recipe and weights are of different runs."""
    metadata = read_metadata(weights)
    iterations, logged = int(metadata.get("iteration", -1)), int(max(line["iteration"] for line in log))
    if not iterations == logged == recipe.train.iterations:
        raise ValueError(
            f"{weights} is of iteration {iterations}, the log ends at {logged}, the recipe at "
            f"{recipe.train.iterations}: give those of one finished run"
        )
    if metadata.get("task") != recipe.data.task:
        raise ValueError(f"{weights} is for {metadata.get('task')}, the recipe for {recipe.data.task}")
    sets = []
    for result in results:
        score = mean(result.scores)
        values = (score.psnr, score.ssim, score.base_psnr, score.base_ssim)
        sets.append(Figures(result.name, str(result.protocol), *values))
    parameters = sum(p.numel() for p in load_model(weights).parameters())
    seconds = max(line.get("seconds", 0.0) for line in log)
    scale = recipe.model.upscale
    return Card(name, recipe.data.task, scale, parameters, iterations, round(seconds / 3600, 2), tuple(sets))


def figures_table(results: list[Result]) -> str:
    """PSNR / SSIM by test set and protocol: ours, the input's, published ones."""
    base = TASKS[results[0].protocol.task].baseline
    methods = list(dict.fromkeys(m for r in results for m in r.published if m.startswith("MambaIRv2")))
    rows = [["set", "protocol", "PSNR / SSIM", base, "gain", *(f"published {m}" for m in methods)]]
    for r in results:
        s = mean(r.scores)
        others = [pair(*r.published[m]) if m in r.published else "" for m in methods]
        ours, below = pair(s.psnr, s.ssim), pair(s.base_psnr, s.base_ssim)
        rows.append([r.name, str(r.protocol), ours, below, f"{s.psnr - s.base_psnr:+.2f}", *others])
    return table(rows)


def text(card: Card, recipe_path: Path, recipe: Recipe, results: list[Result], sections: str) -> str:
    """The card in Markdown, the part by hand at its end."""
    t, variant, patch = recipe.train, recipe.model.variant, f"{recipe.data.patch}×{recipe.data.patch}"
    summary = TASKS[card.task].summary
    what = f"{summary[0].upper()}{summary[1:]}{f' ×{card.scale}' if card.scale > 1 else ''}"
    sets = ",".join(dict.fromkeys(f.set for f in card.sets))
    begun = "begun at the best linear interpolation, " if recipe.model.warm_start else ""
    if recipe.model.start_from:
        head = ", the head solved for by least squares" if recipe.model.warm_start else ""
        begun = f"begun at `{recipe.model.start_from}`{head}, "
    return f"""# {card.name}

{what} with the {variant} network ({card.parameters:,} parameters).

{figures_table(results)}

Measured by `mambairv2 evaluate --data TESTSETS --weights {card.name} --sets {sets}`, \
torch {torch.__version__.split("+")[0]} on a CPU.

Trained by `recipes/{recipe_path.name}`: {card.iterations:,} iterations of {t.total_batch} patches of \
{patch} input pixels, {begun}{LOSS[t.loss]}, learning rate {t.lr:g} ({t.schedule}), EMA {t.ema:g}; \
{card.hours:.1f} hours. Log: `docs/models/{card.name}.jsonl`; curve: `docs/models/{card.name}.png`.

{sections}"""


def curve(card: Card, log: list[Line]) -> bytes:
    """The validation PSNR over the iterations beside the input's, as PNG."""
    figure, axes = plt.subplots(figsize=(7.7, 4), layout="constrained")
    # A run that went back to a checkpoint has an iteration twice: the last one counts.
    for key in sorted({key for line in log for key in line if key.endswith("/psnr")}):
        points = sorted({int(line["iteration"]): line[key] for line in log if key in line}.items())
        (drawn,) = axes.plot(*zip(*points, strict=True), marker="o", label=f"{key.removesuffix('/psnr')}, EMA weights")
        for f in card.sets:
            # Tasks with levels are measured at several, so that no one line is the input's.
            if not TASKS[card.task].levels and f.set == key.removesuffix("/psnr"):
                label = f"{TASKS[card.task].baseline} {f.base_psnr:.2f}"
                axes.axhline(f.base_psnr, color=drawn.get_color(), linestyle="--", label=label)
    axes.set(title=card.name, xlabel="iteration", ylabel="validation PSNR [dB]")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()


def by_hand(document: Path) -> str:
    """What was written by hand: all from the first heading of a section on."""
    lines = document.read_text().splitlines(keepends=True) if document.exists() else []
    first = next((i for i, line in enumerate(lines) if line.startswith("## ")), None)
    if first is None:
        raise ValueError(f"{document}: write its sections on data and limits first, each with a `## ` heading")
    return "".join(lines[first:])


def make(options: argparse.Namespace) -> Card:
    """Measure, then write all; nothing is written before all is measured and fits."""
    name, target = options.name, PRETRAINED / f"{options.name}.safetensors"
    document = PRETRAINED / f"{name}.md"
    by_hand(document)
    recipe, log = load_recipe(options.recipe), read_log(options.log)
    weights = options.weights or target
    make_card(name, weights, recipe, log, [])  # what does not fit is told before the measurement
    plan = Plan(
        options.data or find_data("data/test"),
        recipe.data.task,
        recipe.model.upscale,
        grey=recipe.model.in_channels == 1,
    )
    model = load_model(weights)
    results = evaluate(model, plan, lambda of, s: print(f"{of}: {s.image} {s.psnr:.2f} dB", flush=True))
    card = make_card(name, weights, recipe, log, results)
    picture = curve(card, log)
    if options.weights:
        write_whole(target, options.weights.read_bytes())
    write_whole(PRETRAINED / f"{name}.json", card.to_json())
    write_whole(document, text(card, options.recipe, recipe, results, by_hand(document)))
    models = ROOT / "docs" / "models"
    write_whole(models / f"{name}.png", picture)
    write_whole(models / f"{name}.jsonl", options.log.read_text())
    return card


def main() -> None:
    """Make the card; an error ends in a line and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", type=Path, help="folder of test sets; by default data/test, see docs/training.md")
    try:
        print(make(parser.parse_args()).to_json(), end="")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
