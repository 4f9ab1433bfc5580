"""XMP packets, made true for a restored image. Source: ISO 16684-1, and Google's and Adobe's pages on their names."""

from __future__ import annotations

from xml.dom import minidom
from xml.parsers.expat import ExpatError

_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_SIZES = {
    (_TIFF, "ImageWidth"): 1,
    (_TIFF, "ImageLength"): 0,
    (_EXIF, "PixelXDimension"): 1,
    (_EXIF, "PixelYDimension"): 0,
}
"""Names that tell the width (1) or the height (0) in pixels."""
_CLAIMS = (
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/container/item/",
    "http://ns.google.com/photos/1.0/panorama/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/dd/1.0/device/",
    "http://ns.google.com/photos/1.0/focus/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
    "http://ns.apple.com/pixeldatainfo/1.0/",
    "http://ns.apple.com/depthData/1.0/",
    "http://ns.adobe.com/xmp/note/",
)
"""Names that tell of a film, a gain map, a depth map or more XMP in the same file, or of the place of the pixels in a
panorama: none of it holds for the output."""
_PLACES = ("http://www.metadataworkinggroup.com/schemas/regions/", "http://ns.microsoft.com/photo/1.2/")
"""Names that tell where faces are, as parts of the width and height: true unless the picture was turned."""
_XMP = "http://ns.adobe.com/xap/1.0/"


def make_true(packet: bytes, size: tuple[int, int], turned: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return the packet with orientation 1, the size (height, width) of the output and without what no longer holds.

    A packet in which nothing is wrong comes back as it was. Also returns notes for the user. Raises ValueError if it
    is not well-formed XML, or has a document type, which XMP does not.
    """
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise ValueError("XMP with a document type")
    try:
        document = minidom.parseString(packet.strip(b"\0 \r\n\t"))
    except (ExpatError, ValueError, LookupError) as error:
        raise ValueError(f"XMP: {error}") from error
    claims = {*_CLAIMS, *(_PLACES if turned else ())}
    changed, found = False, set[str]()
    for element in document.getElementsByTagName("*"):
        for attribute in list(element.attributes.values()):
            name = (attribute.namespaceURI or "", attribute.localName or "")
            if name[0] in claims:
                element.removeAttributeNode(attribute)
                found.add(name[0])
            elif (value := _true(name, size)) is not None and attribute.value != value:
                attribute.value, changed = value, True
        name = (element.namespaceURI or "", element.localName or "")
        parent = element.parentNode
        if parent is None:
            continue
        if name[0] in claims or name == (_XMP, "Thumbnails"):
            parent.removeChild(element)
            found.add(name[0])
        elif (value := _true(name, size)) is not None and not element.getElementsByTagName("*"):
            for child in list(element.childNodes):
                element.removeChild(child)
            element.appendChild(document.createTextNode(value))
            changed = True
    notes = ("marked faces left out: the picture was turned",) if found & set(_PLACES) else ()
    if not (changed or found):
        return packet, notes
    _forget(document, claims)
    written = b"\n".join(node.toxml("utf-8") for node in document.childNodes)
    return written.replace(b'<?xml version="1.0" encoding="utf-8"?>', b""), notes


def _true(name: tuple[str, str], size: tuple[int, int]) -> str | None:
    """Return what a name must say of the output; None for one that can stay."""
    if name == (_TIFF, "Orientation"):
        return "1"
    return str(size[1 if _SIZES[name] else 0]) if name in _SIZES else None


def _forget(document: minidom.Document, claims: set[str]) -> None:
    """Remove the declarations of prefixes that are not used any more."""
    for element in document.getElementsByTagName("*"):
        for attribute in list(element.attributes.values()):
            if attribute.name.startswith("xmlns:") and attribute.value in claims:
                element.removeAttributeNode(attribute)
