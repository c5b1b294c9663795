"""From any picture to the pixels of the network. Training and the device both come through here.

Decode → EXIF orientation → first frame → alpha on white → gray (ITU-R 601-2, Pillow's ``L``)
→ central square → antialiased bilinear → uint8. A gray picture that already has the network's
size passes through untouched, byte for byte.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from emotion_runtime import jpeg
from emotion_runtime.errors import PictureError

if TYPE_CHECKING:
    from typing_extensions import Self

FACE_SIZE = 48

# What a model file must name to be fed by this module (see contract.InputSpec).
COLOUR = "gray-itu-r-601-2"
RESIZE = "bilinear-antialias"
ASPECT = "crop-central-square"

Pixels: TypeAlias = NDArray[np.uint8]
Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"

_PHOTOGRAPH_BYTES = 16_384  # fewer are not worth opening a picture twice

T = TypeVar("T")


class NamedBytes(bytes):
    """An encoded picture that remembers where it came from, such as an object store.

    Attributes:
        path: What answers and errors name.
    """

    path: str

    def __new__(cls, data: bytes, path: str) -> Self:
        """Join both."""
        made = super().__new__(cls, data)
        made.path = path
        return made


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
    data: bytes | None = None
    if isinstance(picture, (str, os.PathLike)):
        data = _small_jpeg(os.fsdecode(picture))
    elif isinstance(picture, bytes):
        data = picture
    if data is not None and (pixels := jpeg.decode_small_jpeg(data, size)) is not None:
        return pixels if pixels.shape == (size, size) else _fitted(Image.fromarray(pixels), size)
    return opened(picture, lambda image: _face(image, size), checked=True)


def opened(picture: Picture, use: Callable[[Image.Image], T], *, checked: bool = False) -> T:
    """Open whatever counts as a picture, use it, and say in one sentence what is wrong with it.

    Args:
        picture: As in `read_face`.
        use: Given the opened image, whose pixels may not be decoded yet.
        checked: The path has been looked at already.

    Raises:
        PictureError: The picture cannot be read; the message says why.
    """
    if isinstance(picture, Image.Image):
        return _guarded(picture, use, "the image")
    if isinstance(picture, np.ndarray):
        return _guarded(_from_array(picture), use, "the array")
    if isinstance(picture, (bytes, bytearray, memoryview)):
        name = getattr(picture, "path", "the bytes")
        if not len(picture):
            raise PictureError(f"{name}: empty.")
        return _decoded(io.BytesIO(picture), use, name)
    name = os.fsdecode(picture)
    if not checked:
        _size_of(name)
    return _decoded(name, use, name)


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


def photograph_size(path: str) -> tuple[int, int] | None:
    """Return width and height of a picture that looks like a whole photograph, else None.

    That is one clearly wider or higher than a face's square, or of more pixels than a face's
    crop usually has. Tiny files, and what cannot be read, are none.
    """
    try:
        if os.path.getsize(path) < _PHOTOGRAPH_BYTES:
            return None
        with Image.open(path) as image:
            width, height = image.size
    except Exception:  # noqa: BLE001  whatever is wrong with it, reading it will say
        return None
    short, long = sorted((width, height))
    whole = short >= 384 or (short >= 128 and long > 1.25 * short)
    return (width, height) if whole else None


def _size_of(name: str) -> int:
    """Return the size of a file in bytes; what is no file that can hold a picture is refused."""
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        raise _cannot_open(name, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{name}: a folder, not a picture.")
    if not stat.S_ISREG(status.st_mode):
        # A pipe that nobody writes to would be waited for for ever.
        raise PictureError(f"{name}: not a regular file.")
    if status.st_size == 0:
        raise PictureError(f"{name}: the file is empty.")
    return status.st_size


def _cannot_open(name: str, error: OSError | ValueError) -> PictureError:
    reason = getattr(error, "strerror", None) or str(error)
    return PictureError(f"{name}: cannot be opened ({reason}).")


def _small_jpeg(name: str) -> bytes | None:
    """Read a file that may be a small JPEG; of others, see only whether they can be read."""
    size = _size_of(name)
    try:
        # Others by their path: Pillow then loads the one plugin that the suffix names, and starts
        # the sooner.
        plain = name[-5:].lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))
        if not (plain and size <= jpeg.SMALL) and os.access(name, os.R_OK):
            return None
        with open(name, "rb", buffering=0) as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise _cannot_open(name, error) from error


def _decoded(source: str | io.BytesIO, use: Callable[[Image.Image], T], name: str) -> T:
    """Decode with Pillow."""
    try:
        with Image.open(source) as image:
            return use(image)
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{name}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, refused."
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: not a picture that Pillow can read.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not Pillow's
            raise _cannot_open(name, error) from error
        raise PictureError(f"{name}: damaged picture ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    """Say an exception in a few words on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _guarded(image: Image.Image, use: Callable[[Image.Image], T], name: str) -> T:
    """Use an image that is in memory already; lazy ones may still fail to decode."""
    try:
        return use(image)
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
    return _fitted(_gray(upright(image)), size)


def upright(image: Image.Image) -> Image.Image:
    """Decode, and turn as the camera was held (EXIF)."""
    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        return ImageOps.exif_transpose(image)
    return image


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
    return flattened(image).convert("L")


def flattened(image: Image.Image) -> Image.Image:
    """Turn any mode to eight bits without transparency, white behind it; colour is kept."""
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba)
    return image
