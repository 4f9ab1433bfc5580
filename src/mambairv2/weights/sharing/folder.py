"""A network as a folder: model.safetensors, config.json and README.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mambairv2.files.atomic import write_whole
from mambairv2.network.model import MambaIRv2
from mambairv2.weights.config_file import to_text
from mambairv2.weights.hub.address import CONFIG, WEIGHTS
from mambairv2.weights.hub.errors import explained
from mambairv2.weights.save import save_model
from mambairv2.weights.sharing.readme import README, readme


def save_folder(
    network: MambaIRv2,
    folder: Path,
    metadata: Mapping[str, str],
    *,
    repo: str | None = None,
    card: str | None = None,
    license: str | None = None,
) -> None:
    """Write a network into a folder, which is made; each file appears whole or not at all.

    A README.md that is there is kept, unless a card is given. Raises WeightsError without huggingface_hub, OSError.
    """
    with explained(str(folder)):
        text = readme(network, metadata.get("task"), repo, card, license)
    save_model(network, folder / WEIGHTS, metadata)
    write_whole(folder / CONFIG, to_text(network.config))
    if card or not (folder / README).exists():
        write_whole(folder / README, text)
