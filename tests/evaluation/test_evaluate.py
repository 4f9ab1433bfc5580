"""Evaluation: by hand on small images, as restoration gives it, and published baselines."""

import numpy as np
import pytest
import pyvips
import torch

from mambairv2.evaluation.evaluate import evaluate, evaluate_set, mean, whole_images
from mambairv2.evaluation.metrics import psnr
from mambairv2.evaluation.plan import Plan
from mambairv2.evaluation.protocol import Protocol, cases
from mambairv2.images.resize import imresize
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.restorer import Restorer
from mambairv2.restoration.self_ensemble import SelfEnsemble
from stand_in import pixels as picture_of

TINY = MambaIRv2Config(embed_dim=12, d_state=2, depths=(1,), num_heads=(2,), num_tokens=4, inner_rank=3, window_size=8)


@pytest.fixture
def sets(tmp_path):
    generator = np.random.default_rng(0)
    for name, sizes in (("One", [(37, 41), (40, 30)]), ("Two", [(33, 33)])):
        (tmp_path / name / "HR").mkdir(parents=True)
        for number, size in enumerate(sizes):
            pixels = generator.integers(0, 256, (*size, 3), np.uint8)
            pyvips.Image.new_from_array(pixels).write_to_file(str(tmp_path / name / "HR" / f"{number}.png"))
    return tmp_path


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))


def nearest(image):
    return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_an_image_is_measured_as_by_hand(sets):
    score = evaluate_set(nearest, sets / "One", Protocol("sr", 2))[0]
    target = pyvips.Image.new_from_file(str(sets / "One" / "HR" / "0.png")).numpy()[:36, :40]
    small = imresize(target, 0.5)
    assert score.image == "0"
    assert score.psnr == pytest.approx(psnr(small.repeat(2, 0).repeat(2, 1), target, "y", 2))
    assert score.base_psnr == pytest.approx(psnr(imresize(small, 2), target, "y", 2))
    average = mean(evaluate_set(nearest, sets / "One", Protocol("sr", 2)))
    assert average.psnr != score.psnr


def test_ready_inputs_are_used_and_checked(sets):
    folder = sets / "One" / "LR_bicubic" / "X2"
    folder.mkdir(parents=True)
    pyvips.Image.black(20, 18, bands=3).write_to_file(str(folder / "0x2.png"))
    assert next(cases(sets / "One", Protocol("sr", 2))).input.max() == 0
    pyvips.Image.black(21, 18, bands=3).write_to_file(str(folder / "0x2.png"))
    with pytest.raises(ValueError, match="21x18, too large for 41x37 at x2"):
        next(cases(sets / "One", Protocol("sr", 2)))


def test_denoising_and_jpeg_compare_all_channels(sets):
    noisy = evaluate_set(lambda image: image, sets / "One", Protocol("denoise", level=25))[0]
    assert noisy.psnr == pytest.approx(noisy.base_psnr)
    assert 20 < noisy.psnr < 21.5
    jpeg = evaluate_set(lambda image: image, sets / "One", Protocol("jpeg", level=40, channels=1))[0]
    assert jpeg.psnr == pytest.approx(jpeg.base_psnr)


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("margin", [False, True])
def test_what_is_measured_is_what_restoration_gives(tmp_path, channels, tile, ensemble, margin):
    """Tiles, their overlap, grey through a colour network, self-ensemble and margin are those of `restore`."""
    torch.manual_seed(0)
    network = MambaIRv2(TINY).eval()
    write(tmp_path / "set" / "a.png", picture_of(100, 120, channels))
    (result,) = evaluate(network, Plan(tmp_path, "sr", 2, ("set",), tile=tile, ensemble=ensemble, margin=margin))
    (case,) = cases(tmp_path / "set", Protocol("sr", 2))
    assert case.target.shape == (100, 120, channels)
    restorer = Restorer(network, "cpu", tile=tile or "whole", self_ensemble=ensemble, margin=margin)
    restored = restorer.restore((case.input * 255).round().astype(np.uint8))
    assert result.scores[0].psnr == psnr(restored, case.target, "y", 2)


def test_figures_are_without_a_margin_unless_it_is_asked_for(tmp_path):
    """So that they are those of the published protocol: the network alone, on the image alone."""
    network = MambaIRv2(TINY).eval()
    write(tmp_path / "set" / "a.png", picture_of(40, 40, 3))
    alone = evaluate_set(whole_images(network), tmp_path / "set", Protocol("sr", 2))[0].psnr
    (plain,) = evaluate(network, Plan(tmp_path, "sr", 2, ("set",)))
    (margined,) = evaluate(network, Plan(tmp_path, "sr", 2, ("set",), margin=True))
    assert plain.scores[0].psnr == alone
    assert margined.scores[0].psnr != alone


def test_noise_beyond_black_and_white_reaches_the_network(tmp_path):
    write(tmp_path / "a.png", np.full((20, 20, 3), 255, np.uint8))
    seen = []
    evaluate_set(lambda image: seen.append(image) or image, tmp_path, Protocol("denoise", level=25))
    assert seen[0].max() > 1.1


def test_validation_in_training_is_the_evaluation(tmp_path):
    """Whole images, without inference mode, give the figures of `evaluate`."""
    network = MambaIRv2(TINY).eval()
    write(tmp_path / "set" / "a.png", picture_of(40, 40, 1))
    scores = evaluate_set(whole_images(network), tmp_path / "set", Protocol("sr", 2))
    (result,) = evaluate(network, Plan(tmp_path, "sr", 2, ("set",)))
    assert scores[0].psnr == result.scores[0].psnr


def test_self_ensemble_of_an_even_network_is_the_network():
    image = torch.rand(1, 3, 10, 14)
    torch.testing.assert_close(SelfEnsemble(nearest)(image), nearest(image))
    slope = torch.arange(14.0)
    torch.testing.assert_close(
        SelfEnsemble(lambda x: x + slope[: x.shape[-1]])(torch.zeros(1, 1, 14, 14)),
        torch.full((1, 1, 14, 14), 6.5),
    )
