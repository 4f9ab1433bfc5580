"""What becomes untrue when a picture is turned, enlarged and saved again."""

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images.metadata.inputs import THUMBNAIL, exif, write_input
from images.metadata.test_table import FORMATS, restored
from mambairv2.images.errors import ImageError
from mambairv2.images.metadata import photoshop, xmp
from mambairv2.images.metadata.directory import Entry, Layout, pack, read_directory
from mambairv2.images.metadata.exif import make_true

SPACES = {
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "regions": "http://www.metadataworkinggroup.com/schemas/regions/",
    "dc": "http://purl.org/dc/elements/1.1/",
}


def packet(attributes="", elements="", wrapped=False):
    names = " ".join(f'xmlns:{name}="{address}"' for name, address in SPACES.items())
    body = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {names} {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
    )
    if wrapped:
        body = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n{" " * 99}<?xpacket end="w"?>'
    return body.encode()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("attributes", "elements", "gone", "there"),
    [
        ('tiff:Orientation="6"', "", b'"6"', b'tiff:Orientation="1"'),
        ("", "<tiff:Orientation>8</tiff:Orientation>", b">8<", b">1<"),
        ('exif:PixelXDimension="36" exif:PixelYDimension="24"', "", b"36", b'PixelYDimension="72"'),
        ("", "<tiff:ImageWidth>36</tiff:ImageWidth>", b"36", b"<tiff:ImageWidth>48<"),
        ('GCamera:MotionPhoto="1" dc:source="kept"', "", b"GCamera", b"kept"),
        ("", "<GPano:ProjectionType>equirectangular</GPano:ProjectionType>", b"GPano", b"xmpmeta"),
        ("", "<Container:Directory><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>", b"Container", b"xmpmeta"),
        ("", "<xmp:Thumbnails><rdf:Alt><rdf:li>base64</rdf:li></rdf:Alt></xmp:Thumbnails>", b"base64", b"xmpmeta"),
        ("", "<regions:Regions><rdf:li>Face of Ann</rdf:li></regions:Regions>", b"Ann", b"xmpmeta"),
    ],
)
def test_xmp_says_nothing_untrue(attributes, elements, gone, there, wrapped):
    made, _ = xmp.make_true(packet(attributes, elements, wrapped), (72, 48), turned=True)
    assert gone not in made
    assert there in made
    assert (b"xpacket end" in made) == wrapped


def test_xmp_in_which_all_is_true_stays_byte_for_byte():
    faces = packet('dc:title="雪"', "<regions:Regions><rdf:li>Face of Ann</rdf:li></regions:Regions>", wrapped=True)
    assert xmp.make_true(faces, (72, 48), turned=False) == (faces, ())


@pytest.mark.parametrize("content", [b"<not closed", b"", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"\xff\xfe\0"])
def test_damaged_xmp_is_told(content):
    with pytest.raises(ValueError, match="XMP"):
        xmp.make_true(content, (2, 2), turned=False)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_loses_its_thumbnail_and_keeps_the_rest_in_place(order):
    block = exif(6, order)
    made = make_true(block, (72, 48), turned=True)
    assert len(made) < len(block) - len(THUMBNAIL)
    assert THUMBNAIL[:20] not in made
    assert made.index(b"notes of the maker") == block.index(b"notes of the maker")
    there = Image.Exif()
    there.load(made)
    assert there[274] == 1
    assert there.get_ifd(34665)[0xA002] == 48
    assert not there.get_ifd(1)


def test_photoshop_keeps_iptc_and_drops_its_thumbnail():
    path = b"8BIM\x07\xd0\x04path\0" + struct.pack(">I", 3) + b"abc\0"
    thumbnail = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 4) + b"thum"
    whole = photoshop.of_iptc(b"\x1c\x02odd") + thumbnail + path
    assert photoshop.kept(whole, turned=False) == photoshop.of_iptc(b"\x1c\x02odd") + path
    assert photoshop.kept(whole, turned=True) == photoshop.of_iptc(b"\x1c\x02odd")
    assert photoshop.iptc(whole) == b"\x1c\x02odd"


values = st.one_of(
    st.tuples(st.just(2), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just(3), st.binary(min_size=1, max_size=9).map(lambda data: data * 2)),
    st.tuples(st.just(4), st.binary(min_size=1, max_size=9).map(lambda data: data * 4)),
    st.tuples(st.just(5), st.binary(min_size=1, max_size=5).map(lambda data: data * 8)),
)


@given(
    found=st.dictionaries(st.integers(1, 30000), values, max_size=8),
    inside=st.dictionaries(st.integers(1, 30000), values, max_size=4),
    order=st.sampled_from("<>"),
    big=st.booleans(),
    offset=st.sampled_from([8, 16, 1000]),
)
def test_directories_come_back_as_they_were_packed(found, inside, order, big, offset):
    layout = Layout(order, big)
    inner = tuple(Entry(tag, *value) for tag, value in sorted(inside.items()))
    entries = (*(Entry(tag, *value) for tag, value in sorted(found.items())), Entry(34665, 4, inside=inner))
    file = BytesIO(bytes(offset) + pack(entries, offset, layout, following=77))
    directory = read_directory(file, offset, layout)
    assert directory.entries == entries
    assert directory.next == 77


@given(flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), min_size=1, max_size=8), data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_metadata_stop_nothing_but_damage_to_the_pixels(tmp_path_factory, flips, data):
    folder = tmp_path_factory.getbasetemp()
    source, suffix = data.draw(st.sampled_from(FORMATS)), data.draw(st.sampled_from(FORMATS))
    path = write_input(folder, source, 6)
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place % len(content)] ^= value
    path.write_bytes(content)
    try:
        restored(path, folder / f"out{suffix}")
    except ImageError as error:
        told = str(error)
        assert "\n" not in told
    else:
        with Image.open(folder / f"out{suffix}") as image:
            image.load()
