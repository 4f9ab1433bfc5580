"""The demo with a network that only blurs: what it measures, writes and prints."""

import pytest

from demo import run
from mambairv2.restoration.restorer import Restorer
from stand_in import StandIn, load


def test_the_demo_measures_and_shows(tmp_path, capsys):
    gain = run(Restorer(StandIn(), "cpu"), tmp_path / "out")
    printed = capsys.readouterr().out
    assert -20 < gain < 0  # a blur is worse than bicubic
    assert f"gain {gain:+.2f} dB" in printed
    sizes = {"small": (300, 200), "restored": (600, 400), "coffee": (1200, 800), "comparison": (1312, 468)}
    for name, size in sizes.items():
        image = load(tmp_path / "out" / f"{name}.png")
        assert (image.width, image.height, image.bands) == (*size, 3)
        assert name == "small" or str(tmp_path / "out" / f"{name}.png") in printed


def test_the_panels_show_the_same_place(tmp_path):
    run(Restorer(StandIn(), "cpu"), tmp_path)
    picture = load(tmp_path / "comparison.png")
    bicubic, restored, original = (picture.crop(k * 440, 36, 432, 432) for k in range(3))
    for other in (bicubic, restored):
        difference = (other.cast("float") - original).abs().avg()
        assert difference == pytest.approx(5, abs=5)
    assert picture.crop(0, 0, 1312, 36).min() < 50  # the labels
