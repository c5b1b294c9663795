"""Convert any picture to the network's input, in the same way for training and for the device.

Decode → first frame → gray (ITU-R 601-2, Pillow's ``L``), white where it is transparent →
orientation (EXIF, XMP) → central square → antialiased bilinear → uint8. A gray picture that
already has the network's size keeps its pixels, byte for byte.

`process_picture` is the only place that decodes pictures. It never changes what the caller passes:
neither a PIL image, an array or bytes, nor the position of a file object.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from emotion_runtime.errors import PictureError, format_reason
from emotion_runtime.pictures import jpeg
from emotion_runtime.pictures.formats import FORMAT_NAMES, HEAD_BYTES, open_format, recognise_format
from emotion_runtime.pictures.limits import Refusal, check_pixels, get_file_limit
from emotion_runtime.pictures.modes import flatten as flatten
from emotion_runtime.pictures.modes import to_gray
from emotion_runtime.pictures.modes import to_rgb as to_rgb
from emotion_runtime.pictures.orientation import (
    ORIENTATION_TAG,
    find_transpose,
    read_orientation,
    remove_orientation,
)

if TYPE_CHECKING:
    from typing_extensions import Self

FACE_SIZE = 48

# A model file names these steps, and is refused where they differ (see contract.InputSpec).
COLOUR = "gray-itu-r-601-2"
RESIZE = "bilinear-antialias"
ASPECT = "crop-central-square"

Pixels: TypeAlias = NDArray[np.uint8]
Picture: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image "
    "| NDArray[np.uint8]"
)

_MIN_PHOTOGRAPH_BYTES = 16_384  # a smaller file is not opened a second time for its size

# Attribute of images that `process_picture` opened: others belong to the caller.
_OPENED_HERE = "_emotion_edge_own"
# Without waiting for the writer of a pipe, or making a terminal the controlling one.
_OPEN_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)

# Two threads may pass the same image, whose file has only one position.
_reopen_lock = threading.Lock()


def _renew_lock() -> None:
    """Replace the lock in a forked child, where it could stay locked forever."""
    global _reopen_lock
    _reopen_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

T = TypeVar("T")


class NamedBytes(bytes):
    """The bytes of an encoded picture with a path, such as one in an object store.

    Attributes:
        path: The path that predictions and errors have.
    """

    path: str

    def __new__(cls, data: bytes, path: str) -> Self:
        """Create the bytes with their path."""
        named = super().__new__(cls, data)
        named.path = path
        return named

    def __getnewargs__(self) -> tuple[bytes, str]:  # type: ignore[override]
        """Return the arguments that a copy and an unpickled object are created with."""
        return bytes(self), self.path


def read_face(picture: Picture, size: int = FACE_SIZE) -> Pixels:
    """Read a picture and convert it to the network's input.

    Args:
        picture: A path, the bytes of an encoded picture, a file object opened for reading bytes, a
            PIL image, or a uint8 array of shape (height, width), (height, width, 1), (height,
            width, 3) RGB or (height, width, 4) RGBA. A file object is read from its beginning and
            its position is restored; one that cannot seek is read from its current position. Of a
            PIL image the current frame is used, of other animations the first frame.
        size: Side of the square, in pixels.

    Returns:
        Gray pixels, uint8, shape (size, size), 0 black to 255 white.

    Raises:
        PictureError: The picture cannot be read; the message has the reason.
        TypeError: `picture` is none of these.
    """
    data: bytes | None = None
    name = "the bytes"
    if isinstance(picture, (str, os.PathLike)):
        name = os.fsdecode(picture)
        data = _read_small_file(name)
    elif isinstance(picture, bytes):
        data = picture
        name = getattr(picture, "path", name)
    if data is None:
        return process_picture(picture, lambda image: _convert_to_face(image, size))
    pixels = jpeg.decode_small_jpeg(data, size)
    if pixels is None:
        return _decode_bytes(data, lambda image: _convert_to_face(image, size), name)
    return (
        pixels if pixels.shape == (size, size) else _crop_and_resize(Image.fromarray(pixels), size)
    )


def process_picture(picture: Picture, use: Callable[[Image.Image], T]) -> T:
    """Open a picture and return what `use` makes of it.

    Args:
        picture: As in `read_face`.
        use: Called with the opened image. Its pixels may not be decoded yet. It may belong to the
            caller and must not be changed; `reduce_jpeg` and `turn_upright` are safe.

    Raises:
        PictureError: The picture cannot be read; the message has the reason.
        TypeError: `picture` is none of these.
    """
    if isinstance(picture, Image.Image):
        return _use_image(picture, use)
    if isinstance(picture, np.ndarray):
        return _convert_errors(lambda: use(_wrap_array(picture)), "the array")
    if isinstance(picture, (bytes, bytearray, memoryview)):
        name = getattr(picture, "path", "the bytes")
        return _decode_bytes(bytes(picture), use, name)
    if isinstance(picture, (str, os.PathLike)):
        name = os.fsdecode(picture)
        with _open_file(name) as (file, size):
            return _convert_errors(lambda: _decode(file, size, use), name)
    if hasattr(picture, "read"):
        given = getattr(picture, "name", None)
        name = given if isinstance(given, str) else "the file object"
        return _decode_bytes(read_whole(picture, name), use, name)
    raise TypeError(
        f"a picture is a path, bytes, a file object, a PIL image or a uint8 array, "
        f"not {type(picture).__name__}."
    )


def reduce_jpeg(image: Image.Image, mode: str, size: tuple[int, int]) -> None:
    """Make the JPEG decoder decode at 1/2, 1/4 or 1/8 of the size, where that is enough.

    This is many times faster for photographs. Other formats, and images that the caller opened,
    stay unchanged.

    Args:
        image: An image that `process_picture` passes to `use`.
        mode: ``L`` to decode directly to luminance, or ``RGB``.
        size: Smallest width and height that is needed, in pixels.
    """
    if image.format in ("JPEG", "MPO") and hasattr(image, _OPENED_HERE):
        # MPO: a JPEG with further pictures after it, which phones write.
        image.draft(mode, size)  # type: ignore[no-untyped-call,unused-ignore]


def is_small(picture: Picture) -> bool:
    """Return whether reading a picture is mostly Python code, and little work for the decoder.

    True also for a file that cannot be opened, whose error takes no time.
    """
    if isinstance(picture, Image.Image):
        return picture.width * picture.height <= jpeg.SMALL_FILE_BYTES
    if isinstance(picture, np.ndarray):
        return picture.nbytes <= jpeg.SMALL_FILE_BYTES
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return len(picture) <= jpeg.SMALL_FILE_BYTES
    if hasattr(picture, "read"):
        return False
    try:
        return os.stat(picture).st_size <= jpeg.SMALL_FILE_BYTES
    except (OSError, ValueError, TypeError):
        return True


def find_photograph_size(path: str) -> tuple[int, int] | None:
    """Return width and height of a picture that looks like a whole photograph, else None.

    A photograph is clearly not square, or larger than the crop of a face usually is. None also for
    tiny files, and for those that cannot be read.
    """
    try:
        if os.path.getsize(path) < _MIN_PHOTOGRAPH_BYTES:
            return None
        width, height = process_picture(path, lambda image: image.size)
    except (OSError, ValueError, PictureError):  # the prediction will have the error
        return None
    short, long = sorted((width, height))
    is_photograph = short >= 384 or (short >= 128 and long > 1.25 * short)
    return (width, height) if is_photograph else None


def _get_file_size(name: str) -> int:
    """Return the size of a file in bytes; refuse anything but a regular file."""
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        raise _make_open_error(name, error) from error
    _check_regular(name, status)
    return status.st_size


def _check_regular(name: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{name}: a folder, not a picture.")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(f"{name}: not a regular file.")


def _make_open_error(name: str, error: OSError | ValueError) -> PictureError:
    reason = getattr(error, "strerror", None) or str(error)
    return PictureError(f"{name}: cannot be opened ({reason}).")


def _read_small_file(name: str) -> bytes | None:
    """Return the bytes of a small file; None for others, which `process_picture` reads.

    Raises:
        PictureError: It cannot be read.
    """
    if not 0 < _get_file_size(name) <= jpeg.SMALL_FILE_BYTES:
        return None
    try:
        descriptor = os.open(name, _OPEN_FLAGS)
        try:
            data = os.read(descriptor, jpeg.SMALL_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise _make_open_error(name, error) from error
    return data if len(data) <= jpeg.SMALL_FILE_BYTES else None  # it has grown since


@contextlib.contextmanager
def _open_file(name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file for reading, and yield it with its size in bytes.

    Its type is checked before it is opened, because opening a device can have effects, and again
    afterwards, because the path may refer to another file by then.
    """
    _get_file_size(name)
    try:
        file = os.fdopen(os.open(name, _OPEN_FLAGS), "rb")
    except (OSError, ValueError) as error:
        raise _make_open_error(name, error) from error
    with file:
        status = os.fstat(file.fileno())
        _check_regular(name, status)
        if status.st_size:
            yield file, status.st_size
            return
        data = read_whole(file, name)  # some file systems report no size
        if not data:
            raise PictureError(f"{name}: the file is empty.")
        yield io.BytesIO(data), len(data)


