from dataclasses import FrozenInstanceError, replace

import pytest

from mambairv2.network.config import VARIANTS, MambaIRv2Config, variant


def test_the_default_is_light_x2():
    assert MambaIRv2Config() == variant("light") == VARIANTS["light"]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_variant_at_every_scale(name, upscale, channels):
    config = variant(name, upscale=upscale, in_channels=channels)
    assert (config.upscale, config.in_channels) == (upscale, channels)
    assert config.upsampler == ("" if upscale == 1 else VARIANTS[name].upsampler)
    assert MambaIRv2Config.from_dict(config.to_dict()) == config


def test_derived_sizes():
    assert (variant("light").hidden_dim, variant("light").dt_rank) == (48, 3)
    assert (variant("base").hidden_dim, variant("base").dt_rank) == (348, 22)


def test_lists_become_tuples():
    assert MambaIRv2Config(depths=[1, 2], num_heads=[4, 4]).depths == (1, 2)


def test_it_is_frozen():
    with pytest.raises(FrozenInstanceError):
        MambaIRv2Config().upscale = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"upscale": 5}, r"upscale=5"),
        ({"upscale": 1}, r"upscale=1 takes upsampler='', got 'pixelshuffledirect'"),
        ({"upsampler": ""}, r"upscale=2 needs an upsampler"),
        ({"upsampler": "nearest+conv"}, r"upscale=4, got upscale=2"),
        ({"in_channels": 4}, r"in_channels=4"),
        ({"ffn": "mlp"}, r"ffn='mlp'"),
        ({"prompt_target": "D"}, r"prompt_target='D'"),
        ({"prompt_order": "raster"}, r"prompt_order='raster'"),
        ({"scan_directions": 2}, r"scan_directions=2"),
        ({"resi_connection": "identity"}, r"resi_connection='identity'"),
        ({"num_heads": (5, 4, 4, 4)}, r"embed_dim=48 is not divisible by num_heads=5"),
        ({"num_heads": (0, 4, 4, 4)}, r"num_heads=0"),
        ({"num_heads": (4,)}, r"\(5, 5, 5, 5\) and \(4,\)"),
        ({"depths": (), "num_heads": ()}, r"\(\) and \(\)"),
        ({"d_state": 0}, r"d_state=0"),
        ({"ffn_kernel_size": 4}, r"ffn_kernel_size=4 must be odd"),
        ({"embed_dim": 49, "num_heads": (7,) * 4}, r"even hidden size, got 49"),
        ({"temperature": 0}, r"temperature"),
        ({"mlp_ratio": -1.0}, r"mlp_ratio"),
    ],
)
def test_what_defines_no_network_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(MambaIRv2Config(), **change)


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown variant 'huge'; known: light, small, base, large"):
        variant("huge")
    with pytest.raises(ValueError, match="unknown configuration field 'depth'"):
        MambaIRv2Config.from_dict({"depth": 3})
