"""The script of docs/pictures.md: its rule of choice, what it keeps, and its errors, on made images."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

import pictures
from mambairv2 import MambaIRv2
from mambairv2.evaluation.protocol import Case, Protocol, cases
from mambairv2.network.config import MambaIRv2Config
from mambairv2.weights import packaged
from mambairv2.weights.save import save_model
from stand_in import pixels

TINY = {"embed_dim": 8, "depths": (1,), "num_heads": (2,), "window_size": 4, "num_tokens": 4, "inner_rank": 2}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A test set of three made images, two made-up networks, and a place for the document."""
    (tmp_path / "Kodak24").mkdir()
    for number in (1, 2, 3):
        Image.fromarray(pixels(34, 36, 3, seed=number)).save(tmp_path / "Kodak24" / f"kodim0{number}.png")
    for name, task, head in (("sr-x2", "sr", {"upscale": 2}), ("denoise", "denoise", {"upscale": 1, "upsampler": ""})):
        model = MambaIRv2(MambaIRv2Config(**TINY, **head))
        save_model(model, tmp_path / "weights" / f"{name}.safetensors", {"task": task})
    monkeypatch.setattr(packaged, "PRETRAINED", tmp_path / "weights")
    monkeypatch.setattr(pictures, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(pictures, "SIDE", 16)
    return tmp_path


def panel(picture, row, column):
    left, top = column * (3 * 16 + pictures.GAP), row * (3 * 16 + pictures.LINE) + pictures.LINE
    return np.asarray(picture)[top : top + 48 : 3, left : left + 48 : 3]


def test_the_inputs_are_those_of_evaluate_and_all_levels_are_shown(data):
    pictures.make("denoise", data)
    picture = Image.open(data / "docs" / "pictures" / "denoise.webp").convert("RGB")
    assert picture.height == 9 * (48 + pictures.LINE)
    for number, level in enumerate((15, 25, 50)):
        case = list(cases(data / "Kodak24", Protocol("denoise", level=level)))[number]
        for column, image in ((0, case.baseline), (2, case.target)):
            assert np.array_equal(panel(picture, 3 * number, column), image[9:25, 10:26])
        assert f"| {case.name} | denoise {level} |" in (data / "docs" / "pictures.md").read_text()


def test_what_is_written_by_hand_stays(data):
    document = data / "docs" / "pictures.md"
    pictures.make("denoise", data)
    document.write_text(document.read_text() + "\nGrain is gone.\n\n- so is cloth\n")
    pictures.make("sr-x2", data)
    assert document.read_text().index("## sr-x2") < document.read_text().index("## denoise")
    pictures.make("denoise", data)
    text = document.read_text()
    assert text.endswith("(pictures/denoise.webp)\n\nGrain is gone.\n\n- so is cloth\n")
    assert text.count("# Pictures\n") == text.count("## sr-x2\n") == text.count("## denoise\n") == 1
    pictures.make("denoise", data)
    assert document.read_text() == text


@pytest.mark.parametrize("protocol", [Protocol("sr", 2), Protocol("denoise", level=25)])
def test_crops_are_where_the_rule_says(monkeypatch, protocol):
    monkeypatch.setattr(pictures, "SIDE", 8)
    target = np.full((40, 50, 3), 100, np.uint8)
    baseline, image = target + np.uint8(4), target + np.uint8(2)
    image[1], baseline[1] = 255, 100  # at the border: counts for denoising alone
    image[22:30, 33:41] += 50
    baseline[22:30, 33:41] += 90
    image[12, 12] = 110
    found = pictures.crops("mine", image, Case("a", np.zeros(0), target, baseline), protocol)
    captions = [crop.captions for crop in found]
    assert [last for _, _, last in captions] == ["a, centre", "a, largest error", "a, least gain"]
    worst = found[1].panels[1]
    if protocol.task == "sr":
        assert (worst == 152).all()
        assert (found[2].panels[1] == 110).any()
        assert captions[0][0].startswith("bicubic: ")
    else:
        assert (worst == 255).any()
        assert captions[0][0].startswith("noisy 25: ")
    assert np.array_equal(found[0].panels[1], image[16:24, 21:29])


def test_grey_images_are_drawn(monkeypatch):
    grey = pixels(72, 72, 1)
    crop = pictures.Crop(("JPEG", "jpeg", "a"), (grey, grey, grey))
    picture = Image.open(io.BytesIO(pictures.draw([crop]))).convert("RGB")
    assert np.array_equal(np.asarray(picture)[24:240:3, 0:216:3], grey.repeat(3, 2))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: (data / "Kodak24" / "kodim03.png").unlink(), "has 2 images, 3 are needed"),
        (lambda data: (data / "Kodak24").rename(data / "other"), "no test set Kodak24 in"),
        (lambda data: Image.new("RGB", (30, 12)).save(data / "Kodak24" / "kodim01.png"), "kodim01: 30x12 is too small"),
        (lambda data: (data / "weights" / "denoise.safetensors").unlink(), "denoise: no such weights"),
    ],
)
def test_an_error_is_a_line_and_leaves_nothing(data, monkeypatch, spoil, says):
    spoil(data)
    monkeypatch.setattr(sys, "argv", ["pictures.py", "denoise", "--data", str(data)])
    with pytest.raises(SystemExit, match=f"^error: .*{says}"):
        pictures.main()
    assert not (data / "docs").exists()
