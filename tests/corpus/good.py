"""Files that must be restored."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

from corpus.encoders import (
    HEIGHT,
    WIDTH,
    chunk,
    eight,
    exif,
    jpeg,
    pillow,
    png,
    profiles,
    scene,
    segment,
    sixteen,
    tiff,
    turned,
    vips,
    with_chunk,
)
from corpus.expected import Good


def _png_files() -> Iterator[tuple[Good, bytes]]:
    for channels, label in ((1, "grey"), (2, "grey_alpha"), (3, "rgb"), (4, "rgba")):
        values = scene(channels)
        yield Good(f"{label}_8.png", values), vips(eight(values)).pngsave_buffer()
        yield Good(f"{label}_16.png", values, "ushort"), vips(sixteen(values)).pngsave_buffer()
        if channels in (1, 3, 4):
            name = f"{label}_interlaced.png"
            yield Good(name, values, "ushort"), vips(sixteen(values)).pngsave_buffer(interlace=True)
    for bits in (1, 2, 4):
        levels = np.rint(scene(1) * (2**bits - 1)).astype(np.uint8)
        packed = np.unpackbits(levels, axis=2)[..., 8 - bits :].reshape(HEIGHT, -1)
        rows = np.packbits(packed, axis=1)
        yield Good(f"grey_{bits}bit.png", levels / (2**bits - 1), off=0.1), png(WIDTH, HEIGHT, bits, 0, rows)
    colours = eight(scene(3, 1, 4, seed=2))[0]
    index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 9 % 4
    flat = colours[index] / 255
    table = chunk(b"PLTE", colours.tobytes())
    rows = np.packbits(np.unpackbits(index.astype(np.uint8)[..., None], axis=2)[..., 6:].reshape(HEIGHT, -1), axis=1)
    yield Good("palette_2bit.png", flat, off=0.1), png(WIDTH, HEIGHT, 2, 3, rows, table)
    yield Good("palette_8bit.png", flat, off=0.1), png(WIDTH, HEIGHT, 8, 3, index.astype(np.uint8), table)
    opacity = np.array([255, 200, 120, 60], np.uint8)
    clear = np.concatenate([flat, opacity[index][..., None] / 255], 2)
    content = png(WIDTH, HEIGHT, 8, 3, index.astype(np.uint8), table, chunk(b"tRNS", opacity.tobytes()))
    yield Good("palette_clear.png", clear, off=0.12), content
    grey, rgb = eight(scene(1)), eight(scene(3))
    opaque = np.ones((HEIGHT, WIDTH, 1))
    key = chunk(b"tRNS", struct.pack(">H", 3))  # a grey that is not in the picture
    yield Good("grey_key.png", np.concatenate([grey / 255, opaque], 2)), png(WIDTH, HEIGHT, 8, 0, grey[..., 0], key)
    key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    content = png(WIDTH, HEIGHT, 8, 2, rgb.reshape(HEIGHT, -1), key)
    yield Good("rgb_key.png", np.concatenate([rgb / 255, opaque], 2)), content
    plain = png(WIDTH, HEIGHT, 8, 2, rgb.reshape(HEIGHT, -1))
    yield Good("gamma.png", scene()), with_chunk(plain, chunk(b"gAMA", struct.pack(">I", 45455)))
    yield Good("notes.png", scene()), with_chunk(plain, chunk(b"tEXt", b"Title\0A \xe9t\xe9"), chunk(b"tIME", bytes(7)))
    density = chunk(b"pHYs", struct.pack(">IIB", 4000, 4000, 1))
    yield Good("density.png", scene(), resolution=4.0), with_chunk(plain, density)
    named = chunk(b"tEXt", b"\xc9t\xe9\0in Latin-1, as the standard has it")
    yield Good("latin_note.png", scene(), resolution=4.0), with_chunk(plain, named, density)
    xmp = b"XML:com.adobe.xmp" + bytes(5) + b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    yield Good("xmp.png", scene()), with_chunk(plain, chunk(b"iTXt", xmp))
    stored = eight(turned(scene(), 6))
    sideways = png(HEIGHT, WIDTH, 8, 2, stored.reshape(WIDTH, -1))
    yield Good("exif_6.png", scene()), with_chunk(sideways, chunk(b"eXIf", exif(6)[6:]))
    frame = chunk(b"acTL", struct.pack(">II", 1, 0))
    yield Good("apng.png", scene()), with_chunk(plain, frame)
    unseen = scene(4)
    unseen[..., 3] = 0
    yield Good("all_clear.png", unseen), vips(eight(unseen)).pngsave_buffer()
    for height, width in ((1, 1), (1, 301), (301, 1), (7, 300), (2, 2), (17, 16)):
        values = scene(3, height, width)
        yield Good(f"size_{width}x{height}.png", values), vips(eight(values)).pngsave_buffer()


def _profile_files() -> Iterator[tuple[Good, bytes]]:
    icc = profiles()
    rgb, grey = eight(scene()), eight(scene(1))

    def tagged(values, profile):
        image = vips(values).copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        return image

    for label in ("srgb", "wide"):
        image = tagged(rgb, icc[label])
        yield Good(f"icc_{label}.png", scene(), profile=icc[label]), image.pngsave_buffer()
        yield Good(f"icc_{label}.jpg", scene(), off=0.02, profile=icc[label]), image.jpegsave_buffer(Q=95)
        yield Good(f"icc_{label}.tif", scene(), profile=icc[label]), image.tiffsave_buffer()
        yield Good(f"icc_{label}.webp", scene(), off=0.02, profile=icc[label]), image.webpsave_buffer(Q=95)
    yield Good("icc_grey.png", scene(1), profile=icc["grey"]), tagged(grey, icc["grey"]).pngsave_buffer()
    yield Good("icc_grey.tif", scene(1), profile=icc["grey"]), tagged(grey, icc["grey"]).tiffsave_buffer()
    # A profile that does not fit its pixels changes nothing and stops nothing.
    for label, profile in (("cmyk", icc["cmyk"]), ("grey", icc["grey"]), ("junk", b"no profile" * 20)):
        yield Good(f"icc_wrong_{label}.jpg", scene(), off=0.02), jpeg(rgb, icc_profile=profile)
        yield Good(f"icc_wrong_{label}.png", scene()), pillow(rgb, "PNG", icc_profile=profile)
        yield Good(f"icc_wrong_{label}.tif", scene()), pillow(rgb, "TIFF", icc_profile=profile)
    yield Good("icc_wrong_rgb.png", scene(1)), pillow(grey, "PNG", icc_profile=icc["srgb"])
    long = struct.pack(">I", len(icc["srgb"]) + 150_000) + icc["srgb"][4:] + bytes(150_000)  # over several segments
    yield Good("icc_long.jpg", scene(), off=0.02, profile=long), jpeg(rgb, icc_profile=long)


def _jpeg_files() -> Iterator[tuple[Good, bytes]]:
    rgb, grey = eight(scene()), eight(scene(1))
    lossy = {"off": 0.02}
    yield Good("rgb.jpg", scene(), **lossy), jpeg(rgb)
    yield Good("subsampled.jpeg", scene(), **lossy), jpeg(rgb, subsampling=2)
    yield Good("grey.jpg", scene(1), **lossy), jpeg(grey)
    progressive = jpeg(rgb, progressive=True)
    yield Good("progressive.jpg", scene(), **lossy), progressive
    yield Good("extraneous.jpg", scene(), **lossy), jpeg(rgb, bytes(3))  # of which libjpeg warns, as of the next
    yield Good("no_end.jpg", scene(), **lossy, note="end mark is missing"), jpeg(rgb)[:-2]
    yield Good("half_an_end.jpg", scene(), **lossy, note="end mark is missing"), jpeg(rgb)[:-1]
    yield Good("progressive_no_end.jpg", scene(), **lossy, note="end mark is missing"), progressive[:-2]
    yield Good("extraneous_end.jpg", scene(), **lossy), progressive[:-2] + bytes(4) + progressive[-2:]
    yield Good("restarts.jpg", scene(), **lossy), vips(rgb).jpegsave_buffer(Q=95, restart_interval=1)
    for k in range(1, 9):
        yield Good(f"exif_{k}.jpg", scene(), **lossy), jpeg(eight(turned(scene(), k)), segment(0xE1, exif(k)))
    yield Good("exif_motorola.jpg", scene(), **lossy), jpeg(eight(turned(scene(), 8)), segment(0xE1, exif(8, ">")))
    odd = {
        "zero": exif(0),
        "nine": exif(9),
        "cut": exif(6)[:14],
        "junk": b"Exif\0\0" + b"\xff" * 40,
        "none": b"Exif\0\0",
    }
    for label, block in odd.items():
        yield Good(f"exif_{label}.jpg", scene(), **lossy), jpeg(rgb, segment(0xE1, block))
    packet = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    yield Good("xmp.jpg", scene(), **lossy), jpeg(rgb, segment(0xE1, packet))
    yield Good("comment.jpg", scene(), **lossy), jpeg(rgb, segment(0xFE, b"\xff\xfe not text"))
    yield Good("trailing.jpg", scene(), **lossy), jpeg(rgb) + b"sixteen bytes.. " * 9
    yield Good("stored_rgb.jpg", scene(), **lossy), jpeg(rgb, keep_rgb=True)
    other = Image.fromarray(eight(scene(seed=3)))
    content = pillow(rgb, "MPO", save_all=True, append_images=[other], quality=95, subsampling=0)
    yield Good("two_pictures.jpg", scene(), **lossy), content
    colour = np.full((HEIGHT, WIDTH, 3), (0.8, 0.25, 0.2))
    cmyk = {"off": 0.06, "note": "CMYK converted to sRGB"}
    inverted = io.BytesIO()
    separated = vips(eight(colour)).icc_export(output_profile="cmyk")
    Image.fromarray(separated.numpy(), "CMYK").save(inverted, "JPEG", quality=95)
    content = vips(scene().astype(np.float32)).uhdrsave_buffer()
    yield Good("phone_hdr.jpg", scene(), off=0.3, note="HDR gain map left out"), content
    yield Good("cmyk_adobe.jpg", colour, **cmyk), inverted.getvalue()
    yield Good("cmyk_icc.jpg", colour, **cmyk), separated.jpegsave_buffer(Q=95)


def _tiff_files() -> Iterator[tuple[Good, bytes]]:
    rgb, deep, grey = eight(scene()), sixteen(scene()), eight(scene(1))
    for packing in ("none", "lzw", "packbits", "deflate"):
        yield Good(f"{packing}.tif", scene()), vips(rgb).tiffsave_buffer(compression=packing)
    yield Good("jpeg_inside.tif", scene(), off=0.02), vips(rgb).tiffsave_buffer(compression="jpeg", Q=95)
    yield Good("tiled.tiff", scene(), "ushort"), vips(deep).tiffsave_buffer(tile=True, tile_width=16, tile_height=16)
    yield Good("big.tif", scene(), "ushort"), vips(deep).tiffsave_buffer(bigtiff=True)
    yield (
        Good("predictor.tif", scene(), "ushort"),
        vips(deep).tiffsave_buffer(compression="lzw", predictor="horizontal"),
    )
    pyramid = vips(eight(scene(3, 70, 90))).tiffsave_buffer(
        tile=True, tile_width=32, tile_height=32, pyramid=True, subifd=True
    )
    yield Good("pyramid_inside.tif", scene(3, 70, 90)), pyramid
    for channels in (2, 4):
        yield Good(f"alpha_{channels}.tif", scene(channels), "ushort"), vips(sixteen(scene(channels))).tiffsave_buffer()
    yield Good("float.tif", scene(), "float"), vips(scene().astype(np.float32)).tiffsave_buffer()
    yield Good("float_grey.tif", scene(1), "float"), vips(scene(1).astype(np.float32)).tiffsave_buffer()
    yield Good("float_rgba.tif", scene(4), "float"), vips(scene(4).astype(np.float32)).tiffsave_buffer()
    yield Good("motorola.tif", scene(), "ushort"), tiff(deep, ">")
    yield Good("planes.tif", scene(), "ushort"), tiff(deep, planar=True)
    yield Good("white_is_zero.tif", scene(1)), tiff(255 - grey, photometric=0)
    yield Good("turned.tif", scene()), tiff(eight(turned(scene(), 5)), orientation=5)
    joined = scene(4)
    joined[..., :3] *= joined[..., 3:]
    yield Good("premultiplied.tif", scene(4), off=0.02), tiff(eight(joined), extra=1)
    bit = scene(1) > 0.5
    image = Image.fromarray(bit[..., 0])
    for packing in ("group4", "raw"):
        out = io.BytesIO()
        image.save(out, "TIFF", compression=packing)
        yield Good(f"bit_{packing}.tif", bit.astype(float), off=0.1), out.getvalue()
    table = io.BytesIO()
    Image.fromarray(rgb).quantize(64).save(table, "TIFF")
    yield Good("palette.tif", scene(), off=0.05), table.getvalue()
    colour = np.full((HEIGHT, WIDTH, 3), (0.8, 0.25, 0.2))
    separated = vips(eight(colour)).icc_export(output_profile="cmyk")
    yield Good("cmyk.tif", colour, off=0.06, note="CMYK converted to sRGB"), separated.tiffsave_buffer()
    bare = separated.copy()
    bare.remove("icc-profile-data")
    yield Good("cmyk_bare.tif", colour, off=0.06, note="CMYK converted to sRGB"), bare.tiffsave_buffer()
    lab = vips(eight(colour)).colourspace("lab").tiffsave_buffer()
    yield Good("lab.tif", colour, "ushort", off=0.02, note="lab converted to sRGB"), lab
    yield Good("density.tif", scene(), resolution=4.0), vips(rgb).copy(xres=4.0, yres=4.0).tiffsave_buffer()


def _other_files() -> Iterator[tuple[Good, bytes]]:
    rgb, rgba = eight(scene()), eight(scene(4))
    yield Good("lossy.webp", scene(), off=0.02), vips(rgb).webpsave_buffer(Q=95)
    yield Good("lossless.webp", scene(), off=0.02), vips(rgb).webpsave_buffer(lossless=True)
    yield Good("alpha.webp", scene(4), off=0.03), vips(rgba).webpsave_buffer(Q=95)
    sideways = vips(eight(turned(scene(), 6))).copy()
    sideways.set_type(pyvips.GValue.gint_type, "orientation", 6)
    yield Good("turned.webp", scene(), off=0.02), sideways.webpsave_buffer(Q=95)
    yield Good("still.gif", scene(), off=0.05, output=".png"), vips(rgb).gifsave_buffer()
    clear = scene(4)
    clear[:, 18:, 3] = 0
    clear[:, :18, 3] = 1
    yield Good("clear.gif", clear, off=0.1, output=".png"), vips(eight(clear)).gifsave_buffer()
    yield Good("picture.avif", scene(), off=0.03, output=".png"), vips(rgb).heifsave_buffer(compression="av1", Q=95)
    yield (
        Good("deep.avif", scene(), "ushort", 0.03, output=".png"),
        vips(sixteen(scene())).heifsave_buffer(compression="av1", Q=95, bitdepth=10),
    )


def _named_files() -> Iterator[tuple[Good, bytes]]:
    content, lossy = vips(eight(scene())).pngsave_buffer(), jpeg(eight(scene()))
    yield Good("really_jpeg.png", scene(), off=0.02), lossy
    yield Good("really_png.jpg", scene(), off=0.02), content
    yield Good("no_suffix", scene(), output=".png"), content
    yield Good("other.suffix", scene(), output=".png"), content
    yield Good("SHOUTING.JPG", scene(), off=0.02), lossy
    for name in (
        "with spaces (1).png",
        "brackets [page=3].png",
        "brackets[n=-1].jpg",
        "été 图 🌊.png",
        "-dash.png",
        "100% #?&;'\"$x.png",
        "a.b.c.png",
        "*star?.png",
        "~tilde.png",
        "l" * 240 + ".png",
    ):
        yield Good(name, scene(), off=0.02), content if name.endswith("png") else lossy


def _paged_files() -> Iterator[tuple[Good, bytes]]:
    pages = [scene(seed=k) for k in range(3)]
    tall = vips(eight(np.concatenate(pages))).copy()
    tall.set_type(pyvips.GValue.gint_type, "page-height", HEIGHT)
    together = np.concatenate(pages)
    yield Good("pages.tif", together, pages=3), tall.tiffsave_buffer()
    deep = vips(sixteen(np.concatenate([scene(4, seed=k) for k in range(2)]))).copy()
    deep.set_type(pyvips.GValue.gint_type, "page-height", HEIGHT)
    yield (
        Good("pages_deep.tif", np.concatenate([scene(4, seed=k) for k in range(2)]), "ushort", pages=2),
        deep.tiffsave_buffer(),
    )
    tall.set_type(pyvips.GValue.array_int_type, "delay", [40, 80, 120])
    tall.set_type(pyvips.GValue.gint_type, "loop", 2)
    yield Good("moving.webp", together, off=0.03, pages=3), tall.webpsave_buffer(Q=95)


def good(folder: Path) -> list[Good]:
    """Write the good files, each under its name; returns what is expected."""
    expected = []
    makers = (_png_files, _profile_files, _jpeg_files, _tiff_files, _other_files, _named_files, _paged_files)
    for maker in makers:
        for one, content in maker():
            (folder / one.name).write_bytes(content)
            expected.append(one)
    (folder / "linked.png").symlink_to(folder / "rgb_8.png")
    expected.append(Good("linked.png", scene()))
    names = [one.name for one in expected]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return expected
