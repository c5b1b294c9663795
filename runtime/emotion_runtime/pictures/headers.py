"""Limit the time and memory that a file's headers can cost, before it reaches a decoder.

Decoders parse metadata in Python, several of them in quadratic time or worse: segments that are
appended to all segments before, tags that all refer to the same megabytes, scans that each cover
the whole picture. These limits are far above what cameras and editors write.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import IO

from emotion_runtime.pictures.limits import Refusal, check_pixels

_SMALL_FILE_BYTES = 1 << 16  # a smaller file has too few chunks and boxes to matter

_MAX_JPEG_SEGMENTS = 2_000
_MAX_JPEG_JUNK_BYTES = 1 << 16  # between segments
_MAX_JPEG_EXIF_BYTES = 1 << 20
_MAX_BLOCK_SCANS = 400_000_000  # blocks of 8×8 pixels times scans
_MAX_EXTRA_PNG_CHUNKS = 1_000  # in addition to one for each kilobyte
_MAX_PNG_PROFILES = 100  # colour profiles, each of up to 1 MB; normally a file has one
_MAX_GIF_BLOCKS = 4_096  # comments and extensions before the first frame
_MAX_TIFF_TAGS = 4_096
_MAX_TIFF_STRIPS = 100_000
_MAX_BOXES = 4_096  # boxes and markers of JPEG 2000
_RLE_PIXEL_SHARE = 0.125  # of the pixel limit: Pillow decodes run-length BMP in Python
_MAX_RLE_BYTES = 4 << 20
_JPEG2000_PIXEL_SHARE = 0.25  # of the pixel limit: slow to decode

_EXIF_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_TYPE_BYTES = _EXIF_TYPE_BYTES | {13: 4, 16: 8, 17: 8, 18: 8}


def check_header(kind: str, file: IO[bytes], size: int) -> None:
    """Refuse a file whose headers would take too long or too much memory.

    Args:
        kind: The format, by Pillow's name.
        file: Seekable, at any position.
        size: Size of the file in bytes.

    Raises:
        Refusal: A limit is exceeded; the message has the reason.
    """
    check = _CHECKS.get(kind)
    if check is not None:
        check(file, size)


def _check_jpeg(file: IO[bytes], size: int) -> None:
    """Check the segments before the first scan (ITU-T T.81, annex B)."""
    position, segments, junk = 2, 0, 0
    exif, width, height, components, progressive = b"", 0, 0, 0, False
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4:
            return
        marker = head[1]
        if head[0] != 0xFF or marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD8 or marker == 1:
            position += 1 if head[0] != 0xFF or marker == 0xFF else 2
            junk += 1
            if junk > _MAX_JPEG_JUNK_BYTES:
                raise Refusal("refused: bytes between the segments of its header")
            continue
        if marker == 0xD9:
            return
        length = head[2] << 8 | head[3]
        segments += 1
        if segments > _MAX_JPEG_SEGMENTS:
            raise Refusal(f"refused: more than {_MAX_JPEG_SEGMENTS:,} segments in its header")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            _, height, width, components = struct.unpack(">BHHB", file.read(6).ljust(6, b"\0"))
            progressive = marker & 3 == 2
        elif marker == 0xE1 and length > 8:
            data = file.read(length - 2)
            if data[:6] == b"Exif\0\0":
                exif += data[6:] if exif else data
                if len(exif) > _MAX_JPEG_EXIF_BYTES:
                    raise Refusal("refused: more than 1 MB of EXIF")
        elif marker == 0xE2 and length > 8 and file.read(4) == b"MPF\0":
            _check_tags(file.read(length - 6), "its index of pictures")
        elif marker == 0xDA:
            scan = file.read(1)
            break
        position += 2 + max(length, 2)
    if exif:
        _check_tags(exif, "EXIF")
    if progressive or (scan and scan[0] < components):
        # All coefficients are kept, two bytes each, also when decoding at reduced scale.
        check_pixels(width, height, share=4, what="a progressive JPEG")
        blocks = -(-width // 8) * -(-height // 8) * components
        scans = _count_scans(file, b"\xff\xda")
        if blocks * scans > _MAX_BLOCK_SCANS and scans > 10 * components:
            raise Refusal(f"refused: {scans:,} scans over {width:,}×{height:,} pixels")


def _count_scans(file: IO[bytes], marker: bytes) -> int:
    """Return how often a two-byte marker follows, plus one for the scan that has been read."""
    scans, last = 1, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(marker)
        last = block[-1:]
    return scans


def _check_tags(data: bytes, what: str) -> None:
    """Refuse an EXIF directory whose tags claim far more bytes than there are."""
    while data[:6] == b"Exif\0\0":
        data = data[6:]
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return
    (start,) = struct.unpack_from(order + "I", data, 4)
    claimed = 0
    try:
        (count,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            kind, number = struct.unpack_from(order + "HI", data, entry + 2)
            claimed += _EXIF_TYPE_BYTES.get(kind, 0) * number
    except struct.error:  # truncated: decoders read no further either
        pass
    # Thumbnails and maker notes are sometimes referred to twice.
    if claimed > 4 * len(data):
        raise Refusal(f"refused: the tags of {what} overlap")


def _check_png(file: IO[bytes], size: int) -> None:
    """Count the chunks (PNG specification, 5.3)."""
    if size <= _SMALL_FILE_BYTES:
        return
    max_chunks = _MAX_EXTRA_PNG_CHUNKS + size // 1024
    position, chunks, profiles = 8, 0, 0
    while position + 12 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        position += 12 + length
        chunks += 1
        if chunks > max_chunks:
            raise Refusal(f"refused: more than {max_chunks:,} chunks in {size:,} bytes")
        profiles += name == b"iCCP"
        if profiles > _MAX_PNG_PROFILES:
            raise Refusal(f"refused: more than {_MAX_PNG_PROFILES} colour profiles")
        if name == b"IEND":
            return


def _check_gif(file: IO[bytes], size: int) -> None:
    """Count the blocks before the first frame (GIF89a specification)."""
    file.seek(10)
    flags = file.read(1)
    file.seek(13 + (3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0))
    blocks = 0
    while file.read(1) == b"!":
        file.read(1)
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], 1)
            blocks += 1
            if blocks > _MAX_GIF_BLOCKS:
                raise Refusal(
                    f"refused: more than {_MAX_GIF_BLOCKS:,} blocks before the first frame"
                )


def _check_tiff(file: IO[bytes], size: int) -> None:
    """Add up the bytes that the first picture's tags claim (TIFF 6.0, section 2; BigTIFF)."""
    file.seek(0)
    head = file.read(16).ljust(16, b"\0")
    order = "<" if head[:2] == b"II" else ">"
    big = 43 in head[2:4]
    start = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    if start >= size:
        return
    file.seek(start)
    wide = 8 if big else 2
    count_bytes = file.read(wide).ljust(wide, b"\0")
    count = struct.unpack(order + ("Q" if big else "H"), count_bytes)[0]
    if count > _MAX_TIFF_TAGS:
        raise Refusal(f"refused: {count:,} tags")
    step, inline = (20, 8) if big else (12, 4)
    claimed, numbers, strips = 0, {}, 0
    entries = file.read(step * count)
    for entry in range(0, len(entries) - step + 1, step):
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), entries, entry)
        at = entry + step - inline
        if number * _TIFF_TYPE_BYTES.get(kind, 0) > inline:
            claimed += number * _TIFF_TYPE_BYTES.get(kind, 0)
        if tag in (273, 324):
            strips = max(strips, number)
        if number == 1 and kind in (3, 4):
            numbers[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), entries, at)[0]
    if claimed > 2 * size:
        raise Refusal("refused: its tags overlap")
    if strips > _MAX_TIFF_STRIPS:
        raise Refusal(f"refused: {strips:,} strips")
    width, height = numbers.get(256, 0), numbers.get(257, 0)
    if (
        322 in numbers and 323 in numbers and numbers[322] and numbers[323]
    ):  # tiles are decoded whole
        columns, rows = numbers[322], numbers[323]
        across, down = -(-width // columns) * columns, -(-height // rows) * rows
        if across * down > 4 * max(width * height, 1 << 20):
            raise Refusal(f"refused: tiles of {columns:,}×{rows:,} for {width:,}×{height:,} pixels")
    check_pixels(width, height)


def _check_webp(file: IO[bytes], size: int) -> None:
    """Check the size of the canvas, which the decoder allocates when it opens a file."""
    file.seek(0)
    head = file.read(30).ljust(30, b"\0")
    kind = head[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width = int.from_bytes(head[26:28], "little") & 0x3FFF
        height = int.from_bytes(head[28:30], "little") & 0x3FFF
    check_pixels(width, height)


def _check_avif(file: IO[bytes], size: int) -> None:
    """Check all EXIF in the file: the decoder's wrapper reads it when it opens the file."""
    if size <= _SMALL_FILE_BYTES:
        return
    file.seek(0)
    data = file.read()
    for header in (b"II*\0", b"MM\0*"):
        position, found = data.find(header), 0
        while position >= 0 and found < 64:
            _check_tags(data[position : position + (8 << 20)], "EXIF")
            position, found = data.find(header, position + 4), found + 1


def _check_bmp(file: IO[bytes], size: int) -> None:
    """Limit run-length encoded pictures."""
    file.seek(0)
    head = file.read(34).ljust(34, b"\0")
    if head[:2] != b"BM":
        head = bytes(14) + head[:20]
    _check_rle(head, size)


def _check_rle(head: bytes, size: int) -> None:
    information, width, height = struct.unpack_from("<Iii", head, 14)
    if information >= 40 and struct.unpack_from("<I", head, 30)[0] in (1, 2):
        check_pixels(
            abs(width), abs(height), share=_RLE_PIXEL_SHARE, what="a run-length encoded BMP"
        )
        if size > _MAX_RLE_BYTES:
            raise Refusal("refused: a run-length encoded BMP of more than 4 MB")


def _check_jpeg2000(file: IO[bytes], size: int) -> None:
    """Count boxes and markers (ITU-T T.800, annexes A and I)."""
    file.seek(0)
    head = file.read(4)
    position, boxes = 0, 0
    if head[:2] != b"\xff\x4f":
        position, boxes = _find_codestream(file, size)
    file.seek(position)
    if file.read(2) != b"\xff\x4f":
        return
    position += 2
    while position < size:
        file.seek(position)
        marker = file.read(4)
        if len(marker) < 4 or marker[1] in (0x90, 0xD9):
            return
        length = marker[2] << 8 | marker[3]
        if marker[1] == 0x51:  # SIZ
            x1, y1, x0, y0 = struct.unpack(">2x4I", file.read(18).ljust(18, b"\0"))
            wide, high = max(x1 - x0, 0), max(y1 - y0, 0)
            check_pixels(wide, high, share=_JPEG2000_PIXEL_SHARE, what="JPEG 2000")
        position += 2 + length
        boxes += 1
        if boxes > _MAX_BOXES or length < 2:
            raise Refusal("refused: too many markers in its header")


def _find_codestream(file: IO[bytes], size: int) -> tuple[int, int]:
    """Return the position of the codestream, and the number of boxes before it."""
    position, boxes = 0, 0
    while position + 8 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        body = position + 8
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
            body += 8
        if name == b"jp2c":
            return body, boxes
        boxes += 1
        if boxes > _MAX_BOXES:
            raise Refusal("refused: too many boxes in its header")
        # The boxes inside the header box are counted too.
        position = body if name == b"jp2h" else position + max(length, 8) if length else size
    return size, boxes


_CHECKS: dict[str, Callable[[IO[bytes], int], None]] = {
    "JPEG": _check_jpeg,
    "PNG": _check_png,
    "GIF": _check_gif,
    "TIFF": _check_tiff,
    "WEBP": _check_webp,
    "AVIF": _check_avif,
    "BMP": _check_bmp,
    "DIB": _check_bmp,
    "JPEG2000": _check_jpeg2000,
}
