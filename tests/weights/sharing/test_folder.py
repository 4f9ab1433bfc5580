"""A network saved as a folder loads again, bit for bit, and its files are those of the Hub."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from mambairv2 import MambaIRv2, MambaIRv2Config, Restorer, WeightsError, load_model
from mambairv2.cli.main import app
from mambairv2.network.config import VARIANTS, variant
from mambairv2.weights.read_config import read_config, read_metadata
from run_python import run_python
from small_weights import SMALL, same, save_tiny
from stand_in import picture
from stub_hub.server import INSTALL

pytest.importorskip("huggingface_hub", reason=INSTALL)
HEADS = [
    {"upscale": 1, "upsampler": ""},
    {"upscale": 2, "upsampler": "pixelshuffledirect"},
    {"upscale": 3, "upsampler": "pixelshuffle"},
    {"upscale": 4, "upsampler": "nearest+conv"},
]


def small(name, **changes):
    """A seeded network of a variant, with two groups of one layer."""
    torch.manual_seed(0)
    heads = VARIANTS[name].num_heads[:2]
    return MambaIRv2(replace(variant(name), depths=(1, 1), num_heads=heads, **changes)).eval()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"x{head['upscale']}")
@pytest.mark.parametrize("channels", [1, 3])
def test_every_variant_and_head_comes_back(tmp_path, name, head, channels):
    network = small(name, in_channels=channels, **head)
    network.save_pretrained(tmp_path / "net")
    found = MambaIRv2.from_pretrained(tmp_path / "net")
    same(found, network)
    image = torch.rand(1, channels, 5, 7)
    with torch.inference_mode():
        assert torch.equal(found(image), network(image))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_come_back(tmp_path, dtype):
    network = load_model("sr-x2").to(dtype)
    network.save_pretrained(tmp_path)
    same(MambaIRv2.from_pretrained(tmp_path, dtype=dtype), network)
    rounded = dtype == torch.float16  # and no longer the weights that were measured
    assert ("Set5" in (tmp_path / "README.md").read_text()) is not rounded


def test_the_files_are_those_of_the_hub(tmp_path):
    network = small("light")
    network.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert MambaIRv2Config.from_dict(json.loads((tmp_path / "config.json").read_text())) == network.config
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["config"]) == network.config.to_dict()


@pytest.mark.parametrize("changes", [{"prompt_order": "sorted"}, {"img_range": 255.0}, {"scan_directions": 4}], ids=str)
def test_what_tensors_do_not_show_stands_in_both_files(tmp_path, changes):
    network = MambaIRv2(replace(SMALL, **changes)).eval()
    network.save_pretrained(tmp_path)
    same(load_model(tmp_path), network)
    strip_metadata(tmp_path)
    same(load_model(tmp_path), network)
    assert read_config(tmp_path) == network.config


def strip_metadata(folder):
    """Leave the tensors only, as files of other programs."""
    file = folder / "model.safetensors"
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, file)


def test_fields_of_other_programs_are_ignored(tmp_path):
    small("light").save_pretrained(tmp_path)
    strip_metadata(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "x", "architectures": ["Y"], "img_range": 255.0}')
    assert load_model(tmp_path).config.img_range == 255


@pytest.mark.parametrize("text", ["", "[]", "{", '{"depths": 3}', '{"upscale": 7}', '{"img_range": "1"}'])
def test_a_configuration_that_is_damaged_is_named(tmp_path, text):
    small("light").save_pretrained(tmp_path)
    strip_metadata(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json: is no configuration of a MambaIRv2 network") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_contradict_each_other_are_refused(tmp_path):
    small("light").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"img_range": 255.0}')
    with pytest.raises(WeightsError, match=r"model\.safetensors: its configuration differs from config\.json beside"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    assert load_model(tmp_path / "other.safetensors").config.img_range == 1


def test_what_a_file_says_of_itself_goes_with_the_network(tmp_path):
    network = MambaIRv2.from_pretrained("denoise")
    assert network.metadata["task"] == "denoise"
    network.save_pretrained(tmp_path)
    assert read_metadata(tmp_path) == read_metadata("denoise")
    assert MambaIRv2(SMALL).metadata == {}
    assert pickle.loads(pickle.dumps(network)).metadata == network.metadata


def test_a_folder_restores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(16, 20, 3).pngsave("a.png")
    load_model(save_tiny(tmp_path / "w.safetensors")).save_pretrained("net")
    for name, weights in (("net.png", "net"), ("file.png", "w.safetensors")):
        assert CliRunner().invoke(app, ["restore", "a.png", "-o", name, "--weights", weights]).exit_code == 0
    assert (tmp_path / "net.png").read_bytes() == (tmp_path / "file.png").read_bytes()
    assert Restorer(tmp_path / "net").scale == 2


def test_folders_of_the_form_owner_and_name(tmp_path, monkeypatch):
    """What is on this machine comes before the Hub; a name in a folder that is here is a path."""
    monkeypatch.chdir(tmp_path)
    small("light").save_pretrained("owner/net")
    assert load_model("owner/net").config == small("light").config
    for name in ("owner/nett", "owner/net.pth", "../net", "/owner/net", "a/b/c"):
        with pytest.raises(WeightsError, match="no such weights; give a file") as caught:
            load_model(name)
        assert "Hub" not in str(caught.value)


def test_a_folder_needs_no_huggingface_hub_to_load(tmp_path):
    load_model(save_tiny(tmp_path / "w.safetensors")).save_pretrained(tmp_path / "net")
    code = """
import sys
sys.modules["huggingface_hub"] = None
from mambairv2 import MambaIRv2
network = MambaIRv2.from_pretrained(sys.argv[1])
for call in (lambda: network.save_pretrained(sys.argv[1]), lambda: network.push_to_hub("owner/net"),
             lambda: MambaIRv2.from_pretrained("owner/net"), lambda: MambaIRv2.from_pretrained("published:light-x2")):
    try:
        call()
    except ValueError as error:
        print(error)
"""
    said = run_python(code, tmp_path / "net").splitlines()
    assert len(said) == 4
    assert all("needs huggingface-hub, which is not installed; " in line and "hub]" in line for line in said)
    assert said[3].endswith("mambairv2_lightSR_x2.pth and give that file")


def test_huggingface_hub_is_loaded_by_nobody_who_does_not_use_it(tmp_path):
    path = save_tiny(tmp_path / "w.safetensors")
    code = "import sys; from mambairv2 import MambaIRv2; MambaIRv2.from_pretrained(sys.argv[1]); print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run_python(code, path).split()}
    assert not loaded & {"huggingface_hub", "httpx", "httpx2", "requests", "yaml"}
