"""Encoders: libvips and Pillow, and PNG, TIFF and EXIF by hand for what they do not write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pyvips
from PIL import Image, ImageCms

HEIGHT, WIDTH = 24, 36


def scene(channels=3, height=HEIGHT, width=WIDTH, seed=0):
    """A smooth picture unlike its mirror images and rotations, (h, w, C) float64 in 0 to 1."""
    y, x = (np.mgrid[:height, :width] + 0.5)[..., None]
    x, y = x / max(width, 8), y / max(height, 8)
    phase = np.arange(channels) * 0.9 + seed
    wave = 0.5 + 0.2 * np.sin(3 * x + phase) + 0.25 * (y - 0.5) * np.cos(phase) + 0.2 * (x * y - 0.3)
    if channels in (2, 4):
        wave[..., -1] = 0.35 + 0.6 * x[..., 0]
    return np.clip(wave, 0, 1)


def eight(values):
    return np.rint(values * 255).astype(np.uint8)


def sixteen(values):
    return np.rint(values * 65535).astype(np.uint16)


def vips(values):
    """A libvips image of uint8, uint16 or float samples."""
    channels = values.shape[2]
    grey = {"uint8": "b-w", "uint16": "grey16", "float32": "b-w", "float64": "b-w"}
    colour = {"uint8": "srgb", "uint16": "rgb16", "float32": "scrgb", "float64": "scrgb"}
    space = (grey if channels < 3 else colour)[values.dtype.name]
    return pyvips.Image.new_from_array(np.ascontiguousarray(values)).copy(interpretation=space)


def profiles():
    """sRGB, a wide one, a grey one and one for CMYK."""
    made = {"srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    made["wide"] = vips(eight(scene())).icc_export(output_profile="p3").get("icc-profile-data")
    made["cmyk"] = vips(eight(scene())).icc_export(output_profile="cmyk").get("icc-profile-data")
    made["grey"] = _grey_profile()
    return made


def _grey_profile():
    """A grey profile of gamma 2.2 with the five tags that one needs."""

    def text(words):
        data = words.encode() + b"\0"
        return b"desc" + bytes(4) + struct.pack(">I", len(data)) + data + bytes(78)

    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 563)
    tags = {b"desc": text("Grey 2.2"), b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": white, b"kTRC": curve}
    place, table, data = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = (
        bytes(4) + b"lcms" + struct.pack(">I", 0x02400000) + b"mntrGRAYXYZ " + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    )
    head += b"acspAPPL" + bytes(24) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    body = head + struct.pack(">I", len(tags)) + table + data
    return struct.pack(">I", len(body)) + body[4:]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width, height, depth, colour, rows, *chunks, claimed=None):
    """A PNG chunk by chunk; rows are packed bytes without their filter byte."""
    head = struct.pack(">IIBBBBB", *(claimed or (width, height)), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return SIGNATURE + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_chunk(content, *chunks):
    """A PNG with more chunks after its header."""
    return content[:33] + b"".join(chunks) + content[33:]


def tiff(values, order="<", *, photometric=None, planar=False, extra=None, kind=None, size=None, orientation=1):
    """An uncompressed TIFF of one strip (or one a plane), written by hand, for what encoders do not write."""
    height, width, channels = values.shape
    claimed = size or (width, height)
    planes = [values[..., k] for k in range(channels)] if planar else [values]
    data = b"".join(np.ascontiguousarray(p).astype(values.dtype.newbyteorder(order)).tobytes() for p in planes)
    bits = 8 * values.dtype.itemsize
    step = len(data) // len(planes)
    entries = [
        (256, 4, [claimed[0]]),
        (257, 4, [claimed[1]]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [(2 if channels > 2 else 1) if photometric is None else photometric]),
        (273, 4, [8 + k * step for k in range(len(planes))]),
        (274, 3, [orientation]),
        (277, 3, [channels]),
        (278, 4, [claimed[1]]),
        (279, 4, [step] * len(planes)),
        (284, 3, [2 if planar else 1]),
    ]
    if extra is not None:
        entries.append((338, 3, [extra]))
    if kind is not None:
        entries.append((339, 3, [kind] * channels))
    place = 8 + len(data) + len(data) % 2
    more_place = place + 2 + 12 * len(entries) + 4
    directory, more = struct.pack(order + "H", len(entries)), b""
    for tag, code, numbers in entries:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if code == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, more = struct.pack(order + "I", more_place + len(more)), more + packed
        directory += struct.pack(order + "HHI", tag, code, len(numbers)) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HI", 42, place)
    return head + data + bytes(len(data) % 2) + directory + bytes(4) + more


def exif(orientation=1, order="<"):
    """A minimal EXIF block with one tag."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def segment(marker, data):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(values, *segments, **options):
    """A JPEG by Pillow with segments put behind its start."""
    out = io.BytesIO()
    shaped = values[..., 0] if values.shape[2] == 1 else values
    Image.fromarray(shaped).save(out, "JPEG", quality=95, subsampling=options.pop("subsampling", 0), **options)
    content = out.getvalue()
    return content[:2] + b"".join(segments) + content[2:]


def turned(values, orientation):
    """What is stored for a picture that is upright once this EXIF orientation is applied."""
    flip, turn = {
        1: (False, 0),
        2: (True, 0),
        3: (False, 2),
        4: (True, 2),
        5: (True, 1),
        6: (False, 1),
        7: (True, 3),
        8: (False, 3),
    }[orientation]
    stored = np.rot90(values, turn)
    return np.ascontiguousarray(stored[:, ::-1] if flip and turn % 2 == 0 else stored[::-1] if flip else stored)


def pillow(values, format, **options):
    out = io.BytesIO()
    mode = options.pop("mode", None)
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    (image.convert(mode) if mode else image).save(out, format, **options)
    return out.getvalue()
