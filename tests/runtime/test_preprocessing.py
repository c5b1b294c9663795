from __future__ import annotations

import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime import PictureError, read_face
from emotion_runtime.faces.finder import FaceFinder
from emotion_runtime.pictures.preprocessing import is_small, process_picture, to_rgb, turn_upright
from pictures import encode_picture, gray_tiff, png, png_chunk
from synthetic import band_face


def test_gray_picture_of_the_right_size_does_not_change() -> None:
    face = band_face(1)
    for picture in (face, Image.fromarray(face), encode_picture(Image.fromarray(face))):
        np.testing.assert_array_equal(read_face(picture), face)


def test_path_bytes_image_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 50, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    expected = read_face(tmp_path / "a.png")
    assert expected.shape == (48, 48)
    assert expected.dtype == np.uint8
    for picture in (
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
        image,
        np.asarray(image),
    ):
        np.testing.assert_array_equal(read_face(picture), expected)


def test_aspect_is_kept_by_cropping_the_central_square() -> None:
    wide = np.full((48, 144), 255, np.uint8)
    wide[:, 48:96] = 10  # only the middle must be visible
    assert read_face(wide).max() == 10


def resize_rows(pixels: NDArray[np.uint8], begin: int, side: int, size: int) -> NDArray[np.uint8]:
    """Resize `side` columns from `begin` on to `size`, with Pillow's triangle filter."""
    scale = side / size
    support = max(scale, 1.0)
    columns = np.arange(pixels.shape[1]) + 0.5
    weights = np.empty((size, pixels.shape[1]))
    for place in range(size):
        row = np.maximum(0, 1 - np.abs(columns - begin - (place + 0.5) * scale) / support)
        weights[place] = row / row.sum()
    fixed_point = np.floor(weights * 2**22 + 0.5).astype(np.int64)
    sums = pixels.astype(np.int64) @ fixed_point.T + 2**21
    return np.clip(sums >> 22, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(60, 700), (700, 60), (30, 41), (96, 1200)])
