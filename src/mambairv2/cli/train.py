"""Commands of training and measuring: `train`, `evaluate`, `reproduce`, `data check`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mambairv2.evaluation.evaluate import Score
    from mambairv2.network.model import MambaIRv2
    from mambairv2.tasks import TaskName


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file of the run.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option(help="Name of the run; by default the recipe's.")] = "",
    runs: Annotated[Path, typer.Option(help="Folder that runs are kept in.")] = Path("runs"),
    data: Annotated[list[Path] | None, typer.Option(help="Training images, in place of the recipe's.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Folder of test sets, in place of the recipe's.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes CUDA if it is there.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Devices on each machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    micro_batch: Annotated[int, typer.Option(min=0, help="Patches at once on a device; 0: as the recipe says.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Start again, or go on where the run is.")] = False,
    max_minutes: Annotated[float, typer.Option(help="Save and end after this time; 0: no limit.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all and estimate, train nothing.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log for TensorBoard too.")] = False,
) -> None:
    """Train a network by a recipe; the same command goes on with an interrupted run."""
    with _told():
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.training.loop import train as run_recipe
        from mambairv2.training.recipe import load_recipe
        from mambairv2.training.setup import Options

        keep_freed_memory()
        parsed = load_recipe(recipe)
        if micro_batch:
            parsed = parsed.model_copy(update={"train": parsed.train.model_copy(update={"micro_batch": micro_batch})})
        options = Options(
            run=runs / (name or recipe.stem),
            data=tuple(data or ()),
            validation=validation,
            accelerator=device,
            devices=devices,
            nodes=nodes,
            fresh=fresh,
            dry_run=dry_run,
            max_minutes=max_minutes or math.inf,
            tensorboard=tensorboard,
            cache=runs / "cache",
        )
        run_recipe(parsed, options)


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
    with _told():
        from mambairv2.evaluation import report
        from mambairv2.evaluation.measure import Plan, measure
        from mambairv2.files.atomic import write_whole
        from mambairv2.restoration.memory import keep_freed_memory

        keep_freed_memory()
        _check_outputs(path for path in (json, csv, markdown) if path)
        model, known = _load(weights, device)
        chosen = task or known
        if model is not None and (model.config.upscale > 1) != (chosen == "sr"):
            raise ValueError(f"{weights} enlarges ×{model.config.upscale}, which --task {chosen} does not measure")
        plan = Plan(
            data,
            chosen,
            model.config.upscale if model is not None else scale if chosen == "sr" else 1,
            _names(sets),
            tuple(level or ()),
            grey or (model is not None and model.config.in_channels == 1),
            tile,
            self_ensemble,
            limit,
        )
        results = measure(model, plan, _tell)
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


def reproduce(
    data: Annotated[Path, typer.Option(help="Folder of test sets, as for evaluate.", exists=True)],
    weights: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders of them, or packaged names; by default all packaged ones."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The Markdown document.")] = Path("reproduction.md"),
    sets: Annotated[str, typer.Option(help="Only these, by commas; by default all that are there.")] = "",
    tile: Annotated[int, typer.Option(min=0, help="Largest side of a tile, a multiple of 16; 0: whole.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images of each set.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Fill the paper's tables with our figures and the differences, for the weights and test sets at hand."""
    with _told():
        from mambairv2.evaluation.paper_tables import Network, document, measure_all
        from mambairv2.files.atomic import write_whole
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.weights.packaged import pretrained

        keep_freed_memory()
        _check_outputs([output])
        networks = []
        for name in _weight_files(weights or list(pretrained())):
            model, task = _load(name, device)
            assert model is not None
            networks.append(Network(name, task, model))
        means = measure_all(networks, data, _names(sets), tile, limit, _tell)
        notes = [f"**Only the first {limit} images of each set: not comparable.**"] if limit else []
        notes += [f"In tiles of {tile} pixels."] if tile else []
        typer.echo("counting what the paper's networks cost", err=True)
        write_whole(output, document(networks, means, data, notes))
        typer.echo(f"{output}: weights measured: {len(networks)}, means over test sets: {len(means)}")


@contextmanager
def _told(code: int = 1) -> Iterator[None]:
    """Tell a user's mistake in a line and exit with a code; other errors are ours and keep their traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("lightning_fabric", "pydantic", "tensorboard", "tomli"):
            raise
        text = f"{error.name} is not installed; `pip install 'mambairv2[train]'`"
    except OSError as error:
        from mambairv2.images.errors import explain

        text = f"{error.filename}: {explain(error)}" if error.filename else str(error)
    except (ValueError, RuntimeError) as error:
        text = str(error)
    else:
        return
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(code)


def _tell(name: str, score: Score) -> None:
    typer.echo(f"{name}: {score.image} {score.psnr:.2f} dB {score.ssim:.4f}", err=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _check_outputs(paths: Iterable[Path]) -> None:
    """Make the folders of files to be written, and fail before the work rather than after it."""
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def _weight_files(given: list[str]) -> list[str]:
    """Replace folders by the weight files below them; raises ValueError for a folder without any."""
    names = []
    for name in given:
        folder = Path(name)
        found = sorted(str(p) for suffix in ("safetensors", "pth") for p in folder.rglob(f"*.{suffix}"))
        if folder.is_dir() and not found:
            raise ValueError(f"{folder}: no .safetensors or .pth files")
        names += found if folder.is_dir() else [name]
    return names


def _load(weights: str, device: str) -> tuple[MambaIRv2 | None, TaskName]:
    """Load weights and tell what they are for: their own word, or their scale and channels."""
    if not weights:
        return None, "sr"
    from mambairv2.ops import slow_note
    from mambairv2.restoration.device import pick_device
    from mambairv2.weights.load import load_model, read_metadata

    weights, *more = _weight_files([weights])
    if more:
        raise ValueError(f"several weights are asked for, {weights} and {more[0]} among them; give one")
    place = pick_device(device)
    model = load_model(weights, device=place)
    if note := slow_note(place.type):
        typer.echo(note, err=True)
    said = read_metadata(weights).get("task")
    if said == "sr" or model.config.upscale > 1:
        return model, "sr"
    if said == "denoise":
        return model, "denoise"
    if said == "jpeg" or model.config.in_channels == 1:
        return model, "jpeg"
    return model, "denoise"


def check(
    folder: Annotated[Path, typer.Argument(help="Training images, looked for in subfolders too.")],
    against: Annotated[
        Path | None, typer.Option(help="Test images that must not be among the training images.")
    ] = None,
    patch: Annotated[int, typer.Option(min=1, help="Side of the input patch, as in the recipe.")] = 64,
    scale: Annotated[int, typer.Option(min=1, max=4, help="Enlargement, as in the recipe.")] = 2,
) -> None:
    """Find broken, too small, duplicate and leaked images.

    Exit code: 0, none found; 1, some found, each told in a line; 2, no images to look at.
    """

    def tick(done: int, total: int) -> None:
        if done and done % 500 == 0:
            typer.echo(f"{done} of {total} images read", err=True)

    with _told(2):
        from mambairv2.training.image_check import check_images, table

        count, faults = check_images(folder, against, patch, scale, tick)
    if faults:
        typer.echo(table(faults))
    typer.echo(f"{count} images, {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    if faults:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(reproduce)
    data = typer.Typer(help="Training images.", no_args_is_help=True)
    data.command()(check)
    app.add_typer(data, name="data")
