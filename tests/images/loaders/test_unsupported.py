"""Whole files of formats that are not read: named, never called damaged."""

import base64
import io
import struct

import pytest
from PIL import Image

from corpus.encoders import chunk, eight, jpeg, pillow, scene, tiff
from mambairv2.images.errors import ImageError
from mambairv2.images.pixels import read_image

HEIC = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA
AAAERAAAEAAQAAAAABoAABAAAAAAAAAIMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAA
AADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkA
AAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAA
AChjbGFwAAAAIAAAAAEAAAAYAAAAAf///+AAAAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAi2
1kYXQAAAB/KAGvCchs6EY99rk3QQK9gvzfIyBFpeQ51TBWn9p5wvev2p0CpXlH5biHsBE4SXNj3zk8q+mCQxxaFUmw6fsea2Cr+TKx7rMbCh7n
ESwmbO692hbpHA1tgGmRDnMdsPgJ3j7uHXr+VsnpPD3NdgsWhh2SueT5noDJ8S4z/chntw==
"""
RGB = eight(scene())
FRAME = jpeg(RGB)
AT = FRAME.index(b"\xff\xc0")
PNG = pillow(RGB, "PNG")


def as_tiff(compression):
    out = io.BytesIO()
    Image.fromarray(RGB).save(out, "TIFF", compression=compression)
    return out.getvalue()


FILES = {
    "HEIC": lambda: base64.b64decode(HEIC),
    "JPEG XL": lambda: b"\xff\x0a" + bytes(40),
    "JPEG 2000": lambda: pillow(RGB, "JPEG2000"),
    "12-bit JPEG": lambda: FRAME[: AT + 1] + b"\xc1" + FRAME[AT + 2 : AT + 4] + b"\x0c" + FRAME[AT + 5 :],
    "JPEG-LS": lambda: FRAME[: AT + 1] + b"\xf7" + FRAME[AT + 2 :],
    "lossless JPEG": lambda: FRAME[: AT + 1] + b"\xc3" + FRAME[AT + 2 :],
    "CgBI": lambda: PNG[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + PNG[8:],
    "TIFF with ZSTD compression": lambda: as_tiff("zstd"),
    "TIFF with LZMA compression": lambda: as_tiff("lzma"),
    "TIFF with LERC compression": lambda: tiff(RGB).replace(
        struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 34887, 0)
    ),
    "Photoshop": lambda: b"8BPS\0\1" + bytes(60),
    "PCX": lambda: pillow(RGB, "PCX"),
    "ICO": lambda: pillow(RGB, "ICO"),
    "OpenEXR": lambda: b"\x76\x2f\x31\x01" + bytes(60),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_format_that_is_not_read_is_named(tmp_path, kind):
    (tmp_path / "a.tif").write_bytes(FILES[kind]())
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a.tif")
    said = str(caught.value)
    assert kind in said
    assert "not supported; convert it to PNG" in said
    assert "damaged" not in said
    assert "\n" not in said
