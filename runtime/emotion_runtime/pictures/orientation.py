"""Read the orientation of a picture from EXIF or else XMP, alike for every format.

Pillow reads EXIF in full, which is slow for a hostile file, and which forms of XMP it finds depends
on the format and on its version. This module reads only the one tag.
"""

from __future__ import annotations

import itertools
import re
import struct
from typing import Any

from PIL import Image

ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_METADATA_KEYS = {"exif", "xmp", "XML:com.adobe.xmp"}
_INTEGER_FORMATS = {1: "B", 3: "H", 4: "I"}  # struct codes of the TIFF types BYTE, SHORT, LONG

_TIFF_NAMESPACE = (
    rb"""xmlns:([\w.-]{1,64})\s{0,64}=\s{0,64}["']http://ns\.adobe\.com/tiff/1\.0/["']"""
)
_MAX_PREFIXES = 8  # of the namespace; each costs a search of the whole packet
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"


def find_transpose(orientation: int | None) -> Image.Transpose | None:
    """Return the transpose that turns a picture of an orientation (EXIF 2.32) upright.

    None where the picture is upright or the value is invalid.
    """
    return None if orientation is None else _TRANSPOSES.get(orientation)


def read_orientation(image: Image.Image) -> int | None:
    """Return the orientation from the metadata of a decoded picture; None without one.

    EXIF takes precedence over XMP, even where its value is 1 or invalid.

    Args:
        image: A picture whose pixels are decoded: a PNG can have metadata after them.
    """
    info = image.info
    exif = info.get("exif")
    if exif is None:
        exif = _read_raw_profile(info, "exif") or _read_raw_profile(info, "APP1")
    if isinstance(exif, bytes) and (found := parse_exif(exif)) is not None:
        return found
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or _read_raw_profile(info, "xmp")
    if not xmp:
        # Before Pillow 11 a JPEG's XMP is only in its list of segments.
        for name, data in getattr(image, "applist", ()):
            if name == "APP1" and data.startswith(_XMP_HEADER):
                xmp = data[len(_XMP_HEADER) :]
    return parse_xmp(xmp) if xmp else None


def remove_orientation(image: Image.Image) -> None:
    """Remove the metadata that may contain an orientation, in place."""
    for name in list(image.info):
        if name in _METADATA_KEYS or str(name).startswith("Raw profile type "):
            del image.info[name]


def parse_exif(data: bytes) -> int | None:
    """Return the orientation in EXIF; None without one.

    Args:
        data: EXIF from its TIFF header on, with or without the prefix ``Exif`` of JPEG.
    """
    while data[:6] == b"Exif\0\0":
        data = data[6:]
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    found = None
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
            if tag == ORIENTATION_TAG and number == 1 and kind in _INTEGER_FORMATS:
                (found,) = struct.unpack_from(order + _INTEGER_FORMATS[kind], data, entry + 8)
    except struct.error:  # truncated; a value found before is kept
        pass
    return found


def parse_xmp(xmp: Any) -> int | None:
    """Return the ``tiff:Orientation`` of XMP, an attribute or an element; None without one.

    Args:
        xmp: The packet as text, or as bytes in UTF-8, UTF-16 or UTF-32.
    """
    if isinstance(xmp, str):
        data = xmp.encode("utf-8", "replace")
    elif isinstance(xmp, bytes):
        # All characters of the tag are ASCII: without null bytes UTF-16 and UTF-32 match too.
        data = xmp.replace(b"\0", b"") if b"\0" in xmp else xmp
    else:
        return None
    if b"Orientation" not in data:
        return None
    others = itertools.islice(re.finditer(_TIFF_NAMESPACE, data), _MAX_PREFIXES)
    for prefix in dict.fromkeys([b"tiff", *(found[1] for found in others)]):
        name = re.escape(prefix) + b":Orientation"
        value = rb"\s{0,64}([1-8])\s{0,64}"
        for pattern in (
            name + rb"\s{0,64}=\s{0,64}[\"']" + value + rb"[\"']",
            b"<" + name + rb"(?:\s[^<>]{0,256})?>" + value + b"</",
        ):
            if match := re.search(pattern, data):
                return int(match[1])
    return None


def _read_raw_profile(info: dict[Any, Any], kind: str) -> bytes | None:
    """Return a profile that a PNG has as text: its length, then hexadecimal lines."""
    text = info.get(f"Raw profile type {kind}")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None
