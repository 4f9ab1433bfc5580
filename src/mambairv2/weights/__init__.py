"""Weights in and out: files, names, what a file says of its network.

Names are imported when they are first used: some need torch, which takes seconds to load.
"""

from importlib import import_module

_MODULES = {
    "WeightsError": "errors",
    "find_weights": "packaged",
    "load_model": "load",
    "load_state": "read_tensors",
    "pretrained": "packaged",
    "published_state": "save",
    "read_config": "read_config",
    "save_model": "save",
}


def __getattr__(name: str) -> object:
    """Import a name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module 'mambairv2.weights' has no attribute {name!r}")
    value: object = getattr(import_module(f"mambairv2.weights.{_MODULES[name]}"), name)
    return value
