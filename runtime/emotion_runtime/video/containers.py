"""What a video file states about itself: whether it is all there, and how many frames it holds.

A decoder stops at the end of a truncated file as it does at the end of a whole one, and its count
of frames is an estimate in some formats. The containers tell both apart: each states the sizes of
its parts. Formats: ISO/IEC 14496-12 (MP4, MOV), RIFF/AVI with OpenDML, Matroska and WebM (RFC
9559). MPEG streams state nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MOST_PARTS = 5_000_000  # of one file that are gone through: a day of video and sound
_MOST_MOOV = 256 << 20  # bytes: larger indices are not looked into
_MOST_EDITS = 1000
_MOST_FRAMES = 1_000_000  # of one file whose times are looked at
_SLACK = 0.25  # seconds


@dataclass(frozen=True)
class Container:
    """What the parts of a video file state.

    Attributes:
        format: ``mp4``, ``avi``, ``matroska``, ``mpeg`` or ``other``; None for no video.
        cut_off: The file ends before the pictures do that it states.
        damaged: Its parts do not fit into each other.
        frames: Frames of the picture that are in the file; None where that is not known.
        exact: The number of frames that OpenCV gives is their number, not an estimate.
        fastest: Frames a second where they come fastest, but for one in twenty; None where that
            is not known.
    """

    format: str | None
    cut_off: bool = False
    damaged: bool = False
    frames: int | None = None
    exact: bool = False
    fastest: float | None = None


def inspect(path: str) -> Container:
    """Return what a video file states about itself.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        for name, read in (("avi", _avi), ("matroska", _matroska), ("mp4", _mp4)):
            if _FIRST[name](head):
                try:
                    return read(file, size)
                except (struct.error, IndexError, ValueError):
                    return Container(name, damaged=True)
    if head[:3] == b"\x00\x00\x01" or b"\x47" in (head[:1], head[4:5]):
        return Container("mpeg")
    # Windows Media, Flash, Ogg. Texts are not among them: a playlist names other files to read.
    if head[:4] in (b"\x30\x26\xb2\x75", b"FLV\x01", b"OggS"):
        return Container("other")
    return Container(None)


