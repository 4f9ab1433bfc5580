"""Weights come from a Hub on this machine, through the real huggingface_hub: once, whole, and with clear errors."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from mambairv2 import MambaIRv2, WeightsError, load_model
from mambairv2.cli.main import app
from mambairv2.weights import find_weights
from mambairv2.weights.packaged import pinned
from mambairv2.weights.read_config import read_config
from run_python import ENVIRONMENT, run_python
from small_weights import same, save_tiny
from stand_in import picture
from stub_hub.answers import TOKEN
from stub_hub.server import environment

REPO = "owner/net"


def error_of(name, **options):
    """The one line that a name ends in."""
    with pytest.raises(WeightsError) as caught:
        MambaIRv2.from_pretrained(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_repository_loads(hub, tiny, tmp_path):
    hub.add(REPO, tiny)
    expected = load_model(tmp_path / "tiny.safetensors")
    for name in (REPO, f"hf://{REPO}", f"{REPO}@main", f"hf://{REPO}@main/model.safetensors"):
        same(MambaIRv2.from_pretrained(name), expected)
    assert isinstance(load_model(REPO), MambaIRv2)
    assert read_config(REPO) == expected.config


def test_a_file_is_downloaded_once(hub, tiny):
    hub.add(REPO, tiny)
    load_model(REPO)
    assert len(hub.ranges) == 1
    hub.log.clear()
    load_model(REPO)
    assert hub.log == [f"HEAD /{REPO}/resolve/main/model.safetensors"]
    MambaIRv2.from_pretrained(REPO, force_download=True)
    assert len(hub.ranges) == 2


def test_only_what_is_needed_is_downloaded(hub, tiny):
    hub.add(REPO, {**tiny, "optimizer.pth": b"large"})
    path = find_weights(REPO)
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.json", "model.safetensors"]


def test_a_file_of_any_name_and_folder_loads(hub, tiny, tmp_path):
    pth = save_tiny(tmp_path / "w.pth").read_bytes()
    hub.add(REPO, {"old/net v1.pth": pth, "sub/model.safetensors": tiny["model.safetensors"]})
    for file in ("old/net v1.pth", "sub/model.safetensors"):
        same(load_model(f"hf://{REPO}/{file}"), load_model(tmp_path / "tiny.safetensors"))


def test_revisions(hub, tiny, tmp_path):
    repo = hub.add(REPO, tiny)
    first = repo.branches["main"]
    other = save_tiny(tmp_path / "other.safetensors", upscale=3)
    repo.branches["v2/new"] = repo.branches["main"]
    repo.commit({"model.safetensors": other.read_bytes(), "config.json": b"{}"}, "v2/new")
    assert read_config(REPO).upscale == 2
    assert MambaIRv2.from_pretrained(REPO, revision="v2/new").config.upscale == 3
    assert load_model(f"{REPO}@v2%2Fnew").config.upscale == 3
    assert MambaIRv2.from_pretrained(f"{REPO}@v2%2Fnew", revision=first).config.upscale == 2
    assert "no such branch, tag or commit" in error_of(f"{REPO}@v9")


def test_both_files_are_of_one_commit(hub, tiny, tmp_path):
    """The Hub is asked for the commit once; what is pushed while files are fetched does not mix with them."""
    repo = hub.add(REPO, tiny)
    name = pinned(REPO)
    assert name == f"hf://{REPO}@{repo.branches['main']}/model.safetensors"
    repo.commit(
        {"model.safetensors": save_tiny(tmp_path / "o.safetensors", upscale=3).read_bytes(), "config.json": b"{}"}
    )
    hub.log.clear()
    assert load_model(name).config.upscale == 2
    assert hub.log == []
    assert load_model(REPO).config.upscale == 3
    assert pinned("sr-x2") == "sr-x2"


def test_a_private_repository_needs_a_token(hub, tiny, monkeypatch):
    hub.add(REPO, tiny, private=True)
    message = error_of(REPO)
    assert message.startswith(f"{REPO}: no such file or folder here, and on the Hub: hf://{REPO}/model.safetensors: ")
    assert "there is no such repository on the Hub, or it is private" in message
    assert "hf auth login" in message
    MambaIRv2.from_pretrained(REPO, token=TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    load_model(REPO)


def test_a_gated_repository_says_so(hub, tiny):
    hub.add(REPO, tiny, gated=True)
    assert "asks you to accept terms" in error_of(f"hf://{REPO}")


def test_a_repository_that_is_not_there(hub):
    assert "there is no such repository on the Hub" in error_of("hf://owner/nothing")


def test_a_file_that_is_not_there_names_those_that_are(hub, tiny):
    hub.add(REPO, {"ema.safetensors": tiny["model.safetensors"], "README.md": b"", "MambaIRv2_ckpt/a.pth": b"a"})
    message = error_of(f"hf://{REPO}")
    assert message.endswith(f"has no such file; it has hf://{REPO}/ema.safetensors, hf://{REPO}/MambaIRv2_ckpt/a.pth")
    load_model(f"hf://{REPO}/ema.safetensors")
    hub.add("owner/text", {"README.md": b""})
    assert error_of("hf://owner/text").endswith("has no such file, and no weights")


def test_a_repository_without_a_configuration(hub, tiny, tmp_path):
    hub.add(REPO, {"model.safetensors": tiny["model.safetensors"]})
    same(load_model(REPO), load_model(tmp_path / "tiny.safetensors"))
    same(load_model(pinned(REPO)), load_model(tmp_path / "tiny.safetensors"))


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/mambairv2-was-here",)


@pytest.mark.parametrize("file", ["model.safetensors", "weights.pth", "pytorch_model.bin"])
def test_a_pickle_that_runs_code_is_refused(hub, file, tmp_path):
    torch.save({"params": {"conv_first.weight": torch.zeros(1)}, "x": Evil()}, tmp_path / "evil.pth")
    hub.add(REPO, {file: (tmp_path / "evil.pth").read_bytes(), "raw.pth": pickle.dumps(Evil(), 2)})
    refused = "not a whole safetensors file|holds more than tensors"
    for name in (f"hf://{REPO}/{file}", f"hf://{REPO}/raw.pth"):
        with pytest.raises(WeightsError, match=refused):
            load_model(name)
    assert not os.path.exists("/tmp/mambairv2-was-here")


def test_a_download_that_breaks_off_goes_on_where_it_was(hub, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # else 10 MB, which are lost
    hub.add(REPO, tiny)
    hub.cuts = [5000, 3000]
    same(load_model(REPO), load_model(tmp_path / "tiny.safetensors"))
    assert hub.ranges == [None, "bytes=5000-", "bytes=8000-"]


def test_a_killed_download_leaves_no_half_file(hub, tiny, tmp_path):
    large = tiny["model.safetensors"] + bytes(20_000_000)
    hub.add(REPO, {"model.safetensors": large})
    hub.cuts = [15_000_000] * 9
    code = f"from mambairv2.weights import find_weights; find_weights({REPO!r})"
    variables = {**ENVIRONMENT, **environment(hub, tmp_path)}
    child = subprocess.Popen([sys.executable, "-c", code], env=variables, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not hub.ranges and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    hub.cuts = []
    path = run_python(code.replace("; find", "; print(find") + ")", **environment(hub, tmp_path)).strip()
    assert os.path.getsize(path) == len(large)


def test_without_a_connection_the_cache_is_used(hub, tiny, tmp_path):
    hub.add(REPO, tiny)
    hub.add("owner/bare", {"model.safetensors": tiny["model.safetensors"]})
    for name in (REPO, "owner/bare"):
        load_model(name)
    hub.stop()
    begun = time.monotonic()
    for name in (REPO, "owner/bare"):
        same(load_model(name), load_model(tmp_path / "tiny.safetensors"))
        same(MambaIRv2.from_pretrained(name, local_files_only=True), load_model(tmp_path / "tiny.safetensors"))
    message = error_of("hf://owner/other")
    assert time.monotonic() - begun < 5
    assert "is not in the cache (the Hub cannot be reached, ConnectError" in message
    assert message.endswith("fetch it once with a connection, or give a file")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_does_not_work_is_one_that_cannot_be_reached(hub, tiny, status):
    hub.add(REPO, tiny)
    load_model(REPO)
    hub.broken = status
    load_model(REPO)
    assert "the Hub cannot be reached" in error_of("hf://owner/other")


def test_offline_mode_asks_nobody(hub, tiny, monkeypatch):
    hub.add(REPO, tiny)
    load_model(REPO)
    hub.log.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    load_model(REPO)
    assert "HF_HUB_OFFLINE" in error_of("hf://owner/other")
    assert "local_files_only=True" in error_of("hf://owner/other", local_files_only=True)
    assert hub.log == []


def test_another_cache(hub, tiny, tmp_path):
    hub.add(REPO, tiny)
    MambaIRv2.from_pretrained(REPO, cache_dir=tmp_path / "mine")
    assert list((tmp_path / "mine").rglob("model.safetensors"))
    assert not (tmp_path / "cache").exists()


def test_a_published_name_is_downloaded_when_it_is_given(hub, tmp_path):
    file = save_tiny(tmp_path / "w.pth").read_bytes()
    hub.add("cguoh/MambaIR", {"MambaIRv2_ckpt/mambairv2_lightSR_x2.pth": file, "other.pth": b""})
    assert load_model("published:light-x2").config.upscale == 2
    message = error_of("published:light-x3")
    address = "hf://cguoh/MambaIR/MambaIRv2_ckpt/mambairv2_lightSR_x3.pth"
    assert message.startswith(f"{address}: the repository has no such file; it has hf://cguoh/MambaIR/")
    by_hand = "or download https://github.com/csguoh/MambaIR/releases/download/v1.0/mambairv2_lightSR_x3.pth"
    assert message.endswith(f"{by_hand} and give that file")
    hub.stop()
    assert by_hand in error_of("published:light-x3")
    load_model("published:light-x2")
    assert "light-x2, light-x3, light-x4" in error_of("published:light")


def test_the_command_line_restores_by_a_repository(hub, tiny, tmp_path, monkeypatch):
    """In a process of its own, told of the Hub as a user tells it: by HF_ENDPOINT."""
    hub.add(REPO, tiny)
    monkeypatch.chdir(tmp_path)
    picture(20, 24, 3).pngsave("a.png")
    code = "from mambairv2.cli.main import app; app()"
    run_python(code, "restore", "a.png", "--weights", REPO, **environment(hub, tmp_path))
    options = ["restore", "a.png", "--weights", "tiny.safetensors", "-o", "b.png"]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert (tmp_path / "a_x2.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(hub.ranges) == 1
