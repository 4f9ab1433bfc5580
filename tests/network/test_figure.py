"""The model is the figure: the fused path equals it, and whatever is done to a sub-module takes effect."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.fusion import runs_fused
from mambairv2.network.model import MambaIRv2
from mambairv2.ops.library import loader

pytestmark = pytest.mark.skipif(loader.unavailable() is not None, reason=str(loader.unavailable()))

LIGHT = MambaIRv2Config(embed_dim=24, depths=(2, 2), num_heads=(2, 2), num_tokens=8, inner_rank=4)
CLASSIC = replace(LIGHT, ffn="conv", mlp_ratio=2.0, upsampler="pixelshuffle", resi_connection="3conv")
ABLATIONS = [
    *(replace(LIGHT, prompt_target=target) for target in ("B", "delta", "y")),
    replace(LIGHT, prompt_order="sorted"),
    replace(LIGHT, semantic_neighbouring=False),
    replace(LIGHT, scan_directions=4),
    replace(LIGHT, attentive_scan=False),
]


class Operations(TorchDispatchMode):
    """Counts the operators of this project that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names += [str(function)] if str(function).startswith("mambairv2.") else []
        return function(*args, **(kwargs or {}))


def network(config=LIGHT, dtype=torch.float32):
    torch.manual_seed(3)
    model = MambaIRv2(config).to(dtype).eval()
    with torch.no_grad():  # initial scales are so small that the shortcuts would not show
        for name, parameter in model.named_parameters():
            if "scale" in name or "route" in name:
                parameter.normal_(std=0.5)
    return model


def operations(model, image, **given):
    with torch.no_grad(), Operations() as seen:
        model(image, **given)
    return seen.names


def blocks(model):
    return [layer for group in model.groups for layer in group.layers]


@pytest.mark.parametrize("config", [LIGHT, CLASSIC, *ABLATIONS], ids=str)
def test_the_fused_path_equals_the_figure(config):
    model, image = network(config, torch.float64), torch.rand(2, 3, 20, 35, dtype=torch.float64)
    with torch.no_grad():
        fused = model(image)
        figure = model.set_backend("native", "native", "torch")(image)
    torch.testing.assert_close(fused, figure, atol=1e-11, rtol=0)


@pytest.mark.parametrize("config", [LIGHT, CLASSIC], ids=["light", "classic"])
def test_the_fused_path_has_the_gradients_of_the_figure(config):
    model, image = network(config, torch.float64).train(), torch.rand(1, 3, 16, 33, dtype=torch.float64)
    gradients = []
    for dense in ("native", "torch"):
        model.zero_grad()
        generators = [torch.Generator().manual_seed(7)]
        model.set_backend("native", "native", dense)(image, generators).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-10, rtol=1e-7, msg=name)


@pytest.mark.parametrize("config", [LIGHT, CLASSIC], ids=["light", "classic"])
def test_a_hook_on_any_module_is_called(config):
    model, image, called = network(config), torch.rand(1, 3, 16, 16), []
    expected = model(image)
    leaves = {name: module for name, module in model.named_modules() if not list(module.children())}
    handles = [
        module.register_forward_hook(lambda module, given, result, name=name: called.append(name))
        for name, module in leaves.items()
    ]
    torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=0)
    assert set(called) == set(leaves)
    for handle in handles:
        handle.remove()
    called.clear()
    assert torch.equal(model(image), expected)
    assert not called


@pytest.mark.parametrize("kind", ["forward", "forward pre", "full backward", "full backward pre"])
def test_every_kind_of_hook_is_called(kind):
    model, called = network(), []
    target = blocks(model)[1].ffn2.fc1
    register = getattr(target, f"register_{kind.replace(' ', '_')}_hook")
    register(lambda *given: called.append(kind) or None)
    model(torch.rand(1, 3, 16, 16)).sum().backward()
    assert called == [kind]


