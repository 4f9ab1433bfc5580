"""MambaIRv2: restore images by super-resolution, denoising and removal of JPEG artifacts.

Names are imported when they are first used, so that importing the package is quick and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mambairv2.network.config import MambaIRv2Config, variant
    from mambairv2.restoration.restorer import Restorer, restore
    from mambairv2.weights.errors import WeightsError
    from mambairv2.weights.load import MambaIRv2, load_model
    from mambairv2.weights.save import save_model

    __version__: str

__all__ = [
    "MambaIRv2",
    "MambaIRv2Config",
    "Restorer",
    "WeightsError",
    "load_model",
    "restore",
    "save_model",
    "variant",
]

_MODULES = {
    "MambaIRv2": "weights.load",
    "MambaIRv2Config": "network.config",
    "Restorer": "restoration.restorer",
    "WeightsError": "weights.errors",
    "load_model": "weights.load",
    "restore": "restoration.restorer",
    "save_model": "weights.save",
    "variant": "network.config",
}

if not TYPE_CHECKING:  # a type checker would take any name for granted where a module has __getattr__

    def __getattr__(name: str) -> object:
        """Import a public name from its module, once."""
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("mambairv2")
        elif name in _MODULES:
            value = getattr(import_module(f"mambairv2.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module 'mambairv2' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
