"""Which way up a picture is: EXIF first, then XMP, the same for every format and decoder.

Pillow reads EXIF in full, which a hostile file makes slow, and finds some spellings of XMP in some
formats, by version. Here one tag is read, and nothing else.
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
_INTEGER_FORMATS = {1: "B", 3: "H", 4: "I"}  # types of a TIFF tag: BYTE, SHORT, LONG

_TIFF_NAMESPACE = (
    rb"""xmlns:([\w.-]{1,64})\s{0,64}=\s{0,64}["']http://ns\.adobe\.com/tiff/1\.0/["']"""
)
_MAX_PREFIXES = 8  # names of the namespace that are tried: each is a search of the whole packet
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"


def find_transpose(orientation: int | None) -> Image.Transpose | None:
    """Return what turns a picture of this orientation (EXIF 2.32, tag 0x0112) upright.

    None where it is upright already, or the value means nothing.
    """
    return None if orientation is None else _TRANSPOSES.get(orientation)


def read_orientation(image: Image.Image) -> int | None:
    """Return the orientation that a decoded picture's metadata state.

    An orientation in EXIF wins over one in XMP, also where it is 1 or invalid.

    Args:
        image: A picture whose pixels are decoded: PNG keeps metadata behind them too.
    """
    info = image.info
    exif = info.get("exif")
    if exif is None:
        exif = _read_raw_profile(info, "exif") or _read_raw_profile(info, "APP1")
    if isinstance(exif, bytes) and (found := parse_exif(exif)) is not None:
        return found
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or _read_raw_profile(info, "xmp")
    if not xmp:
        # Before Pillow 11 a JPEG's XMP is among its segments alone.
        for name, data in getattr(image, "applist", ()):
            if name == "APP1" and data.startswith(_XMP_HEADER):
                xmp = data[len(_XMP_HEADER) :]
    return parse_xmp(xmp) if xmp else None


def remove_orientation(image: Image.Image) -> None:
    """Take away the metadata that may state an orientation, from an image of our own."""
    for name in list(image.info):
        if name in _METADATA_KEYS or str(name).startswith("Raw profile type "):
            del image.info[name]


def parse_exif(data: bytes) -> int | None:
    """Return the orientation in EXIF; None where it has none.

    Args:
        data: A TIFF header and what follows it, with or without the mark of JPEG before it.
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
    except struct.error:  # cut off; what was found before holds
        pass
    return found


def parse_xmp(xmp: Any) -> int | None:
    """Return ``tiff:Orientation`` of XMP, as an attribute or an element; None without one.

    Args:
        xmp: The packet, bytes or text; in bytes UTF-8, UTF-16 or UTF-32.
    """
    if isinstance(xmp, str):
        data = xmp.encode("utf-8", "replace")
    elif isinstance(xmp, bytes):
        # No character of the tag needs more than one byte.
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
    """Return a profile that an older PNG keeps as text: its length, then hexadecimal lines."""
    text = info.get(f"Raw profile type {kind}")
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None
