"""The `config.json` beside a `model.safetensors`, as folders and repositories of the Hugging Face Hub have it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

from mambairv2.network.config import MambaIRv2Config
from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.address import CONFIG, WEIGHTS


def with_config_file(config: MambaIRv2Config, path: Path) -> MambaIRv2Config:
    """Return a configuration, changed as the file beside the weights says; other weights have no such file.

    Fields that other programs write there are ignored. Raises WeightsError, naming the file, for one that is damaged
    or that defines no network.
    """
    beside = path.parent / CONFIG
    if path.name != WEIGHTS or not beside.is_file():
        return config
    known = {field.name for field in fields(MambaIRv2Config)}
    try:
        given = json.loads(beside.read_text(encoding="utf-8"))
        return replace(config, **{name: value for name, value in given.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{beside}: is no configuration of a MambaIRv2 network ({error}); remove it") from None


def to_text(config: MambaIRv2Config) -> str:
    """Return the text of the file for a configuration."""
    return json.dumps(config.to_dict(), indent=2) + "\n"
