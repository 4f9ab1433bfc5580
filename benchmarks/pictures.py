"""Pictures of what the packaged weights do, and docs/pictures.md around them.

    python benchmarks/pictures.py [NAME …] [--data TESTSETS]

Without names all packaged weights are taken. Of the first images of Kodak24, damaged as `mambairv2 evaluate` damages
them, three crops are shown: the centre, where the result is furthest from the original, and where it gains least.
Writes docs/pictures/NAME.webp and the section `## NAME` of docs/pictures.md; what stands there below the picture is
written by hand and is kept, as are the sections of other weights. Needs Pillow.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw, ImageFont

from mambairv2.evaluation.evaluate import restored
from mambairv2.evaluation.metrics import luma, psnr
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Case, Protocol, cases
from mambairv2.evaluation.report import table
from mambairv2.files.atomic import write_whole
from mambairv2.images.arrays import Pixels
from mambairv2.images.folders import find_data
from mambairv2.images.pixels import to_channels
from mambairv2.restoration.memory import keep_freed_memory
from mambairv2.restoration.restorer import Restorer
from mambairv2.tasks import TASKS
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import PRETRAINED, pretrained
from mambairv2.weights.read_config import read_metadata

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SET, IMAGES = "Kodak24", 3
SIDE, ZOOM, GAP, LINE = 72, 3, 8, 24
Errors = np.ndarray[tuple[int, int], np.dtype[np.float64]]

INTRO = f"""# Pictures

These crops show what the packaged weights do to photographs that they were not trained on, beside
the input and the original. A rule chose them, nobody picked:

- the first {IMAGES} images of {SET}, each at the next level of noise or JPEG where the task has several;
- of each image the {SIDE}×{SIDE} pixels at the centre, those where the result is furthest from the original,
  and those where it gains least (or loses most) against bicubic or the damaged input;
- by PSNR, on luma for super-resolution and photographs.

Pixels are enlarged {ZOOM} times, without smoothing. The inputs are those of `mambairv2 evaluate` with
`--sets {SET}`: MATLAB's bicubic, its seed of the noise, its JPEG encoder.

The photographs are of the Kodak Lossless True Color Image Suite, which Eastman Kodak released for
unrestricted use, in the 500×500 crops that FFDNet evaluates with. The other test sets have no
licence to pass them on, or one for non-commercial use only, and are not shown.

All but the text below each picture is made by `python benchmarks/pictures.py NAME`."""


@dataclass(frozen=True)
class Crop:
    """One row of a picture: the baseline's crop, the result's and the original's, with what is said above them."""

    captions: tuple[str, str, str]
    panels: tuple[Pixels, Pixels, Pixels]


def window_errors(image: Pixels, case: Case, protocol: Protocol) -> Errors:
    """Mean square error of every SIDE×SIDE window within the border, by its top left corner.

    Raises ValueError, naming the image, where there is no such window.
    """
    planes = [luma(p) if protocol.compared == "y" else p.astype(np.float64) for p in (image, case.target)]
    errors = ((planes[0] - planes[1]) ** 2).reshape(*image.shape[:2], -1).mean(axis=2)
    height, width = (side - 2 * protocol.border for side in errors.shape)
    if min(height, width) < SIDE:
        raise ValueError(f"{case.name}: {image.shape[1]}x{image.shape[0]} is too small for crops of {SIDE} pixels")
    inner = errors[protocol.border :, protocol.border :][:height, :width]
    return sliding_window_view(sliding_window_view(inner, SIDE, 0).mean(-1), SIDE, 1).mean(-1)


