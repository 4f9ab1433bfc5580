"""The packaged weights in tiles: no seam, and close to the image restored whole."""

from pathlib import Path

import pytest
import torch

from mambairv2.restoration.grid import Grid
from mambairv2.restoration.planning import OVERLAP, TILE
from mambairv2.weights import packaged
from mambairv2.weights.load import load_model
from seams import LARGEST_RATIO, LEAST_PSNR, cost, crop, psnr, seam_ratio, tiled

COFFEE = Path(__file__).parents[2] / "examples" / "coffee.png"


@pytest.mark.skipif("sr-x2" not in packaged.pretrained(), reason="no packaged weights")
def test_the_default_overlap_reaches_the_bar():
    model, image = load_model("sr-x2"), crop(COFFEE, (96, 288))
    whole, _ = tiled(model, image, "whole")
    parts, grid = tiled(model, image, TILE)
    assert len(grid.columns) == 2
    assert grid.overlap == OVERLAP
    assert psnr(parts, whole) >= LEAST_PSNR
    assert seam_ratio(parts, whole, grid) <= LARGEST_RATIO


def test_a_seam_shows_in_the_ratio():
    image, grid = torch.rand(3, 200, 200), Grid((200, 200), 1, 96, 16)
    step = image.clone()
    step[:, grid.rows[1].start :] += 0.2
    assert seam_ratio(image, image, grid) == 1
    assert seam_ratio(step, image, grid) > 1.02
    assert seam_ratio(torch.nn.functional.avg_pool2d(image, 3, 1, 1), image, grid) == pytest.approx(1, abs=0.1)
    assert psnr(image, image + 0.1) == pytest.approx(20, abs=1e-4)


def test_what_tiles_cost():
    assert cost(Grid((256, 256), 2, 256, 32)) == 0
    assert cost(Grid((256, 480), 2, 256, 32)) == pytest.approx(32 / 480)
