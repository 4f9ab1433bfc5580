"""Restore a photograph, measure the gain where the truth is known, and draw a comparison: `make demo`.

The photograph is damaged as on its way through the web: blurred, halved, made a little noisy, and saved as a JPEG file.
It is restored, and compared with the original. Then the original itself is enlarged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyvips

from mambairv2 import Restorer
from mambairv2.evaluation.metrics import psnr
from mambairv2.images.arrays import Pixels
from mambairv2.images.degradation.chain import Chain, parse
from mambairv2.images.degradation.compression import to_pixels
from mambairv2.images.degradation.resizing import resample
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.memory import keep_freed_memory
from mambairv2.restoration.results import Restored
from mambairv2.tasks import TASKS

PICTURES = Path(__file__).parent
CROP = slice(208, 352), slice(304, 448)
"""Rows and columns of the photograph that the comparison shows."""
ZOOM = 3
QUALITY = 64
"""Of the JPEG file: the middle of what `mambairv2 evaluate --task photo` has at its middle strength."""
GAP = 8
"""White pixels between the panels of the comparison."""


def main() -> None:
    """Read the arguments and run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="folder for the pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    arguments = parser.parse_args()
    keep_freed_memory()
    networks = {name: Restorer(name, arguments.device) for name in ("photo-x2", "sr-x2")}
    run(Choosing(("photo-x2", networks["photo-x2"]), ("sr-x2", networks["sr-x2"])), arguments.output)


def run(restorer: Choosing, output: Path) -> float:
    """Restore the photograph, write the pictures into `output` and print where they are.

    Returns the gain in PSNR over Lanczos interpolation in dB, on luma, without a border as wide as the scale.
    """
    output.mkdir(parents=True, exist_ok=True)
    source, small, scale = PICTURES / "coffee.png", output / "small.jpg", 2
    original = read(source)
    pyvips.Image.new_from_array(damaged(original, scale)).jpegsave(str(small), Q=QUALITY)

    done = restorer.restore_file(small, output / "restored.png")
    report("A photograph from the web, restored:", done)
    lanczos = to_pixels(resample((read(small) / 255).astype(np.float32), original.shape[:2], "lanczos"))
    restored = read(output / "restored.png")
    before, after = (psnr(image, original, "y", scale) for image in (lanczos, restored))
    print(f"  PSNR (luma) to the original: Lanczos {before:.2f} dB, restored {after:.2f} dB")
    print(f"  gain {after - before:+.2f} dB")

    labels = pyvips.Image.new_from_file(str(PICTURES / "labels.png"))
    side_by_side(labels, lanczos, restored, original).pngsave(str(output / "comparison.png"))
    print(f"  Lanczos | restored | original: {(output / 'comparison.png').resolve()}")

    report("The photograph itself, enlarged:", restorer.restore_file(source, output / "coffee.png"))
    return after - before


def damaged(original: Pixels, scale: int) -> Pixels:
    """Return a photograph (H, W, 3) blurred, made smaller and noisy, before it is saved as a JPEG file."""
    steps = TASKS["photo"].steps
    assert steps is not None
    blur, shrink, noise, _jpeg = steps("middle", scale)
    return to_pixels(Chain(parse([blur, shrink, noise]))(original, scale, np.random.default_rng(0)) / 255)


def side_by_side(labels: pyvips.Image, *images: Pixels) -> pyvips.Image:
    """Return the crop of each image (H, W, 3), enlarged without smoothing, in a row below the labels."""
    crops = [pyvips.Image.new_from_array(np.ascontiguousarray(image[CROP])) for image in images]
    panels = [crop.zoom(ZOOM, ZOOM).copy(interpretation="srgb") for crop in crops]
    row = pyvips.Image.arrayjoin(panels, across=len(panels), shim=GAP, background=255)
    return labels.colourspace("srgb").join(row, "vertical", expand=True, background=255)


def read(path: Path) -> Pixels:
    """Return the pixels of an 8-bit image file, (H, W, C)."""
    pixels: Pixels = pyvips.Image.new_from_buffer(path.read_bytes(), "").numpy()
    return pixels


def report(title: str, done: Restored) -> None:
    """Print the sizes, the time and the place of a restored file."""
    height, width = done.size
    sizes = f"{width}x{height} -> {width * done.scale}x{height * done.scale}"
    print(f"{title}\n  {sizes} in {done.seconds:.1f} s, {done.notes[0]}: {done.target.resolve()}")


if __name__ == "__main__":
    main()
