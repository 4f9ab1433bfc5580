"""Measuring and checking images need no package of the extras."""

import subprocess
import sys
from pathlib import Path

import pytest

import mambairv2
from mambairv2.installation import install_extra
from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.save import save_model
from stand_in import picture

SOURCE = Path(mambairv2.__file__).parents[1]
WITHOUT = f"""
import builtins, sys
sys.path.insert(0, {str(SOURCE)!r})
extras = "lightning_fabric lightning_utilities tensorboard PIL matplotlib ray s3fs huggingface_hub"
for name in extras.split():
    sys.modules[name] = None  # an import of it fails
usual = builtins.__import__

def without_pydantic(name, globals=None, *rest, **named):
    ours = str((globals or {{}}).get("__name__", "")).startswith("mambairv2")  # some versions of typer need it
    if ours and name.split(".")[0] == "pydantic":
        raise ModuleNotFoundError("no pydantic", name="pydantic")
    return usual(name, globals, *rest, **named)

builtins.__import__ = without_pydantic
from mambairv2.cli.main import app
app()
"""
TINY = MambaIRv2Config(embed_dim=8, d_state=2, depths=(1,), num_heads=(2,), num_tokens=4, inner_rank=2, window_size=8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test" / "Set5").mkdir(parents=True)
    picture(40, 44, 3).write_to_file(str(tmp_path / "test" / "Set5" / "a.png"))
    save_model(MambaIRv2(TINY), tmp_path / "tiny.safetensors")
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(
    "command",
    [
        "evaluate --data test --weights tiny.safetensors --json out.json --csv out.csv --markdown out.md",
        "reproduce --data test tiny.safetensors",
        "data check test",
    ],
)
def test_it_runs_with_the_core_dependencies(folder, command):
    ended = run(folder, *command.split())
    expected = 1 if command.startswith("data") else 0  # one image, too small for a patch
    assert ended.returncode == expected, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Set5" in ended.stdout + ended.stderr


def test_training_names_the_extra_that_is_missing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "mine.toml").write_text("[train]\niterations = 1")
    ended = run(folder, "train", "mine.toml")
    assert ended.returncode == 1
    assert ended.stderr.endswith(f" is not installed; {install_extra('train')}\n")
    assert ended.stderr.startswith("error: ")
