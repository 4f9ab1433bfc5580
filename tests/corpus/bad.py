"""Files that must be refused, and other things that are no image."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

from corpus.encoders import HEIGHT, WIDTH, eight, jpeg, png, scene, sixteen, tiff, vips
from corpus.expected import Bad


def _cut_files() -> Iterator[tuple[Bad, bytes]]:
    """Good files cut at several places, from within their first bytes to just before the end."""
    rgb = eight(np.clip(scene() + np.random.default_rng(0).normal(0, 0.1, (HEIGHT, WIDTH, 3)), 0, 1))
    image = vips(rgb)
    whole = {
        "png": image.pngsave_buffer(),
        "jpg": jpeg(rgb),
        "webp": image.webpsave_buffer(lossless=True),
        "tif": image.tiffsave_buffer(),
        "gif": image.gifsave_buffer(),
        "avif": image.heifsave_buffer(compression="av1"),
    }
    for suffix, content in whole.items():
        for share in (0.01, 0.1, 0.5, 0.9):
            length = max(20, int(len(content) * share))
            yield Bad(f"cut_{length}.{suffix}", "", "fetch or export it again"), content[:length]
    interlaced = vips(sixteen(scene())).pngsave_buffer(interlace=True)
    yield (
        Bad("cut_interlaced.png", "damaged or cut short", "fetch or export it again"),
        interlaced[: len(interlaced) // 2],
    )
    progressive = jpeg(rgb, progressive=True)
    yield (
        Bad("cut_progressive.jpg", "damaged or cut short", "fetch or export it again"),
        progressive[: len(progressive) // 2],
    )
    tiled = vips(rgb).tiffsave_buffer(tile=True, tile_width=16, tile_height=16, compression="deflate")
    baseline = jpeg(rgb)
    yield Bad("cut_end.jpg", "premature end", "fetch or export it again"), baseline[:-12]
    yield Bad("cut_warned.jpg", "premature end", "again"), baseline[:2] + bytes(3) + baseline[2 : len(baseline) // 2]
    yield Bad("cut_tiled.tif", "", "fetch or export it again"), tiled[: len(tiled) // 2]


def _foreign_files() -> Iterator[tuple[Bad, bytes]]:
    """Files of another kind under an image's name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("photo.png", b"not here")
    foreign = {
        "text.jpg": b"Dear diary, today I renamed a text file.",
        "zipped.png": archive.getvalue(),
        "page.png": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "numbers.tif": b"1,2,3\n4,5,6\n",
        "program.jpg": b"\x7fELF" + bytes(60),
        "document.png": b"%PDF-1.7\n",
        "random.webp": np.random.default_rng(1).bytes(500),
        "noughts.png": bytes(1000),
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }
    for name, content in foreign.items():
        yield Bad(name, "is not an image", "check where it came from"), content
    yield Bad("empty.png", "is empty (0 bytes)", "fetch it again"), b""
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    yield Bad("drawing.svg", "is a vector drawing", "export it at the size you want"), drawing


def _bombs() -> Iterator[tuple[Bad, bytes]]:
    """A few bytes that claim to be huge."""
    says, remedy = "over the limit of 537 megapixels", "raise --max-pixels"
    bit = png(1, 1, 1, 0, [b"\0"], claimed=(100_000, 100_000))
    yield Bad("bomb.png", says, remedy), bit
    deep = png(1, 1, 16, 6, [bytes(8)], claimed=(100_000, 100_000))
    yield Bad("bomb_16.png", says, remedy), deep
    yield Bad("bomb.tif", says, remedy), tiff(np.zeros((1, 1, 3), np.uint8), size=(100_000, 100_000))
    large = vips(np.zeros((8, 8, 3), np.uint8)).jpegsave_buffer()
    at = large.index(b"\xff\xc0") + 5
    yield Bad("bomb.jpg", says, remedy), large[:at] + struct.pack(">HH", 65500, 65500) + large[at + 4 :]
    yield (
        Bad("small_limit.png", "24x24 is over the limit of 0.0005 megapixels", remedy, ("--max-pixels", "500")),
        vips(np.zeros((24, 24, 3), np.uint8)).pngsave_buffer(),
    )


