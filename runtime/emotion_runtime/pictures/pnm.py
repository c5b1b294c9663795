"""PBM, PGM and PPM (Netpbm's formats, http://netpbm.sourceforge.net/doc/pnm.html).

Pillow reads pictures of 255 or 65535 levels with compiled code, but all others value by value in
Python: slowly for large pictures, and in quadratic time for comments. This module converts those
with numpy, by the same arithmetic, to a form that Pillow reads with compiled code.
"""

from __future__ import annotations

import io
import re
from typing import IO

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.pictures.limits import Refusal, check_pixels

_MAX_HEADER_BYTES = 1 << 16  # including comments
_MAX_TEXT_BYTES = 16 << 20  # of a file whose values are decimal text
_SPACE = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])+"
_FIELDS = re.compile(rb"P([1-6])" + (_SPACE + rb"(\d{1,10})") * 2)
_LEVELS = re.compile(_SPACE + rb"(\d{1,10})")


def normalise_pnm(file: IO[bytes], size: int) -> IO[bytes]:
    """Return a PNM picture in a form that Pillow decodes fast: `file` itself where it already is.

    Args:
        file: Seekable, at any position.
        size: Size of the file in bytes.

    Raises:
        Refusal: The header is too long, or the picture too large.
        ValueError: The picture is damaged.
    """
    file.seek(0)
    head = file.read(_MAX_HEADER_BYTES)
    if head[1:2] == b"f":
        return file  # PFM, which is floating point
    fields = _FIELDS.match(head)
    if fields is None:
        if len(head) == _MAX_HEADER_BYTES:
            raise Refusal(f"refused: a header of more than {_MAX_HEADER_BYTES:,} bytes")
        raise ValueError("no width and height in its header")
    kind, width, height = int(fields[1]), int(fields[2]), int(fields[3])
    end, levels = fields.end(), 1
    if kind not in (1, 4):
        found = _LEVELS.match(head, end)
        if found is None:
            if len(head) == _MAX_HEADER_BYTES:
                raise Refusal(f"refused: a header of more than {_MAX_HEADER_BYTES:,} bytes")
            raise ValueError("no number of levels in its header")
        end, levels = found.end(), int(found[1])
        if not 0 < levels < 65536:
            raise ValueError(f"{levels:,} levels; the format has 1 to 65,535")
    if width < 1 or height < 1:
        raise ValueError("no pixels")
    check_pixels(width, height)
    # A usual picture without comments is read as it is. One byte separates header and pixels.
    usual = kind == 4 or (kind in (5, 6) and levels == 255) or (kind == 5 and levels == 65535)
    if usual and b"#" not in head[:end]:
        return file
    colours = 3 if kind in (3, 6) else 1
    shape = (height, width, colours)
    if usual:
        file.seek(end + 1)
        deep = levels > 255
        row = -(-width // 8) if kind == 4 else width * colours * (2 if deep else 1)
        data = file.read(row * height)
        header = f"P{kind} {width} {height}" + ("" if kind == 4 else f" {levels}")
        return io.BytesIO(header.encode() + b"\n" + data)
    count = height * width * colours
    if kind in (1, 2, 3):
        if size > _MAX_TEXT_BYTES:
            raise Refusal("refused: a PNM picture in text of more than 16 MB")
        file.seek(end)
        values = _parse_text(file.read(), count, is_bitmap=kind == 1)
    else:
        file.seek(end + 1)
        wide = 2 if levels > 255 else 1
        values = np.frombuffer(file.read(count * wide), ">u2" if wide == 2 else np.uint8)
    if len(values) < count:
        raise ValueError(f"cut off after {len(values):,} of {count:,} values")
    return _encode(values[:count].reshape(shape), levels, is_bitmap=kind == 1)


def _parse_text(text: bytes, count: int, *, is_bitmap: bool) -> NDArray[np.int64]:
    """Return decimal numbers; in a bitmap each digit is one, with or without spaces between."""
    if b"#" in text:
        text = re.sub(rb"#[^\n\r]*", b"", text)
    if is_bitmap:
        digits = text.translate(None, b" \t\n\v\f\r")[:count]
        values = np.frombuffer(digits, np.uint8).astype(np.int64) - ord("0")
    else:
        if text.translate(None, b"0123456789 \t\n\v\f\r"):
            raise ValueError("something other than decimal numbers among its values")
        values = np.fromstring(text.decode("ascii"), dtype=np.int64, count=-1, sep=" ")
    if values.size and (values.min() < 0 or (is_bitmap and values.max() > 1)):
        raise ValueError("a value outside of its levels")
    return values


def _encode(values: NDArray[np.int64], levels: int, *, is_bitmap: bool) -> IO[bytes]:
    """Return a binary PNM of 255 levels, or of 65535 for gray of more than 255 levels."""
    height, width, colours = values.shape
    if is_bitmap:
        values, levels = 1 - values, 1  # 1 is black
    max_value = 65535 if colours == 1 and levels > 255 else 255
    if values.max() > levels:
        raise ValueError("a value above its number of levels")
    table = np.rint(np.arange(levels + 1) / levels * max_value)
    scaled = table.astype(">u2" if max_value > 255 else np.uint8)[values]
    header = f"P{6 if colours == 3 else 5} {width} {height} {max_value}\n"
    return io.BytesIO(header.encode() + scaled.tobytes())
