"""The faces of the parity check, read with the same code as on the device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion_export import defaults
from emotion_export.errors import ParityDataError
from emotion_runtime.errors import PictureError, SourceError
from emotion_runtime.pictures.preprocessing import FACE_SIZE, Pixels, read_face
from emotion_runtime.pictures.sources import find_pictures
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.readers import ALL_CLASSES, read_source


@dataclass(frozen=True, eq=False)
class ParityFaces:
    """Faces of a parity check and their origin.

    Attributes:
        pixels: uint8, shape (n, size, size).
        source: Name of their origin, for messages and reports; not a path.
        real: False for average faces.
        paths: The picture file of each face, if there are files. They are written nowhere.
        unreadable: Number of chosen pictures that could not be read.
    """

    pixels: Pixels
    source: str
    real: bool
    paths: tuple[str, ...] = ()
    unreadable: int = 0

    def describe(self) -> dict[str, Any]:
        """Return JSON values that identify the faces without their pixels or paths."""
        digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return {
            "source": self.source,
            "count": len(self.pixels),
            "real": self.real,
            "sha256": digest,
        }


def read_parity_faces(
    data: Path, wanted: int = defaults.PARITY_FACES, *, size: int = FACE_SIZE
) -> ParityFaces:
    """Return faces that are evenly spread over a data set.

    Args:
        data: A folder of pictures, a training folder (only its ``train`` is used; test pictures
            are for reports), or the CSV of the FER2013 challenge.
        wanted: Number of faces; all if there are fewer.
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
        chosen = pixels[_choose_evenly(len(pixels), wanted)]
        return ParityFaces(
            chosen, f"{data.name}, train", real=True, unreadable=source.unreadable["train"]
        )
    folder, name = data, data.resolve().name
    if (data / "train").is_dir():
        folder, name = data / "train", f"{name}, train"
    try:
        paths = list(find_pictures([str(folder)]))
    except SourceError as error:
        raise ParityDataError(str(error)) from error
    faces, read, unreadable = [], [], 0
    for index in _choose_evenly(len(paths), wanted):
        try:
            faces.append(read_face(paths[index], size))
            read.append(paths[index])
        except PictureError:
            unreadable += 1
    if not faces:
        raise ParityDataError(f"{folder}: no picture that can be read.")
    return ParityFaces(np.stack(faces), name, real=True, paths=tuple(read), unreadable=unreadable)


def get_average_faces(checkpoint: Checkpoint) -> ParityFaces:
    """Return the average faces in a checkpoint.

    Raises:
        ParityDataError: The checkpoint has none.
    """
    pixels = checkpoint.average_faces[:, 0].numpy()
    if not len(pixels):
        raise ParityDataError(
            "the checkpoint has no average faces for the parity check; "
            "give a folder of faces with --parity-data."
        )
    return ParityFaces(pixels, "average faces of the checkpoint", real=False)


def _choose_evenly(available: int, wanted: int) -> list[int]:
    """Return evenly spread indices, the same on every machine."""
    count = min(available, wanted)
    return [i * available // count for i in range(count)] if count else []
