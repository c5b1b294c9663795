"""From any picture to the pixels of the network. Training and the device both come through here.

Decode → EXIF orientation → first frame → alpha on white → gray (ITU-R 601-2, Pillow's ``L``)
→ central square → antialiased bilinear → uint8. A gray picture that already has the network's
size passes through untouched, byte for byte.
"""

from __future__ import annotations

import io
import os
import stat
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from emotion_runtime import jpeg
from emotion_runtime.errors import PictureError

FACE_SIZE = 48

# What a model file must name to be fed by this module (see contract.InputSpec).
COLOUR = "gray-itu-r-601-2"
RESIZE = "bilinear-antialias"
ASPECT = "crop-central-square"

Pixels: TypeAlias = NDArray[np.uint8]
Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"


def read_face(picture: Picture, size: int = FACE_SIZE) -> Pixels:
    """Turn a picture into what the network sees.

    Args:
        picture: A path, the bytes of an encoded picture, a PIL image, or a uint8 array of shape
            (height, width), (height, width, 1), (height, width, 3) RGB or (height, width, 4) RGBA.
        size: Side of the square, in pixels.

    Returns:
        Gray pixels, uint8, shape (size, size), 0 black to 255 white.

    Raises:
        PictureError: The picture cannot be read; the message says why.
    """
    if isinstance(picture, Image.Image):
        return _guarded(picture, size, "the image")
    if isinstance(picture, np.ndarray):
        return _guarded(_from_array(picture), size, "the array")
    if isinstance(picture, (bytes, bytearray, memoryview)):
        if not len(picture):
            raise PictureError("the bytes are empty.")
        data: bytes | None = bytes(picture)
        source: str | io.BytesIO = io.BytesIO(picture)
        name = "the bytes"
    else:
        source = name = os.fsdecode(picture)
        data = _small_jpeg(name)
    if data is not None and (pixels := jpeg.decode_small_jpeg(data, size)) is not None:
        return pixels if pixels.shape == (size, size) else _fitted(Image.fromarray(pixels), size)
    return _opened(source, size, name)


def is_small(picture: Picture) -> bool:
    """Say whether reading it is mostly Python's work, and little of the decoder's.

    What cannot be looked at is small too: saying so takes no time.
    """
    if isinstance(picture, Image.Image):
        return picture.width * picture.height <= jpeg.SMALL
    if isinstance(picture, np.ndarray):
        return picture.nbytes <= jpeg.SMALL
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return len(picture) <= jpeg.SMALL
    try:
        return os.stat(picture).st_size <= jpeg.SMALL
    except (OSError, ValueError):
        return True


def _small_jpeg(name: str) -> bytes | None:
    """Read a file that may be a small JPEG; of others, see only whether they can be read."""
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise PictureError(f"{name}: a folder, not a picture.")
        if not stat.S_ISREG(status.st_mode):
            # A pipe that nobody writes to would be waited for for ever.
            raise PictureError(f"{name}: not a regular file.")
        if status.st_size == 0:
            raise PictureError(f"{name}: the file is empty.")
        # Others by their path: Pillow then loads the one plugin that the suffix names, and starts
        # the sooner.
        plain = name[-5:].lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))
        if not (plain and status.st_size <= jpeg.SMALL) and os.access(name, os.R_OK):
            return None
        with open(name, "rb", buffering=0) as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"{name}: cannot be opened ({reason}).") from error


def _opened(source: str | io.BytesIO, size: int, name: str) -> Pixels:
    """Decode with Pillow."""
    try:
        with Image.open(source) as image:
            return _face(image, size)
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{name}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, refused."
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: not a picture that Pillow can read.") from error
    except Exception as error:
        raise PictureError(f"{name}: damaged picture ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    """Say an exception in a few words on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _guarded(image: Image.Image, size: int, name: str) -> Pixels:
    """Convert an image that is in memory already; lazy ones may still fail to decode."""
    try:
        return _face(image, size)
    except Exception as error:
        raise PictureError(f"{name}: damaged picture ({_reason(error)}).") from error


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    """Wrap an array without guessing: anything but uint8 gray, RGB or RGBA is refused."""
    if array.dtype != np.uint8:
        raise PictureError(
            f"the array is {array.dtype}, not uint8: give pixels from 0 to 255 as uint8."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    gray = array.ndim == 2
    colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (gray or colour) or 0 in array.shape:
        raise PictureError(
            f"the array has shape {array.shape}; expected (height, width) or (height, width, 3)."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _face(image: Image.Image, size: int) -> Pixels:
    """Apply the steps at the top of this file to an opened image."""
    if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with more pictures behind it, as phones write
        # Decoding at 1/2, 1/4 or 1/8 scale and straight to luminance is many times faster on
        # photographs; twice the size wanted is left to the antialiased resize below.
        image.draft("L", (2 * size, 2 * size))
    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return _fitted(_gray(image), size)


def _fitted(gray: Image.Image, size: int) -> Pixels:
    """Crop the central square and resize it."""
    width, height = gray.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        gray = gray.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.array(gray, dtype=np.uint8)


def _gray(image: Image.Image) -> Image.Image:
    """Turn any mode to ``L``; what is transparent becomes white."""
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba).convert("L")
    return image.convert("L")
