"""Image files out, by libvips: restored colour, the picture's alpha and metadata, whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyvips

from mambairv2.files.atomic import replacing
from mambairv2.images.arrays import DEPTHS, Depth, peak
from mambairv2.images.errors import ImageError, explain, reason, several
from mambairv2.images.picture import Picture

_SPACES = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16"), "float": ("b-w", "scrgb")}
_KEPT = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data", "photoshop-data", "resolution-unit", "delay", "loop")
_KEPT_PREFIXES = ("exif-ifd0", "exif-ifd2", "exif-ifd3", "exif-ifd4", "png-comment")
_CHANGED = ("-Orientation", "-PixelXDimension", "-PixelYDimension")
"""Metadata: what is carried over, but for what tells of the old size, thumbnail (ifd1) and rotation."""


@dataclass(frozen=True)
class SaveOptions:
    """How an output file is encoded. Raises ValueError for a value out of range."""

    quality: int = 95
    """JPEG and WebP, 1 to 100; 100 makes WebP lossless."""
    compression: int = 6
    """PNG, 0 (none) to 9 (smallest); TIFF uses deflate unless it is 0."""
    strip: bool = False
    """Leave metadata out. The colour profile stays: colours would be wrong without it."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is 1 to 100, got {self.quality}")
        if not 0 <= self.compression <= 9:
            raise ValueError(f"compression is 0 to 9, got {self.compression}")


@dataclass(frozen=True)
class Format:
    """What a kind of file can hold, and how it is written."""

    samples: tuple[str, ...]
    """libvips sample formats, the deepest last."""
    alpha: bool
    side: int
    """Longest side in pixels, of each page."""
    pages: bool
    """Whether one file holds several."""
    write: Callable[[pyvips.Image, str, SaveOptions, str], None]


