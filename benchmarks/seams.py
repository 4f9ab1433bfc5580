"""Seams: an image restored in tiles beside the same image restored whole, by overlap; a table, and JSON with --json.

    python benchmarks/seams.py [--weights sr-x2] [--overlaps 16 32 48 64] [--tile 256] [--json FILE] [IMAGE …]

Without images it takes three photographs of data/train/photos, here or below $MAMBAIRV2_DATA. Of each the middle
600×520 pixels are restored. Exit code: 1 if the default overlap does not reach the bar that docs/tiling.md sets.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from mambairv2.images.folders import find_data
from mambairv2.images.reading import open_picture
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.grid import Grid
from mambairv2.restoration.planning import OVERLAP, TILE, Tile
from mambairv2.restoration.restorer import Restorer
from mambairv2.weights.load import load_model

SIZE = 520, 600
LEAST_PSNR, LARGEST_RATIO = 45.0, 1.02
PHOTOS = "mate_elephants.jpg", "plasma_path.jpg", "budgie_canyon_wren.jpg"


def crop(path: Path, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """The middle of a photograph, (C, h, w) float32 in [0, 1]."""
    picture = open_picture(path)
    sides = [min(side, whole) for side, whole in zip(size, picture.size, strict=True)]
    rows, columns = [slice((w - s) // 2, (w + s) // 2) for s, w in zip(sides, picture.size, strict=True)]
    return torch.from_numpy(picture.region(rows, columns))


def tiled(model: MambaIRv2, image: torch.Tensor, tile: Tile, overlap: int = OVERLAP) -> tuple[torch.Tensor, Grid]:
    """The image restored in tiles, (C', h·s, w·s) float32 in [0, 1], not rounded, and where the tiles lie."""
    restorer = Restorer(model, "cpu", tile=tile, overlap=overlap)
    return restorer.infer(image).clamp(0, 1), restorer.plan((image.shape[1], image.shape[2]))


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of values in [0, 1], all pixels and channels, in dB."""
    return float(-10 * (a - b).double().square().mean().log10())


def seam_ratio(image: torch.Tensor, whole: torch.Tensor, grid: Grid) -> float:
    """Energy of the gradient across the lines where tiles begin, end or meet, against the energy elsewhere.

    Relative to the same quotient of the image restored whole, since edges of the scene lie on such lines too:
    1 is no seam, above 1 is a visible step, below 1 a softened band.
    """
    return _quotient(image, grid) / _quotient(whole, grid)


def _quotient(image: torch.Tensor, grid: Grid) -> float:
    on, off = [], []
    for axis, ranges in ((1, grid.rows), (2, grid.columns)):
        other = {1: 2, 2: 1}[axis]
        energy = image.double().diff(dim=axis).square().mean((0, other))
        lines = set()
        for left, right in pairwise(ranges):
            first, last = right.start * grid.scale, left.stop * grid.scale
            lines |= {first - 1, (first + last) // 2 - 1, last - 1}
        chosen = torch.zeros(len(energy), dtype=torch.bool)
        chosen[sorted(lines)] = True
        on.append(energy[chosen])
        off.append(energy[~chosen])
    return float(torch.cat(on).mean() / torch.cat(off).mean())


def cost(grid: Grid) -> float:
    """Pixels restored more than once, over those of the image."""
    height, width = grid.size
    return sum(r.stop - r.start for r in grid.rows) * sum(c.stop - c.start for c in grid.columns) / (height * width) - 1


def compare(model: MambaIRv2, path: Path, overlaps: list[int], tile: int) -> list[dict[str, object]]:
    """One line for each overlap, for one photograph."""
    image = crop(path)
    start = time.perf_counter()
    whole, _ = tiled(model, image, "whole")
    print(f"{path.stem}: {image.shape[2]}x{image.shape[1]}, whole in {time.perf_counter() - start:.0f} s", flush=True)
    lines = []
    for overlap in overlaps:
        parts, grid = tiled(model, image, tile, overlap)
        line: dict[str, object] = {
            "image": path.stem,
            "overlap": overlap,
            "tiles": len(grid.rows) * len(grid.columns),
            "cost": cost(grid),
            "psnr": psnr(parts, whole),
            "largest difference": float((parts - whole).abs().max()),
            "seam ratio": seam_ratio(parts, whole, grid),
        }
        lines.append(line)
        print(
            f"  overlap {overlap:3}  {line['tiles']:3} tiles  +{line['cost']:4.0%}  {line['psnr']:6.2f} dB  "
            f"largest {255 * line['largest difference']:5.2f}/255  seam ratio {line['seam ratio']:.4f}",  # type: ignore[operator]
            flush=True,
        )
    return lines


def main() -> None:
    """Compare, print, write the JSON, hold against the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--weights", default="sr-x2")
    parser.add_argument("--overlaps", nargs="+", type=int, default=[16, 32, 48, 64])
    parser.add_argument("--tile", type=int, default=TILE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        model = load_model(options.weights)
        images = options.images or [find_data("data/train/photos") / name for name in PHOTOS]
        lines = [line for path in images for line in compare(model, path, options.overlaps, options.tile)]
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for overlap in options.overlaps:
        of_it = [line for line in lines if line["overlap"] == overlap]
        least, most = min(x["psnr"] for x in of_it), max(x["seam ratio"] for x in of_it)
        mean = float(np.mean([x["cost"] for x in of_it]))
        print(f"overlap {overlap:3}: +{mean:.0%}, at least {least:.2f} dB, seam ratio at most {most:.4f}")
        if overlap == OVERLAP and (least < LEAST_PSNR or most > LARGEST_RATIO):
            print(f"the default overlap misses the bar of {LEAST_PSNR} dB and {LARGEST_RATIO}: choose another")
            sys.exit(1)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
