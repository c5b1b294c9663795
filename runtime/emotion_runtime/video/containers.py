"""Inspection of video containers: is the file complete, and how many frames does it hold?

A decoder stops at the end of a truncated file as at the end of a complete one, and in some formats
its number of frames is an estimate. The containers record the sizes of their parts, which shows
the difference. Formats: ISO/IEC 14496-12 (MP4, MOV), RIFF/AVI with OpenDML, Matroska and WebM (RFC
9559). MPEG streams record no sizes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MAX_PARTS = 5_000_000  # of one file: enough for a day of video and sound
_MAX_INDEX_BYTES = 256 << 20  # larger indices are not read
_MAX_EDITS = 1000
_MAX_TIMED_FRAMES = 1_000_000  # of one file whose times are read
_TOLERANCE_SECONDS = 0.25


@dataclass(frozen=True)
class Container:
    """Facts about a video file, from the sizes of its parts.

    Attributes:
        format: ``mp4``, ``avi``, ``matroska``, ``mpeg`` or ``other``; None for a file that is not a
            video.
        cut_off: Whether the file ends before its last frame.
        damaged: Whether the sizes of the parts contradict each other.
        frames: Number of frames in the file; None where it is not known.
        exact: Whether the number of frames that OpenCV returns is exact, not an estimate.
        max_rate: 95th percentile of the frame rate, in frames a second; None where it is not known.
    """

    format: str | None
    cut_off: bool = False
    damaged: bool = False
    frames: int | None = None
    exact: bool = False
    max_rate: float | None = None


def inspect_container(path: str) -> Container:
    """Inspect a video file.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        for name, (has_signature, inspect) in _FORMATS.items():
            if has_signature(head):
                try:
                    return inspect(file, size)
                except (struct.error, IndexError, ValueError):
                    return Container(name, damaged=True)
    if head[:3] == b"\x00\x00\x01" or b"\x47" in (head[:1], head[4:5]):
        return Container("mpeg")
    # Windows Media, Flash, Ogg. No text formats: a playlist names other files to read.
    if head[:4] in (b"\x30\x26\xb2\x75", b"FLV\x01", b"OggS"):
        return Container("other")
    return Container(None)


