"""Check the type of pictures and of streams of pictures that callers pass."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from emotion_runtime.errors import PictureError
from emotion_runtime.pictures.preprocessing import NamedBytes, Picture


def check_picture(picture: object) -> None:
    """Refuse an object whose type is not a picture's.

    Raises:
        TypeError: It is neither a path, bytes, an image, an array nor a file.
    """
    if isinstance(picture, (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray)):
        return
    if isinstance(picture, Image.Image) or hasattr(picture, "read"):
        return
    raise TypeError(
        f"a picture is a path, bytes, a PIL image, a uint8 array or a file, "
        f"not {type(picture).__name__}"
    )


def check_pictures(pictures: object) -> None:
    """Refuse a single picture where a stream of pictures is expected.

    Raises:
        TypeError: It is one picture, or not iterable.
    """
    single = isinstance(pictures, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
    if isinstance(pictures, np.ndarray):
        # (n, height, width) are n gray pictures, (height, width, 3) is one in colour.
        single = pictures.ndim < 3 or (pictures.ndim == 3 and pictures.shape[2] in (1, 3, 4))
    if single or hasattr(pictures, "read"):
        raise TypeError(
            f"give several pictures, such as a list of paths, not one {type(pictures).__name__}"
        )
    if not isinstance(pictures, Iterable):
        raise TypeError(f"pictures must be iterable, not {type(pictures).__name__}")


def get_path(picture: Picture) -> str | None:
    """Return the path of a picture that is a path or `NamedBytes`; else None."""
    if isinstance(picture, (str, os.PathLike)):
        return os.fsdecode(picture)
    return picture.path if isinstance(picture, NamedBytes) else None


def find_argument_error(picture: object) -> PictureError | TypeError | None:
    """Return the error of `check_picture`, which does not end a stream; None without error.

    In place of a picture that could not be read, `packing.pack_picture` sends its error to a worker
    process; it is returned as it is.
    """
    if isinstance(picture, (PictureError, TypeError)):
        return picture
    try:
        check_picture(picture)
    except TypeError as error:
        return error
    return None
