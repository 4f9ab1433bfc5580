import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mambairv2.network import config as module
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
        ({"upsampler": ""}, r"upscale=2 needs an upsampler, got upsampler=''"),
        ({"upsampler": "nearest+conv"}, r"upscale=4, got upscale=2"),
        ({"in_channels": 4}, r"in_channels=4"),
        ({"ffn": "mlp"}, r"ffn='mlp'"),
        ({"prompt_target": "D"}, r"prompt_target='D'"),
        ({"prompt_order": "raster"}, r"prompt_order='raster'"),
        ({"scan_directions": 2}, r"scan_directions=2"),
        ({"resi_connection": "identity"}, r"resi_connection='identity'"),
        ({"num_heads": (5, 4, 4, 4)}, r"embed_dim=48 is not divisible by num_heads=5"),
        ({"num_heads": (0, 4, 4, 4)}, r"num_heads=0"),
        ({"num_heads": (4,)}, r"depths=\(5, 5, 5, 5\) and num_heads=\(4,\) need one entry a group"),
        ({"depths": (), "num_heads": ()}, r"depths=\(\) and num_heads=\(\)"),
        ({"d_state": 0}, r"d_state=0"),
        ({"ffn_kernel_size": 4}, r"ffn_kernel_size=4 must be odd"),
        (
            {"embed_dim": 49, "num_heads": (7,) * 4},
            r"embed_dim=49 times mlp_ratio=1.0 gives 49 .*ffn='gated' needs an even",
        ),
        ({"mlp_ratio": 0.9375}, r"embed_dim=48 times mlp_ratio=0.9375 gives 45 hidden channels"),
        ({"temperature": 0}, r"temperature"),
        ({"temperature": float("nan")}, r"temperature=nan"),
        ({"img_range": float("inf")}, r"img_range=inf"),
        ({"img_range": 10**400}, r"img_range=10+ must be positive and finite"),
        ({"ffn_kernel_size": -1}, r"ffn_kernel_size=-1"),
        ({"depths": (5, 0, 5, 5)}, r"depths=\(5, 0, 5, 5\)"),
        ({"embed_dim": 10**20}, r"embed_dim=1"),
        ({"mlp_ratio": 0.001}, r"embed_dim=48 times mlp_ratio=0.001"),
        ({"embed_dim": 2, "num_heads": (1,) * 4}, r"embed_dim=2 must be at least 3"),
        ({"depths": 5}, r"depths=5 must be a list of whole numbers"),
        ({"upscale": True}, r"upscale=True must be a whole number"),
        ({"attentive_scan": 1}, r"attentive_scan=1 must be true or false"),
        ({"mlp_ratio": -1.0}, r"mlp_ratio"),
    ],
)
def test_what_defines_no_network_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(MambaIRv2Config(), **change)


CHOICES = ("FeedForward", "Upsampler", "ResidualConnection", "PromptOrder", "PromptTarget")
NEARLY = {
    "int": st.integers(-2, 70),
    "float": st.integers(-2, 64).map(lambda sixteenths: sixteenths / 16) | st.floats(),
    "bool": st.booleans(),
    "tuple[int, ...]": st.lists(st.integers(-1, 8), max_size=5).map(tuple),
    **{name: st.sampled_from(get_args(getattr(module, name))) for name in CHOICES},
}
"""Values of the right type for each field, by its annotation, many of which define no network."""
CHANGES = st.fixed_dictionaries({}, optional={field.name: NEARLY[field.type] for field in fields(MambaIRv2Config)})


def refusal(base, changes):
    """What is said of changes that define no network; None of those that do."""
    try:
        replace(base, **changes)
    except ValueError as error:
        return str(error)
    return None


@given(st.sampled_from(list(VARIANTS.values())), CHANGES)
@settings(max_examples=500, deadline=None)
def test_a_refusal_names_a_field_that_was_changed(base, changes):
    said = refusal(base, changes)
    assert said is None or set(changes) & set(re.findall(r"\w+(?==)", said)), said
    assert "\n" not in (said or "")


@pytest.mark.parametrize("base", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("sixteenths", range(1, 40))
def test_every_ratio_that_is_refused_is_named(base, sixteenths):
    said = refusal(base, {"mlp_ratio": sixteenths / 16})
    assert said is None or f"mlp_ratio={sixteenths / 16}" in said


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown variant 'huge'; known: light, small, base, large"):
        variant("huge")
    with pytest.raises(ValueError, match="unknown configuration field 'depth'"):
        MambaIRv2Config.from_dict({"depth": 3})


PROMPTS = [("prompt_order", "sorted"), ("prompt_target", "B"), ("prompt_target", "y"), ("semantic_neighbouring", False)]


@pytest.mark.parametrize(
    ("choice", "idle"),
    [
        *(({"scan_directions": 4}, one) for one in (*PROMPTS, ("temperature", 2.0))),
        *(({"attentive_scan": False}, one) for one in (*PROMPTS, ("temperature", 2.0), ("scan_directions", 4))),
        ({"semantic_neighbouring": False}, ("prompt_order", "sorted")),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choice, idle):
    replace(MambaIRv2Config(), **choice)
    name, value = idle
    with pytest.raises(ValueError, match=f"{name}={value!r} has no effect with {next(iter(choice))}"):
        replace(MambaIRv2Config(), **choice, **{name: value})


def test_choices_that_go_together_are_taken():
    for target in ("B", "delta", "y"):
        replace(MambaIRv2Config(), prompt_target=target, semantic_neighbouring=False)
        replace(MambaIRv2Config(), prompt_target=target, prompt_order="sorted")


def test_every_pair_that_changes_nothing_is_refused():
    """A field that has an effect changes the network; one that has none is refused beside what makes it idle."""
    changes = {"prompt_order": "sorted", "prompt_target": "B", "semantic_neighbouring": False, "temperature": 2.0}
    for choice in ({"attentive_scan": False}, {"scan_directions": 4}):
        config = replace(MambaIRv2Config(), **choice)
        assert set(changes) <= set(config.idle())
    assert MambaIRv2Config().idle() == {}