def read_whole(file: Any, name: str) -> bytes:
    """Read a file object from its beginning, and restore its position.

    Raises:
        PictureError: It cannot be read, or is larger than a picture may be.
        TypeError: It was opened as text.
    """
    try:
        position = None
        with contextlib.suppress(AttributeError, io.UnsupportedOperation, OSError):
            position = file.tell()
            file.seek(0)
        try:
            data = file.read(get_file_limit() + 1)
        finally:
            if position is not None:
                file.seek(position)
    except Refusal as refusal:
        raise PictureError(f"{name}: {refusal}.") from refusal
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"{name}: cannot be read ({reason}).") from error
    if isinstance(data, str):
        raise TypeError(f"{name}: opened as text; open it for reading bytes, with mode 'rb'.")
    return bytes(data or b"")


def _decode_bytes(data: bytes, use: Callable[[Image.Image], T], name: str) -> T:
    if not data:
        raise PictureError(f"{name}: empty.")
    return _convert_errors(lambda: _decode(io.BytesIO(data), len(data), use), name)


def _decode(file: IO[bytes], size: int, use: Callable[[Image.Image], T]) -> T:
    """Open the picture in a file and return what `use` makes of it."""
    with _open_picture(file, size) as image:
        return use(image)


def _open_picture(file: IO[bytes], size: int) -> ImageFile.ImageFile:
    """Recognise the format, check the limits, and open the picture."""
    if size > (max_size := get_file_limit()):
        raise Refusal(f"a file of {size:,} bytes, refused: at most {max_size:,} are read")
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = recognise_format(head)
    if kind is None:
        raise Refusal(f"not a picture in a format that is read ({FORMAT_NAMES})")
    if (
        kind != "PNG" or size > jpeg.SMALL_FILE_BYTES
    ):  # small PNG files need no import of that module
        from emotion_runtime.pictures.headers import check_header

        check_header(kind, file, size)
    if kind == "PPM":
        from emotion_runtime.pictures.pnm import normalise_pnm

        file = normalise_pnm(file, size)
    try:
        image = open_format(kind, file)
    except SyntaxError as error:
        if kind in ("TGA", "PCX", "DIB", "PPM"):  # formats with a weak signature
            raise Refusal(f"not a picture in a format that is read ({FORMAT_NAMES})") from error
        raise
    if kind == "PNG":
        _scale_transparency(image, depth=head[24], colour=head[25])
    setattr(image, _OPENED_HERE, True)
    return image


