"""Which weights run where nobody asks for any, and that each line says so."""

import json

import numpy as np
import pytest
import pyvips
import torch
from typer.testing import CliRunner

from mambairv2.cli.main import app
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights import packaged
from mambairv2.weights.save import save_model
from stand_in import picture

SMALL = {"embed_dim": 8, "d_state": 4, "depths": (1,), "num_heads": (2,), "inner_rank": 4, "num_tokens": 8}


def add(folder, name, scale):
    network = MambaIRv2(MambaIRv2Config(**SMALL, upscale=scale, upsampler="pixelshuffledirect" if scale > 1 else ""))
    save_model(network, folder / f"{name}.safetensors", {"task": name.split("-")[0]})


@pytest.fixture
def weights(tmp_path, monkeypatch):
    torch.manual_seed(0)
    (tmp_path / "packaged").mkdir()
    for scale in (2, 3):
        add(tmp_path / "packaged", f"sr-x{scale}", scale)
    monkeypatch.setattr(packaged, "PRETRAINED", tmp_path / "packaged")
    return tmp_path / "packaged"


@pytest.fixture
def photos(tmp_path):
    y, x = np.mgrid[:40, :48][..., None]
    smooth = (128 + 60 * np.sin(x / 15 + np.arange(3)) * np.cos(y / 20)).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    pyvips.Image.new_from_array(smooth).copy(interpretation="srgb").pngsave(str(tmp_path / "photos" / "clean.png"))
    picture(40, 48, 3).jpegsave(str(tmp_path / "photos" / "web.jpg"), Q=60)
    return tmp_path / "photos"


def lines(photos, *options):
    result = CliRunner().invoke(app, ["restore", str(photos), "-o", str(photos.parent / "out"), *options])
    assert result.exit_code == 0, result.output
    return {
        name: next(line for line in result.stdout.splitlines() if name in line) for name in ("clean.png", "web.jpg")
    }


def test_without_weights_for_photographs_all_is_as_before_and_said(weights, photos):
    said = lines(photos)
    assert all(line.endswith("(by sr-x2)") for line in said.values())
    assert "96" in said["web.jpg"]


def test_weights_for_photographs_are_for_spoilt_files_and_said(weights, photos):
    add(weights, "photo-x2", 2)
    said = lines(photos)
    assert said["clean.png"].endswith("(by sr-x2 for a clean picture)")
    assert said["web.jpg"].endswith("(by photo-x2 for a JPEG of quality 60)")
    record = [json.loads(line) for line in (photos.parent / "out" / "manifest.jsonl").read_text().splitlines()]
    assert any("clean" in json.dumps(line) for line in record)


@pytest.mark.parametrize("asked", [["--task", "sr"], ["--task", "photo"], ["--weights", "sr-x2"]])
def test_weights_that_are_asked_for_are_for_all_and_need_no_word(weights, photos, asked):
    add(weights, "photo-x2", 2)
    assert not any("(by" in line for line in lines(photos, *asked).values())
    one, other = (
        pyvips.Image.new_from_file(str(photos.parent / "out" / name)).width for name in ("clean.png", "web.jpg")
    )
    assert one == other == 96


@pytest.mark.parametrize(("scale", "added", "by"), [("3", "photo-x2", "sr-x3"), ("1", "photo", "photo")])
def test_a_scale_with_weights_of_one_kind_takes_them_for_all(weights, photos, scale, added, by):
    add(weights, added, int(added[-1]) if "-" in added else 1)
    assert all(line.endswith(f"(by {by})") for line in lines(photos, "--scale", scale).values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "fog"], "no task 'fog'; choose sr, denoise, jpeg, photo"),
        (["--task", "photo"], "photo-x2: no such weights"),
        (["--task", "photo", "--scale", "3"], "photo comes at scale 2, 4, 1, got 3"),
        (["--scale", "1"], "scale 1 needs a task, denoise or jpeg, or weights of your own"),
        (["--strength", "1.5"], "less than or equal to 1"),
        (["--strength", "-1"], "greater than or equal to 0"),
    ],
)
def test_what_there_is_not_is_refused(weights, photos, arguments, says):
    result = CliRunner().invoke(app, ["restore", str(photos), "-o", str(photos.parent / "out"), *arguments])
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


def test_no_strength_is_the_plain_enlargement(weights, photos):
    lines(photos, "--task", "sr", "--strength", "0")
    source = pyvips.Image.new_from_file(str(photos / "clean.png"))
    found = pyvips.Image.new_from_file(str(photos.parent / "out" / "clean.png")).numpy().astype(int)
    expected = source.resize(2, kernel="lanczos3").numpy().astype(int)
    assert np.abs(found - expected)[8:-8, 8:-8].max() <= 2