def test_a_global_hook_sees_every_module():
    model, seen = network(), set()
    handle = nn.modules.module.register_module_forward_pre_hook(lambda module, given: seen.add(module))
    try:
        model(torch.rand(1, 3, 16, 16))
    finally:
        handle.remove()
    assert {module for module in model.modules() if not list(module.children())} <= seen


class Halved(nn.Module):
    """An adapter as they are written: wraps a layer and calls it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) / 2


def wrap(parent, name):
    setattr(parent, name, Halved(getattr(parent, name)))


def swap(parent, name):
    other = copy.deepcopy(getattr(parent, name))
    nn.init.zeros_(other.weight)
    setattr(parent, name, other)


def shadow(parent, name):
    module = getattr(parent, name)
    before = module.forward
    module.forward = lambda x: before(x) / 2


def reparametrise(parent, name):
    class Half(nn.Module):
        def forward(self, weight):
            return weight / 2

    parametrize.register_parametrization(getattr(parent, name), "weight", Half())


PLACES = ["norm1", "norm2", "norm3", "norm4", "attention.qkv", "attention.proj", "ffn1.fc1", "ffn1.conv", "ffn2.norm"]
PLACES += ["ffn2.fc2", *(f"attentive_scan.{n}" for n in ("in_proj", "position", "out_norm", "out_proj", "route.0"))]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", [wrap, swap, shadow, reparametrise])
def test_a_changed_module_takes_effect_as_in_the_figure(change, place):
    models = [network(), network().set_backend("native", "native", "torch")]
    image = torch.rand(1, 3, 16, 16)
    before = models[0](image)
    for model in models:
        path, _, name = f"x.{place}".rpartition(".")
        parent = blocks(model)[2]
        for part in path.split(".")[1:]:
            parent = getattr(parent, part)
        change(parent, name)
    found, figure = (model(image) for model in models)
    assert not torch.allclose(found, before, atol=1e-6)
    torch.testing.assert_close(found, figure, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["attention", "ffn1", "attentive_scan"])
def test_a_whole_box_can_be_replaced(name):
    class Nothing(nn.Module):
        def forward(self, x, generator=None):
            return torch.zeros_like(x)

    model, image = network(), torch.rand(1, 3, 16, 16)
    before = model(image)
    for block in blocks(model):
        setattr(block, name, Nothing())
    assert not torch.allclose(model(image), before, atol=1e-6)


def test_an_untouched_block_runs_fused_and_so_does_its_copy():
    model, image = network(), torch.rand(1, 3, 16, 16)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for same in (model, copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert "mambairv2.attention_block_native.default" in operations(same, image)
        x = torch.rand(1, 16, 16, LIGHT.embed_dim)
        assert all(runs_fused(x, block._parts, block, block.backends) for block in blocks(same))
    wrap(blocks(model)[0].attention, "qkv")
    x = torch.rand(1, 16, 16, LIGHT.embed_dim)
    assert [runs_fused(x, b._parts, b, b.backends) for b in blocks(model)] == [False, True, True, True]


@pytest.mark.parametrize("drawn", [False, True])
def test_set_backend_governs_every_operation(drawn):
    model, image = network(), torch.rand(1, 3, 16, 16)
    given = {"generator": [torch.Generator().manual_seed(1)]} if drawn else {}
    assert operations(model, image, **given)
    model.set_backend("reference", "reference", "torch")
    assert operations(model, image, **given) == []


def test_a_backend_of_one_kind_leaves_the_others():
    model, image = network(), torch.rand(1, 3, 16, 16)
    names = operations(model.set_backend(attention="reference"), image)
    assert not [name for name in names if "attention" in name]
    assert "mambairv2.conv_block_native.default" in names
    names = operations(model.set_backend(scan="chunked"), image)
    assert not [name for name in names if "scan" in name]
    assert "mambairv2.attention_block_native.default" in names


def test_unknown_backends_are_refused():
    with pytest.raises(ValueError, match="unknown backend 'cpu'; known: auto, native"):
        network().set_backend(scan="cpu")(torch.rand(1, 3, 16, 16))