def _scale_transparency(image: Image.Image, depth: int, colour: int) -> None:
    """Scale the transparent value of a PNG to eight bits, as Pillow scales its pixels."""
    value = image.info.get("transparency")
    if colour == 0 and depth in (2, 4) and isinstance(value, int):
        image.info["transparency"] = value * (85 if depth == 2 else 17)
    elif colour == 2 and depth == 16 and isinstance(value, tuple):
        image.info["transparency"] = tuple(one >> 8 for one in value)


def _convert_errors(read: Callable[[], T], name: str) -> T:
    """Return what `read` returns; convert its errors to a `PictureError` with the name."""
    try:
        return read()
    except PictureError:
        raise
    except Refusal as refusal:
        raise PictureError(f"{name}: {refusal}.") from refusal
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{name}: more pixels than PIL.Image.MAX_IMAGE_PIXELS allows, refused."
        ) from error
    except MemoryError as error:
        raise PictureError(f"{name}: not enough memory to decode it.") from error
    except Exception as error:
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # from the system, not from Pillow
            raise _make_open_error(name, error) from error
        raise PictureError(f"{name}: damaged picture ({format_reason(error, 120)}).") from error


def _use_image(image: Image.Image, use: Callable[[Image.Image], T]) -> T:
    """Return what `use` makes of the caller's image, which stays unchanged."""
    reopened = _convert_errors(lambda: open_again(image), "the image")
    if reopened is not None:
        own, _ = reopened
        with own:
            return _convert_errors(lambda: use(own), "the image")

    def use_undecoded() -> T:
        if getattr(image, "tile", None):  # not decoded yet
            if image.format == "EPS":
                raise Refusal("not read: EPS is decoded by another program")
            check_pixels(*image.size)
        return use(image)

    return _convert_errors(use_undecoded, "the image")


