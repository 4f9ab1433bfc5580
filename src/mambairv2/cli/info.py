"""The command `info`."""

from __future__ import annotations

import platform

from mambairv2.cli.streams import say

PURPOSES = {
    "reference": "step by step in torch, to compare with",
    "chunked": "selective scan in torch, on any device",
    "sdpa": "window attention in torch, on any device",
    "native": "compiled kernels for CPUs, the fastest there",
    "triton": "compiled kernels for GPUs, the fastest there",
}
"""What each backend is for."""


def info() -> None:
    """Print versions, devices, backends (and why one is missing), and the packaged weights."""
    from importlib.metadata import version

    import pyvips
    import torch

    from mambairv2.ops import backends
    from mambairv2.ops.library import loader
    from mambairv2.restoration.device import pick_device
    from mambairv2.weights.packaged import pretrained

    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    say(f"mambairv2  {version('mambairv2')}")
    say(f"python     {platform.python_version()} on {platform.platform()}")
    say(f"torch      {torch.__version__}, {torch.get_num_threads()} threads")
    say(f"libvips    {'.'.join(str(pyvips.version(part)) for part in range(3))}")
    say(f"device     {device} ({name})")
    for backend, missing in backends().items():
        state = f"missing, {missing}" if missing else "available"
        if backend == "native" and not missing:
            state += f" ({loader.isa()})"
        say(f"backend    {backend}: {state}; {PURPOSES[backend]}")
    for name, path in pretrained().items():
        say(f"weights    {name}: {path}")
    if not pretrained():
        say("weights    none packaged")
