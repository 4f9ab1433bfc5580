"""Every command that takes weights takes those of a Hugging Face Hub; this one is on this machine."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mambairv2 import load_model
from mambairv2.cli.main import app
from mambairv2.weights.read_tensors import load_state
from small_weights import save_tiny
from stand_in import picture
from stub_hub.server import serving

REPO = "owner/net"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a small network, and a folder with a picture and a test set to work in."""
    monkeypatch.chdir(tmp_path)
    picture(20, 24, 3).pngsave("a.png")
    (tmp_path / "test" / "Set5").mkdir(parents=True)
    picture(40, 44, 3).pngsave("test/Set5/b.png")
    file = save_tiny(tmp_path / "tiny.safetensors").read_bytes()
    with serving(monkeypatch, tmp_path) as server:
        server.add(REPO, {"model.safetensors": file})
        server.add(
            "cguoh/MambaIR", {"MambaIRv2_ckpt/mambairv2_lightSR_x2.pth": save_tiny(tmp_path / "w.pth").read_bytes()}
        )
        yield server


def run(*words):
    """Run a command; return its output."""
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.parametrize("weights", [REPO, f"hf://{REPO}", "published:light-x2"])
def test_commands(hub, tmp_path, weights):
    run("restore", "a.png", "-o", "expected.png", "--weights", "tiny.safetensors")
    run("restore", "a.png", "-o", "out.png", "--weights", weights)
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert len(hub.ranges) == 1
    assert "Set5" in run("evaluate", "--data", "test", "--weights", weights, "--sets", "Set5")
    run("analyze", "complexity", "--weights", weights)
    assert load_state(weights).keys() == load_model("tiny.safetensors").state_dict().keys()
    assert len(hub.ranges) == 1


def test_onnx_files(hub, tmp_path):
    for needed in ("onnx", "onnxruntime"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -c constraints.txt -e '.[onnx]'")
    run("export", REPO)
    hub.repos[REPO].commit({"net.onnx": (tmp_path / "net.onnx").read_bytes()})
    run("restore", "a.png", "-o", "expected.png", "--weights", "net.onnx")
    run("restore", "a.png", "-o", "out.png", "--weights", f"hf://{REPO}/net.onnx")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_a_wrong_scale_names_the_address(hub):
    ended = CliRunner().invoke(app, ["restore", "a.png", "--weights", REPO, "--scale", "3"])
    assert ended.exit_code == 2
    assert f"hf://{REPO}@" in ended.output
    assert "enlarges by 2, not by --scale 3" in ended.output


def test_the_list_of_weights_has_the_published_names():
    assert "--weights published:NAME downloads what the authors of the paper published: light-x2, " in run("models")
