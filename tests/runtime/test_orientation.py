"""Every kind of orientation metadata has the same effect, for each size and decoder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from emotion_runtime import read_face
from emotion_runtime.pictures import jpeg, preprocessing
from emotion_runtime.pictures.orientation import parse_exif, parse_xmp
from pictures import encode_picture, exif_of, png, png_chunk, segment, with_segments, xmp_of

SIDE = 60
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"


def corner_face() -> Image.Image:
    """Return a face with a bright upper left quarter, so that all eight orientations differ."""
    face = np.zeros((SIDE, SIDE), np.uint8)
    face[:30, :20] = 250
    face[:10, :30] = 250
    return Image.fromarray(face)


def turn_corner_face(orientation: int) -> np.ndarray:
    image = corner_face()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.getexif()[0x0112] = orientation
    from PIL import ImageOps

    return read_face(np.asarray(ImageOps.exif_transpose(image)))


def read_like(data: bytes, orientation: int, tolerance: float = 6.0) -> None:
    difference = np.abs(read_face(data).astype(int) - turn_corner_face(orientation)).mean()
    assert difference < tolerance


@pytest.fixture(params=["with simplejpeg", "without"])
def either_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    elif jpeg.simplejpeg is None:
        pytest.skip("simplejpeg is not installed")


@pytest.mark.usefixtures("either_decoder")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_jpeg_is_turned_by_exif_and_by_xmp_in_the_same_way(orientation: int, size: str) -> None:
    filler = segment(0xFE, bytes(60_000)) * 7 if size == "large" else b""
    plain = encode_picture(corner_face(), "JPEG", quality=95)
    attribute = xmp_of(f'tiff:Orientation="{orientation}"')
    element = xmp_of(f"<tiff:Orientation>{orientation}</tiff:Orientation>")
    for segments in (
        segment(0xE1, b"Exif\0\0" + exif_of(orientation)),
        segment(0xE1, b"Exif\0\0" + exif_of(orientation, ">")),
        segment(0xE2, b"ICC_PROFILE\0\1\1x") + segment(0xE1, b"Exif\0\0" + exif_of(orientation)),
        segment(0xE1, XMP_MARK + attribute),
        segment(0xE1, XMP_MARK + element),
        # EXIF takes precedence.
        segment(0xE1, XMP_MARK + xmp_of('tiff:Orientation="4"'))
        + segment(0xE1, b"Exif\0\0" + exif_of(orientation)),
    ):
        read_like(with_segments(plain, segments + filler), orientation)


@pytest.mark.parametrize("invalid", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(invalid: int) -> None:
    plain = encode_picture(corner_face(), "JPEG", quality=95)
    exif = segment(0xE1, b"Exif\0\0" + exif_of(invalid))
    read_like(with_segments(plain, exif), 1)
    read_like(with_segments(plain, exif + segment(0xFE, bytes(60_000)) * 2), 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", [2, 3, 5, 6, 7, 8])
def test_every_format_is_turned(kind: str, orientation: int, tmp_path: Path) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif, "quality": 95}
    if kind == "MPO":
        options |= {"save_all": True, "append_images": [corner_face()]}
    data = encode_picture(corner_face().convert("RGB"), kind, **options)
    read_like(data, orientation)
    path = tmp_path / "face"
    path.write_bytes(data)
    expected = read_face(data)
    np.testing.assert_array_equal(read_face(path), expected)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_face(image), expected)
        assert image.size == Image.open(io.BytesIO(data)).size
    upright = preprocessing.process_picture(
        path, lambda one: preprocessing.turn_upright(one).convert("L")
    )
    assert np.abs(read_face(upright).astype(int) - expected).max() <= 2


def raw_profile(name: bytes, data: bytes) -> bytes:
    text = f"\nexif\n{len(data):8}\n{data.hex()}\n".encode()
    return png_chunk(b"tEXt", b"Raw profile type " + name + b"\0" + text)


@pytest.mark.parametrize(
    "chunks",
    [
        lambda: png_chunk(b"eXIf", exif_of(6)),
        lambda: raw_profile(b"exif", b"Exif\0\0" + exif_of(6)),
        lambda: raw_profile(b"APP1", b"Exif\0\0" + exif_of(6)),
        lambda: png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_of("tiff:Orientation='6'")),
    ],
)
def test_a_png_is_turned_by_each_kind_of_metadata(chunks: Callable[[], bytes]) -> None:
    pixels = np.asarray(corner_face())
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    np.testing.assert_array_equal(
        read_face(png(SIDE, SIDE, 8, 0, rows, chunks())), turn_corner_face(6)
    )
    behind = png(SIDE, SIDE, 8, 0, rows)
    behind = behind[:-12] + chunks() + behind[-12:]  # after the pixels
    np.testing.assert_array_equal(read_face(behind), turn_corner_face(6))


def test_a_tiff_is_turned_once_also_where_tag_and_xmp_agree() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[700] = xmp_of("tiff:Orientation='6'")
    data = encode_picture(corner_face(), "TIFF", exif=exif)
    np.testing.assert_array_equal(read_face(data), turn_corner_face(6))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read_face(image), turn_corner_face(6))


@pytest.mark.parametrize(
    ("xmp", "expected"),
    [
        (xmp_of('tiff:Orientation="6"'), 6),
        (xmp_of("tiff:Orientation = '8'"), 8),
        (xmp_of("<tiff:Orientation> 3 </tiff:Orientation>"), 3),
        (xmp_of('t:Orientation="6"', prefix="t"), 6),
        (xmp_of('tiff:Orientation="6"').decode(), 6),
        (xmp_of('tiff:Orientation="6"').decode().encode("utf-16"), 6),
        (xmp_of('tiff:Orientation="9"'), None),
        (xmp_of('exif:Orientation="6"'), None),
        (b"<tiff:Orientation " * 50_000, None),
        (None, None),
    ],
)
def test_orientation_is_read_from_each_form_of_xmp(xmp: object, expected: int | None) -> None:
    assert parse_xmp(xmp) == expected


@pytest.mark.parametrize("length", range(0, 26))
def test_truncated_exif_is_not_an_error(length: int) -> None:
    assert parse_exif(exif_of(6)[:length]) in (None, 6)
