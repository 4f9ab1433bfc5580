"""The table [model] of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from mambairv2.network.config import MambaIRv2Config, Variant, variant
from mambairv2.training.settings.part import Part


class ModelPart(Part):
    """The network and what it starts from."""

    variant: Variant = "light"
    upscale: Literal[1, 2, 3, 4] = 2
    in_channels: Literal[1, 3] = 3
    overrides: dict[str, object] = {}
    """Other fields of MambaIRv2Config, by name."""
    start_from: str = ""
    """Weights to start from, a file, looked for as folders of images are, or a packaged name. Only the head may differ,
    as for another scale: it keeps its initial values."""
    warm_start: bool = False
    """Light networks only: begin at the best linear interpolation. With start_from, solve for a head that differs by
    least squares instead."""

    def config(self) -> MambaIRv2Config:
        """Return the network's configuration; raises ValueError for overrides that define none."""
        base = variant(self.variant, upscale=self.upscale, in_channels=self.in_channels)
        return MambaIRv2Config.from_dict({**base.to_dict(), **self.overrides})

    @field_validator("overrides")
    @classmethod
    def _define_a_network(cls, overrides: dict[str, object], known: ValidationInfo) -> dict[str, object]:
        before = {key: known.data.get(key) for key in ("variant", "upscale", "in_channels")}
        if None in before.values():  # what is wrong with these is told already
            return overrides
        if twice := [key for key in before if key in overrides]:
            raise ValueError(f"{twice[0]} is a key of [model] itself")
        config = cls.model_construct(**before, overrides=overrides).config()
        for name in overrides:
            if name in config.idle():
                raise ValueError(f"{name} has no effect with {config.idle()[name]}; leave one of them out")
        return overrides
