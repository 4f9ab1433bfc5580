"""The network that the options of `restore` ask for: checked without torch, then loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mambairv2.cli.rehearsal import rehearse
from mambairv2.files.storage import sha256
from mambairv2.restoration.grid import Grid
from mambairv2.tasks import TaskName, weights_name
from mambairv2.weights.packaged import find_weights
from mambairv2.weights.read_config import read_config

if TYPE_CHECKING:
    from mambairv2.restoration.planning import Tile
    from mambairv2.restoration.restorer import Restorer


@dataclass(frozen=True)
class ChosenNetwork:
    """Weights and how they are run."""

    weights: str
    """A packaged name or a file."""
    mark: str
    """What is added to the name of an output that lies beside its input: `_x2`, `_denoise`, …"""
    tile: Tile
    overlap: int
    self_ensemble: bool

    def settings(self) -> dict[str, object]:
        """Return what an output depends on, for the manifest."""
        return {
            "weights": f"sha256:{sha256(find_weights(self.weights))}",
            "tile": self.tile,
            "overlap": self.overlap,
            "self_ensemble": self.self_ensemble,
        }

    def load(self, device: str) -> Restorer:
        """Load torch and the network; a line on stderr says where the device does without its fast kernels.

        Raises WeightsError for weights that are damaged, ValueError for a device that is not there, and MemoryError.
        """
        rehearse(lambda: self._load(device))
        restorer = self._load(device)
        from mambairv2.ops import slow_note

        if note := slow_note(restorer.device.type):
            print(note, file=sys.stderr, flush=True)
        return restorer

    def _load(self, device: str) -> Restorer:
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.restoration.restorer import Restorer

        keep_freed_memory()
        return Restorer(self.weights, device, tile=self.tile, overlap=self.overlap, self_ensemble=self.self_ensemble)


def choose_network(
    weights: str | None, task: TaskName, scale: int | None, tile: Tile, overlap: int, self_ensemble: bool
) -> ChosenNetwork:
    """Check that weights, scale and tiles fit together, by the configuration in the weights file.

    Torch is loaded for a .pth only, which has no header to read. Raises WeightsError for weights that are missing or of
    another network, ValueError for a scale that the task or the weights do not have and for tiles that do not fit.
    """
    name = weights or weights_name(task, scale)
    config = read_config(name)
    if scale is not None and scale != config.upscale:
        raise ValueError(f"{name} enlarges by {config.upscale}, not by --scale {scale}")
    Grid((1, 1), config.upscale, tile if isinstance(tile, int) else None, overlap, config.window_size)
    mark = f"_x{config.upscale}" if config.upscale > 1 else "_restored" if weights else f"_{task}"
    return ChosenNetwork(name, mark, tile, overlap, self_ensemble)
