"""Make the inputs of every chip: pictures in all formats, and average faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.pictures.preprocessing import read_face
from pictures import encode_picture, exif_of, one_of_each_format

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
PHOTOGRAPH = ROOT / "docs" / "faces.png"  # drawn, with average faces


def write_pictures(folder: Path, *, quick: bool) -> int:
    """Write pictures that decode and resize in different ways, and return their number.

    Args:
        folder: An empty folder.
        quick: Leave out pictures that take seconds on an emulated chip.
    """
    colour = draw_picture(701, 523)
    gray = colour.convert("L")
    small = colour.resize((97, 131))
    files = {f"every-{kind}.bin": data for kind, data in one_of_each_format(small).items()}
    # libjpeg-turbo has code of its own for each chip: the inverse cosine transform, the upsampling
    # of colours, and decoding at reduced scale (Pillow's draft), here to 1, 1/2, 1/4 and 1/8.
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        for quality in (35, 90):
            files[f"colour-{sampling.replace(':', '')}-{quality}.jpg"] = encode_picture(
                colour, "JPEG", subsampling=sampling, quality=quality
            )
    for width, height in ((48, 48), (60, 75), (191, 191), (193, 400), (400, 385), (800, 769)):
        resized = colour.resize((width, height), Image.Resampling.NEAREST)
        files[f"{width}x{height}.jpg"] = encode_picture(resized, "JPEG", quality=92)
        files[f"gray-{width}x{height}.jpg"] = encode_picture(resized.convert("L"), "JPEG")
    files["progressive.jpg"] = encode_picture(colour, "JPEG", progressive=True)
    files["cmyk.jpg"] = encode_picture(colour.convert("CMYK"), "JPEG")
    for orientation in range(2, 9):
        exif = b"Exif\0\0" + exif_of(orientation)
        files[f"turned-{orientation}.jpg"] = encode_picture(small, "JPEG", exif=exif)
    transparent = colour.convert("RGBA")
    transparent.putalpha(gray)
    files["transparent.png"] = encode_picture(transparent)
    files["gray-alpha.png"] = encode_picture(transparent.convert("LA"))
    files["palette.png"] = encode_picture(small.convert("P"))
    files["bits.png"] = encode_picture(gray.convert("1"))
    deep = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    files["sixteen-bits.png"] = encode_picture(deep)
    files["lossy.webp"] = encode_picture(colour, "WEBP", quality=70)
    files["lossless.webp"] = encode_picture(small, "WEBP", lossless=True)
    files["enlarged.png"] = encode_picture(colour.resize((19, 23)))
    if not quick:
        large = draw_picture(3211, 2407)
        files["large.jpg"] = encode_picture(large, "JPEG", quality=85)
        files["large.png"] = encode_picture(large.resize((1999, 1501)), compress_level=1)
        files[PHOTOGRAPH.name] = PHOTOGRAPH.read_bytes()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for path in SAMPLES.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    return len(list(folder.iterdir()))


def draw_picture(width: int, height: int) -> Image.Image:
    """Return a picture with gradients, edges and fine lines in all colours."""
    y, x = np.mgrid[0:height, 0:width]
    red = np.where((x // 5 + y // 7) % 2 == 0, 230, 20)
    green = (x * 255 // width + y) % 256
    blue = np.where((x - width // 2) ** 2 + (y - height // 2) ** 2 < height**2 // 9, 250, x * y)
    return Image.fromarray(np.stack([red, green, blue % 256], axis=-1).astype(np.uint8))


def make_faces(name: str, *, quick: bool) -> NDArray[np.uint8]:
    """Return average faces for a model, uint8 (n, size, size).

    Args:
        name: A released model. Its golden inputs are average faces too.
        quick: Only the samples; else also the golden inputs, and all of them mirrored, and darker
            and shifted.
    """
    classifier = EmotionClassifier(name)
    size = classifier.contract.input.size
    samples = np.stack([read_face(path, size) for path in sorted(SAMPLES.glob("*.png"))])
    if quick:
        return samples
    faces = np.concatenate([samples, classifier.contract.golden.pixels.reshape(-1, size, size)])
    darker = (faces.astype(np.float64) * 0.6 + 10).astype(np.uint8)
    return np.concatenate([faces, faces[:, :, ::-1], np.roll(darker, (2, -3), axis=(1, 2))])


def list_models() -> tuple[str, ...]:
    """Return the names of the released models, the default first."""
    names = emotion_models.names()
    return tuple(sorted(names, key=lambda name: name != emotion_models.DEFAULT_MODEL))
