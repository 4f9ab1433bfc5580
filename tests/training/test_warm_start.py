"""Heads that are solved for: warm starts begin above bicubic interpolation, and runs end with the best head."""

import pytest
import torch
from tiny_runs import TINY, assert_same, tiny, weights

from mambairv2.network.model import MambaIRv2
from mambairv2.training import loop
from mambairv2.training.data.image_cache import open_cache
from mambairv2.training.data.patches import Patches
from mambairv2.training.loop import train
from mambairv2.training.setup.network import build_network
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import AVERAGED
from mambairv2.weights.save import save_model


def test_warm_start_begins_above_bicubic_and_a_new_head_is_solved_for(images, options, tmp_path):
    from mambairv2.evaluation.evaluate import evaluate_set, mean, whole_images
    from mambairv2.evaluation.protocol import Protocol

    model = {"warm_start": True, "overrides": {**TINY, "embed_dim": 32}}
    for scale in (2, 3):
        recipe = tiny(2, model={**model, "upscale": scale}, data={"patch": 16})
        patches = Patches(open_cache([images], scale, 3, cache_dir=tmp_path), recipe.data, (0,))
        network = build_network(recipe, patches)
        score = mean(evaluate_set(whole_images(network.eval()), images, Protocol("sr", scale)))
        assert score.psnr > score.base_psnr + 0.3
        if scale == 2:
            save_model(network, tmp_path / "x2.safetensors")
            model["start_from"] = str(tmp_path / "x2.safetensors")
    recipe = tiny(2, model={**model, "upscale": 1}, data={"task": "denoise", "sigma": [25, 25], "patch": 16})
    patches = Patches(open_cache([images], 1, 3, cache_dir=tmp_path), recipe.data, (0,))
    network = build_network(recipe, patches)
    assert isinstance(network, MambaIRv2)
    source, target = (torch.stack(t)[..., 3:-3, 3:-3] for t in zip(*(patches[0, i, 16] for i in range(8)), strict=True))
    with torch.no_grad():
        found = network.eval()(torch.stack([patches[0, i, 16][0] for i in range(8)]))[..., 3:-3, 3:-3]
    assert (found - target).square().mean() < 0.75 * (source - target).square().mean()  # inside: borders are learnt
    with pytest.raises(ValueError, match="pixelshuffledirect"):
        build_network(tiny(2, model={"variant": "small", "warm_start": True, "overrides": {}}), patches)
    with pytest.raises(ValueError, match="does not fit"):
        build_network(tiny(2, model={**model, "overrides": TINY}), patches)


def test_the_head_is_solved_for_after_the_last_step(images, options, tmp_path):
    """The averaged weights differ from those of a plain run in the head only, and are nearer to their targets."""
    plain, fitted = options("plain"), options("fitted")
    wide = {"overrides": {**TINY, "embed_dim": 32}}
    train(tiny(6, model=wide, data={"patch": 16}), plain)
    train(tiny(6, model=wide, data={"patch": 16}, fit_head=30), fitted)
    before, after = weights(plain.run), weights(fitted.run)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "ema head.conv.weight",
        "ema head.conv.bias",
    }
    patches = Patches(open_cache([images], 2, 3, cache_dir=tmp_path), tiny(data={"patch": 16}).data, (9,))
    source, target = map(torch.stack, zip(*(patches[0, slot, 16] for slot in range(60)), strict=True))
    errors = []
    for run in (plain.run, fitted.run):
        with torch.no_grad():
            found = load_model(run / AVERAGED)(source)
        errors.append((found - target)[..., 4:-4, 4:-4].square().mean())
    assert errors[1] < 0.9 * errors[0]


def test_a_run_that_is_killed_before_its_head_is_solved_for_goes_on_to_the_same(images, options, monkeypatch):
    whole, parts = options("whole"), options("parts")
    recipe = tiny(6, data={"patch": 16}, fit_head=5)
    train(recipe, whole)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit_averaged_head", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, parts)
    train(recipe, parts)
    assert_same(weights(parts.run), weights(whole.run))


def test_heads_of_several_convolutions_are_refused_before_the_run():
    with pytest.raises(ValueError, match="one convolution"):
        tiny(model={"variant": "small", "overrides": {}}, fit_head=5)