def crops(name: str, image: Pixels, case: Case, protocol: Protocol) -> list[Crop]:
    """The centre, the crop with the largest error, and the one with the least gain over the baseline."""
    before, after = (window_errors(p, case, protocol) for p in (case.baseline, image))
    chosen = {
        "centre": (after.shape[0] // 2, after.shape[1] // 2),
        "largest error": np.unravel_index(after.argmax(), after.shape),
        "least gain": np.unravel_index(((before + 1e-9) / (after + 1e-9)).argmin(), after.shape),  # 0 / 0: no gain
    }
    made = []
    for where, corner in chosen.items():
        top, left = (int(side) + protocol.border for side in corner)
        panels = tuple(p[top : top + SIDE, left : left + SIDE] for p in (case.baseline, image, case.target))
        base_psnr, own_psnr = (psnr(panel, panels[2], protocol.compared) for panel in panels[:2])
        base = f"{TASKS[protocol.task].baseline}{f' {protocol.level}' if protocol.level else ''}"
        captions = f"{base}: {base_psnr:.2f} dB", f"{name}: {own_psnr:.2f} dB", f"{case.name}, {where}"
        made.append(Crop(captions, panels))
    return made


def row(image: Pixels, case: Case, protocol: Protocol) -> list[str]:
    """The image's line in the table: PSNR of the whole, and the gain."""
    before, after = (psnr(p, case.target, protocol.compared, protocol.border) for p in (case.baseline, image))
    return [case.name, str(protocol), f"{after:.2f}", f"{before:.2f}", f"{after - before:+.2f}"]


def draw(rows: list[Crop]) -> bytes:
    """The crops below each other as WebP, each enlarged without smoothing below its caption."""
    panel, font = SIDE * ZOOM, ImageFont.load_default(15)
    sheet = Image.new("RGB", (3 * panel + 2 * GAP, len(rows) * (panel + LINE)), "white")
    pen = ImageDraw.Draw(sheet)
    for down, crop in enumerate(rows):
        for across, (caption, pixels) in enumerate(zip(crop.captions, crop.panels, strict=True)):
            left, top = across * (panel + GAP), down * (panel + LINE)
            pen.text((left, top + 3), caption, "black", font)
            large = to_channels(pixels, 3).repeat(ZOOM, 0).repeat(ZOOM, 1)
            sheet.paste(Image.fromarray(large), (left, top + LINE))
    buffer = io.BytesIO()
    sheet.save(buffer, "webp", lossless=True)
    return buffer.getvalue()


def section(name: str, rows: list[list[str]], by_hand: str) -> str:
    """What docs/pictures.md has on one network."""
    heads = ["image", "protocol", "PSNR [dB]", TASKS[rows[0][1].split()[0]].baseline, "gain"]
    picture = f"![{name}: crops of the input, the result and the original](pictures/{name}.webp)"
    return f"## {name}\n\n{table([heads, *rows])}\n\n{picture}\n\n{by_hand}".rstrip() + "\n"


def update(document: str, name: str, rows: list[list[str]]) -> str:
    """The document with one section made anew; the others and the text below its picture stay."""
    sections = {part.split("\n", 1)[0].strip(): f"## {part}" for part in re.split(r"^## ", document, flags=re.M)[1:]}
    _, _, by_hand = sections.get(name, "").partition(f"(pictures/{name}.webp)\n")
    sections[name] = section(name, rows, by_hand.strip())
    order = sorted(sections, key=lambda of: (not of.startswith("sr"), of))
    return "\n".join([INTRO + "\n", *(sections[of].rstrip() + "\n" for of in order)])


def make(name: str, data: Path) -> None:
    """Restore, measure and draw; nothing is written before all is measured."""
    model, task = load_model(name), read_metadata(name).get("task")
    restorer = Restorer(model, "cpu", tile="whole")
    if task not in TASKS:
        raise ValueError(f"{PRETRAINED / name}.safetensors: does not say its task; save it with one, as `train` does")
    grey = model.config.in_channels == 1
    plan = Plan(data, task, model.config.upscale, [SET], grey=grey)
    shown, rows = [], []
    for number, protocol in enumerate(islice(cycle(plan.protocols()), IMAGES)):
        case = next(islice(cases(plan.folders()[0], protocol), number, None), None)
        if case is None:
            raise ValueError(f"{plan.folders()[0]}: has {number} images, {IMAGES} are needed")
        image = restored(restorer.infer, case)
        shown += crops(name, image, case, protocol)
        rows.append(row(image, case, protocol))
        print(*rows[-1], flush=True)
    picture, document = draw(shown), DOCS / "pictures.md"
    text = update(document.read_text() if document.exists() else "", name, rows)
    write_whole(DOCS / "pictures" / f"{name}.webp", picture)
    write_whole(document, text)
    print(f"{document}: see the picture, and write below it what it shows")


def main() -> None:
    """Make the pictures; an error ends in a line and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="packaged weights; by default all")
    parser.add_argument("--data", type=Path, help="folder of test sets; by default data/test, see docs/training.md")
    options = parser.parse_args()
    keep_freed_memory()
    try:
        for name in options.names or pretrained():
            make(name, options.data or find_data("data/test"))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