def _broken_files() -> Iterator[tuple[Bad, bytes]]:
    """Whole files with something wrong inside."""
    rgb = eight(scene())
    plain = png(WIDTH, HEIGHT, 8, 2, rgb.reshape(HEIGHT, -1))
    again = "fetch or export it again"
    yield Bad("no_width.png", "", again), png(WIDTH, HEIGHT, 8, 2, rgb.reshape(HEIGHT, -1), claimed=(0, HEIGHT))
    yield Bad("odd_depth.png", "", again), png(WIDTH, HEIGHT, 7, 2, rgb.reshape(HEIGHT, -1))
    yield Bad("no_palette.png", "", again), png(WIDTH, HEIGHT, 8, 3, rgb[..., 0])
    yield Bad("checksum.png", "", again), plain[:29] + b"abcd" + plain[33:]
    data = plain.index(b"IDAT")
    yield Bad("flipped.png", "", again), plain[: data + 40] + bytes(9) + plain[data + 49 :]
    yield Bad("few_rows.png", "", again), png(WIDTH, HEIGHT, 8, 2, rgb[:5].reshape(5, -1), claimed=(WIDTH, HEIGHT))
    photo = jpeg(rgb)
    at = photo.index(b"\xff\xc0") + 5
    yield Bad("no_height.jpg", "", again), photo[:at] + bytes(2) + photo[at + 2 :]
    untold = photo.replace(b"\xff\xdb", b"\xff\xfe")
    yield Bad("no_tables.jpg", "", again), untold
    yield Bad("no_tables_warned.jpg", "Quantization table", again), untold[:2] + bytes(3) + untold[2:]
    whole = tiff(rgb)
    yield Bad("far_directory.tif", "", again), whole[:4] + struct.pack("<I", 2**31) + whole[8:]
    yield (
        Bad("far_strip.tif", "", again),
        whole.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, 2**30)),
    )
    loop = whole.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 330, 4, 1, 8))
    yield Bad("no_strips.tif", "", again), loop
    webp = vips(rgb).webpsave_buffer(lossless=True)
    yield Bad("scrambled.webp", "", again), webp[:30] + bytes(len(webp) - 30)
    for label, value in (("nan", np.nan), ("infinity", np.inf), ("high", 7.5), ("low", -0.2)):
        values = scene().astype(np.float32)
        values[3, 4] = value
        yield Bad(f"{label}.tif", "floats must lie in 0 to 1", "rescale the image first"), tiff(values, kind=3)
    values = np.full((HEIGHT, WIDTH, 3), np.nan, np.float32)
    yield Bad("only_nan.tif", "NaN or infinity", "rescale the image first"), tiff(values, kind=3)
    seen = scene(4).astype(np.float32)
    seen[2, 2, 3] = np.nan
    yield Bad("nan_alpha.tif", "floats must lie in 0 to 1", "rescale the image first"), tiff(seen, kind=3, extra=2)
    yield Bad("double.tif", "has samples that are not read", "convert it to 8 or 16 bits"), tiff(scene(), kind=3)
    yield Bad("int.tif", "has samples of type uint", "convert it to 8 or 16 bits"), tiff(rgb.astype(np.uint32))
    yield Bad("signed.tif", "has samples of type char", "convert it to 8 or 16 bits"), tiff(rgb.astype(np.int8), kind=2)
    bands = vips(eight(scene(1))).bandjoin([1, 2, 3, 4, 5, 6]).copy(interpretation="multiband")
    yield Bad("bands.tif", "has 6 bands of colour", "can be restored"), bands.tiffsave_buffer()


def _unpaged_files() -> Iterator[tuple[Bad, bytes]]:
    """Several pages where they cannot be kept."""
    tall = vips(eight(np.concatenate([scene(), scene(seed=1)]))).copy()
    tall.set_type(pyvips.GValue.gint_type, "page-height", HEIGHT)
    yield Bad("moving.gif", "holds 2 pages or frames", "--page 0 to --page 1"), tall.gifsave_buffer()
    yield Bad("page_3.tif", "has no page 3", "--page 0 to --page 1", ("--page", "3")), tall.tiffsave_buffer()
    out = io.BytesIO()
    sizes = [Image.fromarray(eight(scene(3, side, side))) for side in (16, 24)]
    sizes[0].save(out, "TIFF", save_all=True, append_images=sizes[1:])
    yield Bad("unequal.tif", "differ", "--page 0 to --page 1"), out.getvalue()


def bad(folder: Path) -> list[Bad]:
    """Write the bad files and other things that are no image; returns what is expected."""
    expected = []
    makers = (_cut_files, _foreign_files, _bombs, _broken_files, _unpaged_files)
    for maker in makers:
        for one, content in maker():
            (folder / one.name).write_bytes(content)
            expected.append(one)
    expected += [
        Bad("nowhere.png", "no such file", "check the name"),
        Bad("dangling.png", "no such file", "check"),
        Bad("loop.png", "too many levels of symbolic links", "check"),
        Bad("pipe.png", "is not a regular file", "copy it to a file"),
        Bad("device.png", "is not a regular file", "copy it to a file"),
        Bad("locked.png", "permission denied", "permissions", privileged=True),
    ]
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "device.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    (folder / "locked.png").write_bytes(vips(eight(scene())).pngsave_buffer())
    (folder / "locked.png").chmod(0)
    return expected
