"""Weights, reports and analyses whose names are any bytes are read, written, and told without harm."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import fill, run

from mambairv2.export import to_onnx
from mambairv2.weights.load import load_model
from mambairv2.weights.save import save_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there a name may have any bytes")

ODD = [b"caf\xe9", "a\n\x1b[31m日".encode()]
ASCII = {"PYTHONIOENCODING": "ascii"}


def harmless(done):
    text = done.stdout + done.stderr
    return text.isascii() and b"\x1b" not in text and b"Traceback" not in text


@pytest.fixture(scope="module")
def files(weights, tmp_path_factory):
    """One network as safetensors, .pth and ONNX."""
    folder = tmp_path_factory.mktemp("forms")
    save_model(load_model(weights), folder / "a.pth")
    found = [Path(weights), folder / "a.pth"]
    if find_spec("onnxruntime") and find_spec("onnx"):
        to_onnx(weights, folder / "a.onnx")
        found.append(folder / "a.onnx")
    return found


@pytest.mark.parametrize("stem", ODD)
def test_weights_of_any_name_restore(tmp_path, files, stem):
    fill(tmp_path / "in", [b"a.png"])
    for number, file in enumerate(files):
        name = os.path.join(os.fsencode(tmp_path), stem + file.suffix.encode())
        shutil.copy(file, name)
        done = run(tmp_path, "restore", "in/a.png", "-o", f"{number}.png", "--weights", name, env=ASCII)
        assert done.returncode == 0, done.stderr
        assert harmless(done)
        done = run(tmp_path, "restore", "in/a.png", "-o", "x.png", "--scale", "3", "--weights", name, env=ASCII)
        assert done.returncode == 2
        assert b"enlarges by 2, not by --scale 3" in done.stderr
        assert harmless(done)
    assert len({(tmp_path / f"{number}.png").read_bytes() for number in range(2)}) == 1


@pytest.mark.parametrize("stem", ODD)
def test_analyses_and_exports_of_any_name_are_told(tmp_path, weights, stem):
    name = os.path.join(os.fsencode(tmp_path), stem + b".safetensors")
    shutil.copy(weights, name)
    done = run(tmp_path, "analyze", "complexity", "--weights", name, "--size", "64x32", "-o", stem, env=ASCII)
    assert done.returncode == 0
    assert done.stderr.startswith(b"no picture") != bool(find_spec("matplotlib"))
    assert harmless(done)
    assert b"wrote " in done.stdout
    assert os.path.exists(os.path.join(os.fsencode(tmp_path), stem, b"complexity.json"))
    if not (find_spec("onnxruntime") and find_spec("onnx")):
        return
    done = run(tmp_path, "export", name, "-o", stem + b".onnx", env=ASCII)
    assert harmless(done)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
