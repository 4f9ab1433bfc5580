import json
import math
from pathlib import Path

import numpy as np
import pytest

from mambairv2.evaluation.metrics import luma, psnr, ssim
from mambairv2.images.pixels import read_image
from stand_in import patterned

CASES = json.loads((Path(__file__).parents[1] / "parity" / "metrics.json").read_text())
COFFEE = Path(__file__).parents[2] / "examples" / "coffee.png"


def _pair(case):
    """The image and the reference of a case, made from the photograph in `examples`."""
    photo = read_image(COFFEE)
    if case["pair"] == "nearest":
        scale = case["scale"]
        reference = photo[: photo.shape[0] // scale * scale, : photo.shape[1] // scale * scale]
        return reference[::scale, ::scale].repeat(scale, 0).repeat(scale, 1), reference
    reference = photo[..., 1:2] if case["pair"] == "pattern of green" else photo
    return patterned(reference), reference


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['pair']}-{case.get('scale', 1)}-{case['channels']}")
def test_figures_of_scikit_image(case):
    image, reference = _pair(case)
    assert psnr(image, reference, case["channels"], case["border"]) == pytest.approx(case["psnr"], abs=1e-9)
    assert ssim(image, reference, case["channels"], case["border"]) == pytest.approx(case["ssim"], abs=1e-9)


def test_luma_of_white_black_and_grey():
    assert luma(np.full((1, 1, 3), 255, np.uint8)) == pytest.approx(235)
    assert luma(np.zeros((1, 1, 3), np.uint8)) == pytest.approx(16)
    assert luma(np.full((1, 1, 1), 200, np.uint8)) == 200


def test_known_values():
    image = np.random.default_rng(1).integers(1, 255, (16, 17, 3), np.uint8)
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)
    assert psnr(image, image + 1) == pytest.approx(20 * math.log10(255))
    damaged = image.copy()
    damaged[:2] = 0
    assert psnr(damaged, image, border=2) == math.inf


def test_mistakes_name_what_they_got():
    image = np.zeros((12, 12, 3), np.uint8)
    with pytest.raises(ValueError, match="float64"):
        psnr(image.astype(float), image)
    with pytest.raises(ValueError, match="11"):
        psnr(image[:11], image)
    with pytest.raises(ValueError, match="border of 6"):
        psnr(image, image, border=6)
    with pytest.raises(ValueError, match="10x12"):
        ssim(image[:, :10], image[:, :10])
