import json
import math
from pathlib import Path

import numpy as np
import pytest

from mambairv2.evaluation.metrics import luma, psnr, ssim
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from shared_data import SHARED, TEST_SETS, needs_shared

CASES = json.loads((Path(__file__).parents[1] / "parity" / "metrics.json").read_text())
COFFEE = Path(__file__).parents[2] / "examples" / "coffee.png"


def _pattern(reference):
    rows, columns = np.indices(reference.shape[:2])
    pattern = (7 * rows + 13 * columns) % 23 - 11
    return np.clip(reference + pattern[..., None], 0, 255).astype(np.uint8)


def _pair(case):
    """The image and the reference of a case, made from the photograph in `examples`."""
    photo = read_image(COFFEE)
    if case["pair"] == "nearest":
        scale = case["scale"]
        reference = photo[: photo.shape[0] // scale * scale, : photo.shape[1] // scale * scale]
        return reference[::scale, ::scale].repeat(scale, 0).repeat(scale, 1), reference
    reference = photo[..., 1:2] if case["pair"] == "pattern of green" else photo
    return _pattern(reference), reference


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['pair']}-{case.get('scale', 1)}-{case['channels']}")
def test_figures_of_scikit_image(case):
    image, reference = _pair(case)
    assert psnr(image, reference, case["channels"], case["border"]) == pytest.approx(case["psnr"], abs=1e-9)
    assert ssim(image, reference, case["channels"], case["border"]) == pytest.approx(case["ssim"], abs=1e-9)


def _test_set_pair(pair):
    kind, name = pair["pair"], pair["image"]
    if kind.startswith("nearest"):
        scale, (folder, stem) = pair["scale"], name.split("/")
        lr = read_image(TEST_SETS / folder / "LR_bicubic" / f"X{scale}" / f"{stem}x{scale}.png")
        image = lr.repeat(scale, 0).repeat(scale, 1)
        return image, read_image(TEST_SETS / folder / "HR" / f"{stem}.png")[: image.shape[0], : image.shape[1]]
    reference = read_image(TEST_SETS / f"{name}.png")
    return _pattern(reference), reference


@needs_shared
def test_figures_of_the_standard_implementation_on_test_sets(subtests):
    """That implementation converts to Y in float32, hence the tolerances."""
    for pair in json.loads((SHARED / "parity" / "metrics.json").read_text())["pairs"]:
        image, reference = _test_set_pair(pair)
        cases = {"y_border_s": ("y", pair.get("scale")), "y_border_4": ("y", 4), "rgb_border_0": ("rgb", 0)}
        cases["gray_border_0"] = ("rgb", 0)
        for key in cases.keys() & pair.keys():
            with subtests.test(pair=pair["pair"], image=pair["image"], figures=key):
                assert psnr(image, reference, *cases[key]) == pytest.approx(pair[key]["psnr"], abs=1e-4)
                assert ssim(image, reference, *cases[key]) == pytest.approx(pair[key]["ssim"], abs=1e-5)


BICUBIC = {
    **{("Set5", 2): 33.66, ("Set5", 3): 30.39, ("Set5", 4): 28.42},
    **{("Set14", 2): 30.24, ("Set14", 3): 27.55, ("Set14", 4): 26.00},
    **{("BSD100", 2): 29.56, ("BSD100", 3): 27.21, ("BSD100", 4): 25.96},
}


@needs_shared
def test_bicubic_baseline(subtests):
    for (name, scale), published in BICUBIC.items():
        figures = []
        for path in sorted((TEST_SETS / name / "HR").iterdir()):
            lr = read_image(TEST_SETS / name / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png")
            up = imresize(lr, scale)
            figures.append(psnr(up, read_image(path)[: up.shape[0], : up.shape[1]], "y", scale))
        with subtests.test(set=name, scale=scale):
            assert np.mean(figures) == pytest.approx(published, abs=0.02)


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
