"""BMP and PPM files against Pillow, and what is said of those that are not read."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from corpus.encoders import eight, scene, sixteen
from mambairv2.images.errors import ImageError
from mambairv2.images.reading import open_picture


def read(path, dtype=np.uint8):
    opened = open_picture(path)
    height, width = opened.size
    values = opened.region(slice(0, height), slice(0, width)).transpose(1, 2, 0)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def pillow_bmp(mode):
    image = Image.fromarray(eight(scene(3, 13, 21)))
    out = io.BytesIO()
    (image.quantize(200) if mode == "P" else image.convert(mode)).save(out, "BMP", dpi=(300, 300))
    return out.getvalue()


def top_down(content):
    """The rows of a BMP from the top, as a negative height says."""
    start, height, width = (struct.unpack_from("<i", content, at)[0] for at in (10, 22, 18))
    stride = (len(content) - start) // height
    rows = [content[start + k * stride : start + (k + 1) * stride] for k in range(height)]
    assert width > 0
    return content[:22] + struct.pack("<i", -height) + content[26:start] + b"".join(rows[::-1])


def old_header(content):
    """A BMP of 24 bits with the header of OS/2."""
    width, height = struct.unpack_from("<ii", content, 18)
    head = struct.pack("<IHHHH", 12, width, height, 1, 24)
    return b"BM" + bytes(8) + struct.pack("<I", 26) + head + content[54:]


BMP = {mode: pillow_bmp(mode) for mode in ("1", "L", "P", "RGB")}
BMP |= {"top down": top_down(BMP["RGB"]), "OS/2": old_header(BMP["RGB"])}


@pytest.mark.parametrize("kind", BMP)
def test_bmp_is_read_as_pillow_does(tmp_path, kind):
    (tmp_path / "a.bmp").write_bytes(BMP[kind])
    expected = Image.open(io.BytesIO(BMP[kind]))
    expected = expected.convert("RGB" if expected.mode in ("P", "RGB") else "L")
    assert np.array_equal(read(tmp_path / "a.bmp"), np.asarray(expected).reshape(13, 21, -1))
    if kind == "RGB":
        assert round(open_picture(tmp_path / "a.bmp").metadata.density.x * 0.0254) == 300


def test_bmp_of_4_bits_and_of_32_bits_with_alpha(tmp_path):
    table = bytes(range(64))
    rows = b"".join(bytes([0x01 + row, 0x2F, 0, 0]) for row in range(3))
    head = struct.pack("<IiiHHIIiiII", 40, 3, 3, 1, 4, 0, 0, 0, 0, 16, 0)
    (tmp_path / "four.bmp").write_bytes(b"BM" + bytes(8) + struct.pack("<I", 54 + 64) + head + table + rows)
    entry = 4 * np.array([[0, 3, 2], [0, 2, 2], [0, 1, 2]])[..., None] + np.array([2, 1, 0])
    assert np.array_equal(read(tmp_path / "four.bmp"), entry)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 0, 0, 0, 0, 0) + masks + bytes(52)
    (tmp_path / "deep.bmp").write_bytes(b"BM" + bytes(8) + struct.pack("<I", 122) + head + bytes([1, 2, 3, 200]))
    assert read(tmp_path / "deep.bmp").ravel().tolist() == [3, 2, 1]
    assert open_picture(tmp_path / "deep.bmp").alpha.numpy().ravel().tolist() == [200]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("channels", "most"), [(1, 255), (3, 255), (3, 65535), (1, 100), (3, 4095)])
def test_ppm_and_pgm_of_any_largest_value(tmp_path, channels, most, plain):
    values = np.rint(scene(channels, 5, 7) * most).astype(np.uint16)
    kind = {1: 2, 3: 3}[channels] + (0 if plain else 3)
    head = f"P{kind}\n# a comment\n7 5\n{most}\n".encode()
    body = " ".join(map(str, values.ravel())).encode()
    body = body if plain else values.astype(">u2" if most > 255 else np.uint8).tobytes()
    (tmp_path / "a.ppm").write_bytes(head + body)
    dtype = np.uint16 if most > 255 else np.uint8
    assert np.abs(read(tmp_path / "a.ppm", dtype) - values * (np.iinfo(dtype).max / most)).max() < 0.501


def test_pbm_in_bits_and_in_digits(tmp_path):
    black = np.random.default_rng(0).integers(0, 2, (5, 11))
    (tmp_path / "bits.pbm").write_bytes(b"P4 11 5\n" + np.packbits(black.astype(np.uint8), axis=1).tobytes())
    (tmp_path / "digits.pbm").write_bytes(b"P1\n11 5\n" + "".join(map(str, black.ravel())).encode())
    for name in ("bits.pbm", "digits.pbm"):
        assert np.array_equal(read(tmp_path / name)[..., 0], 255 * (1 - black))


@pytest.mark.parametrize(
    "content",
    [
        BMP["RGB"][:100],
        BMP["RGB"][:20],
        b"P6 9 9 255\n123",
        b"P6 0 9 255\n",
        b"P5 9\n",
        b"P2 2 2 255 1 2 3",
        b"P5 1 1 0 ",
    ],
)
def test_cut_short(tmp_path, content):
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.bmp: is damaged or cut short"):
        open_picture(tmp_path / "a.bmp")


def test_unusual_kinds_are_named(tmp_path):
    packed = bytearray(BMP["L"])
    packed[30] = 1  # run lengths
    (tmp_path / "a.bmp").write_bytes(packed)
    with pytest.raises(ImageError, match="is a BMP of 16 bits or run lengths file, which is not supported"):
        open_picture(tmp_path / "a.bmp")


def test_sixteen_bits_stay(tmp_path):
    values = sixteen(scene(3, 4, 4))
    (tmp_path / "a.ppm").write_bytes(b"P6 4 4 65535\n" + values.astype(">u2").tobytes())
    assert open_picture(tmp_path / "a.ppm").depth == np.uint16
    assert np.array_equal(read(tmp_path / "a.ppm", np.uint16), values)
