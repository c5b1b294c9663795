from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emotion_runtime import PictureError, read_face
from synthetic import band_face


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_gray_picture_of_the_right_size_passes_byte_for_byte() -> None:
    face = band_face(1)
    for picture in (face, Image.fromarray(face), encoded(Image.fromarray(face))):
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
    wide[:, 48:96] = 10  # only the middle must be seen
    assert read_face(wide).max() == 10


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(
        np.vstack([np.full((24, 48), 250, np.uint8), np.zeros((24, 48), np.uint8)])
    )
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    face = read_face(encoded(image, "JPEG", exif=exif, quality=95))
    assert face[:20].mean() < 20
    assert face[-20:].mean() > 230


def test_transparent_becomes_white() -> None:
    assert read_face(Image.new("RGBA", (48, 48), (0, 0, 0, 0))).min() == 255


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
)
def test_every_mode_of_a_picture_is_read(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((60, 60), 128 * 256, np.uint16))
    else:
        image = Image.new("RGB", (60, 60), (128, 128, 128)).convert(
            mode if mode != "LA" else "RGBA"
        )
        image = image.convert(mode)
    face = read_face(image)
    if mode not in ("1", "HSV"):
        assert abs(int(face.mean()) - 128) <= 2


def test_only_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("L", (48, 48), value) for value in (20, 240)]
    assert read_face(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).max() < 30


def test_large_jpeg_is_close_to_a_full_decode() -> None:
    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).resize((1200, 1200))
    data = encoded(smooth, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        full = np.asarray(image.convert("L").resize((48, 48), Image.Resampling.BILINEAR))
    assert np.abs(read_face(data).astype(int) - full).mean() < 1.0


def test_bad_pictures_are_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("I am no picture")
    whole = encoded(
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
    ],
)
def test_arrays_that_would_need_a_guess_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PictureError, match="array"):
        read_face(array)


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PictureError, match="pixels, refused"):
        read_face(encoded(Image.new("L", (60, 60))))
