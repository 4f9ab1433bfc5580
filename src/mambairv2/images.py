"""Image files in, by libvips: depth, grey, alpha, colour profile, orientation and metadata are kept.

A file is opened as a `Picture`: its colour (1 or 3 bands) and its alpha, apart, at the file's own depth,
upright. Pixels are decoded when a region is asked for. `mambairv2.encoding` is the way out.
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

Samples = npt.NDArray[np.generic]
Depth = np.dtype[np.generic]

MAX_PIXELS = 2**29
"""Larger images are refused unless asked for: a few kilobytes can claim to be 65535×65535."""

DECODED = 100 * 2**20
"""Bytes up to which libvips keeps a decoded file in memory; a larger one goes to a temporary file."""

READABLE = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".heic",
    ".heif",
    ".avif",
)
"""Suffixes taken from folders. A file that is named is opened whatever its suffix: the content decides."""

DEPTHS: dict[str, Depth] = {
    "uchar": np.dtype(np.uint8),
    "ushort": np.dtype(np.uint16),
    "float": np.dtype(np.float32),
}
"""libvips' names of the samples that are handled."""
_PAGED = ("tiff", "webp", "gif", "heif")
"""Formats whose files may hold several pages or frames, by the names of libvips' loaders."""
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PEAKS = {DEPTHS["uchar"]: 255, DEPTHS["ushort"]: 65535, DEPTHS["float"]: 1}


class ImageError(ValueError):
    """A file that cannot be read or written; the message is one line that names it and says what to do."""