def test_pixels_do_not_depend_on_the_version_of_pillow(width: int, height: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width), dtype=np.uint8)
    side = min(width, height)
    # Columns first: Pillow 13 begins with the rows where a picture is tall.
    narrow = resize_rows(pixels, (width - side) // 2, side, 48)
    expected = resize_rows(narrow.T, (height - side) // 2, side, 48).T
    np.testing.assert_array_equal(read_face(pixels), expected)


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(
        np.vstack([np.full((24, 48), 250, np.uint8), np.zeros((24, 48), np.uint8)])
    )
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    face = read_face(encode_picture(image, "JPEG", exif=exif, quality=95))
    assert face[:20].mean() < 20
    assert face[-20:].mean() > 230


def test_transparent_becomes_white() -> None:
    assert read_face(Image.new("RGBA", (48, 48), (0, 0, 0, 0))).min() == 255


MODES = [
    "1",
    "L",
    "LA",
    "La",
    "PA",
    "P",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I;16",
    "I;16B",
    "I",
    "F",
]


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return an RGB image in any mode of Pillow."""
    if mode == "LAB":
        cms = pytest.importorskip("PIL.ImageCms")
        profiles = cms.createProfile("sRGB"), cms.createProfile("LAB")
        return cms.applyTransform(image, cms.buildTransform(*profiles, "RGB", "LAB"))
    if mode.startswith("I;16"):
        deep = np.asarray(image.convert("L")).astype(">u2" if mode == "I;16B" else "<u2") * 257
        order = ">u2" if mode == "I;16B" else "<u2"
        return Image.frombytes(mode, image.size, deep.astype(order).tobytes())
    steps = {"La": ["LA", "La"], "RGBa": ["RGBA", "RGBa"], "PA": ["P", "PA"]}
    for step in steps.get(mode, [mode]):
        image = image.convert(step, palette=Image.Palette.ADAPTIVE)
    return image


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_picture_is_read(mode: str) -> None:
    image = Image.new("RGB", (60, 60), (128, 128, 128))
    if mode == "1":
        image = Image.new("RGB", (60, 60), (255, 255, 255))
    expected = 255 if mode == "1" else 128
    assert np.abs(read_face(in_mode(image, mode)).astype(int) - expected).max() <= 1


KINDS = [
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "PCX",
    "TGA",
    "MPO",
]


@pytest.mark.parametrize("kind", KINDS)
def test_file_bytes_image_and_file_object_give_the_same_pixels(kind: str, tmp_path: Path) -> None:
    small = np.random.default_rng(3).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((90, 70), Image.Resampling.BICUBIC)
    tried = 0
    for mode in MODES:
        try:
            data = encode_picture(in_mode(picture, mode), kind)
        except (OSError, ValueError, KeyError):
            continue  # this format does not have the mode
        tried += 1
        path = tmp_path / f"face-{tried}"
        path.write_bytes(data)
        expected = outcome(path)
        assert outcome(data) == expected
        assert outcome(bytearray(data)) == expected
        assert outcome(memoryview(data)) == expected
        stream = io.BytesIO(data)
        stream.seek(7)
        assert outcome(stream) == expected
        assert stream.tell() == 7
        with open(path, "rb") as file, Image.open(path) as image:
            assert outcome(file) == expected
            assert outcome(image) == expected
    if not tried:
        pytest.skip(f"this Pillow does not write {kind}")


def outcome(picture: Any) -> bytes | str:
    """Return the pixels, or the error without the name."""
    try:
        return read_face(picture).tobytes()
    except PictureError as error:
        return str(error).split(": ", 1)[1]


FORMATS_OF_CALLERS = ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"]


@pytest.mark.parametrize("kind", FORMATS_OF_CALLERS)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_callers_image_is_never_changed(kind: str, loaded: bool, tmp_path: Path) -> None:
    small = np.random.default_rng(3).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if kind in ("BMP", "GIF") else {"exif": exif}
    path = tmp_path / "a"
    Image.fromarray(small).resize((420, 300)).save(path, kind, **options)

    def state(image: Image.Image) -> tuple[object, ...]:
        return image.size, image.mode, image.format, image.tell(), dict(image.info)

    with Image.open(path) as image, Image.open(path) as untouched:
        if loaded:
            image.load()
            untouched.load()
        place = None if loaded else image.fp.tell()
        face = read_face(image)
        rgb = process_picture(image, lambda one: to_rgb(turn_upright(one)))
        assert state(image) == state(untouched)
        if kind in ("JPEG", "PNG", "TIFF", "BMP") and not loaded:
            assert image.fp.tell() == place
            assert image.tile  # not even decoded
        np.testing.assert_array_equal(read_face(image), face)
        with Image.open(path) as fresh:
            again = process_picture(fresh, lambda one: to_rgb(turn_upright(one)))
        if not loaded:
            np.testing.assert_array_equal(np.asarray(rgb), np.asarray(again))
        np.testing.assert_array_equal(np.asarray(image), np.asarray(untouched))


def test_a_detector_gets_the_same_pixels_of_an_image_and_its_file(tmp_path: Path) -> None:
    class NoFaces:
        def detect(self, image: np.ndarray) -> list[Any]:
            return []

    path = tmp_path / "a.jpg"
    Image.new("RGB", (2400, 1800), (90, 90, 90)).save(path)
    finder = FaceFinder(NoFaces())
    with Image.open(path) as image:
        read_face(image)
        small, scale, _ = finder.locate(image)
        assert image.size == (2400, 1800)
        assert image.mode == "RGB"
    assert scale == finder.locate(path)[1] == max(small.size) / 2400 < 1


def test_threads_may_share_an_image_that_is_not_decoded_yet(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (600, 600), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    expected = read_face(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image, ThreadPoolExecutor(4) as pool:
        for face in pool.map(read_face, [image] * 24):
            np.testing.assert_array_equal(face, expected)


def test_settings_of_the_caller_on_an_image_are_kept(tmp_path: Path) -> None:
    frames = [Image.new("L", (50, 50), value) for value in (10, 120, 240)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as animation:
        for frame in (2, 0, 1):
            animation.seek(frame)
            assert abs(int(read_face(animation).mean()) - (10, 120, 240)[frame]) <= 1
            assert animation.tell() == frame
    frames[1].resize((800, 800)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as drafted:
        drafted.draft("L", (100, 100))
        read_face(drafted)
        assert (
            process_picture(drafted, lambda one: turn_upright(one).size)
            == drafted.size
            == (100, 100)
        )
    with Image.open(tmp_path / "a.jpg") as closed:
        pass
    closed.close()
    with pytest.raises(PictureError, match="the image: "):
        read_face(closed)


def test_file_objects_may_be_at_any_position_or_unable_to_seek(tmp_path: Path) -> None:
    data = encode_picture(Image.fromarray(band_face(1)))
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with open(reader, "rb") as pipe:
        np.testing.assert_array_equal(read_face(pipe), band_face(1))
    closed = io.BytesIO(data)
    closed.close()
    with pytest.raises(PictureError, match="closed file"):
        read_face(closed)
    with pytest.raises(PictureError, match="empty"):
        read_face(io.BytesIO())
    with pytest.raises(TypeError, match="mode 'rb'"):
        read_face(io.StringIO("text"))  # type: ignore[arg-type]


@pytest.mark.parametrize("picture", [None, [b"x"], 7, object()])
def test_an_object_that_is_not_a_picture_is_a_type_error(picture: Any) -> None:
    with pytest.raises(TypeError, match="a picture is a path"):
        read_face(picture)
    assert is_small(picture)


DEEP = band_face(1, size=64)


@pytest.mark.parametrize(
    "data",
    {
        "PNG": png(
            64, 64, 16, 0, b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in DEEP)
        ),
        "RGB PNG": png(
            64,
            64,
            16,
            2,
            b"".join(b"\0" + (row.astype(">u2") * 257).repeat(3).tobytes() for row in DEEP),
        ),
        "PGM": b"P5 64 64 65535\n" + (DEEP.astype(">u2") * 257).tobytes(),
        "PGM, 12 bits": b"P5 64 64 4080\n" + (DEEP.astype(np.uint16) * 16).astype(">u2").tobytes(),
        "PGM, 7 bits": b"P5 64 64 127\n" + (DEEP // 2).tobytes(),
        "PPM": b"P6 64 64 65535\n" + (DEEP.astype(">u2") * 257).repeat(3).tobytes(),
        "plain PGM": b"P2 64 64 65535\n"
        + b" ".join(b"%d" % (int(value) * 257) for value in DEEP.ravel()),
        "TIFF": gray_tiff(64, 64, 16, (DEEP.astype("<u2") * 257).tobytes()),
        "TIFF, 0 is white": gray_tiff(
            64, 64, 16, (65535 - DEEP.astype("<u2") * 257).tobytes(), photometric=0
        ),
        "I within 0-255": gray_tiff(64, 64, 32, DEEP.astype("<i4").tobytes(), sample=2),
        "F within 0-255": gray_tiff(64, 64, 32, DEEP.astype("<f4").tobytes(), sample=3),
    }.items(),
    ids=lambda item: item[0],
)
def test_deep_pixels_are_scaled_as_the_format_defines(data: tuple[str, bytes]) -> None:
    expected = read_face(DEEP)
    tolerance = 2 if "7 bits" in data[0] else 0
    assert np.abs(read_face(data[1]).astype(int) - expected).max() <= tolerance
    with Image.open(io.BytesIO(data[1])) as image:
        np.testing.assert_array_equal(read_face(image), read_face(data[1]))


@pytest.mark.parametrize(
    "data",
    [
        b"P5 64 64 65535\n" + DEEP.astype(">u2").tobytes(),
        gray_tiff(64, 64, 16, DEEP.astype("<u2").tobytes()),
    ],
)
def test_sixteen_bit_pictures_with_values_of_eight_bits_are_refused(data: bytes) -> None:
    with pytest.raises(PictureError, match="16-bit pixels that are all below 256"):
        read_face(data)


def test_sixteen_bits_of_black_are_black() -> None:
    assert not read_face(b"P5 64 64 65535\n" + bytes(64 * 64 * 2)).any()


def test_an_array_with_an_empty_mask_is_read() -> None:
    pixels = np.ma.masked_array(DEEP, mask=False)
    np.testing.assert_array_equal(read_face(pixels), read_face(DEEP))


def test_twelve_bits_of_a_tiff_are_scaled() -> None:
    rows = bytes([0xFF, 0xF8, 0x00] * 24) * 48  # 4095, 2048
    face = read_face(gray_tiff(48, 48, 12, rows))
    assert set(np.unique(face)) == {128, 255}


@pytest.mark.parametrize(
    "picture",
    [
        gray_tiff(64, 64, 32, (DEEP.astype("<f4") / 255).tobytes(), sample=3),
        gray_tiff(64, 64, 32, (DEEP.astype("<f4") * 257).tobytes(), sample=3),
        gray_tiff(64, 64, 32, (DEEP.astype("<f4") * np.nan).tobytes(), sample=3),
        gray_tiff(64, 64, 32, (DEEP.astype("<u4") * 16_843_009).tobytes()),
        gray_tiff(64, 64, 32, (DEEP.astype("<i4") * 257).tobytes(), sample=2),
        gray_tiff(64, 64, 16, (DEEP.astype("<i2") - 100).tobytes(), sample=2),
        gray_tiff(64, 64, 8, DEEP.tobytes(), sample=2),
        Image.fromarray(DEEP.astype(np.int32) * 257),
        Image.fromarray(DEEP.astype(np.float32) / 255),
        Image.fromarray(DEEP.astype(np.float32) - 50),
    ],
)
def test_deep_pixels_without_a_defined_scale_are_refused(picture: Any) -> None:
    with pytest.raises(PictureError, match=r"refused: .*pixels"):
        read_face(picture)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent"),
    [
        (2, 0, bytes([0b00_01_10_11]), struct.pack(">H", 1)),
        (4, 0, bytes([0x05, 0x9F]), struct.pack(">H", 5)),
        (8, 0, bytes([0, 5, 90, 255]), struct.pack(">H", 5)),
        (16, 0, struct.pack(">4H", 0, 5 * 257, 90 * 257, 65535), struct.pack(">H", 5 * 257)),
        (16, 2, struct.pack(">12H", *[0] * 3, *[1300] * 3, *[9999] * 3, *[65535] * 3),
         struct.pack(">3H", *[1300] * 3)),
    ],
)  # fmt: skip
def test_the_transparent_value_of_a_png_is_white(
    depth: int, colour: int, row: bytes, transparent: bytes
) -> None:
    data = png(4, 4, depth, colour, (b"\0" + row) * 4, png_chunk(b"tRNS", transparent))
    with Image.open(io.BytesIO(data)) as image:
        for picture in (data, image):
            face = read_face(picture, 4)
            assert face[0, 0] == 0
            assert face[0, 1] == 255
            assert 20 < face[0, 2] < 200


def test_large_pictures_are_converted_in_strips_without_a_seam() -> None:
    colours = np.random.default_rng(5).integers(0, 255, (1300, 1300, 4), dtype=np.uint8)
    for mode in ("RGBA", "P", "LA", "CMYK"):
        image = Image.fromarray(colours).convert("RGB" if mode in ("P", "CMYK") else mode)
        image = image.convert(mode)
        if mode == "P":
            image.info["transparency"] = 3
        strip = image.crop((0, 700, 1300, 1100))  # across the border of two strips
        whole = np.asarray(process_picture(image, lambda one: to_rgb(turn_upright(one))))
        np.testing.assert_array_equal(whole[700:1100], np.asarray(to_rgb(strip)))


def test_files_that_are_not_regular_are_refused_at_once(tmp_path: Path) -> None:
    for name in ("pipe.png", "pipe.jpg"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(PictureError, match="not a regular file"):
            read_face(tmp_path / name)


def test_only_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("L", (48, 48), value) for value in (20, 240)]
    assert (
        read_face(encode_picture(frames[0], "GIF", save_all=True, append_images=frames[1:])).max()
        < 30
    )


def test_large_jpeg_is_close_to_a_full_decode() -> None:
    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).resize((1200, 1200))
    data = encode_picture(smooth, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        full = np.asarray(image.convert("L").resize((48, 48), Image.Resampling.BILINEAR))
    assert np.abs(read_face(data).astype(int) - full).mean() < 1.0


def test_bad_pictures_are_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all")
    whole = encode_picture(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), dtype=np.uint8))
    )
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    cases = {
        "missing.jpg": "No such file",
        "empty.jpg": "empty",
        "text.jpg": "not a picture",
        "cut.png": "damaged",
        ".": "folder",
    }
    for name, reason in cases.items():
        with pytest.raises(PictureError, match=reason) as caught:
            read_face(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((48, 48), np.float32),
        np.zeros((48, 48, 5), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(9, np.uint8),
        np.ma.masked_array(np.zeros((48, 48), np.uint8), mask=np.eye(48)),
    ],
)
def test_ambiguous_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PictureError, match="array"):
        read_face(array)


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PictureError, match="pixels, refused"):
        read_face(encode_picture(Image.new("L", (60, 60))))
