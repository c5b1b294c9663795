"""Malicious pictures take limited time and memory, and start no other program."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from emotion_runtime import PictureError, read_face
from emotion_runtime.pictures.formats import recognise_format
from emotion_runtime.pictures.limits import (
    MAX_PIXELS,
    PIXEL_LIMIT_VARIABLE,
    get_pixel_limit,
    set_pixel_limit,
)
from emotion_runtime.pictures.preprocessing import find_photograph_size
from emotion_runtime.pictures.sources import PICTURE_SUFFIXES
from pictures import encode_picture, gray_tiff, png, png_chunk, segment, tiff, with_segments

FACE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60), dtype=np.uint8))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n{} loop\n"


@pytest.fixture(autouse=True)
def default_limit() -> Iterator[None]:
    yield
    set_pixel_limit(None)


def error_of(picture: bytes) -> str:
    try:
        read_face(picture)
    except PictureError as error:
        return str(error)
    return "read"


def jpeg() -> bytes:
    return encode_picture(FACE, "JPEG")


def webp_header(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    body = b"VP8L" + struct.pack("<IBI", 9, 0x2F, bits) + bytes(5)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def many_scans() -> bytes:
    """Return a progressive JPEG of 8000×8000 pixels with scans of a hundred bytes each."""
    data = bytearray(encode_picture(Image.new("L", (16, 16)), "JPEG", progressive=True))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 8000, 8000)
    scan = bytes(data[data.rindex(b"\xff\xda") : -2])
    return bytes(data[:-2]) + scan * 2000 + b"\xff\xd9"


def hostile() -> dict[str, bytes]:
    tags = struct.pack("<H", 5000) + b"".join(
        struct.pack("<HHII", 1000 + i, 7, 60_000, 8) for i in range(5000)
    )
    exif = b"Exif\0\0II*\0\x08\0\0\0" + tags + bytes(4)
    gif = encode_picture(FACE, "GIF")
    table = 13 + (3 << ((gif[10] & 7) + 1))
    start = encode_picture(FACE, "PNG")
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000)))
    rle = struct.pack("<IiiHHIIiiII", 40, 8000, 8000, 1, 8, 1, 4, 0, 0, 256, 0) + bytes(1024)
    return {
        "JPEG of many Exif segments": with_segments(
            jpeg(), segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(65_000)) * 100
        ),
        "JPEG of many comments": with_segments(jpeg(), segment(0xFE, b"") * 100_000),
        "JPEG of fill bytes": with_segments(jpeg(), b"\xff" * 500_000),
        "JPEG whose Exif tags overlap": with_segments(jpeg(), segment(0xE1, exif)),
        "JPEG of many scans": many_scans(),
        "PNG of many chunks": start[:33] + png_chunk(b"tEXt", b"a\0b") * 200_000 + start[33:],
        "PNG of many chunks behind": start[:-12] + png_chunk(b"tEXt", b"a\0b") * 200_000,
        "PNG of many profiles": start[:33] + profile * 2000 + start[33:],
        "GIF of one long comment": gif[:table] + b"!\xfe" + b"\1A" * 200_000 + b"\0" + gif[table:],
        "GIF of many comments": gif[:table] + b"!\xfe\1A\0" * 200_000 + gif[table:],
        "TIFF of many tags": b"II*\0\x08\0\0\0" + struct.pack("<H", 60_000) + bytes(720_004),
        "TIFF whose tags overlap": b"II*\0\x08\0\0\0"
        + struct.pack("<H", 4000)
        + b"".join(struct.pack("<HHII", i + 300, 7, 40_000, 8) for i in range(4000)),
        "TIFF of large tiles": tiff(
            [(256, 3, 1, 10), (257, 3, 1, 10), (322, 4, 1, 30_000), (323, 4, 1, 30_000)], b""
        ),
        "BMP of run lengths": b"BM" + struct.pack("<IHHI", 1078, 0, 0, 1078) + rle,
        "JPEG 2000 of many boxes": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 100_000,
        "PGM of a long header": b"P5\n#" + b"x" * 200_000 + b"\n60 60\n255\n" + bytes(3600),
        "PGM of much text": b"P2\n60 60\n255\n" + b" " * (17 << 20),
    }


def test_headers_that_would_take_long_are_refused() -> None:
    for name, data in hostile().items():
        assert "refused" in error_of(data), name


def test_comments_in_a_pnm_are_skipped() -> None:
    values = b" ".join(b"%d #1 2 3\n" % value for value in np.asarray(FACE).ravel())
    text = b"P2 # a comment\n60#c\n60\n255\n" + values
    np.testing.assert_array_equal(read_face(text), read_face(FACE))
    binary = b"P5 # a comment\n60#c\n60\n255\n" + FACE.tobytes()
    np.testing.assert_array_equal(read_face(binary), read_face(FACE))


def test_ordinary_metadata_are_accepted() -> None:
    segments = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)) * 50
    np.testing.assert_array_equal(read_face(with_segments(jpeg(), segments)), read_face(jpeg()))


def large_pictures() -> dict[str, bytes]:
    rows = bytes(1 + 9000) * 9000
    row, side = bytes(1 + 1125), 9000
    found = {
        "WebP": webp_header(13_000, 13_000),
        "palette PNG": png(side, side, 1, 3, row * side, png_chunk(b"PLTE", bytes(6))),
        "gray PNG": png(side, side, 8, 0, rows),
        "TIFF": gray_tiff(9000, 9000, 8, b""),
        "PGM": b"P5 9000 9000 255\n",
        "progressive JPEG": _resize(
            encode_picture(FACE, "JPEG", progressive=True), b"\xff\xc2", 20_000
        ),
        "JPEG": _resize(jpeg(), b"\xff\xc0", 65_500),
    }
    if features.check("jpg_2000"):
        codestream = bytearray(encode_picture(FACE, "JPEG2000", no_jp2=True))
        place = codestream.index(b"\xff\x51") + 6
        codestream[place : place + 8] = struct.pack(">II", 9000, 9000)
        found["JPEG 2000"] = bytes(codestream)
    return found


def _resize(data: bytes, frame: bytes, side: int) -> bytes:
    place = data.index(frame) + 5
    return data[:place] + struct.pack(">HH", side, side) + data[place + 4 :]


def test_more_pixels_than_the_limit_are_refused() -> None:
    for name, data in large_pictures().items():
        assert " pixels, refused: the limit" in error_of(data), name


def test_the_limit_applies_to_the_decoded_size_of_a_jpeg() -> None:
    data = encode_picture(Image.new("L", (1600, 1600), 90), "JPEG")
    set_pixel_limit(200 * 200)  # at an eighth of its sides
    assert read_face(data).mean() == 90
    with pytest.raises(PictureError, match="1,600×1,600 pixels, refused"):
        read_face(encode_picture(Image.new("L", (1600, 1600), 90), "PNG"))
    assert read_face(Image.new("L", (1600, 1600), 90)).mean() == 90  # already in memory


def test_the_limit_can_be_raised_and_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_picture(Image.new("L", (100, 100)))
    assert get_pixel_limit() == MAX_PIXELS
    monkeypatch.setenv(PIXEL_LIMIT_VARIABLE, "9999")
    with pytest.raises(PictureError, match=PIXEL_LIMIT_VARIABLE):
        read_face(data)
    set_pixel_limit(10_000)
    read_face(data)
    set_pixel_limit(None)
    monkeypatch.setenv(PIXEL_LIMIT_VARIABLE, "many")
    with pytest.raises(PictureError, match="'many', not a number"):
        read_face(data)
    with pytest.raises(ValueError, match="1 or more"):
        set_pixel_limit(0)


@pytest.mark.parametrize("own", [None, 40_000_000, 10**9])
def test_pillows_own_limit_does_not_change_and_causes_no_warning(
    own: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_face(png(8000, 7000, 1, 0, bytes(1 + 1000) * 7000)).max() == 0
        with pytest.raises(PictureError, match="pixels, refused"):
            read_face(png(13_000, 13_000, 1, 0, b""))
    assert own == Image.MAX_IMAGE_PIXELS


def test_memory_of_a_large_picture_is_bounded(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak memory of a process is read from /proc")
    # RGBA of 16 million pixels: 64 MB decoded, without three further copies.
    (tmp_path / "a.png").write_bytes(png(4000, 4000, 8, 6, bytes(1 + 16_000) * 4000))
    code = (
        "import pathlib, re, sys; from emotion_runtime.pictures.preprocessing import read_face\n"
        # ru_maxrss includes the peak of the parent process; VmHWM does not.
        "status = pathlib.Path('/proc/self/status')\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) / 1024\n"
        "read_face(sys.argv[2]); before = peak(); read_face(sys.argv[1])\n"
        "print(peak() - before)"
    )
    (tmp_path / "b.png").write_bytes(png(40, 40, 8, 6, bytes(161) * 40))
    command = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 130


def test_no_other_program_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "gs"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was_run'}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "face.jpg"
    path.write_bytes(EPS)
    for picture in (path, EPS):
        with pytest.raises(PictureError, match="not a picture in a format that is read"):
            read_face(picture)
    with Image.open(path) as image, pytest.raises(PictureError, match="another program"):
        read_face(image)
    assert find_photograph_size(str(path)) is None
    assert not (tmp_path / "was_run").exists()


def test_formats_are_recognised_by_their_contents(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_picture(FACE, "PNG"))
    np.testing.assert_array_equal(read_face(tmp_path / "a.jpg"), read_face(FACE))


def test_pictures_of_each_known_suffix_are_read() -> None:
    Image.init()
    for suffix in sorted(PICTURE_SUFFIXES):
        kind = Image.EXTENSION.get(suffix)
        if suffix in (".heic", ".heif", ".hif", ".avif") or kind is None:
            continue
        data = encode_picture(FACE.convert("RGB"), kind)
        assert recognise_format(data[:32]) is not None, suffix
        assert read_face(data).shape == (48, 48)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"\n",
        b"P",
        b"P9 1 1",
        b"BM",
        b"GIF89a",
        b"II*\x00",
        b"RIFF....WEBP",
        b"\xff\xd8\xff",
        b"\x00\x00\x00\x18ftypavif" + bytes(16),
        b"\x00\x00\x02" + bytes(40),
        b"P5 3 3 70000\n",
        b"P5 2 2 255\n1",
        b"P2 2 2 9 1 2 3",
        b"P2 2 2 9 1 2 3 x",
        b"P2 2 2 9 1 2 3 10",
        b"P1 2 2 1 0 1 2",
        b"P2 0 2 9 1",
    ],
)
def test_truncated_pictures_give_one_sentence(data: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        read_face(data)
    assert str(caught.value).startswith("the bytes: ")
    assert "\n" not in str(caught.value)


def test_heic_is_read_or_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    with pytest.raises(PictureError, match="pip install pillow-heif"):
        read_face(path)


def test_heic_is_turned_once_and_registers_nothing() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    buffer = io.BytesIO()
    tall = Image.new("RGB", (64, 96))
    tall.paste((250, 250, 250), (0, 0, 64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(tall).save(buffer, quality=90, exif=exif.tobytes())
    before = dict(Image.OPEN)
    face = read_face(buffer.getvalue())
    assert face[:, 30:].mean() > 200  # the top is on the right
    assert face[:, :18].mean() < 40
    assert before == Image.OPEN


def test_libtiff_prints_no_messages_in_a_command(tmp_path: Path, model_file: Path) -> None:
    if not features.check("libtiff"):
        pytest.skip("this Pillow has no libtiff")
    data = bytearray(encode_picture(FACE, "TIFF", compression="tiff_lzw"))
    data[20:60] = b"\xff" * 40
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(data))
    command = [sys.executable, "-m", "emotion_runtime", str(path), "-q", "-m", str(model_file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == ""