@dataclass(frozen=True)
class Picture:
    """An opened image file, upright, its colour and its alpha apart."""

    path: Path
    color: pyvips.Image
    """1 (grey) or 3 (RGB) bands; uchar, ushort or float."""
    alpha: pyvips.Image | None
    """1 band of the same size and samples."""
    notes: tuple[str, ...] = ()
    """What had to change for the image to be opened, for the user to read."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.color.height, self.color.width

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB; alpha does not count."""
        return int(self.color.bands)

    @property
    def depth(self) -> Depth:
        """uint8, uint16 or float32."""
        return DEPTHS[self.color.format]

    def region(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Decode a rectangle of the colour.

        Returns (C, h, w) float32 in [0, 1]. Raises ImageError when the file is damaged there, or holds floats
        outside [0, 1], in its alpha too.
        """
        try:
            pixels = _fetch(self.color, rows, columns)
            if self.alpha is not None and self.depth.kind == "f":
                self._check(_fetch(self.alpha, rows, columns).astype(np.float32, copy=False))
        except pyvips.Error as error:
            raise _damaged(self.path, error) from error
        values: npt.NDArray[np.float32] = pixels.transpose(2, 0, 1).astype(np.float32)
        values /= peak(self.depth)
        self._check(values)
        return values

    def _check(self, values: npt.NDArray[np.float32]) -> None:
        if not (values.min() >= 0 and values.max() <= 1):
            found = f"{values.min():g} to {values.max():g}" if np.isfinite(values).all() else "NaN or infinity"
            raise ImageError(f"{self.path}: floats must lie in 0 to 1, found {found}; rescale the image first")


def _fetch(image: pyvips.Image, rows: slice, columns: slice) -> Samples:
    """The pixels of a rectangle, (h, w, bands).

    By a region, since libvips keeps the operations it has done, with what they hold: a hundred crops for a while.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    content = pyvips.Region.new(image).fetch(columns.start, rows.start, width, height)
    return np.frombuffer(content, DEPTHS[image.format]).reshape(height, width, image.bands)


def peak(depth: Depth) -> int:
    """The value of white: 255, 65535, or 1 for floats. Raises ValueError for another dtype."""
    if depth not in _PEAKS:
        raise ValueError(f"samples are uint8, uint16 or float32, got {depth}")
    return _PEAKS[depth]


def quantise(values: npt.NDArray[np.float32], depth: Depth) -> Samples:
    """Clip values, any shape, to [0, 1] and scale them to uint8 or uint16, rounded to nearest, or float32."""
    scaled = np.clip(values, 0, 1)
    scaled *= np.float32(peak(depth))  # in place: rows of a wide image are many megabytes
    return (scaled if depth.kind == "f" else np.rint(scaled, out=scaled)).astype(depth, copy=False)


def open_picture(path: str | Path, *, page: int | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open an image file of any format libvips knows, by its content.

    The EXIF orientation is applied. CMYK and Lab become sRGB through their profile; grey, RGB and their
    profile stay as they are. Floats are taken as stored, display-referred, 0 black and 1 white. page: which
    page of a file that holds several, from 0. max_pixels: width × height above which the file is refused.

    Raises ImageError, one line naming the file, for anything that is not one whole image. Damage inside the
    compressed pixels shows when a region is decoded.
    """
    pictures = open_pages(path, page=page, max_pixels=max_pixels)
    if len(pictures) > 1:
        raise several(Path(path), len(pictures))
    return pictures[0]


def open_pages(path: str | Path, *, page: int | None = None, max_pixels: int = MAX_PIXELS) -> tuple[Picture, ...]:
    """Open every page of a TIFF or frame of an animation, or the one that `page` chooses, as `open_picture`.

    Returns pictures of one size, kind and profile; most files hold one. max_pixels counts all of them.
    """
    path = Path(path)
    try:
        image = _load(path)
        count = _pages(image)
        if page is not None and page >= count:
            raise ImageError(f"{path}: has no page {page}; choose one, --page 0 to --page {count - 1}")
        if count > 1:
            image = _load(path, n=-1) if page is None else _load(path, page=page)
        count = count if page is None else 1
        if image.width * image.height > max_pixels:
            size = f"{count} pages of " * (count > 1) + f"{image.width}x{image.height // count}"
            raise ImageError(
                f"{path}: {size} is over the limit of {max_pixels / 1e6:.3g} megapixels; "
                "if you trust the file, raise --max-pixels (in Python max_pixels=)"
            )
        tall = image.height // count
        parts = [image.crop(0, k * tall, image.width, tall) for k in range(count)] if count > 1 else [image]
        return tuple(_split(path, part.autorot()) for part in parts)
    except OSError as error:
        raise ImageError(f"{path}: {explain(error)}") from error
    except pyvips.Error as error:
        raise _damaged(path, error) from error


def several(path: Path, count: int, wanted: str = "choose one") -> ImageError:
    """The error for a file of several pages where one is wanted."""
    return ImageError(f"{path}: holds {count} pages or frames; {wanted}, --page 0 to --page {count - 1}")


def from_array(samples: Samples) -> Picture:
    """Take an array for a picture: (h, w) or (h, w, C), uint8, uint16 or float32, C 1 to 4, alpha last if
    even.

    Raises ValueError for other shapes and dtypes.
    """
    peak(samples.dtype)
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if samples.ndim not in (2, 3) or samples.size == 0 or channels > 4:
        raise ValueError(f"an image is (h, w) or (h, w, C) with C 1 to 4, got {samples.shape}")
    image = pyvips.Image.new_from_array(np.ascontiguousarray(samples))
    return _split(Path("array"), image.copy(interpretation="b-w" if channels < 3 else "srgb"))


def _load(path: Path, **options: int) -> pyvips.Image:
    """The image as libvips opens it: the header is read and checked, pixels are not."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{path}: is a folder, not an image; name the files in it")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path}: is not a regular file but a pipe or a device; copy it to a file first")
    if found.st_size == 0:
        raise ImageError(f"{path}: is empty (0 bytes); fetch it again")
    with open(path, "rb") as file:
        mark = file.read(4)
    try:
        # Not by name: libvips caches names though files change, and takes brackets in them for options.
        source = pyvips.Source.new_from_file(str(path))
        image = pyvips.Image.new_from_source(source, "", fail_on="error", **options)
    except pyvips.Error as error:
        if "not in a known format" in str(error) and mark not in _TIFF_MARKS:  # their directory may be last
            message = "is not an image, or too damaged to tell; check where it came from"
            raise ImageError(f"{path}: {message}") from error
        if "samples out of range" in str(error):
            raise ImageError(
                f"{path}: has samples that are not read, such as 64 bits; convert it to 8 or 16 bits, or float"
            ) from error
        if "differs from page" in str(error):
            count = _pages(_load(path))
            raise several(path, count, "their sizes or kinds differ, so choose one") from error
        raise
    if image.get("vips-loader").startswith("svg"):
        raise ImageError(f"{path}: is a vector drawing, which needs no restoring; export it at the size you want")
    return image