def open_again(image: Image.Image) -> tuple[ImageFile.ImageFile, bytes] | None:
    """Open again an image that the caller opened and has not decoded.

    Decoding the caller's image would close its file, turn a TIFF by its orientation, and undo the
    caller's choice to decode at reduced scale.

    Returns:
        The new image and its encoded bytes; None where the pixels are decoded already, or where
        the image was changed after it was opened.
    """
    file = getattr(image, "fp", None)
    if file is None or not (getattr(image, "tile", None) or image.format in ("WEBP", "HEIF")):
        return None
    frame = image.tell()
    try:
        with _reopen_lock:
            data = read_whole(file, "the image")
        own = open_frame(data, frame)
    except (PictureError, Refusal, EOFError, SyntaxError, OSError, ValueError, TypeError):
        return None  # decoding the caller's image gives the reason
    is_same = (own.size, own.mode, own.format) == (image.size, image.mode, image.format)
    return (own, data) if is_same and _has_same_metadata(own.info, image.info) else None


def open_frame(data: bytes, frame: int) -> ImageFile.ImageFile:
    """Open the encoded bytes of a picture at a frame."""
    image = _open_picture(io.BytesIO(data), len(data))
    if image.tell() != frame:
        image.seek(frame)
    return image


def _has_same_metadata(ours: dict[Any, Any], theirs: dict[Any, Any]) -> bool:
    """Return whether metadata are equal, but for the transparent value, which is scaled in ours."""
    try:
        return all(key == "transparency" or bool(ours[key] == theirs[key]) for key in ours) and set(
            ours
        ) == set(theirs)
    except (KeyError, ValueError):
        return False


def _wrap_array(array: NDArray[np.uint8]) -> Image.Image:
    """Return an array as an image; refuse anything but uint8 gray, RGB or RGBA."""
    if array.dtype != np.uint8:
        raise PictureError(
            f"the array is {array.dtype}, not uint8: give pixels from 0 to 255 as uint8."
        )
    # Without naming `numpy.ma`, whose import is slow and takes a lock.
    if np.any(getattr(array, "mask", False)):
        raise PictureError(
            "the array has masked pixels; fill them first, for example with array.filled(255)."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    is_gray = array.ndim == 2
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (is_gray or is_colour) or 0 in array.shape:
        raise PictureError(
            f"the array has shape {array.shape}; expected (height, width) or (height, width, 3)."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _convert_to_face(image: Image.Image, size: int) -> Pixels:
    """Apply the steps of the module's docstring to an opened image."""
    # At least twice the size remains for the antialiased resize below.
    reduce_jpeg(image, "L", (2 * size, 2 * size))
    turn = _decode_pixels(image)
    gray = to_gray(image)
    return _crop_and_resize(gray if turn is None else gray.transpose(turn), size)


def turn_upright(image: Image.Image) -> Image.Image:
    """Return the decoded image, turned upright (EXIF, XMP).

    Raises:
        Refusal: There are too many pixels.
    """
    turn = _decode_pixels(image)
    if turn is None:
        return image
    turned = image.transpose(turn)
    remove_orientation(turned)  # or the next reader would turn it again
    return turned


def _decode_pixels(image: Image.Image) -> Image.Transpose | None:
    """Decode the pixels, and return the transpose that turns them upright."""
    if not hasattr(image, _OPENED_HERE):
        image.load()
        found = image.getexif().get(ORIENTATION_TAG)
        return find_transpose(read_orientation(image) if found is None else found)
    check_pixels(*image.size)
    if image.format != "TIFF":
        image.load()
        return find_transpose(read_orientation(image))
    # All but the oldest versions of Pillow turn a TIFF themselves and remove the tag.
    has_tag = ORIENTATION_TAG in image.tag_v2  # type: ignore[attr-defined]
    image.load()
    if has_tag:
        return find_transpose(image.tag_v2.get(ORIENTATION_TAG))  # type: ignore[attr-defined]
    return find_transpose(read_orientation(image))


def _crop_and_resize(gray: Image.Image, size: int) -> Pixels:
    """Crop the central square and resize it."""
    width, height = gray.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        # In two calls: Pillow 13 resizes a tall picture vertically first, other versions and the
        # other readers of a model file horizontally, which rounds pixels differently.
        method = Image.Resampling.BILINEAR
        reach = math.ceil(max(1.0, side / size)) + 1  # rows beside the square that the filter reads
        upper, lower = max(0, top - reach), min(height, top + side + reach)
        if upper > 0 or lower < height:
            gray = gray.crop((0, upper, width, lower))
        gray = gray.resize((size, gray.height), method, box=(left, 0, left + side, gray.height))
        top -= upper
        gray = gray.resize((size, size), method, box=(0, top, size, top + side))
    return np.array(gray, dtype=np.uint8)
