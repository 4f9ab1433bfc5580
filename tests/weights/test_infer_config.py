"""The network is read off the tensors of a file."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mambairv2.network.config import VARIANTS, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.infer_config import infer_config
from mambairv2.weights.load import load_model
from mambairv2.weights.read_config import read_config
from mambairv2.weights.save import published_state, save_model
from run_python import run_python
from small_weights import SMALL

HEADS = [
    {"upscale": 1, "upsampler": ""},
    {"upscale": 2},
    {"upscale": 3},
    {"upscale": 4},
    {"upscale": 2, "upsampler": "pixelshuffle"},
    {"upscale": 3, "upsampler": "pixelshuffle"},
    {"upscale": 4, "upsampler": "pixelshuffle"},
    {"upscale": 4, "upsampler": "nearest+conv"},
]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("changes", HEADS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_read_off_the_tensors(tmp_path, name, changes, channels):
    changes = {"upsampler": "pixelshuffledirect", "in_channels": channels, **changes}
    heads = VARIANTS[name].num_heads[:2]
    check_inferred(replace(variant(name), depths=(1, 2), num_heads=heads, **changes), tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_read_off_its_tensors(name):
    """With all its layers, from shapes alone."""
    for upscale in (1, 2, 3, 4):
        config = variant(name, upscale=upscale)
        with torch.device("meta"):
            assert infer_config({n: tuple(x.shape) for n, x in MambaIRv2(config).state_dict().items()}) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"resi_connection": "3conv"},
        {"window_size": 8},
        {"window_size": 1},
        {"ffn": "conv", "mlp_ratio": 1.5},
        {"ffn": "conv", "mlp_ratio": 7 / 3},
        {"ffn_kernel_size": 7},
        {"scan_directions": 4},
        {"attentive_scan": False},
        {"depths": (3,), "num_heads": (1,)},
        {"depths": (1,) * 11, "num_heads": (1,) * 11},
    ],
    ids=str,
)
def test_unusual_networks_are_read_off_the_tensors(tmp_path, changes):
    check_inferred(replace(SMALL, **changes), tmp_path)


def check_inferred(config, folder):
    model = MambaIRv2(config)
    save_model(model, folder / "w.pth")
    found = load_model(folder / "w.pth")
    assert read_config(folder / "w.pth") == found.config
    plain = {"d_state": 8, "num_tokens": 64, "inner_rank": 32}
    unused = {"attentive_scan": list(plain), "scan_directions": ["num_tokens", "inner_rank"]}
    idle = unused["attentive_scan"] if not config.attentive_scan else []
    idle = idle or (unused["scan_directions"] if config.scan_directions > 1 else [])
    assert found.config.hidden_dim == config.hidden_dim
    assert replace(found.config, mlp_ratio=config.mlp_ratio) == replace(config, **{n: plain[n] for n in idle})
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize("changes", [{}, {"prompt_target": "B"}, {"window_size": 8}], ids=str)
def test_the_configuration_is_read_off_the_header(tmp_path, changes):
    config = replace(SMALL, **changes)
    save_model(MambaIRv2(config), tmp_path / "stated.safetensors")
    save_file(published_state(MambaIRv2(config)), tmp_path / "plain.safetensors")
    assert read_config(tmp_path / "stated.safetensors") == config
    assert read_config(tmp_path / "plain.safetensors") == replace(config, prompt_target="C")


def test_the_header_is_read_without_torch():
    code = "import sys; from mambairv2.weights.read_config import read_config; print(read_config('sr-x2').upscale);"
    assert run_python(code + "print('torch' in sys.modules)") == "2\nFalse\n"