def _write_png(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    image.pngsave(path, compression=options.compression, keep=keep)


def _write_jpeg(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    # Without optimised coding, which would hold the coefficients of the whole image in memory.
    image.jpegsave(path, Q=options.quality, keep=keep)


def _write_webp(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    image.webpsave(path, Q=options.quality, lossless=options.quality == 100, keep=keep)


def _write_tiff(image: pyvips.Image, path: str, options: SaveOptions, keep: str) -> None:
    raw = image.width * image.height * image.bands * DEPTHS[image.format].itemsize
    predictor = "float" if image.format == "float" else "horizontal"
    packing = {"compression": "deflate", "predictor": predictor} if options.compression else {}
    image.tiffsave(path, bigtiff=raw > 3 * 2**30, keep=keep, **packing)


_JPEG = Format(("uchar",), alpha=False, side=65535, pages=False, write=_write_jpeg)
_TIFF = Format(("uchar", "ushort", "float"), alpha=True, side=2**31 - 1, pages=True, write=_write_tiff)
FORMATS = {
    ".png": Format(("uchar", "ushort"), alpha=True, side=2**31 - 1, pages=False, write=_write_png),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format(("uchar",), alpha=True, side=16383, pages=True, write=_write_webp),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
"""The suffixes that can be written."""


def output_depth(target: Path, pictures: Sequence[Picture], scale: int) -> Depth:
    """Check that a file of this suffix can hold the restored pages, and give the dtype it will have.

    16 bits and floats stay when the format has them, and become its deepest kind otherwise.
    Raises ImageError for a suffix that is not written, for an image too large for the format and for several
    pages where it holds one.
    """
    picture = pictures[0]
    kind = FORMATS.get(target.suffix.lower())
    if kind is None:
        named = target.suffix or "a file without a suffix"
        raise ImageError(f"{target}: cannot write {named}; choose one of {' '.join(FORMATS)}")
    if len(pictures) > 1 and not kind.pages:
        raise several(picture.path, len(pictures), "keep all by --format tif or webp, or choose one")
    height, width = (side * scale for side in picture.size)
    if max(height, width) > kind.side:
        raise ImageError(f"{target}: {width}x{height} is too large for {target.suffix}; choose .tif or .png")
    return picture.depth if picture.color.format in kind.samples else DEPTHS[kind.samples[-1]]


def finish(
    color: pyvips.Image, pictures: Sequence[Picture], scale: int, target: Path
) -> tuple[pyvips.Image, tuple[str, ...]]:
    """Join restored colour with the pages' alpha, resampled, and with the metadata of the first.

    color: (pages·h·scale, w·scale), grey or RGB, of the dtype of `output_depth`. Where the format of
    `target` has no alpha the picture is put on white. Returns the image and notes for the user on what the
    format could not hold.
    """
    picture = pictures[0]
    notes = picture.notes
    if color.format != picture.color.format:
        notes += (f"{8 * DEPTHS[color.format].itemsize} bits in {target.suffix}",)
    grey, rgb = _SPACES[color.format]
    space = grey if color.bands == 1 else rgb
    image = color.copy(interpretation=space, xres=picture.color.xres, yres=picture.color.yres)
    alphas = [_enlarge(page.alpha, scale, color.format) for page in pictures if page.alpha is not None]
    if alphas:
        image = image.bandjoin(pyvips.Image.arrayjoin(alphas, across=1))
        if not FORMATS[target.suffix.lower()].alpha:
            image = image.flatten(background=255)
            notes += (f"no alpha in {target.suffix}: put on white",)
    image = image.copy()  # libvips shares images: metadata is set on a copy of one's own
    _copy_metadata(picture.color, image)
    if len(pictures) > 1:
        image.set_type(pyvips.GValue.gint_type, "page-height", picture.size[0] * scale)
    return image, notes


def _enlarge(alpha: pyvips.Image, scale: int, samples: str) -> pyvips.Image:
    """Alpha at the output's size and depth, by bicubic, clipped to its range."""
    factor = peak(DEPTHS[samples]) / peak(DEPTHS[alpha.format])
    large = alpha.cast("float").resize(scale, kernel="cubic") * factor
    if samples == "float":
        return (large < 0).ifthenelse(0, (large > 1).ifthenelse(1, large)).cast("float")
    return large.rint().cast(samples)


def _copy_metadata(origin: pyvips.Image, target: pyvips.Image) -> None:
    try:
        names = origin.get_fields()
    except UnicodeDecodeError:  # a comment's name in Latin-1: comments are left out
        names = [name for name in _KEPT if origin.get_typeof(name)]
    for name in names:
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES)) and not name.endswith(_CHANGED):
            target.set_type(origin.get_typeof(name), name, origin.get(name))
    target.set_type(pyvips.GValue.gint_type, "orientation", 1)  # or the one in exif-data comes back


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say which output the system's errors are about, and what to do: they become an ImageError."""
    try:
        yield
    except OSError as error:
        message = f"{target}: cannot be written: {explain(error)}"
        raise ImageError(f"{message}, or choose another folder with -o") from error


def save(image: pyvips.Image, target: Path, options: SaveOptions | None = None) -> tuple[str, ...]:
    """Write an image in the format of the suffix, whole or not at all.

    The file appears under its name once it is complete and on the disk; what was there before is replaced.
    Returns notes for the user. Raises ImageError naming the file when it cannot be written.
    """
    options = options or SaveOptions()
    kind, keep = FORMATS[target.suffix.lower()], "icc" if options.strip else "all"
    try:
        image, notes = _without_bad_profile(image, target, keep)
        with writing(target), replacing(target) as temporary:
            kind.write(image, str(temporary), options, keep)
    except pyvips.Error as error:
        with writing(target):
            _probe(target.parent)
        message = f"{target}: cannot be written: {reason(error)}"
        raise ImageError(f"{message}; choose another format or folder with -o") from error
    return notes


def _without_bad_profile(image: pyvips.Image, target: Path, keep: str) -> tuple[pyvips.Image, tuple[str, ...]]:
    """The image without its colour profile where the format does not take it, as PNG a damaged one."""
    if not image.get_typeof("icc-profile-data"):
        return image, ()
    dot = pyvips.Image.black(1, 1, bands=image.bands).cast(image.format).copy(interpretation=image.interpretation)
    dot.set_type(pyvips.GValue.blob_type, "icc-profile-data", image.get("icc-profile-data"))
    try:
        with tempfile.TemporaryDirectory() as folder:
            name = str(Path(folder, f"dot{target.suffix.lower()}"))
            FORMATS[target.suffix.lower()].write(dot, name, SaveOptions(), keep)
    except pyvips.Error:
        image = image.copy()
        image.remove("icc-profile-data")
        return image, ("colour profile damaged: left out",)
    return image, ()


def _probe(folder: Path) -> None:
    """Raise what the system says of a new file in a folder, which libvips does not tell."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**20))
