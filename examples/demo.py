"""Restore a photograph, measure the gain where the truth is known, and draw a comparison: `make demo`.

The photograph is halved by MATLAB's bicubic, as is usual in super-resolution, restored, and compared with the original.
Then the original itself is enlarged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyvips

from mambairv2 import Restorer
from mambairv2.evaluation.metrics import psnr
from mambairv2.images.arrays import Pixels
from mambairv2.images.resize import imresize
from mambairv2.restoration.memory import keep_freed_memory
from mambairv2.restoration.results import Restored

PICTURES = Path(__file__).parent
CROP = slice(208, 352), slice(304, 448)
"""Rows and columns of the photograph that the comparison shows."""
ZOOM = 3
GAP = 8
"""White pixels between the panels of the comparison."""


def main() -> None:
    """Read the arguments and run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="folder for the pictures")
    parser.add_argument("--weights", default="sr-x2", help="a packaged name or a file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    arguments = parser.parse_args()
    keep_freed_memory()
    run(Restorer(arguments.weights, arguments.device), arguments.output)


def run(restorer: Restorer, output: Path) -> float:
    """Restore the photograph, write the pictures into `output` and print where they are.

    Returns the gain in PSNR over bicubic interpolation in dB, on luma, without a border as wide as the scale.
    """
    output.mkdir(parents=True, exist_ok=True)
    source, scale = PICTURES / "coffee.png", restorer.scale
    original = read(source)
    height, width = (side // scale * scale for side in original.shape[:2])
    original = original[:height, :width]
    small = imresize(original, 1 / scale)
    pyvips.Image.new_from_array(small).pngsave(str(output / "small.png"))

    done = restorer.restore_file(output / "small.png", output / "restored.png")
    report("A photograph made smaller, restored:", done)
    bicubic, restored = imresize(small, scale), read(output / "restored.png")
    before, after = (psnr(image, original, "y", scale) for image in (bicubic, restored))
    print(f"  PSNR (luma) to the original: bicubic {before:.2f} dB, restored {after:.2f} dB")
    print(f"  gain {after - before:+.2f} dB")

    labels = pyvips.Image.new_from_file(str(PICTURES / "labels.png"))
    side_by_side(labels, bicubic, restored, original).pngsave(str(output / "comparison.png"))
    print(f"  bicubic | restored | original: {(output / 'comparison.png').resolve()}")

    report("The photograph itself, enlarged:", restorer.restore_file(source, output / "coffee.png"))
    return after - before


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
    print(f"{title}\n  {sizes} in {done.seconds:.1f} s: {done.target.resolve()}")


if __name__ == "__main__":
    main()
