"""The real spandrel recognises, describes and runs published and our files, and gives our bytes."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mambairv2.network.config import MambaIRv2Config, variant
from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.restorer import Restorer
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.packaged import pretrained
from mambairv2.weights.save import published_state
from real_spandrel import import_spandrel
from run_python import run_python
from shared_data import CHECKPOINT
from small_weights import save_tiny
from stand_in import pixels

spandrel = import_spandrel()

from mambairv2.integrations import spandrel as ours  # noqa: E402  (imports the real spandrel)

HEADS = [(1, ""), (2, "pixelshuffledirect"), (3, "pixelshuffle"), (4, "pixelshuffle"), (4, "nearest+conv")]


@pytest.fixture(autouse=True)
def registry():
    """The main registry as spandrel makes it, with ours added, and restored afterwards."""
    main = spandrel.MAIN_REGISTRY
    before = main.copy()
    ours.install(ignore_duplicates=True)
    yield main
    main.__dict__.update(before.__dict__)


def small(**changes):
    fields = {"embed_dim": 12, "d_state": 3, "depths": (1, 2), "num_heads": (2, 3), "inner_rank": 4, "num_tokens": 5}
    return MambaIRv2(MambaIRv2Config(**{**fields, **changes})).eval()


@pytest.mark.skipif(not CHECKPOINT.exists(), reason=f"{CHECKPOINT} is not there; MAMBAIRV2_SHARED names the folder")
def test_the_real_checkpoint_gives_our_bytes():
    found = spandrel.ModelLoader().load_from_file(CHECKPOINT)
    assert isinstance(found, spandrel.ImageModelDescriptor)
    assert (found.scale, found.purpose, found.input_channels, found.output_channels) == (4, "SR", 3, 3)
    assert found.tags == ["light", "48dim", "w16"]
    image = pixels(37, 45, 3)
    given = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    bytes_of = (found(given)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(bytes_of, Restorer(CHECKPOINT, "cpu", tile="whole", margin=False).restore(image))


def test_packaged_weights_give_our_values():
    path = pretrained()["sr-x2"]
    image = torch.rand(1, 3, 17, 20)
    with torch.inference_mode():
        expected = Restorer(path, "cpu").model(image).clamp(0, 1)
    assert torch.equal(spandrel.ModelLoader().load_from_file(path)(image), expected)


@pytest.mark.parametrize(("scale", "head"), HEADS)
@pytest.mark.parametrize(
    "changes", [{}, {"ffn": "conv"}, {"resi_connection": "3conv"}, {"attentive_scan": False}], ids=str
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_network_is_recognised(registry, scale, head, changes, channels):
    model = small(upscale=scale, upsampler=head, in_channels=channels, **changes)
    state = published_state(model)
    assert [s.architecture.id for s in registry.architectures("detection") if s.detect(state)] == ["MambaIRv2"]
    found = spandrel.ModelLoader().load_from_state_dict(state)
    assert found.architecture.id == "MambaIRv2"
    assert found.model.config.attentive_scan == model.config.attentive_scan
    assert not model.config.attentive_scan or found.model.config == model.config
    assert (found.scale, found.input_channels, found.output_channels) == (scale, channels, channels)
    assert found.purpose == ("Restoration" if scale == 1 else "SR")
    image = torch.rand(1, channels, 5, 18)
    with torch.inference_mode():
        assert torch.equal(found(image), model(image).clamp(0, 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (15, 17), (16, 32)])
def test_every_size_is_taken_as_it_is(size):
    """Padding is the network's own: that of spandrel would give other pixels."""
    model = small()
    found = ours.describe(model)
    assert found.size_requirements.none
    assert found.tiling is spandrel.ModelTiling.SUPPORTED
    image = torch.rand(1, 3, *size)
    with torch.inference_mode():
        assert torch.equal(found(image), model(image).clamp(0, 1))


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "ckpt"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "net_g."])
@pytest.mark.parametrize("key", [None, "params", "params_ema", "state_dict"])
def test_containers_and_prefixes(tmp_path, suffix, prefix, key):
    model = small()
    state = {prefix + name: tensor for name, tensor in published_state(model).items()}
    if suffix == "safetensors":
        save_file(state, tmp_path / "w.safetensors")
    else:
        torch.save(state if key is None else {key: state}, tmp_path / f"w.{suffix}")
    found = spandrel.ModelLoader().load_from_file(tmp_path / f"w.{suffix}")
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_our_files(tmp_path, suffix):
    path = save_tiny(tmp_path / f"w.{suffix}", upscale=3)
    assert spandrel.ModelLoader().load_from_file(path).scale == 3
    assert ours.load(path).scale == 3


def test_what_tensors_do_not_say_is_read_by_our_loader(tmp_path):
    path = save_tiny(tmp_path / "w.safetensors", img_range=255.0, prompt_order="sorted")
    found = ours.load(path).model.config
    assert (found.img_range, found.prompt_order) == (255.0, "sorted")


def test_other_networks_stay_what_they_are(registry):
    """Those of a like layout, and what is no network, are not taken for ours."""
    mine = registry["MambaIRv2"]
    swin = dict.fromkeys(
        ("conv_first.weight", "layers.0.residual_group.blocks.0.norm1.weight", "patch_embed.norm.weight"),
        torch.zeros(1),
    )
    part = {name: tensor for name, tensor in published_state(small()).items() if "wqkv" not in name}
    for state in ({}, swin, part, {"conv_first.weight": 3, "epoch": "no tensor"}, {"params": {}}):
        assert not mine.detect(state)


@pytest.mark.parametrize("fault", ["missing", "shape", "nan"])
def test_damaged_networks_are_refused_in_one_line(fault):
    state = published_state(small())
    name = "layers.1.residual_group.layers.0.norm2.weight"
    if fault == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(7) if fault == "shape" else state[name] * float("nan")
    with pytest.raises(WeightsError, match=r"^state dict: [^\n]+$"):
        spandrel.ModelLoader().load_from_state_dict(state)


def test_dtypes_are_those_that_hold():
    light, base = ours.describe(small()), ours.describe(MambaIRv2(variant("small", upscale=2)))
    assert (light.supports_half, light.supports_bfloat16) == (True, True)
    assert (base.supports_half, base.supports_bfloat16) == (False, True)
    image = torch.rand(1, 3, 16, 16)
    exact = light(image)
    for dtype, bound in ((torch.float16, 0.01), (torch.bfloat16, 0.05)):
        found = light.to(dtype)(image.to(dtype))
        assert found.dtype == dtype
        assert (found.float() - exact).abs().max() < bound
    with pytest.raises(spandrel.UnsupportedDtypeError):
        base.half()


def test_half_precision_weights_are_run_in_float32():
    state = {name: tensor.half() for name, tensor in published_state(small()).items()}
    assert spandrel.ModelLoader().load_from_state_dict(state).dtype == torch.float32


def test_installing_twice_is_an_error_unless_it_is_expected():
    with pytest.raises(spandrel.DuplicateArchitectureError):
        ours.install()
    assert ours.install(ignore_duplicates=True) == []


def test_importing_the_package_imports_no_spandrel():
    said = run_python("import sys, mambairv2; print([name for name in ('torch', 'spandrel') if name in sys.modules])")
    assert said == "[]\n"