def _read_bytes(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _iterate_boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each MP4 box, and where its content begins and ends."""
    for _ in range(_MAX_PARTS):
        if end - start < 8:
            return
        length, name = struct.unpack(">I4s", _read_bytes(file, start, 8))
        begin = start + 8
        if length == 1:
            (length,) = struct.unpack(">Q", _read_bytes(file, begin, 8))
            begin += 8
        elif length == 0:  # to the end of the file
            length = end - start
        if length < begin - start:
            return
        yield name, begin, start + length
        start += length


def _inspect_mp4(file: BinaryIO, size: int) -> Container:
    cut_off = fragmented = trimmed = False
    max_rate = None
    for name, begin, end in _iterate_boxes(file, 0, size):
        cut_off = cut_off or (end > size and name in (b"mdat", b"moof"))
        fragmented = fragmented or name == b"moof"
        if name == b"moov" and end - begin < _MAX_INDEX_BYTES:
            inside = list(_iterate_boxes(file, begin, min(end, size)))
            headers = [start for kind, start, _ in inside if kind == b"mvhd"]
            scale = _read_time_scale(file, headers[0])[0] if headers else 0
            tracks = [span for kind, *span in inside if kind == b"trak"]
            trimmed = any(_leaves_frames_out(file, scale, *span) for span in tracks)
            max_rate = next(filter(None, (_find_max_rate(file, *span) for span in tracks)), None)
    return Container("mp4", cut_off, exact=not fragmented and not trimmed, max_rate=max_rate)


def _find_max_rate(file: BinaryIO, begin: int, end: int) -> float | None:
    """Return the 95th percentile of the frame rate of a video track (box ``stts``)."""
    inside = {kind: span for kind, *span in _iterate_boxes(file, begin, end)}
    media = {kind: span for kind, *span in _iterate_boxes(file, *inside.get(b"mdia", (0, 0)))}
    if b"hdlr" not in media or b"mdhd" not in media or b"minf" not in media:
        return None
    if _read_bytes(file, media[b"hdlr"][0] + 8, 4) != b"vide":
        return None
    parts = {kind: span for kind, *span in _iterate_boxes(file, *media[b"minf"])}
    tables = {kind: span for kind, *span in _iterate_boxes(file, *parts.get(b"stbl", (0, 0)))}
    first, last = tables.get(b"stts", (0, 0))
    if last - first < 8:
        return None
    (entries,) = struct.unpack(">I", _read_bytes(file, first + 4, 4))
    count = min(entries, (last - first - 8) // 8, _MAX_TIMED_FRAMES)
    data = _read_bytes(file, first + 8, 8 * count)
    runs = sorted((span, frames) for frames, span in struct.iter_unpack(">II", data) if span)
    left = sum(frames for _, frames in runs) / 20
    for span, frames in runs:
        left -= frames
        if left < 0:
            return float(_read_time_scale(file, media[b"mdhd"][0])[0] / span)
    return None


def _read_time_scale(file: BinaryIO, begin: int) -> tuple[int, int]:
    """Return the time scale (units a second) and the duration of a movie or track header."""
    wide = _read_bytes(file, begin, 1) == b"\x01"
    form = ">IQ" if wide else ">II"
    scale, duration = struct.unpack(
        form, _read_bytes(file, begin + (20 if wide else 12), struct.calcsize(form))
    )
    return scale, duration


def _leaves_frames_out(file: BinaryIO, movie_scale: int, begin: int, end: int) -> bool:
    """Return whether the edit list of a video track leaves frames out."""
    handler, scale, duration = b"", 0, 0
    edits: list[tuple[int, int]] = []  # duration, start
    for kind, start, stop in _iterate_boxes(file, begin, end):
        if kind not in (b"mdia", b"edts"):
            continue
        for inner, first, last in _iterate_boxes(file, start, stop):
            if inner == b"hdlr":
                handler = _read_bytes(file, first + 8, 4)
            elif inner == b"mdhd":
                scale, duration = _read_time_scale(file, first)
            elif inner == b"elst":
                edits += _read_edits(file, first, last)
    shown = [edit for edit in edits if edit[1] >= 0]  # the others are pauses
    if handler != b"vide" or not shown or not scale or not movie_scale:
        return False
    seconds = sum(edit[0] for edit in shown) / movie_scale
    # Files with reordered frames begin some frames late, but leave none out.
    starts_late = shown[0][1] / scale > _TOLERANCE_SECONDS
    return starts_late or len(shown) > 1 or 0 < seconds < duration / scale - _TOLERANCE_SECONDS


def _read_edits(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield duration and start of each entry of an edit list (box ``elst``)."""
    is_wide = _read_bytes(file, begin, 1) == b"\x01"
    form, entry_bytes = (">Qq", 20) if is_wide else (">Ii", 12)
    (count,) = struct.unpack(">I", _read_bytes(file, begin + 4, 4))
    for index in range(min(count, (end - begin - 8) // entry_bytes, _MAX_EDITS)):
        position = begin + 8 + index * entry_bytes
        duration, start = struct.unpack(form, _read_bytes(file, position, struct.calcsize(form)))
        yield duration, start


def _inspect_avi(file: BinaryIO, size: int) -> Container:
    frames = streams = 0
    cut_off = damaged = False
    pictures = b""  # first two bytes of the names of video chunks: the number of their stream
    pending = [(0, size)]
    for _ in range(_MAX_PARTS):
        if not pending:
            break
        start, end = pending.pop()
        if end - start < 8:
            continue
        name, length = struct.unpack("<4sI", _read_bytes(file, start, 8))
        begin, stop = start + 8, start + 8 + length
        damaged = damaged or stop > end < size or not all(32 <= letter < 127 for letter in name)
        pending.append((stop + length % 2, end))
        if name in (b"RIFF", b"LIST"):
            cut_off = cut_off or (_read_bytes(file, begin, 4) == b"movi" and stop > size)
            pending.append((begin + 4, min(stop, size)))
        elif name == b"strh":
            if not pictures and _read_bytes(file, begin, 4) == b"vids":
                pictures = b"%02d" % streams
            streams += 1
        elif name[:2] == pictures and name[2:] in (b"dc", b"db") and length and stop <= size:
            frames += 1  # an empty one repeats the frame before
    return Container("avi", cut_off, damaged, frames)


# Elements of Matroska (RFC 9559).
_SEGMENT, _CLUSTER, _CUES, _TRACKS = 0x18538067, 0x1F43B675, 0x1C53BB6B, 0x1654AE6B
_TRACK, _TRACK_NUMBER, _TRACK_TYPE, _CODEC = 0xAE, 0xD7, 0x83, 0x86
_GROUP, _BLOCK, _SIMPLE_BLOCK = 0xA0, 0xA1, 0xA3
_CONTAINER_ELEMENTS = {_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _GROUP}


def _inspect_matroska(file: BinaryIO, size: int) -> Container:
    frames, segment_end = 0, size
    cut_off = damaged = live = index = False
    tracks: list[dict[int, bytes]] = []
    pending = [(0, size)]
    for _ in range(_MAX_PARTS):
        if not pending:
            break
        start, end = pending.pop()
        if end - start < 2:
            continue
        head = _read_bytes(file, start, 12)
        name, first = _read_element(head)
        length, second = _read_size(head, first)
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
        pending.append((min(stop, size), end))
        if name in _CONTAINER_ELEMENTS:
            pending.append((begin, min(stop, size)))
        elif name in (_TRACK_NUMBER, _TRACK_TYPE, _CODEC) and tracks:
            tracks[-1][name] = _read_bytes(file, begin, min(stop - begin, 32))
        elif name in (_BLOCK, _SIMPLE_BLOCK) and stop <= size:
            frames += _is_shown_frame(_read_bytes(file, begin, 24), tracks)
    lost = segment_end > size and not index
    if live:
        return Container("matroska", cut_off, damaged)
    return Container("matroska", cut_off or lost, damaged, frames)


def _is_shown_frame(block: bytes, tracks: list[dict[int, bytes]]) -> bool:
    """Return whether a block of Matroska is a frame of the first video track."""
    track, after = _read_size(block, 0)
    for one in tracks:
        if int.from_bytes(one.get(_TRACK_TYPE, b""), "big") == 1:
            if int.from_bytes(one.get(_TRACK_NUMBER, b""), "big") != track:
                return False
            # VP8 has frames that are never shown: bit 4 of the first byte is 0.
            return one.get(_CODEC) != b"V_VP8" or bool(block[after + 3] & 0x10)
    return False


def _read_element(data: bytes) -> tuple[int, int]:
    """Return the ID of an EBML element, and its length in bytes."""
    length = 9 - data[0].bit_length()
    if length > 4 or len(data) < length:
        raise ValueError("no element begins here")
    return int.from_bytes(data[:length], "big"), length


def _read_size(data: bytes, position: int) -> tuple[int | None, int]:
    """Return an EBML size, None for an unknown one, and the position after it."""
    length = 9 - data[position].bit_length()
    if length > 8 or len(data) < position + length:
        raise ValueError("no number is here")
    value = int.from_bytes(data[position : position + length], "big") - (1 << 7 * length)
    return (None if value == (1 << 7 * length) - 1 else value), position + length


# Whether the first 16 bytes are of this format, and what reads it.
_FORMATS: dict[str, tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], Container]]] = {
    "avi": (
        lambda head: head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"),
        _inspect_avi,
    ),
    "matroska": (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", _inspect_matroska),
    "mp4": (
        lambda head: (
            head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
        ),
        _inspect_mp4,
    ),
}
