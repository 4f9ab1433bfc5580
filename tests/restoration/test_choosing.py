"""A network for each file, by what the file shows; and less of a network, by blending."""

import numpy as np
import pytest
import pyvips
import torch

from mambairv2.images.degradation.resizing import resample
from mambairv2.images.errors import ImageError
from mambairv2.restoration.choosing import GOOD_QUALITY, LITTLE_NOISE, Choosing, condition
from stand_in import pixels, restorer

SIZE = (150, 170)


def smooth():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]][..., None]
    return 128 + 60 * np.sin(x / 15 + np.arange(3)) * np.cos(y / 20)


def save(path, values, **how):
    image = pyvips.Image.new_from_array(values.round().clip(0, 255).astype(np.uint8)).copy(interpretation="srgb")
    image.write_to_file(str(path), **how)
    return path


def noisy(sigma):
    return smooth() + np.random.default_rng(0).normal(0, sigma, (*SIZE, 3))


@pytest.mark.parametrize(
    ("name", "values", "how", "expected"),
    [
        ("a.png", smooth(), {}, (False, "a clean picture")),
        ("a.png", noisy(1), {}, (False, "a clean picture")),
        ("a.png", noisy(10), {}, (True, "noise of σ ")),
        ("a.tif", noisy(10), {}, (True, "noise of σ ")),
        ("a.jpg", smooth(), {"Q": 60}, (True, "a JPEG of quality 60")),
        ("a.jpg", smooth(), {"Q": GOOD_QUALITY - 1}, (True, f"a JPEG of quality {GOOD_QUALITY - 1}")),
        ("a.jpg", smooth(), {"Q": GOOD_QUALITY}, (False, f"a JPEG of quality {GOOD_QUALITY}")),
        ("a.jpg", noisy(10), {"Q": 98}, (True, "noise of σ ")),
        ("a.webp", smooth(), {"Q": 80}, (True, "a WebP with loss")),
        ("a.webp", smooth(), {"lossless": True}, (False, "a clean picture")),
    ],
)
def test_traces_are_seen_and_named(tmp_path, name, values, how, expected):
    spoilt, seen = condition(save(tmp_path / name, values, **how))
    assert spoilt is expected[0]
    assert seen.startswith(expected[1])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_depth_and_channels_can_be_judged(tmp_path, depth, channels):
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(pixels(64, 80, channels, depth)).write_to_file(str(path))
    spoilt, seen = condition(path)
    assert spoilt
    assert 3.5 < float(seen.rpartition(" ")[2]) < 6.5  # pictures of `pixels` have noise of σ 5
    assert LITTLE_NOISE < 5


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = save(tmp_path / "a.png", smooth())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"a\.png"):
        condition(path)


def test_each_file_gets_its_network_and_its_line_says_so(tmp_path):
    photo, clean = restorer(), restorer()
    with torch.no_grad():
        photo.model.kernel.zero_()
    choosing = Choosing(("photo-x2", photo), ("sr-x2", clean))
    sources = {
        "by photo-x2 for a JPEG of quality 50": save(tmp_path / "a.jpg", smooth(), Q=50),
        "by sr-x2 for a clean picture": save(tmp_path / "b.png", smooth()),
    }
    for line, source in sources.items():
        target = tmp_path / f"{source.stem}_out.png"
        made = choosing.restore_file(source, target)
        assert made.notes[0] == line
        restored = pyvips.Image.new_from_file(str(target)).numpy()
        assert restored.any() == ("sr-x2" in line)
    made = Choosing(("sr-x3", restorer(3))).restore_file(sources["by sr-x2 for a clean picture"], tmp_path / "o.png")
    assert made.notes[0] == "by sr-x3"


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("tile", ["whole", 32])
@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_strength_blends_with_the_plain_enlargement(scale, tile, strength):
    image = torch.from_numpy(pixels(70, 90, 3)).permute(2, 0, 1) / 255
    full = restorer(scale, tile=tile).infer(image)
    plain = resample(image.permute(1, 2, 0).numpy(), (70 * scale, 90 * scale), "lanczos").transpose(2, 0, 1)
    some = restorer(scale, tile=tile, strength=strength).infer(image)
    expected = (1 - strength) * torch.from_numpy(plain) + strength * full
    torch.testing.assert_close(some, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_strength_is_a_share(strength):
    with pytest.raises(ValueError, match="strength must be 0 to 1"):
        restorer(strength=strength)
