"""The network: any size, the same result twice, draws and gradients, and every ablation."""

import pytest
import torch

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2, mirror_pad

TINY = {
    "embed_dim": 16,
    "d_state": 4,
    "depths": (1, 2),
    "num_heads": (2, 2),
    "inner_rank": 4,
    "num_tokens": 8,
    "ffn_kernel_size": 3,
}
ABLATIONS = [
    {"prompt_target": "B"},
    {"prompt_target": "delta"},
    {"prompt_target": "y"},
    {"prompt_order": "sorted"},
    {"prompt_target": "B", "prompt_order": "sorted"},
    {"scan_directions": 4},
    {"attentive_scan": False},
    {"semantic_neighbouring": False},
    {"temperature": 0.5},
    {"ffn": "conv", "mlp_ratio": 2.0},
    {"resi_connection": "3conv"},
    {"window_size": 8},
    {"img_range": 255.0},
]


def make(dtype=torch.float32, **changes):
    """A small network whose parameters all matter: those that start at 0 or nearly so are drawn too."""
    torch.manual_seed(0)
    model = MambaIRv2(MambaIRv2Config(**{**TINY, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("scale1", "scale2", "bias_table")) or "pool" in name or "route" in name:
                parameter.normal_(std=0.3)
    return model.to(dtype).eval()


def head(upscale):
    return {"upscale": upscale, "upsampler": "" if upscale == 1 else "pixelshuffledirect"}


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (17, 16)])
@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size(size, upscale, channels):
    model = make(**head(upscale), in_channels=channels)
    with torch.inference_mode():
        image = model(torch.rand(2, channels, *size))
    assert image.shape == (2, channels, size[0] * upscale, size[1] * upscale)
    assert image.isfinite().all()


def test_every_head():
    for upscale, upsampler in ((2, "pixelshuffle"), (3, "pixelshuffle"), (4, "pixelshuffle"), (4, "nearest+conv")):
        model = make(upscale=upscale, upsampler=upsampler)
        assert model(torch.rand(1, 3, 5, 4)).shape == (1, 3, 5 * upscale, 4 * upscale)


def test_inference_is_deterministic():
    model, x = make(), torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        assert torch.equal(model(x), model(x))


def test_images_of_a_batch_do_not_mix():
    model, x = make(torch.float64), torch.rand(3, 3, 9, 20, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]), rtol=0, atol=1e-12)


def test_a_generator_draws_prompts():
    model, x = make(), torch.rand(1, 3, 20, 20)
    with torch.inference_mode():
        first, again, other = (model(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, model(x))


def test_training_draws_prompts():
    model, x = make().train(), torch.rand(1, 3, 20, 20)
    first, other = model(x), model(x)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    third = model(x)
    torch.manual_seed(5)
    assert torch.equal(third, model(x))


def gradients(model, x, generator=None):
    torch.manual_seed(7)
    model.zero_grad()
    model(x, generator).square().mean().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_checkpointing_gives_equal_gradients():
    model, x = make(torch.float64).train(), torch.rand(1, 3, 20, 20, dtype=torch.float64)
    plain = gradients(model, x)
    model.set_checkpointing(True)
    for name, gradient in gradients(model, x).items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-12, atol=0, msg=name)


@pytest.mark.parametrize("changes", ABLATIONS, ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items()))
def test_every_setting_runs_and_learns(changes):
    model, x = make(**changes), torch.rand(1, 3, 20, 24)
    for name, gradient in gradients(model.train(), x).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize(
    "changes", [{"prompt_target": "B"}, {"prompt_order": "sorted"}, {"semantic_neighbouring": False}]
)
def test_settings_without_parameters_of_their_own_change_the_image(changes):
    model, plain, x = make(**changes), make(), torch.rand(1, 3, 20, 24)
    model.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        assert not torch.allclose(plain(x), model(x), rtol=0, atol=1e-6)


def test_backends_agree():
    model, x = make(torch.float64), torch.rand(1, 3, 17, 33, dtype=torch.float64)
    with torch.inference_mode():
        automatic = model(x)
        for scan, attention in (("reference", "reference"), ("chunked", "sdpa")):
            found = model.set_backend(scan, attention)(x)
            torch.testing.assert_close(found, automatic, rtol=0, atol=1e-12)


def test_mirror_pad_repeats_the_edge():
    image = torch.arange(3.0).view(1, 1, 1, 3)
    assert mirror_pad(image, 8)[0, 0, 0].tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert mirror_pad(image, 8).shape == (1, 1, 8, 8)
    assert mirror_pad(torch.rand(1, 1, 8, 16), 8).shape == (1, 1, 8, 16)


def test_padding_is_part_of_the_network():
    model, x = make(torch.float64), torch.rand(1, 3, 10, 16, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model(mirror_pad(x, 16))[:, :, :20], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8), (1, 3, 8, 0)])
def test_other_shapes_are_named(shape):
    with pytest.raises(ValueError, match=rf"expected an image batch .*got \({shape[0]}, {shape[1]}"):
        make()(torch.zeros(shape))


def test_from_config():
    with torch.device("meta"):
        assert MambaIRv2.from_config("light", upscale=4).config.upscale == 4
        config = MambaIRv2Config(**TINY)
        assert MambaIRv2.from_config(config).config is config
        with pytest.raises(ValueError, match="huge"):
            MambaIRv2.from_config("huge")
