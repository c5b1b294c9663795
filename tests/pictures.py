"""Builders of picture files, byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image


def encode_picture(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """Return a PNG; each of `rows` begins with its filter byte, `extra` are chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows, 1))
        + png_chunk(b"IEND")
    )


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segments(jpeg: bytes, segments: bytes) -> bytes:
    return jpeg[:2] + segments + jpeg[2:]


def tiff(entries: Sequence[tuple[int, int, int, int]], data: bytes) -> bytes:
    """Return a little-endian TIFF of one picture; `data` begins at byte 8."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    start = struct.pack("<I", 8 + len(data))
    return b"II*\0" + start + data + struct.pack("<H", len(entries)) + packed + bytes(4)


def gray_tiff(
    width: int, height: int, bits: int, data: bytes, *, photometric: int = 1, sample: int = 1
) -> bytes:
    return tiff(
        [
            (256, 3, 1, width),
            (257, 3, 1, height),
            (258, 3, 1, bits),
            (259, 3, 1, 1),
            (262, 3, 1, photometric),
            (273, 4, 1, 8),
            (277, 3, 1, 1),
            (278, 3, 1, height),
            (279, 4, 1, len(data)),
            (339, 3, 1, sample),
        ],
        data,
    )


def exif_of(orientation: int, order: str = "<") -> bytes:
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)


def xmp_of(text: str, prefix: str = "tiff") -> bytes:
    """Return an XMP packet with `text` as attributes, or as elements if it begins with <."""
    attributes, elements = ("", text) if text.startswith("<") else (text, "")
    spaces = (
        'xmlns:x="adobe:ns:meta/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        f'xmlns:{prefix}="http://ns.adobe.com/tiff/1.0/"'
    )
    description = f"<rdf:Description {attributes}>{elements}</rdf:Description>"
    return f"<x:xmpmeta {spaces}><rdf:RDF>{description}</rdf:RDF></x:xmpmeta>".encode()


# The first bytes of the formats that Pillow reads and cannot write.
_MAGIC = {
    "BUFR": b"BUFR",
    "CUR": b"\0\0\2\0\1\0" + bytes(16),
    "DCX": struct.pack("<II", 987654321, 8),
    "FITS": b"SIMPLE  =                    T",
    "FLI": struct.pack("<IHHHHHH", 128, 0xAF11, 1, 40, 30, 8, 3),
    "FPX": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "FTEX": b"FTEX",
    "GBR": struct.pack(">IIIII", 28, 2, 40, 30, 1) + b"GIMP",
    "GRIB": b"GRIB\0\0\0\1",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "IMT": b"IMT Image\n",
    "IPTC": b"\x1c\1Z\0\1" + bytes(8),
    "MCIDAS": b"\0\0\0\0\0\0\0\4",
    "MIC": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "MPEG": b"\0\0\1\xb3" + bytes(8),
    "PCD": bytes(2048) + b"PCD_",
    "PIXAR": b"\200\350\0\0",
    "PSD": b"8BPS\0\1",
    "SUN": b"\x59\xa6\x6a\x95",
    "WAL": bytes(40),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(16) + b"\1\0\x09\0",
    "XPM": b"/* XPM */",
    "XVTHUMB": b"P7 332",
}


def one_of_each_format(image: Image.Image) -> dict[str, bytes]:
    """Return a picture in each format of Pillow; a header only where Pillow cannot write it."""
    Image.init()
    made = {}
    for kind in sorted({*Image.OPEN, *Image.SAVE}):
        for mode in ("RGB", "L", "1", "P", "F"):
            try:
                made[kind] = encode_picture(image.convert(mode), kind)
                break
            except (OSError, KeyError, ValueError):
                continue
        else:
            made[kind] = _MAGIC.get(kind, kind.encode()) + bytes(200)
    return made
