"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambairv2.cli.exits import telling
from mambairv2.cli.measuring.shared import (
    ChosenWeights,
    Device,
    Limit,
    Sets,
    Tile,
    check_outputs,
    choose_weights,
    known_task,
    names,
    tell_score,
)
from mambairv2.cli.streams import say
from mambairv2.files.atomic import write_whole
from mambairv2.restoration.grid import Grid
from mambairv2.tasks import TASKS, TaskName, level_of
from mambairv2.training.settings import PAIRS

if TYPE_CHECKING:
    from mambairv2.evaluation.plan import Plan

TESTS, REPORTS = "Test images", "Reports"


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of test sets, or one test set. A set is a folder of images, or has them in HR and smaller "
            "ones in LR_bicubic/X2, X3, X4."
        ),
    ],
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Ready-made inputs in place of the task's damage: a folder with one for each test set, or that of the "
            "only one. An input is named as its target, or with x2, x3 or x4 after the stem.",
            rich_help_panel=TESTS,
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="Packaged name, weight file, or folder of a training run. Without it only the baseline is measured."
        ),
    ] = "",
    first: Annotated[
        str, typer.Option(help="Weights that restore the input before, at ×1, such as jpeg for --task photo.")
    ] = "",
    sets: Annotated[str, Sets] = "",
    task: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(TASKS)}. Default: what the weights are for, or sr.",
            callback=known_task,
            rich_help_panel=TESTS,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4,
            help="Enlargement of --task sr or photo. Default: that of the weights, or 2.",
            rich_help_panel=TESTS,
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            help="Noise level σ (of 255), JPEG quality, or weak, middle, strong for photo; may be repeated. "
            "Default: those of the paper, or all three.",
            rich_help_panel=TESTS,
        ),
    ] = None,
    grey: Annotated[
        bool, typer.Option("--grey", help="Convert test images to grey first.", rich_help_panel=TESTS)
    ] = False,
    limit: Annotated[int | None, Limit] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Average over eight flips and rotations; takes 8 times as long.")
    ] = False,
    tile: Annotated[int, Tile] = 0,
    margin: Annotated[
        bool,
        typer.Option(
            "--margin/--no-margin",
            help="Mirror images beyond their edges, as restore does. Published figures are without.",
        ),
    ] = False,
    device: Annotated[str, Device] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.", rich_help_panel=REPORTS)] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write one line per image to this file.", rich_help_panel=REPORTS)
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the tables to this file.", rich_help_panel=REPORTS)
    ] = None,
) -> None:
    """Measure PSNR and SSIM on test sets, beside the baseline and published figures.

    Images are damaged and compared as in published papers, and restored as by `restore`, but whole unless --tile is
    given and without its margin unless --margin is. Tables go to stdout, a line per image to stderr.

    Exit code: 0, all measured; 1, a mistake, told in one line; 2, an option that does not exist or is out of range.
    """
    with telling():
        from mambairv2.evaluation.plan import Plan

        check_outputs(path for path in (json, csv, markdown) if path)
        chosen = choose_weights(weights) if weights else None
        before = choose_weights(first) if first else None
        if before and (chosen is None or before.config.upscale != 1):
            raise ValueError(f"--first {first} needs --weights to go on with, and must not enlarge itself")
        if inputs is not None:
            of = _pairs(chosen, task, scale, level, tile)
        elif chosen and chosen.task == PAIRS and task is None:
            raise ValueError(f"{chosen.name} was trained on ready-made inputs; give --inputs, or another --task")
        else:
            of = task or (chosen.task if chosen else "sr")
            _check_fit(chosen, of, scale, level, tile)
        plan = Plan(
            data,
            of,
            chosen.config.upscale if chosen else scale or (1 if inputs else TASKS[of].scales[0]),
            names(sets),
            tuple(level_of(of, one) for one in level or ()),
            grey or (chosen is not None and chosen.config.in_channels == 1),
            tile,
            self_ensemble,
            limit,
            inputs,
            margin,
        )
        plan.folders()  # test sets that are missing are told before torch is loaded

        from mambairv2.evaluation import report
        from mambairv2.evaluation.evaluate import evaluate as measure

        network = chosen.load(device) if chosen else None
        results = measure(network, plan, tell_score, before.load(device) if before else None)
        title = _title(f"{first}, then {weights}" if first else weights, plan)
        for line in report.to_markdown(results, title, images=False).splitlines():
            say(line)
        about: dict[str, object] = {
            "weights": weights,
            "first": first,
            "self_ensemble": self_ensemble,
            "tile": tile,
            "limit": limit,
            "margin": margin,
        }
        texts = (
            (json, report.to_json(results, about)),
            (csv, report.to_csv(results)),
            (markdown, report.to_markdown(results, title)),
        )
        for path, text in texts:
            if path:
                write_whole(path, text)


def _check_fit(
    weights: ChosenWeights | None, task: TaskName, scale: int | None, level: list[str] | None, tile: int
) -> None:
    """Raise ValueError for a scale, level or tile that the task or the weights do not have."""
    scales = TASKS[task].scales
    if level and not TASKS[task].levels:
        levelled = ", ".join(name for name, one in TASKS.items() if one.levels)
        raise ValueError(f"--level is for --task {levelled}; for {task} there is --scale")
    if scale is not None and scales == (1,):
        enlarging = ", ".join(name for name, one in TASKS.items() if one.scales != (1,))
        raise ValueError(f"--scale is for --task {enlarging}, not for {task}")
    if scale is not None and scale not in scales:
        raise ValueError(f"{task} comes at scale {', '.join(map(str, scales))}, got {scale}")
    if weights is None:
        return
    enlarges = weights.config.upscale
    if enlarges not in scales:
        raise ValueError(f"{weights.name} enlarges ×{enlarges}, which --task {task} does not measure")
    if scale not in (None, enlarges):
        raise ValueError(f"{weights.name} enlarges ×{enlarges}, not ×{scale}; leave --scale out")
    Grid((1, 1), enlarges, tile or None, window=weights.config.window_size)


def _pairs(
    weights: ChosenWeights | None, task: TaskName | None, scale: int | None, level: list[str] | None, tile: int
) -> TaskName:
    """Return the task whose usual test sets are taken for pairs; raises ValueError for options without effect."""
    if task or level:
        raise ValueError(f"--inputs are measured as they are; leave --{'task' if task else 'level'} out")
    if weights:
        if scale not in (None, weights.config.upscale):
            raise ValueError(f"{weights.name} enlarges ×{weights.config.upscale}, not ×{scale}; leave --scale out")
        Grid((1, 1), weights.config.upscale, tile or None, window=weights.config.window_size)
    return "sr" if (weights.config.upscale if weights else scale or 1) > 1 else "denoise"


def _title(weights: str, plan: Plan) -> str:
    parts = [weights or "Baseline"]
    parts += ["self-ensemble"] if plan.ensemble else []
    parts += [f"inputs of {plan.inputs}"] if plan.inputs else []
    parts += [f"tiles of {plan.tile}"] if plan.tile else []
    parts += ["with the margin of restore"] if plan.margin else []
    parts += [f"first {plan.limit} of each set: not comparable with published figures"] if plan.limit else []
    return ", ".join(parts)
