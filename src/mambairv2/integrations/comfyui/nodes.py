"""The nodes: one loads a network, one restores images with it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from mambairv2.network.model import MambaIRv2
from mambairv2.restoration.restorer import Restorer
from mambairv2.weights.load import load_model
from mambairv2.weights.packaged import pretrained

_FOLDER = "upscale_models"
"""The kind of model under which ComfyUI lists files."""
_NETWORK = "MAMBAIRV2"
Inputs = dict[str, dict[str, tuple[object, ...]]]


class LoadMambaIRv2:
    """Loads packaged weights, or a published or own file from ComfyUI's folder `upscale_models`."""

    RETURN_TYPES = (_NETWORK,)
    FUNCTION = "load"
    CATEGORY = "image/upscaling"
    DESCRIPTION = "Loads MambaIRv2 weights: packaged ones, or a file in models/upscale_models."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Return the inputs, as ComfyUI asks for them."""
        files = list(importlib.import_module("folder_paths").get_filename_list(_FOLDER))
        return {"required": {"weights": ([*pretrained(), *files],)}}

    def load(self, weights: str) -> tuple[MambaIRv2]:
        """Return the network, on the CPU; raises WeightsError for a file of another network."""
        if weights in pretrained():
            return (load_model(weights),)
        return (load_model(Path(importlib.import_module("folder_paths").get_full_path(_FOLDER, weights))),)


class RestoreMambaIRv2:
    """Restores images in tiles, with a progress bar; ComfyUI's cancel button stops it after a tile."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "restore"
    CATEGORY = "image/upscaling"
    DESCRIPTION = "Restores images with MambaIRv2: enlarges, denoises or removes JPEG artifacts, by its weights."
    TILE: ClassVar[dict[str, object]] = {
        "default": 0,
        "min": 0,
        "max": 4096,
        "step": 16,
        "tooltip": "Largest side of a tile in pixels; 0 chooses it by the free memory.",
    }

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Return the inputs, as ComfyUI asks for them."""
        ensemble = {"default": False, "tooltip": "Average over eight rotations and reflections; 8 times slower."}
        inputs: dict[str, tuple[object, ...]] = {"network": (_NETWORK,), "image": ("IMAGE",)}
        return {"required": {**inputs, "tile": ("INT", cls.TILE), "self_ensemble": ("BOOLEAN", ensemble)}}

    def restore(self, network: MambaIRv2, image: Tensor, tile: int = 0, self_ensemble: bool = False) -> tuple[Tensor]:
        """Return the restored images, (B, h·scale, w·scale, 3).

        image: (B, h, w, C) in [0, 1]; alpha is left out, and what lies outside the range is clipped to it. Raises
        ValueError for a tile that is not a multiple of 16 above 16, and what ComfyUI raises when it is cancelled.
        """
        management = importlib.import_module("comfy.model_management")
        bar = importlib.import_module("comfy.utils").ProgressBar(len(image))
        images = image[..., :3].permute(0, 3, 1, 2).clamp(0, 1)
        try:
            restorer = Restorer(
                network, management.get_torch_device(), tile=tile or "auto", self_ensemble=self_ensemble
            )
            restored = []
            for number, one in enumerate(images):

                def show(done: int, total: int, number: int = number) -> None:
                    management.throw_exception_if_processing_interrupted()
                    bar.update_absolute(number * total + done, len(images) * total)

                management.throw_exception_if_processing_interrupted()
                restored.append(restorer.restore(one, show))
        finally:
            network.to("cpu")  # the memory of a GPU is for the model that comes next
        return (torch.stack(restored).permute(0, 2, 3, 1).contiguous(),)


def _teach_spandrel() -> None:
    """Let ComfyUI's own node `Load Upscale Model`, which was imported before this, load the weights as well."""
    if "spandrel" in sys.modules:
        from mambairv2.integrations.spandrel import install

        install(ignore_duplicates=True)


_teach_spandrel()

NODE_CLASS_MAPPINGS = {"MambaIRv2Load": LoadMambaIRv2, "MambaIRv2Restore": RestoreMambaIRv2}
NODE_DISPLAY_NAME_MAPPINGS = {"MambaIRv2Load": "Load MambaIRv2", "MambaIRv2Restore": "Restore with MambaIRv2"}
