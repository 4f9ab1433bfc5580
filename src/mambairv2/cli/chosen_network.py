"""The network that the options of `restore` ask for: checked without torch, then loaded."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mambairv2.batch.naming import mark_of
from mambairv2.cli.streams import say
from mambairv2.files.storage import sha256
from mambairv2.restoration.grid import Grid
from mambairv2.tasks import TaskName, weights_name
from mambairv2.weights.packaged import find_weights, pinned, weights_by_file
from mambairv2.weights.read_config import read_config

if TYPE_CHECKING:
    from mambairv2.restoration.choosing import Choosing
    from mambairv2.restoration.planning import Tile
    from mambairv2.restoration.precision import Precision
    from mambairv2.restoration.restorer import Restorer


@dataclass(frozen=True)
class ChosenNetwork:
    """Weights and how they are run."""

    weights: str
    """A packaged name, a file, or an address on the Hub with its commit, the same for every machine."""
    mark: str
    """What is added to the name of an output that lies beside its input: `_x2`, `_denoise`, …"""
    tile: Tile
    overlap: int
    self_ensemble: bool
    precision: Precision = "float32"
    strength: float = 1.0
    margin: bool = True
    """Whether the network sees the picture mirrored beyond its edges."""
    clean: str | None = None
    """Packaged weights for clean pictures, where the choice is made for each file; None where `weights` are for all."""
    by_default: bool = False
    """Whether nobody asked for these weights, so that the line of each file names them."""

    def settings(self) -> dict[str, object]:
        """Return what an output depends on, for the manifest."""
        # Absent where it is float32, as it is in the manifests of versions that knew no other.
        precision = {} if self.precision == "float32" else {"precision": self.precision}
        return {
            **precision,
            "weights": f"sha256:{sha256(find_weights(self.weights))}",
            "tile": self.tile,
            "overlap": self.overlap,
            "self_ensemble": self.self_ensemble,
            "margin": self.margin,
            **({"strength": self.strength} if self.strength != 1 else {}),
            **({"clean": f"sha256:{sha256(find_weights(self.clean))}"} if self.clean else {}),
        }

    def load(self, device: str) -> Restorer | Choosing:
        """Load torch and the network; lines on stderr say what the device does without: fast kernels, bfloat16.

        Raises WeightsError for weights that are damaged, ValueError for a device that is not there, and MemoryError.
        """
        _rehearse(lambda: self._load(device))
        with warnings.catch_warnings(record=True) as told:
            restorer = self._load(device)
        from mambairv2.ops import slow_note

        if note := slow_note(restorer.device.type):
            say(note, sys.stderr)
        for warning in told:
            say(f"note: {warning.message}", sys.stderr)
        if not self.by_default:
            return restorer
        from mambairv2.restoration.choosing import Choosing

        with warnings.catch_warnings(record=True):  # the same as before
            clean = (self.clean, self._load(device, self.clean)) if self.clean else None
        return Choosing((self.weights, restorer), clean)

    def _load(self, device: str, weights: str | None = None) -> Restorer:
        from mambairv2.restoration.memory import keep_freed_memory
        from mambairv2.restoration.restorer import Restorer

        keep_freed_memory()
        return Restorer(
            weights or self.weights,
            device,
            tile=self.tile,
            overlap=self.overlap,
            self_ensemble=self.self_ensemble,
            dtype=self.precision,
            strength=self.strength,
            margin=self.margin,
        )


def choose_network(
    weights: str | None,
    task: TaskName | None,
    scale: int | None,
    tile: Tile,
    overlap: int,
    self_ensemble: bool,
    precision: Precision = "float32",
    strength: float = 1.0,
    margin: bool = True,
) -> ChosenNetwork:
    """Check that weights, scale and tiles fit together, by the configuration in the weights file.

    Torch is loaded for a .pth only, which has no header to read. Raises WeightsError for weights that are missing or of
    another network, ValueError for a scale that the task or the weights do not have and for tiles that do not fit.
    Without weights and task each file gets the packaged weights that suit it (`weights_by_file`).
    """
    clean: str | None = None
    by_default = weights is None and task is None
    if weights is not None:
        name = pinned(weights)
    elif task is not None:
        name = weights_name(task, scale)
    else:
        name, clean = weights_by_file(scale)
    config = read_config(name)
    if scale is not None and scale != config.upscale:
        raise ValueError(f"{name} enlarges by {config.upscale}, not by --scale {scale}")
    Grid((1, 1), config.upscale, tile if isinstance(tile, int) else None, overlap, config.window_size)
    mark = mark_of(config.upscale, None if weights else name)
    return ChosenNetwork(name, mark, tile, overlap, self_ensemble, precision, strength, margin, clean, by_default)


def _rehearse(load: Callable[[], object]) -> None:
    """Raise MemoryError where a limit on the address space (`ulimit -v`) leaves no room for `load`.

    Libraries that find no memory while they are loaded end the process, and nothing can catch that. So a forked child
    loads first, and only where there is such a limit. A ValueError counts as loaded: `load` raises it here again.
    """
    if not _limited():
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            load()
            status = 0
        except ValueError:
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise MemoryError("the limit on the address space (ulimit -v) leaves no room to load the network")


def _limited() -> bool:
    if sys.platform == "win32" or not hasattr(os, "fork"):
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
