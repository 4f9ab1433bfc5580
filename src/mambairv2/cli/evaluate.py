"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mambairv2.cli.measuring import check_outputs, load_weights, names, tell_score
from mambairv2.cli.told import told


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of test sets, each with HR and LR_bicubic/X2, X3, X4.")],
    weights: Annotated[
        str, typer.Option(help="A file, a run's folder or a packaged name; without, the baseline alone.")
    ] = "",
    sets: Annotated[str, typer.Option(help="Names by commas; by default the task's that are there.")] = "",
    task: Annotated[
        Literal["sr", "denoise", "jpeg"] | None, typer.Option(help="By default what the weights are for.")
    ] = None,
    scale: Annotated[int, typer.Option(help="Of the baseline; weights know theirs.")] = 2,
    level: Annotated[list[int] | None, typer.Option(help="σ or JPEG quality; may be repeated.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Turn the test images grey.")] = False,
    self_ensemble: Annotated[bool, typer.Option("--self-ensemble", help="Mean over eight turns.")] = False,
    tile: Annotated[int, typer.Option(min=0, help="Largest side of a tile, a multiple of 16; 0: whole.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images of each set.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write all figures here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a line an image here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables here.")] = None,
) -> None:
    """Measure PSNR and SSIM on test sets by the field's protocols, beside baseline and published figures."""
    with told():
        from mambairv2.evaluation import report
        from mambairv2.evaluation.evaluate import evaluate as measure
        from mambairv2.evaluation.plan import Plan
        from mambairv2.files.atomic import write_whole
        from mambairv2.restoration.memory import keep_freed_memory

        keep_freed_memory()
        check_outputs(path for path in (json, csv, markdown) if path)
        model, known = load_weights(weights, device)
        chosen = task or known
        if model is not None and (model.config.upscale > 1) != (chosen == "sr"):
            raise ValueError(f"{weights} enlarges ×{model.config.upscale}, which --task {chosen} does not measure")
        plan = Plan(
            data,
            chosen,
            model.config.upscale if model is not None else scale if chosen == "sr" else 1,
            names(sets),
            tuple(level or ()),
            grey or (model is not None and model.config.in_channels == 1),
            tile,
            self_ensemble,
            limit,
        )
        results = measure(model, plan, tell_score)
        title = weights or "Baseline"
        title += (", self-ensemble" if self_ensemble else "") + (f", tiles {tile}" if tile else "")
        typer.echo(report.to_markdown(results, title, images=False))
        about: dict[str, object] = {"weights": weights, "self_ensemble": self_ensemble, "tile": tile}
        texts = (
            (json, report.to_json(results, about)),
            (csv, report.to_csv(results)),
            (markdown, report.to_markdown(results, title)),
        )
        for path, text in texts:
            if path:
                write_whole(path, text)
