"""Warm starts begin above bicubic interpolation."""

import pytest
import torch
from tiny_runs import TINY, tiny

from mambairv2.network.model import MambaIRv2
from mambairv2.training.data.patches import Patches
from mambairv2.training.setup.network import build_network
from mambairv2.weights.save import save_model


def test_warm_start_begins_above_bicubic_and_a_new_head_is_solved_for(images, options, tmp_path):
    from mambairv2.evaluation.evaluate import evaluate_set, mean, whole_images
    from mambairv2.evaluation.protocol import Protocol
    from mambairv2.training.data.image_cache import open_cache

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
