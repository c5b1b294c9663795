"""Which faces a file is proven on: a sample of the user's own, read as the device reads them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion_export.errors import ParityDataError
from emotion_runtime.errors import PictureError, SourceError
from emotion_runtime.pictures.preprocessing import FACE_SIZE, Pixels, read_face
from emotion_runtime.pictures.sources import find_pictures
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.readers import ALL_CLASSES, read_source

WANTED = 1024


@dataclass(frozen=True, eq=False)
class ParityFaces:
    """Faces, and what they are.

    Attributes:
        pixels: uint8, shape (n, size, size).
        source: Where they come from, for a person; no path.
        real: False where they are average faces.
        paths: The picture file of each, where there are files; never written anywhere.
        unreadable: Pictures that were chosen and could not be read.
    """

    pixels: Pixels
    source: str
    real: bool
    paths: tuple[str, ...] = ()
    unreadable: int = 0

    def describe(self) -> dict[str, Any]:
        """Return JSON values that name the faces without giving them away."""
        digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return {
            "source": self.source,
            "count": len(self.pixels),
            "real": self.real,
            "sha256": digest,
        }


def read_parity_faces(data: Path, wanted: int = WANTED, *, size: int = FACE_SIZE) -> ParityFaces:
    """Read faces, evenly spread over what is there.

    Args:
        data: A folder of pictures, a training folder (its ``train`` is used: test pictures are
            for reports), or the challenge's CSV.
        wanted: How many; all where there are fewer.
        size: Side of the faces, in pixels.

    Raises:
        ParityDataError: There is no readable picture.
        DataError: The CSV cannot be read.
    """
    if not data.exists():
        raise ParityDataError(f"{data}: no such folder or file.")
    if data.is_file():
        source = read_source(data, ALL_CLASSES, size=size)
        pixels = source.splits["train"].pixels
        chosen = pixels[_spread(len(pixels), wanted)]
        return ParityFaces(
            chosen, f"{data.name}, train", True, unreadable=source.unreadable["train"]
        )
    folder, name = data, data.resolve().name
    if (data / "train").is_dir():
        folder, name = data / "train", f"{name}, train"
    try:
        paths = list(find_pictures([str(folder)]))
    except SourceError as error:
        raise ParityDataError(str(error)) from error
    faces, read, unreadable = [], [], 0
    for index in _spread(len(paths), wanted):
        try:
            faces.append(read_face(paths[index], size))
            read.append(paths[index])
        except PictureError:
            unreadable += 1
    if not faces:
        raise ParityDataError(f"{folder}: no picture that can be read.")
    return ParityFaces(np.stack(faces), name, True, tuple(read), unreadable)


def average_parity_faces(checkpoint: Checkpoint) -> ParityFaces:
    """Fall back to the average faces that travel with a checkpoint.

    Raises:
        ParityDataError: The checkpoint has none.
    """
    pixels = checkpoint.average_faces[:, 0].numpy()
    if not len(pixels):
        raise ParityDataError(
            "the checkpoint holds no average faces to compare the file on; "
            "name a folder of faces with --parity-data."
        )
    return ParityFaces(pixels, "average faces of the checkpoint", False)


def _spread(available: int, wanted: int) -> list[int]:
    """Choose evenly spread indices, the same on every machine."""
    count = min(available, wanted)
    return [i * available // count for i in range(count)] if count else []