_FIRST: dict[str, Callable[[bytes], bool]] = {
    "avi": lambda head: head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"),
    "matroska": lambda head: head[:4] == b"\x1a\x45\xdf\xa3",
    "mp4": lambda head: (
        head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
    ),
}


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Give name, begin and end of the content of each box of MP4."""
    for _ in range(_MOST_PARTS):
        if end - start < 8:
            return
        length, name = struct.unpack(">I4s", _at(file, start, 8))
        begin = start + 8
        if length == 1:
            (length,) = struct.unpack(">Q", _at(file, begin, 8))
            begin += 8
        elif length == 0:  # to the end of the file
            length = end - start
        if length < begin - start:
            return
        yield name, begin, start + length
        start += length


def _mp4(file: BinaryIO, size: int) -> Container:
    cut_off = fragmented = trimmed = False
    fastest = None
    for name, begin, end in _boxes(file, 0, size):
        cut_off = cut_off or (end > size and name in (b"mdat", b"moof"))
        fragmented = fragmented or name == b"moof"
        if name == b"moov" and end - begin < _MOST_MOOV:
            inside = list(_boxes(file, begin, min(end, size)))
            scale = next((_scale(file, at)[0] for kind, at, _ in inside if kind == b"mvhd"), 0)
            tracks = [at for kind, *at in inside if kind == b"trak"]
            trimmed = any(_shows_part(file, scale, *at) for at in tracks)
            fastest = next(filter(None, (_fastest(file, *at) for at in tracks)), None)
    return Container("mp4", cut_off, exact=not fragmented and not trimmed, fastest=fastest)


def _fastest(file: BinaryIO, begin: int, end: int) -> float | None:
    """Return the frames a second of a track of pictures where they come fastest (``stts``)."""
    inside = {kind: at for kind, *at in _boxes(file, begin, end)}
    media = {kind: at for kind, *at in _boxes(file, *inside.get(b"mdia", (0, 0)))}
    if b"hdlr" not in media or b"mdhd" not in media or b"minf" not in media:
        return None
    if _at(file, media[b"hdlr"][0] + 8, 4) != b"vide":
        return None
    parts = {kind: at for kind, *at in _boxes(file, *media[b"minf"])}
    tables = {kind: at for kind, *at in _boxes(file, *parts.get(b"stbl", (0, 0)))}
    first, last = tables.get(b"stts", (0, 0))
    if last - first < 8:
        return None
    (entries,) = struct.unpack(">I", _at(file, first + 4, 4))
    count = min(entries, (last - first - 8) // 8, _MOST_FRAMES)
    data = _at(file, first + 8, 8 * count)
    runs = sorted((span, frames) for frames, span in struct.iter_unpack(">II", data) if span)
    left = sum(frames for _, frames in runs) / 20
    for span, frames in runs:
        left -= frames
        if left < 0:
            return float(_scale(file, media[b"mdhd"][0])[0] / span)
    return None


def _scale(file: BinaryIO, begin: int) -> tuple[int, int]:
    """Return the units a second and the duration of a header of a movie or a track."""
    wide = _at(file, begin, 1) == b"\x01"
    form = ">IQ" if wide else ">II"
    scale, duration = struct.unpack(
        form, _at(file, begin + (20 if wide else 12), struct.calcsize(form))
    )
    return scale, duration


def _shows_part(file: BinaryIO, movie_scale: int, begin: int, end: int) -> bool:
    """Say whether the edit list of a track of pictures leaves frames out."""
    handler, scale, duration = b"", 0, 0
    edits: list[tuple[int, int]] = []  # duration, start
    for kind, start, stop in _boxes(file, begin, end):
        for inner, first, last in _boxes(file, start, stop) if kind in (b"mdia", b"edts") else ():
            if inner == b"hdlr":
                handler = _at(file, first + 8, 4)
            elif inner == b"mdhd":
                scale, duration = _scale(file, first)
            elif inner == b"elst":
                form, each = (">Qq", 20) if _at(file, first, 1) == b"\x01" else (">Ii", 12)
                (count,) = struct.unpack(">I", _at(file, first + 4, 4))
                for place in range(min(count, (last - first - 8) // each, _MOST_EDITS)):
                    entry = _at(file, first + 8 + place * each, struct.calcsize(form))
                    edits.append(struct.unpack(form, entry))
    shown = [edit for edit in edits if edit[1] >= 0]  # others are pauses
    if handler != b"vide" or not shown or not scale or not movie_scale:
        return False
    seconds = sum(edit[0] for edit in shown) / movie_scale
    # Files with frames out of order begin some frames late, and leave none out.
    late = shown[0][1] / scale > _SLACK
    return late or len(shown) > 1 or 0 < seconds < duration / scale - _SLACK


def _avi(file: BinaryIO, size: int) -> Container:
    frames = streams = 0
    cut_off = damaged = False
    pictures = b""  # how chunks of the picture begin: the number of their stream
    waiting = [(0, size)]
    for _ in range(_MOST_PARTS):
        if not waiting:
            break
        start, end = waiting.pop()
        if end - start < 8:
            continue
        name, length = struct.unpack("<4sI", _at(file, start, 8))
        begin, stop = start + 8, start + 8 + length
        damaged = damaged or stop > end < size or not all(32 <= letter < 127 for letter in name)
        waiting.append((stop + length % 2, end))
        if name in (b"RIFF", b"LIST"):
            cut_off = cut_off or (_at(file, begin, 4) == b"movi" and stop > size)
            waiting.append((begin + 4, min(stop, size)))
        elif name == b"strh":
            if not pictures and _at(file, begin, 4) == b"vids":
                pictures = b"%02d" % streams
            streams += 1
        elif name[:2] == pictures and name[2:] in (b"dc", b"db") and length and stop <= size:
            frames += 1  # an empty one repeats the frame before
    return Container("avi", cut_off, damaged, frames)


# Elements of Matroska (RFC 9559).
_SEGMENT, _CLUSTER, _CUES, _TRACKS = 0x18538067, 0x1F43B675, 0x1C53BB6B, 0x1654AE6B
_TRACK, _TRACK_NUMBER, _TRACK_TYPE, _CODEC = 0xAE, 0xD7, 0x83, 0x86
_GROUP, _BLOCK, _SIMPLE_BLOCK = 0xA0, 0xA1, 0xA3
_PARENTS = {_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _GROUP}


def _matroska(file: BinaryIO, size: int) -> Container:
    frames, segment_end = 0, size
    cut_off = damaged = live = index = False
    tracks: list[dict[int, bytes]] = []
    waiting = [(0, size)]
    for _ in range(_MOST_PARTS):
        if not waiting:
            break
        start, end = waiting.pop()
        if end - start < 2:
            continue
        head = _at(file, start, 12)
        name, first = _element(head)
        length, second = _size(head, first)
        begin = start + second
        stop = end if length is None else begin + length
        live = live or length is None  # written while it was recorded
        if name == _SEGMENT:
            segment_end = stop
        elif name == _TRACK:
            tracks.append({})
        elif name in (_CLUSTER, _BLOCK, _SIMPLE_BLOCK):
            cut_off = cut_off or stop > size
        index = index or name == _CUES
        damaged = damaged or (stop > end < size)
        waiting.append((min(stop, size), end))
        if name in _PARENTS:
            waiting.append((begin, min(stop, size)))
        elif name in (_TRACK_NUMBER, _TRACK_TYPE, _CODEC) and tracks:
            tracks[-1][name] = _at(file, begin, min(stop - begin, 32))
        elif name in (_BLOCK, _SIMPLE_BLOCK) and stop <= size:
            frames += _is_shown(_at(file, begin, 24), tracks)
    lost = segment_end > size and not index
    if live:
        return Container("matroska", cut_off, damaged)
    return Container("matroska", cut_off or lost, damaged, frames)


def _is_shown(block: bytes, tracks: list[dict[int, bytes]]) -> bool:
    """Say whether a block of Matroska is a frame of the first track of pictures."""
    track, after = _size(block, 0)
    for one in tracks:
        if int.from_bytes(one.get(_TRACK_TYPE, b""), "big") == 1:
            if int.from_bytes(one.get(_TRACK_NUMBER, b""), "big") != track:
                return False
            # VP8 has frames that are never shown: bit 4 of the first byte.
            return one.get(_CODEC) != b"V_VP8" or bool(block[after + 3] & 0x10)
    return False


def _element(data: bytes) -> tuple[int, int]:
    """Read the name of an element of EBML; return it and where it ends."""
    length = 9 - data[0].bit_length()
    if length > 4 or len(data) < length:
        raise ValueError("no element begins here")
    return int.from_bytes(data[:length], "big"), length


def _size(data: bytes, place: int) -> tuple[int | None, int]:
    """Read a number of EBML; return it, None for one that is not known, and where it ends."""
    length = 9 - data[place].bit_length()
    if length > 8 or len(data) < place + length:
        raise ValueError("no number is here")
    value = int.from_bytes(data[place : place + length], "big") - (1 << 7 * length)
    return (None if value == (1 << 7 * length) - 1 else value), place + length
