"""Fuzz targets: files of an interrupted run (`.partial`, `.settings.json`), and video files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from emotion_runtime import EmotionEdgeError, FacePrediction, Prediction
from emotion_runtime.results.resumption import ResumableOutput
from emotion_runtime.video.containers import inspect_container
from fuzz.mutation import json_text, mutate_bytes, mutate_json, to_bytes
from fuzz.target import Target, check_sentence

_SETTINGS = {"version": "0.1.0", "model": "a" * 64, "min_confidence": 0.5}
_PATHS = [f"pictures/{number}.png" for number in range(5)]


def _line(path: str) -> dict[str, object]:
    return {
        "path": path,
        "label": "happy",
        "confidence": 0.9,
        "probabilities": {"happy": 0.9, "sad": 0.1},
        "error": None,
    }


def _face_line(path: str) -> dict[str, object]:
    return _line(path) | {"other": 0.2, "box": [1, 2, 3, 4], "detection_confidence": 0.9, "face": 0}


def _encode(settings: object, partial: bytes, final: bool) -> bytes:
    """Join the two files; the first byte is 1 if the second is complete."""
    text = json.dumps(settings) if not isinstance(settings, str) else settings
    return bytes([final]) + to_bytes(text) + b"\0" + partial


def _seeds() -> list[bytes]:
    settings = {"settings": _SETTINGS}
    lines = "".join(json.dumps(_line(path)) + "\n" for path in _PATHS[:3]).encode()
    faces = "".join(json.dumps(_face_line(path)) + "\n" for path in _PATHS[:2] * 2).encode()
    return [
        _encode(settings, lines, final=False),
        _encode(settings, faces, final=False),
        _encode(settings, lines[:-20], final=False),
        _encode(settings | {"sha256": "0" * 64}, lines, final=True),
        _encode([], b"[" * 100_000 + b"\n", final=False),
    ]


def _mutate(random: Random, corpus: Sequence[bytes]) -> bytes:
    data = random.choice(corpus)
    final = data[0]
    settings, _, partial = data[1:].partition(b"\0")
    if random.random() < 0.4:
        try:
            values = mutate_json(random, json.loads(settings))
            return _encode(json_text(random, values), partial, bool(final))
        except (ValueError, RecursionError):
            pass
    if random.random() < 0.5:
        whole = random.choice(corpus[:2])[1:].partition(b"\0")[2]
        lines = [json.loads(line) for line in whole.splitlines()]
        place = random.randrange(len(lines))
        lines[place] = mutate_json(random, lines[place])
        text = "".join(json_text(random, line) + "\n" for line in lines)
        return _encode({"settings": _SETTINGS}, to_bytes(text), bool(final))
    return mutate_bytes(random, data, corpus)


def _read(data: bytes, folder: Path) -> None:
    final = data[:1] == b"\1"
    settings, _, lines = data[1:].partition(b"\0")
    output = folder / "results.jsonl"
    for kind in (Prediction, FacePrediction):
        for one in folder.iterdir():
            one.unlink()
        output.with_name("results.jsonl.settings.json").write_bytes(settings)
        (output if final else output.with_name("results.jsonl.partial")).write_bytes(lines)
        try:
            resumed = ResumableOutput(output, _SETTINGS, kind)
            try:
                for _ in resumed.skip_done(iter(_PATHS)):
                    pass
                resumed.finish()
            finally:
                resumed.close()
        except EmotionEdgeError as error:
            check_sentence(error, folder)


# --- videos ---


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + name + content


def _video_seeds() -> list[bytes]:
    sizes = _box(b"stsz", bytes(4), (10).to_bytes(4, "big"), (4).to_bytes(4, "big"))
    media = _box(
        b"mdia", _box(b"hdlr", bytes(8), b"vide", bytes(12)), _box(b"minf", _box(b"stbl", sizes))
    )
    mp4 = (
        _box(b"ftyp", b"isom", bytes(4))
        + _box(b"moov", _box(b"mvhd", bytes(100)), _box(b"trak", _box(b"tkhd", bytes(84)), media))
        + _box(b"mdat", bytes(40))
    )
    header = b"avih" + (56).to_bytes(4, "little") + bytes(56)
    avi = b"RIFF" + (200).to_bytes(4, "little") + b"AVI LIST" + (68).to_bytes(4, "little") + b"hdrl"
    avi += header + b"LIST" + (28).to_bytes(4, "little") + b"movi00dc" + (16).to_bytes(4, "little")
    block = b"\xa3\x85\x81\0\0\x80\0"
    cluster = b"\x1f\x43\xb6\x75" + bytes([0x80 + len(block)]) + block
    entry = b"\xae\x86\xd7\x81\x01\x83\x81\x01"
    tracks = b"\x16\x54\xae\x6b" + bytes([0x80 + len(entry)]) + entry
    mkv = b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01\x18\x53\x80\x67"
    mkv += bytes([0x80 + len(tracks + cluster)]) + tracks + cluster
    return [mp4, avi + bytes(40), mkv, b"OggS" + bytes(20), b""]


def _read_video(data: bytes, folder: Path) -> None:
    path = folder / "v.mp4"
    path.write_bytes(data)
    inspect_container(str(path))


_TOKENS = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz", b"stts", b"elst", b"edts", b"idx1"]
_TOKENS += [b"\x1f\x43\xb6\x75", b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xa3", b"\xff" * 8]

PARTIAL = Target("partial", _seeds, _mutate, _read)
VIDEOS = Target(
    "videos",
    _video_seeds,
    lambda random, corpus: mutate_bytes(random, random.choice(corpus), corpus, _TOKENS),
    _read_video,
)
