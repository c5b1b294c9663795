"""Pack pictures for worker processes, in which they are read with the same result as here."""

from __future__ import annotations

import io
import os
from typing import Any

from PIL import Image

from emotion_runtime.errors import PictureError
from emotion_runtime.pictures.arguments import check_picture
from emotion_runtime.pictures.preprocessing import (
    Picture,
    open_again,
    open_frame,
    process_picture,
    read_whole,
)


def pack_picture(picture: Picture) -> Any:
    """Return a picture in a form that can be pickled.

    A file object becomes one in memory. An image that is not decoded yet becomes its encoded
    bytes: a pickle would decode it here, at full size, and raise an error where it is damaged.

    Returns:
        What to pickle; a `PictureError` or `TypeError` where the picture cannot be read, which is
        the result of this picture.
    """
    try:
        check_picture(picture)
        if isinstance(picture, Image.Image):
            return _pack_image(picture)
        if isinstance(picture, os.PathLike):  # not all of them can be pickled, as `os.DirEntry`
            return os.fsdecode(picture)
        if isinstance(picture, memoryview):
            return bytes(picture)
        if not isinstance(picture, (str, bytes, bytearray)) and hasattr(picture, "read"):
            return _pack_file(picture)
    except (PictureError, TypeError) as error:
        return error
    return picture


def _pack_file(file: Any) -> io.BytesIO:
    name = getattr(file, "name", None)
    if not isinstance(name, str):
        return io.BytesIO(read_whole(file, "the file object"))
    packed = io.BytesIO(read_whole(file, name))
    packed.name = name  # for errors
    return packed


def _pack_image(image: Image.Image) -> object:
    reopened = open_again(image)
    if reopened is None:
        process_picture(image, lambda one: one.load())  # raises what a pickle would raise
        return image
    own, data = reopened
    with own:
        return _PackedImage(data, own.tell())


class _PackedImage:
    """The encoded bytes of an image, which are unpickled as an image that is not decoded yet."""

    def __init__(self, data: bytes, frame: int) -> None:
        self._data, self._frame = data, frame

    def __reduce__(self) -> tuple[Any, ...]:
        return open_frame, (self._data, self._frame)
