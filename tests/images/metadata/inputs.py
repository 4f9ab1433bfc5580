"""A file of each format with every kind of metadata that it holds."""

import io
import struct

from PIL import Image

from corpus.encoders import chunk, eight, jpeg, pillow, scene, segment, vips, with_chunk
from mambairv2.images.metadata import photoshop, webp
from mambairv2.images.metadata.directory import Entry, Layout, pack, read_directory, read_header
from mambairv2.images.metadata.model import Metadata

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" tiff:Orientation="6" tiff:ImageWidth="36">'
    b"<dc:rights>All mine</dc:rights></rdf:Description></rdf:RDF></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x78" + struct.pack(">H", 10) + b"A headline"
THUMBNAIL = pillow(eight(scene(3, 8, 12)), "JPEG")
DPI = 300
ASCII = {270: "A letter", 271: "Maker", 272: "Model 1", 305: "Scanner", 306: "2020:01:02 03:04:05", 315: "Ann"}
ASCII |= {33432: "(c) Ann", 269: "Letters"}


def tags(orientation, more=()):
    inside = (
        Entry(0x9003, 2, b"2020:01:02 03:04:05\0"),
        Entry(0xA002, 3, struct.pack("<H", 36)),
        Entry(0xA003, 3, struct.pack("<H", 24)),
        Entry(0x9214, 3, struct.pack("<4H", 1, 2, 3, 4)),
        Entry(37500, 7, b"notes of the maker, private"),
    )
    place = (Entry(1, 2, b"N\0"), Entry(2, 5, struct.pack("<6I", 52, 1, 30, 1, 0, 1)))
    words = [Entry(tag, 2, text.encode() + b"\0") for tag, text in ASCII.items()]
    turn = Entry(274, 3, struct.pack("<H", orientation))
    return (*words, turn, Entry(34665, 4, inside=inside), Entry(34853, 4, inside=place), *more)


def exif(orientation, order="<"):
    """A block with a thumbnail behind it."""
    layout = Layout(order)
    main = pack(tags(orientation), 8, layout)
    second = 8 + len(main) + len(main) % 2
    fields = [Entry(259, 3, struct.pack("<H", 6)), Entry(513, 4, struct.pack("<I", second + 60))]
    fields.append(Entry(514, 4, struct.pack("<I", len(THUMBNAIL))))
    main = pack(tags(orientation), 8, layout, second)
    block = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + main
    return block.ljust(second, b"\0") + pack(fields, second, layout).ljust(60, b"\0") + THUMBNAIL


def png_file(orientation=1):
    itxt = chunk(b"iTXt", b"Description\0\0\0\0\0" + "雪の山".encode())
    chunks = [chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1)), itxt]
    chunks += [chunk(b"tEXt", b"Seed\0caf\xe9 42"), chunk(b"eXIf", exif(orientation))]
    chunks.append(chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP))
    return with_chunk(pillow(eight(scene()), "PNG"), *chunks)


def jpg_file(orientation=1):
    resources = photoshop.of_iptc(IPTC) + b"8BIM\x04\x0c\0\0" + struct.pack(">I", 4) + b"thum"
    app = [segment(0xE1, b"Exif\0\0" + exif(orientation, ">"))]
    app.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP))
    app.append(segment(0xED, b"Photoshop 3.0\0" + resources))
    app.append(segment(0xFE, "Grandma, été 1958".encode()))
    content = jpeg(eight(scene()), dpi=(DPI, DPI))
    return content[:20] + b"".join(app) + content[20:]


def webp_file(orientation=1, folder=None):
    plain, target = folder / "plain.webp", folder / "with.webp"
    plain.write_bytes(vips(eight(scene())).webpsave_buffer(lossless=True, keep="none"))
    webp.write(plain, target, Metadata(exif(orientation), XMP))
    return target.read_bytes()


def tif_file(orientation=1):
    out = io.BytesIO()
    Image.fromarray(eight(scene())).save(out, "TIFF", dpi=(DPI, DPI))
    layout, link, first = read_header(out)
    directory = read_directory(out, first, layout)
    kept = [entry for entry in directory.entries if entry.tag != 274]
    more = [Entry(700, 1, XMP), Entry(33723, 7, IPTC)]
    place = out.seek(0, 2)
    out.write(pack([*kept, *tags(orientation, more)], place, layout))
    out.seek(link)
    out.write(struct.pack("<I", place))
    return out.getvalue()


def write_input(folder, suffix, orientation=1):
    maker = {".png": png_file, ".jpg": jpg_file, ".webp": webp_file, ".tif": tif_file}[suffix]
    content = maker(orientation, folder) if suffix == ".webp" else maker(orientation)
    path = folder / f"in{suffix}"
    path.write_bytes(content)
    return path


HAS = {
    ".png": {"exif", "xmp", "text", "color", "density"},
    ".jpg": {"exif", "xmp", "iptc", "text", "density"},
    ".webp": {"exif", "xmp"},
    ".tif": {"exif", "xmp", "iptc", "density"},
}
"""What the files above hold."""
