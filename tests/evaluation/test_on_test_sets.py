"""What only the field's test sets can show: metrics, bicubic and the figures of weights are those of the literature.

The sets are not in the repository, so this file is skipped as a whole where they are not at hand.
"""

import hashlib
import itertools
import json

import numpy as np
import pytest

from mambairv2.evaluation.evaluate import evaluate, evaluate_set, mean
from mambairv2.evaluation.metrics import psnr, ssim
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Protocol
from mambairv2.images.pixels import read_image
from mambairv2.images.resize import imresize
from mambairv2.weights.load import load_model
from mambairv2.weights.model_card import read_card
from mambairv2.weights.packaged import PRETRAINED
from shared_data import CHECKPOINT, SHARED, TEST_SETS
from stand_in import patterned

if not TEST_SETS.is_dir():
    pytest.skip(
        f"no test images at {TEST_SETS}; set MAMBAIRV2_SHARED to the folder with data/test", allow_module_level=True
    )


def _test_set_pair(pair):
    kind, name = pair["pair"], pair["image"]
    if kind.startswith("nearest"):
        scale, (folder, stem) = pair["scale"], name.split("/")
        lr = read_image(TEST_SETS / folder / "LR_bicubic" / f"X{scale}" / f"{stem}x{scale}.png")
        image = lr.repeat(scale, 0).repeat(scale, 1)
        return image, read_image(TEST_SETS / folder / "HR" / f"{stem}.png")[: image.shape[0], : image.shape[1]]
    reference = read_image(TEST_SETS / f"{name}.png")
    return patterned(reference), reference


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


def test_bicubic_baseline(subtests):
    for (name, scale), published in BICUBIC.items():
        figures = []
        for path in sorted((TEST_SETS / name / "HR").iterdir()):
            lr = read_image(TEST_SETS / name / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png")
            up = imresize(lr, scale)
            figures.append(psnr(up, read_image(path)[: up.shape[0], : up.shape[1]], "y", scale))
        with subtests.test(set=name, scale=scale):
            assert np.mean(figures) == pytest.approx(published, abs=0.02)


def _pairs_of_sizes(name, scale):
    for path in sorted((TEST_SETS / name / "HR").iterdir()):
        hr = read_image(path)
        hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
        yield hr, read_image(TEST_SETS / name / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png")


def test_bicubic_of_set5_is_matlabs_pixel_for_pixel(subtests):
    for scale in (2, 3, 4):
        with subtests.test(scale=scale):
            for hr, lr in _pairs_of_sizes("Set5", scale):
                np.testing.assert_array_equal(imresize(hr, 1 / scale), lr)


def test_bicubic_of_selfexsr_inside_the_frame_and_with_repeated_edges_everywhere(subtests):
    for name, scale in itertools.product(("Set14", "BSD100"), (2, 3, 4)):
        with subtests.test(set=name, scale=scale):
            for hr, lr in _pairs_of_sizes(name, scale):
                np.testing.assert_array_equal(imresize(hr, 1 / scale)[2:-2, 2:-2], lr[2:-2, 2:-2])
                np.testing.assert_array_equal(imresize(hr, 1 / scale, "edge"), lr)


PUBLISHED_BASELINES = (
    ("classic5", Protocol("jpeg", level=10, channels=1), (27.82, 0.7595)),
    ("LIVE1", Protocol("jpeg", level=10, channels=1), (27.77, 0.7730)),
    ("Set5", Protocol("sr", 3), (30.39, None)),
)


def test_published_baselines(subtests):
    for name, protocol, expected in PUBLISHED_BASELINES:
        score = mean(evaluate_set(None, TEST_SETS / name, protocol))
        with subtests.test(set=name):
            assert score.psnr == pytest.approx(expected[0], abs=0.02)
            assert expected[1] is None or score.ssim == pytest.approx(expected[1], abs=5e-4)


def test_libvips_decodes_the_test_images_to_the_listed_pixels():
    lines = (TEST_SETS / "MANIFEST.tsv").read_text().splitlines()[1::9]
    for line in lines:
        file, *_, expected = line.split("\t")
        assert hashlib.sha256(read_image(TEST_SETS / file).tobytes()).hexdigest() == expected, file


def test_set5_figure_of_the_card():
    (stated,) = (f.psnr for f in read_card(PRETRAINED / "sr-x2.json").sets if f.set == "Set5")
    (result,) = evaluate(load_model("sr-x2"), Plan(TEST_SETS, "sr", 2, ["Set5"]))
    found = mean(result.scores).psnr
    assert found >= 35.2
    assert found == pytest.approx(stated, abs=0.01)


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason=f"no checkpoint {CHECKPOINT}")
def test_a_published_checkpoint_reaches_its_figures():
    """MambaIRv2-light ×4 trained by others: NTIRE 2025 efficient super-resolution, team 40."""
    (result,) = evaluate(load_model(CHECKPOINT), Plan(TEST_SETS, "sr", 4, ["Set5"]))
    score = mean(result.scores)
    assert score.psnr == pytest.approx(32.51, abs=0.01)
    assert score.ssim == pytest.approx(0.8988, abs=1e-4)
