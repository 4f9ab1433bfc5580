"""The real spandrel, also where torchvision cannot be imported.

Spandrel needs torchvision for two architectures only (LaMa and RestoreFormer), which no test here runs. PyPI's
torchvision does not import beside a PyTorch for CPUs alone. So where torchvision is missing or broken, empty stand-ins
of the names that spandrel imports from it are there while spandrel is imported. All of spandrel is real.
"""

from __future__ import annotations

import sys
import types

import pytest

_NAMES = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def import_spandrel():
    """Return the module, or skip the tests where it is not installed."""
    if "spandrel" not in sys.modules and not _torchvision_works():
        stand_ins = {name: types.ModuleType(name) for name in _NAMES}
        for wanted in ("InterpolationMode", "rotate", "normalize"):
            setattr(stand_ins[_NAMES[-1]], wanted, None)
        sys.modules.update(stand_ins)
        try:
            return _spandrel()
        finally:
            for name in _NAMES:
                del sys.modules[name]
    return _spandrel()


def _spandrel():
    return pytest.importorskip("spandrel", reason="spandrel is not installed: pip install 'mambairv2[spandrel]'")


def _torchvision_works():
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True
