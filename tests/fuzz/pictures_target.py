"""Fuzz target: pictures in every format that is read, and the causes of past findings."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, features

from emotion_runtime import PictureError
from emotion_runtime.pictures.preprocessing import (
    find_photograph_size,
    process_picture,
    read_face,
    to_rgb,
    turn_upright,
)
from fuzz.mutation import mutate_bytes
from fuzz.target import Target, check_sentence
from pictures import (
    encode_picture,
    exif_of,
    gray_tiff,
    png,
    png_chunk,
    segment,
    tiff,
    with_segments,
    xmp_of,
)

# Small, so that an input is fast; its parts differ, so that a wrong offset is noticed.
_NOISE = np.random.default_rng(0).integers(0, 255, (40, 30, 4), dtype=np.uint8)
_RGBA = Image.fromarray(_NOISE)
_GRAY = _RGBA.convert("L")
_RGB = _RGBA.convert("RGB")

_WRITTEN: list[tuple[str, str, dict[str, object]]] = [
    ("JPEG", "L", {}),
    ("JPEG", "RGB", {"progressive": True, "exif": b"Exif\0\0" + exif_of(6)}),
    ("JPEG", "RGB", {"xmp": xmp_of('tiff:Orientation="8"'), "restart_marker_blocks": 2}),
    ("JPEG", "CMYK", {"icc_profile": b"profile" * 30}),
    ("MPO", "RGB", {"save_all": True, "append_images": [_RGB]}),
    ("PNG", "1", {}),
    ("PNG", "P", {"transparency": b"\0\x80\xff"}),
    ("PNG", "LA", {}),
    ("PNG", "RGBA", {"save_all": True, "append_images": [_RGBA]}),
    ("PNG", "I;16", {}),
    ("GIF", "P", {"save_all": True, "append_images": [_GRAY], "comment": b"a comment"}),
    ("BMP", "1", {}),
    ("BMP", "P", {}),
    ("BMP", "RGBA", {}),
    ("DIB", "RGB", {}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "L", {"compression": "jpeg"}),
    ("TIFF", "P", {"compression": "packbits"}),
    ("TIFF", "RGB", {"compression": "tiff_lzw", "tiffinfo": {274: 6}}),
    ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate", "big_tiff": True}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "LAB", {}),
    ("TIFF", "I;16", {}),
    ("TIFF", "I", {}),
    ("TIFF", "F", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True, "exif": exif_of(3)}),
    ("WEBP", "RGBA", {"save_all": True, "append_images": [_GRAY]}),
    ("AVIF", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("JPEG2000", "L", {"no_jp2": True}),
    ("PPM", "1", {}),
    ("PPM", "L", {}),
    ("PPM", "RGB", {}),
    ("PPM", "I;16", {}),
    ("PPM", "F", {}),
    ("PCX", "1", {}),
    ("PCX", "P", {}),
    ("PCX", "RGB", {}),
    ("TGA", "L", {"compression": "tga_rle"}),
    ("TGA", "P", {}),
    ("TGA", "RGBA", {"compression": "tga_rle"}),
]
# Formats that Pillow writes and the toolkit refuses, whatever the suffix.
_FOREIGN = ["EPS", "ICO", "ICNS", "SGI", "SPIDER", "IM", "MSP", "XBM", "PDF", "QOI", "BLP", "DDS"]

_TOKENS = [
    *(struct.pack(">BB", 0xFF, marker) for marker in range(0xC0, 0x100, 3)),
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"zTXt"),
    *(b"Exif\0\0", b"II*\0", b"MM\0*", b"II+\0", b"MPF\0", b"ICC_PROFILE\0\1\1"),
    *(b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"XMP "),
    *(b"ftypavif", b"ftypheic", b"meta", b"iloc", b"mdat", b"jp2h", b"ihdr", b"colr", b"free"),
    *(b"GIF89a", b"!\xf9\x04", b"!\xfe", b"P1 ", b"P3 ", b"Pf\n", b"#", b"%!PS-Adobe-3.0"),
]


def _seeds() -> list[bytes]:
    made = list(_cases().values())
    for kind, mode, options in _WRITTEN:
        if kind in _OPTIONAL and not features.check(_OPTIONAL[kind]):
            continue
        try:
            made.append(encode_picture(_in_mode(mode), kind, **options))
        except (OSError, KeyError, ValueError, RuntimeError):
            continue  # this Pillow does not write it
    for kind in _FOREIGN:
        for mode in ("RGB", "L", "1", "F"):
            try:
                made.append(encode_picture(_in_mode(mode), kind))
                break
            except (OSError, KeyError, ValueError):
                continue
    return made


_OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


def _in_mode(mode: str) -> Image.Image:
    if mode in ("1", "P", "L", "RGB", "LA", "CMYK", "I", "F"):
        return _RGB.convert(mode)
    if mode == "I;16":
        return Image.fromarray(_NOISE[..., 0].astype(np.uint16) * 257)
    if mode == "LAB":
        return Image.frombytes("LAB", _RGB.size, _RGB.tobytes())
    return _RGBA


def _cases() -> dict[str, bytes]:
    """Return small files that once took long, took much memory or started another program."""
    jpeg, start = encode_picture(_GRAY, "JPEG"), encode_picture(_GRAY, "PNG")
    tags = struct.pack("<H", 500) + b"".join(
        struct.pack("<HHII", 1000 + i, 7, 6_000, 8) for i in range(500)
    )
    bits = 12_999 | 12_999 << 14
    webp = b"VP8L" + struct.pack("<IBI", 9, 0x2F, bits) + bytes(5)
    header = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, 4, 0, 0, 256, 0) + bytes(1024)
    exif = b"Exif\0\0II*\0\x08\0\0\0"
    return {
        "WebP of 13000×13000": b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
        "palette PNG of 4000×4000": png(
            4000, 4000, 1, 3, bytes(501 * 4000), png_chunk(b"PLTE", bytes(6))
        ),
        "PNG of zlib bombs": start[:33]
        + png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)))
        + png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 20)))
        + start[33:],
        "PNG of many chunks": start[:33] + png_chunk(b"tEXt", b"a\0b") * 5000 + start[33:],
        "JPEG of Exif segments": with_segments(jpeg, segment(0xE1, exif + bytes(2000)) * 50),
        "JPEG whose Exif tags overlap": with_segments(jpeg, segment(0xE1, exif + tags)),
        "JPEG of comments": with_segments(jpeg, segment(0xFE, b"") * 5000),
        "TIFF whose tags overlap": b"II*\0\x08\0\0\0" + tags,
        "TIFF of large tiles": tiff(
            [(256, 3, 1, 10), (257, 3, 1, 10), (322, 4, 1, 30_000), (323, 4, 1, 30_000)], b""
        ),
        "TIFF of signed pixels": gray_tiff(30, 40, 8, bytes(1200), sample=2),
        "BMP of run lengths": b"BM" + struct.pack("<IHHI", 1078, 0, 0, 1078) + header,
        "JPEG 2000 of many boxes": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 5000,
        "PGM of comments": b"P2\n" + b"#\n" * 20_000 + b"3 3 255 " + b"1 #\n" * 9,
        "PPM of odd levels": b"P6 3 3 1000\n" + bytes(54),
        "PBM in text": b"P1 3 3 101 010 101",
        "PFM": b"Pf\n3 3\n-1.0\n" + struct.pack("<9f", *range(9)),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
        "EPS that never ends": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n"
        b"%%EndComments\n{} loop\n",
    }


def _mutate(random: Random, corpus: Sequence[bytes]) -> bytes:
    return mutate_bytes(random, random.choice(corpus), corpus, _TOKENS)


def _read(data: bytes, folder: Path) -> None:
    path = folder / "face.jpg"
    path.write_bytes(data)
    ways = (
        partial(read_face, data),
        partial(read_face, path),
        partial(
            process_picture, path, lambda image: to_rgb(turn_upright(image))
        ),  # as for photographs
        partial(read_face, io.BytesIO(data)),
    )
    for way in ways:
        try:
            way()
        except PictureError as error:
            check_sentence(error, folder)
    find_photograph_size(str(path))


TARGET = Target("pictures", _seeds, _mutate, _read)
