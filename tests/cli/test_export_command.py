"""`mambairv2 export`, and `restore` with what it wrote."""

import pickle

import numpy as np
import pytest
import pyvips
import torch
from typer.testing import CliRunner

from mambairv2 import Restorer, load_model
from mambairv2.cli.export import _last_name
from mambairv2.cli.main import app
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.read_config import read_config
from small_weights import save_tiny
from stand_in import picture

for needed in ("onnx", "onnxruntime"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -c constraints.txt -e '.[onnx]'")


@pytest.fixture
def place(tmp_path, monkeypatch):
    save_tiny(tmp_path / "tiny.safetensors")
    picture(90, 150, 3).pngsave(str(tmp_path / "photo.png"))
    monkeypatch.chdir(tmp_path)
    assert run("export", "tiny.safetensors").exit_code == 0
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def levels(path):
    return pyvips.Image.new_from_file(str(path)).numpy().astype(int)


def test_restore_takes_the_file_in_tiles(place):
    for weights, tile in (("tiny.safetensors", 64), ("tiny.onnx", 64)):
        ended = run("restore", "photo.png", "--weights", weights, "--tile", tile, "-o", f"{weights}.png")
        assert ended.exit_code == 0, ended.output
    assert np.abs(levels("tiny.onnx.png") - levels("tiny.safetensors.png")).max() <= 1


def test_restore_names_its_output_by_the_scale_in_the_file(place):
    assert run("restore", "photo.png", "--weights", "tiny.onnx").exit_code == 0
    assert (place / "photo_x2.png").exists()
    ended = run("restore", "photo.png", "--weights", "tiny.onnx", "--scale", "3")
    assert ended.exit_code == 2
    assert "tiny.onnx enlarges by 2" in ended.output


def test_a_file_that_is_there_stays(place):
    before = (place / "tiny.onnx").read_bytes()
    ended = run("export", "tiny.safetensors", "-o", "tiny.onnx", "--precision", "float16")
    assert ended.exit_code == 2
    assert "add --overwrite" in ended.output
    assert (place / "tiny.onnx").read_bytes() == before
    assert run("export", "tiny.safetensors", "-o", "tiny.onnx", "--precision", "float16", "--overwrite").exit_code == 0
    assert (place / "tiny.onnx").read_bytes() != before
    for more in ([], ["--overwrite"]):
        ended = run("export", "tiny.safetensors", "-o", ".", *more)
        assert (ended.exit_code, ended.output) == (2, "error: . is a folder; give a file to write\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not an ONNX file of"),
        (b"hello, this is no network", "is not a whole ONNX file"),
        (None, "no such weights"),
        (2000, "is not a whole ONNX file"),
        ("foreign", "is not an ONNX file of"),
    ],
)
def test_files_that_are_no_network_are_refused_in_one_line(place, content, said):
    whole = (place / "tiny.onnx").read_bytes()
    other = place / "other.onnx"
    if content == "foreign":
        from onnx import helper

        graph = helper.make_graph([], "g", [], [])
        content = helper.make_model(graph).SerializeToString()
    if content is not None:
        other.write_bytes(whole[:content] if isinstance(content, int) else content)
    ended = run("restore", "photo.png", "--weights", "other.onnx")
    assert ended.exit_code == 2
    assert said in ended.output
    assert len(ended.output.strip().splitlines()) == 1


def test_a_file_whose_graph_is_damaged_is_refused(place):
    import onnx

    proto = onnx.load("tiny.onnx")
    proto.graph.node[5].op_type = "Nonsense"
    onnx.save(proto, "tiny.onnx")
    ended = run("restore", "photo.png", "--weights", "tiny.onnx")
    assert ended.exit_code == 2
    assert "ONNX Runtime cannot load it" in ended.output


def test_other_commands_say_that_it_is_for_restore(place):
    with pytest.raises(WeightsError, match="is an ONNX file"):
        load_model("tiny.onnx")
    assert read_config("tiny.onnx") == load_model("tiny.safetensors").config


def test_python_takes_it_too(place):
    image = torch.rand(3, 20, 30)
    restorer = Restorer("tiny.onnx", margin=False)
    expected = Restorer("tiny.safetensors", margin=False).infer(image)
    assert torch.allclose(restorer.infer(image), expected, atol=2e-4)
    again = pickle.loads(pickle.dumps(restorer.model))
    assert torch.equal(again(image[None])[0], restorer.infer(image))
    with pytest.raises(ValueError, match="runs on the CPU"):
        Restorer("tiny.onnx", "meta")


def test_without_the_packages_a_line_says_what_to_install(place, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for words in (["export", "tiny.safetensors", "-o", "new.onnx"], ["restore", "photo.png", "--weights", "tiny.onnx"]):
        ended = run(*words)
        assert ended.exit_code == 2
        assert "install" in ended.output
        assert len(ended.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ("sr-x2", "sr-x2"),
        ("runs/mine/ema.safetensors", "ema"),
        ("runs/mine/", "mine"),
        ("owner/net-v1.0", "net-v1.0"),
        ("hf://owner/net/old.pth", "old"),
        ("published:light-x2", "light-x2"),
        ("C:\\nets\\a.pth", "a"),
    ],
)
def test_the_name_of_the_file_is_the_last_of_the_weights(weights, name):
    assert _last_name(weights) == name
