"""Commands and Python of the documents, run as written in a folder with small pictures and small networks.

The names stand for small things: packaged weights are networks of one block, recipes train two iterations.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from documents import ROOT, Block, command_blocks, commands, python_blocks
from mambairv2 import MambaIRv2, MambaIRv2Config, save_model
from mambairv2.cli.main import app
from mambairv2.weights import packaged
from real_spandrel import import_spandrel
from stand_in import picture
from stub_hub.answers import TOKEN
from stub_hub.server import serving

SMALL = {"embed_dim": 8, "d_state": 4, "depths": (1,), "num_heads": (2,), "inner_rank": 4, "num_tokens": 8}
HEADS = {1: {"upscale": 1, "upsampler": ""}, **{s: {"upscale": s} for s in (2, 3, 4)}}
PACKAGED = {"sr-x2": 2, "sr-x3": 3, "sr-x4": 4, "denoise": 1, "jpeg": 1}

NOT_RUN = {
    "make": "`.ci/run` runs them; targets are checked below",
    ".ci/run": "it is what runs these tests",
    "pip": "`make` installs the same way",
    "python -m venv": "`make` does the same",
    ".venv/bin/mkdocs serve": "a server; `.ci/run` builds the site",
    "PYTHONPATH=src": "`.ci/run` runs import-linter",
    "nice": "an hour",
    "cmake": "minutes of compiling; run by hand",
    "mambairv2 web": "a server; tests/web runs it",
    "python -m uvicorn": "a server; tests/examples runs it",
    "curl": "asks that server; tests/examples runs it",
    "LD_PRELOAD=": "the tests of tests/ops, on a library built with sanitizers; run by hand",
    "clang-format": "changes files",
    "docker": "needs Docker",
    "MAMBAIRV2_LARGE=1": "needs 8 GB of disk and minutes",
    ".venv/bin/python -m pytest": "these tests",
    "python -m mambairv2.integrations.comfyui": "needs a folder of ComfyUI; tests/integrations runs it",
    "python benchmarks/": "minutes; tests/benchmarks runs the scripts on made images",
    "mambairv2 check": "minutes; tests/cli runs it with the best instruction set",
    "mambairv2 analyze erf": "20 photographs; tests/cli/analyze runs it on small ones",
    "torchrun": "tests/training runs several processes; as written it was run by hand",
    "mambairv2 train mine.toml --devices 2": "as torchrun",
    "mambairv2 train recipes/light-photo": "begins with the real weights; tests/training trains tasks with such steps",
    "mambairv2 restore s3:": "needs a bucket; tests/batch runs it against a server on this machine",
    "mambairv2 restore photos/ -o out/ --engine ray": "needs Ray; tests/batch runs it",
    "mambairv2 restore -": "reads standard input; tests/cli/streams runs it",
    "mambairv2 restore photo.jpg -o -": "as that",
}
"""Beginning of a command → why it is not run here."""


ON_THE_HUB = ("owner/repo", "published:", "save_pretrained")
"""What a block says that needs a Hugging Face Hub; it gets one on this machine."""
NEEDS = ("openvino", "onnxruntime")
"""Packages of extras; a block that names one, or a file with its suffix, needs it."""
OPTIONAL = {"spandrel": import_spandrel}
"""Packages that Python of the documents may import → what imports them, or skips."""


def skip_without(text: str) -> None:
    """Skip a block that needs a package which is not installed."""
    needed = [name for name in NEEDS if name in text] + ["onnx", "onnxruntime"] * (".onnx" in text)
    for name in needed:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install -c constraints.txt -e '.[dev]'")


def reason(words: list[str]) -> str | None:
    """Return why a command is not run, None if it is."""
    text = " ".join(words)
    return next((NOT_RUN[begin] for begin in NOT_RUN if text.startswith(begin)), None)


def small_network(scale: int) -> MambaIRv2:
    return MambaIRv2(MambaIRv2Config(**SMALL, **HEADS[scale]))


def shorten(recipe: str) -> str:
    """Two iterations of a network with one block."""
    recipe = re.sub(r"^iterations = .*", "iterations = 2", recipe, flags=re.MULTILINE)
    recipe = re.sub(r"^milestones = .*\n", "", recipe, flags=re.MULTILINE)
    return recipe.replace("[model]\n", "[model]\noverrides = { depths = [1], num_heads = [4] }\n")


@contextmanager
def hub_for(text: str, patch: pytest.MonkeyPatch, place: Path) -> Iterator[None]:
    """Run a Hub with the repositories of the documents, for a block that needs it."""
    if not any(word in text for word in ON_THE_HUB):
        yield
        return
    with serving(patch, place) as hub:
        patch.setenv("HF_TOKEN", TOKEN)
        hub.add("owner/repo", {"model.safetensors": (place / "runs/light-x2-cpu/ema.safetensors").read_bytes()})
        published = {"MambaIRv2_ckpt/mambairv2_lightSR_x2.pth": (place / "mambairv2_SRBase_x2.pth").read_bytes()}
        hub.add("cguoh/MambaIR", published)
        yield


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with everything that the documents name."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("documents")
    for name in ("photos/inner", "scans/a", *(f"test-sets/{s}" for s in ("Set5", "Set14", "BSD100", "CBSD68"))):
        (folder / name).mkdir(parents=True)
    for name in ("photo.jpg", "blocky.jpg"):
        picture(18, 20, 3).jpegsave(str(folder / name))
    for name in ("photo.png", "small.png", "noisy.png"):
        picture(18, 20, 3).pngsave(str(folder / name))
    picture(130, 132, 3).pngsave(str(folder / "photos" / "a.png"))
    picture(132, 140, 3).rot90().jpegsave(str(folder / "photos" / "inner" / "b.jpg"))
    picture(9, 12, 1, "uint16").tiffsave(str(folder / "scans" / "a" / "c.tif"))
    for number, test_set in enumerate(sorted((folder / "test-sets").iterdir())):
        picture(36 + number, 44, 3).pngsave(str(test_set / "one.png"))
    shutil.copytree(folder / "test-sets", folder / "soft-sets")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    training = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (folder / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", training, re.DOTALL)[1])
    for recipe in (*(folder / "recipes").glob("*.toml"), folder / "mine.toml"):
        recipe.write_text(shorten(recipe.read_text()))
    for name, scale in PACKAGED.items():
        task = "sr" if scale > 1 else name
        save_model(small_network(scale), folder / "packaged" / f"{name}.safetensors", {"task": task})
        shutil.copy(packaged.PRETRAINED / f"{name}.json", folder / "packaged")
    save_model(small_network(2), folder / "runs" / "light-x2-cpu" / "ema.safetensors", {"task": "sr"})
    save_model(small_network(4), folder / "mambairv2_lightSR_x4.pth")
    save_model(small_network(2), folder / "mambairv2_SRBase_x2.pth")
    return folder


@pytest.fixture
def place(small, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    shutil.copytree(small, tmp_path / "place")
    monkeypatch.setattr(packaged, "PRETRAINED", tmp_path / "place" / "packaged")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


RUN = [b for b in command_blocks() if any(reason(words) is None for words in commands(b))]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_run_as_written(place, monkeypatch, block: Block):
    skip_without(block.text)
    with hub_for(block.text, monkeypatch, place):
        run_commands(block)


def run_commands(block: Block) -> None:
    for words in commands(block):
        if reason(words) is not None:
            continue
        assert words[0] == "mambairv2", f"{block}: {words} is neither run nor listed with a reason"
        if words[1] == "train":
            shutil.rmtree("runs/light-x2-cpu", ignore_errors=True)
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"


def test_the_first_command_writes_what_the_readme_says(place):
    assert CliRunner().invoke(app, ["restore", "photo.jpg"]).exit_code == 0
    assert (place / "photo_x2.jpg").exists()
    assert "photo_x2.jpg" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("block", python_blocks(), ids=str)
def test_python_runs_as_written(place, monkeypatch, block: Block):
    if "gradio_client" in block.text:
        pytest.skip("needs the page of `mambairv2 web`; tests/web calls it in the same way")
    skip_without(block.text)
    for name in OPTIONAL:
        if re.search(rf"^(import|from) {name}\b", block.text, re.MULTILINE):
            OPTIONAL[name]()
    with hub_for(block.text, monkeypatch, place):
        exec(compile(block.text, block.document, "exec"), {"__name__": "__main__"})


def test_every_reason_is_of_a_command_in_the_documents():
    texts = [" ".join(words) for block in command_blocks() for words in commands(block)]
    for begin in NOT_RUN:
        assert any(text.startswith(begin) for text in texts), f"{begin}: no document has it"


def test_targets_of_make_exist():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for block in command_blocks():
        for words in commands(block):
            if words[0] == "make":
                assert {w for w in words[1:] if "=" not in w} <= set(phony), words
