"""The demo with a network that only blurs: what it measures, writes and prints."""

import pytest

from demo import run
from mambairv2.restoration.choosing import Choosing
from mambairv2.restoration.restorer import Restorer
from stand_in import StandIn, load


def blurs():
    restorer = Restorer(StandIn(), "cpu")
    return Choosing(("photo", restorer), ("sr", restorer))


def test_the_demo_measures_and_shows(tmp_path, capsys):
    gain = run(blurs(), tmp_path / "out")
    printed = capsys.readouterr().out
    assert -20 < gain < 0  # a blur is worse than Lanczos
    assert "by photo for a JPEG of quality 64" in printed
    assert "by sr for a clean picture" in printed
    assert f"gain {gain:+.2f} dB" in printed
    sizes = {"small.jpg": (300, 200), "restored.png": (600, 400), "coffee.png": (1200, 800)}
    for name, size in (sizes | {"comparison.png": (1312, 468)}).items():
        image = load(tmp_path / "out" / name)
        assert (image.width, image.height, image.bands) == (*size, 3)
        assert name == "small.jpg" or str(tmp_path / "out" / name) in printed


def test_the_panels_show_the_same_place(tmp_path):
    run(blurs(), tmp_path)
    picture = load(tmp_path / "comparison.png")
    lanczos, restored, original = (picture.crop(k * 440, 36, 432, 432) for k in range(3))
    for other in (lanczos, restored):
        difference = (other.cast("float") - original).abs().avg()
        assert difference == pytest.approx(5, abs=5)
    assert picture.crop(0, 0, 1312, 36).min() < 50  # the labels
