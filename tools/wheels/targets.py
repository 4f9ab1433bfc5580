"""The platforms that get a wheel, and how zig and pip name them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A platform."""

    name: str
    zig: str
    """Processor, system and the oldest version of it."""
    tags: tuple[str, ...]
    """What pip calls it; several names of one platform."""
    library: str = "_kernels.so"


TARGETS = (
    Target("linux-x86_64", "x86_64-linux-gnu.2.17", ("manylinux_2_17_x86_64", "manylinux2014_x86_64")),
    Target("linux-aarch64", "aarch64-linux-gnu.2.17", ("manylinux_2_17_aarch64", "manylinux2014_aarch64")),
    Target("macos-x86_64", "x86_64-macos.11.0", ("macosx_11_0_x86_64",)),
    Target("macos-arm64", "aarch64-macos.11.0", ("macosx_11_0_arm64",)),
    Target("windows-x86_64", "x86_64-windows-gnu", ("win_amd64",), "_kernels.pyd"),
)
