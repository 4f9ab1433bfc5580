"""Images of Pillow in, images of Pillow out."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[np.generic]
_AS_THEY_ARE = ("L", "LA", "RGB", "RGBA", "F", "I;16")
"""Modes of Pillow whose arrays are restored without a conversion."""
_TURNED = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "PA": "RGBA", "YCbCr": "RGB", "HSV": "RGB"}
"""Modes that have no arrays that can be restored, and into which they are turned, without loss but for rounding."""
_CARRIED = ("icc_profile", "exif", "dpi", "xmp")
"""What Pillow keeps beside the pixels and still holds for the result."""


def is_pillow(image: object) -> bool:
    """Return whether an object is an image of Pillow; Pillow is not imported for that."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def restore_pillow(image: Image, restore: Callable[[Array | Path], Array]) -> Image:
    """Restore an image of Pillow; an animation's current frame.

    restore: an array or a file to an array. Returns an image of the same mode, but for those that cannot hold the
    result: `1` becomes `L`, palettes `RGB` or `RGBA`, colours that are declared transparent get alpha, and CMYK (by its
    profile), YCbCr and HSV become `RGB`. The colour profile is kept, that of CMYK excepted. Raises ValueError for LAB
    and for 32-bit integers.
    """
    from PIL import Image as pillow

    info = {name: image.info[name] for name in _CARRIED if name in image.info}
    if image.mode == "CMYK":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "image.tif")
            image.save(path, icc_profile=info.pop("icc_profile", None))
            restored = restore(path)
    else:
        restored = restore(np.asarray(_restorable(image)))
    result = pillow.fromarray(restored)
    result.info.update(info)
    return result


def _restorable(image: Image) -> Image:
    """Return an image of one of the modes that are restored as they are."""
    if image.mode == "P" or (image.mode in ("1", "L", "RGB") and "transparency" in image.info):
        alpha = "transparency" in image.info
        return image.convert(("RGBA" if alpha else "RGB") if image.mode in ("P", "RGB") else "LA")
    if image.mode in _TURNED:
        return image.convert(_TURNED[image.mode])
    if image.mode in ("I;16L", "I;16B"):
        return image.convert("I;16")
    if image.mode not in _AS_THEY_ARE:
        raise ValueError(f"an image of Pillow's mode {image.mode} is not restored; convert it to RGB or I;16 first")
    return image
