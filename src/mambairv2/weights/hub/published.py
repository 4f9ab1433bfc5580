"""Short names for the weights that the authors of the paper published; nothing is fetched unless one is given.

The places are taken from documents of other projects. They were not tried here.
"""

from __future__ import annotations

from mambairv2.weights.errors import WeightsError
from mambairv2.weights.hub.address import Address

PUBLISHED = "published:"
_REPO, _FOLDER = "cguoh/MambaIR", "MambaIRv2_ckpt"
_RELEASE = "https://github.com/csguoh/MambaIR/releases/download/v1.0"
FILES = {
    **{f"light-x{scale}": f"mambairv2_lightSR_x{scale}.pth" for scale in (2, 3, 4)},
    **{f"small-x{scale}": f"mambairv2_classicSR_Small_x{scale}.pth" for scale in (2, 4)},
    **{f"base-x{scale}": f"mambairv2_classicSR_Base_x{scale}.pth" for scale in (2, 4)},
    **{f"large-x{scale}": f"mambairv2_classicSR_Large_x{scale}.pth" for scale in (2, 4)},
    "denoise-15": "mambairv2_ColorDN_15.pth",
}
"""Names of files, by variant and scale; only those that other documents name (docs/hub.md)."""


def published(name: str) -> Address | None:
    """Return where `published:light-x2` lies on the Hub; None for a name of another form.

    Raises WeightsError for one that is not known.
    """
    if not name.startswith(PUBLISHED):
        return None
    short = name.removeprefix(PUBLISHED)
    if short not in FILES:
        raise WeightsError(f"{name}: is not among the published weights that are known: {', '.join(FILES)}")
    return Address(_REPO, f"{_FOLDER}/{FILES[short]}")


def by_hand(address: Address) -> str:
    """Return how published weights are fetched without the Hub, for the end of an error; empty for other addresses."""
    file = address.file.removeprefix(f"{_FOLDER}/")
    if address.repo != _REPO or file not in FILES.values():
        return ""
    return f"; or download {_RELEASE}/{file} and give that file"
