"""The architecture for spandrel, by which chaiNNer, ComfyUI and others load weights.

Call `install()` once; then `spandrel.ModelLoader().load_from_file("mambairv2_lightSR_x2.pth")` loads published and our
files. It comes with the extra `spandrel`.
"""

from __future__ import annotations

from pathlib import Path

import spandrel
import torch
from spandrel import Architecture, ArchSupport, ImageModelDescriptor, ModelTiling, SizeRequirements, StateDict

from mambairv2.network.config import VARIANTS, MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.load import load_model, model_of
from mambairv2.weights.published_names import strip, to_ours

_MARKS = (
    "norm_first.weight",
    "groups.0.layers.0.attention.qkv.weight",
    "groups.0.layers.0.attention.bias_table",
    "groups.0.layers.0.ffn1.conv.weight",
    "groups.0.layers.0.scale2",
)
"""Tensors that every variant has, and that together no other architecture of spandrel has."""


def install(*, ignore_duplicates: bool = False) -> list[ArchSupport]:
    """Add MambaIRv2 to the registry that every `spandrel.ModelLoader` uses by default.

    Returns what was added. Raises spandrel.DuplicateArchitectureError when it is there already, unless
    ignore_duplicates is true; then nothing is added.
    """
    support = ArchSupport.from_architecture(MambaIRv2Arch())
    return spandrel.MAIN_REGISTRY.add(support, ignore_duplicates=ignore_duplicates)


class MambaIRv2Arch(Architecture[MambaIRv2]):
    """How spandrel recognises and loads a MambaIRv2 network, of any variant, scale, head and prefix."""

    def __init__(self) -> None:
        super().__init__(id="MambaIRv2", detect=_detect)

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[MambaIRv2]:
        """Return the network of a state dict, in float32; raises WeightsError for one that is not whole or not finite.

        A state dict cannot say img_range, prompt_order, prompt_target and semantic_neighbouring. Networks where these
        are not the published ones are loaded by `load`.
        """
        return describe(model_of(state_dict, {}, "state dict"), self)


def load(path_or_name: str | Path, device: str | torch.device = "cpu") -> ImageModelDescriptor[MambaIRv2]:
    """Return a packaged name (`sr-x2`) or a file as spandrel's kind of model; raises WeightsError as `load_model`.

    It reads the metadata of our safetensors files as well, which spandrel leaves out.
    """
    return describe(load_model(path_or_name, device=device))


def describe(model: MambaIRv2, architecture: Architecture[MambaIRv2] | None = None) -> ImageModelDescriptor[MambaIRv2]:
    """Return a network as spandrel's kind of model: its scale, channels, purpose, dtypes and tags.

    The network pads by itself, so there are no size requirements; spandrel would pad differently from the published
    code. bfloat16 has the range of float32. float16 was tried with light networks only (docs/integrations.md).
    """
    config = model.config
    return ImageModelDescriptor(
        model,
        model.state_dict(),
        architecture=architecture or MambaIRv2Arch(),
        purpose="Restoration" if config.upscale == 1 else "SR",
        tags=_tags(config),
        supports_half=config.embed_dim <= VARIANTS["light"].embed_dim,
        supports_bfloat16=True,
        scale=config.upscale,
        input_channels=config.in_channels,
        output_channels=config.in_channels,
        size_requirements=SizeRequirements(),
        tiling=ModelTiling.SUPPORTED,
    )


def _detect(state_dict: StateDict) -> bool:
    tensors = {name: value for name, value in state_dict.items() if isinstance(value, torch.Tensor)}
    try:
        state = to_ours(strip(tensors, Path("state dict")))
    except WeightsError:
        return False
    return all(mark in state for mark in _MARKS)


def _tags(config: MambaIRv2Config) -> list[str]:
    """Return the variant, if it is a published one, and the width of the network."""
    shape = config.embed_dim, config.depths
    known = [name for name, other in VARIANTS.items() if (other.embed_dim, other.depths) == shape]
    return [*known, f"{config.embed_dim}dim", f"w{config.window_size}"]
