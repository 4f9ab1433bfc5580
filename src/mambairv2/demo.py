"""`make demo`: restore a real photograph, measure the gain where the truth is known, and show it.

The photograph is halved as the field does it (MATLAB's bicubic), restored by the code of `mambairv2 restore`,
and compared with the original; then the original itself is enlarged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyvips

from mambairv2.evaluation.metrics import psnr
from mambairv2.images.arrays import Pixels
from mambairv2.images.resize import imresize
from mambairv2.images.writing import save
from mambairv2.restoration.memory import keep_freed_memory
from mambairv2.restoration.restorer import Restorer
from mambairv2.restoration.results import Restored

CROP = slice(208, 352), slice(304, 448)
"""Rows and columns of the photograph that the picture shows enlarged."""
ZOOM = 3
GAP = 8


def main() -> None:
    """Read the arguments and run the demo."""
    parser = argparse.ArgumentParser(prog="python -m mambairv2.demo", description=__doc__)
    parser.add_argument("--examples", type=Path, default=Path("examples"), help="folder with coffee.png")
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="folder the pictures are written to")
    parser.add_argument("--weights", default="sr-x2", help="a packaged name or a file")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    if not (arguments.examples / "coffee.png").is_file():
        parser.error(f"no {arguments.examples / 'coffee.png'}; run it in a checkout of the repository")
    keep_freed_memory()
    run(arguments.examples, arguments.output, Restorer(arguments.weights, arguments.device))


def run(examples: Path, output: Path, restorer: Restorer) -> float:
    """Restore the photograph of `examples`, write the pictures into `output` and print where they lie.

    Returns the gain in PSNR over bicubic, dB: on luma, a border of the scale left out.
    """
    output.mkdir(parents=True, exist_ok=True)
    source, scale = examples / "coffee.png", restorer.scale
    true = _read(source)
    true = true[: true.shape[0] // scale * scale, : true.shape[1] // scale * scale]
    small = imresize(true, 1 / scale)
    save(pyvips.Image.new_from_array(small), output / "small.png")

    done = restorer.restore_file(output / "small.png", output / "restored.png")
    _report("A photograph made smaller, restored:", done)
    bicubic, restored = imresize(small, scale), _read(output / "restored.png")
    before, after = (psnr(image, true, "y", scale) for image in (bicubic, restored))
    print(f"  PSNR (luma) to the true picture: bicubic {before:.2f} dB, restored {after:.2f} dB")
    print(f"  gain {after - before:+.2f} dB")

    labels = pyvips.Image.new_from_file(str(examples / "labels.png"))
    save(side_by_side(labels, bicubic, restored, true), output / "comparison.png")
    print(f"  bicubic | restored | true: {(output / 'comparison.png').resolve()}")

    _report("The photograph itself, enlarged:", restorer.restore_file(source, output / "coffee.png"))
    return after - before


def side_by_side(labels: pyvips.Image, *images: Pixels) -> pyvips.Image:
    """The crop of each image (H, W, 3), enlarged without smoothing, in a row under the labels."""
    crops = [pyvips.Image.new_from_array(np.ascontiguousarray(image[CROP])) for image in images]
    panels = [crop.zoom(ZOOM, ZOOM).copy(interpretation="srgb") for crop in crops]
    row = pyvips.Image.arrayjoin(panels, across=len(panels), shim=GAP, background=255)
    return labels.colourspace("srgb").join(row, "vertical", expand=True, background=255)


def _read(path: Path) -> Pixels:
    pixels: Pixels = pyvips.Image.new_from_buffer(path.read_bytes(), "").numpy()
    return pixels


def _report(title: str, done: Restored) -> None:
    height, width = done.size
    sizes = f"{width}x{height} -> {width * done.scale}x{height * done.scale}"
    print(f"{title}\n  {sizes} in {done.seconds:.1f} s: {done.target.resolve()}")


if __name__ == "__main__":
    main()