def _pages(image: pyvips.Image) -> int:
    """How many pages or frames there are in the file of an image."""
    paged = image.get("vips-loader").startswith(_PAGED) and image.get_typeof("n-pages")
    return int(image.get("n-pages")) if paged else 1


def explain(error: OSError) -> str:
    """What the system says of a file, and what to do."""
    remedies = {
        errno.ENOENT: "check the name",
        errno.ELOOP: "check where the link leads",
        errno.EACCES: "check its permissions",
        errno.EPERM: "check its permissions",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.EROFS: "it cannot be changed there",
        errno.ENOTDIR: "check the name",
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EFBIG: "raise the limit on the size of files",
    }
    remedy = remedies.get(error.errno or 0, "check the disk")
    return f"{(error.strerror or str(error)).lower()}; {remedy}"


def _split(path: Path, image: pyvips.Image) -> Picture:
    """Colour and alpha of an upright image, colour as grey or RGB."""
    alpha: pyvips.Image | None = None
    notes: tuple[str, ...] = ()
    if image.get_typeof("gainmap-data"):
        notes = ("HDR gain map left out",)
    if image.hasalpha():
        alpha, image = image[image.bands - 1], image.extract_band(0, n=image.bands - 1)
    if image.interpretation == "cmyk":
        image, notes = _from_cmyk(image), (*notes, "CMYK converted to sRGB")
    elif image.interpretation in ("lab", "labs", "labq", "xyz", "lch", "yxy", "hsv"):
        notes = (*notes, f"{image.interpretation} converted to sRGB")
        image = image.colourspace("srgb" if image.format == "uchar" else "rgb16")
    if image.format == "double":
        image = image.cast("float")
    if image.format not in DEPTHS:
        raise ImageError(f"{path}: has samples of type {image.format}; convert it to 8 or 16 bits, or float")
    if image.bands not in (1, 3):
        raise ImageError(f"{path}: has {image.bands} bands of colour; only grey (1) and RGB (3) can be restored")
    if alpha is not None:
        alpha = alpha.cast(image.format)
        image = _bleed(image, alpha)
    return Picture(path, image, alpha, notes)


def _from_cmyk(image: pyvips.Image) -> pyvips.Image:
    """CMYK as sRGB, by its own profile, or by a common one where it has none or a damaged one."""
    deep = image.format == "ushort"
    options = {"intent": "relative", "depth": 16 if deep else 8, "input_profile": "cmyk"}
    try:
        image = image.icc_transform("srgb", embedded=True, **options)
    except pyvips.Error:
        image = image.icc_transform("srgb", embedded=False, **options)
    return image.copy(interpretation="rgb16" if deep else "srgb")


def _bleed(color: pyvips.Image, alpha: pyvips.Image) -> pyvips.Image:
    """Carry colour from what is seen into what is transparent beside it, so that edges get no dark fringe."""
    seen = alpha.cast("float")
    weight = seen.gaussblur(4, min_ampl=0.01, precision="float")
    nearby = (color * seen).gaussblur(4, min_ampl=0.01, precision="float") / weight  # libvips has x / 0 = 0
    nearby = nearby if color.format == "float" else nearby.rint()
    hidden = (alpha == 0) & (weight > 0)
    return hidden.ifthenelse(nearby.cast(color.format), color).copy(interpretation=color.interpretation)


def _damaged(path: Path, error: pyvips.Error) -> ImageError:
    said = reason(error)
    said = "" if said.startswith("unable to ") else f" ({said})"
    return ImageError(f"{path}: is damaged or cut short{said}; fetch or export it again")


def reason(error: pyvips.Error) -> str:
    """What libvips says of an error, its first line that is no mere warning of libjpeg's."""
    lines = str(error.detail).strip().splitlines() or [str(error.message)]
    return next((line for line in lines if "Corrupt JPEG data" not in line), lines[0]).strip()
