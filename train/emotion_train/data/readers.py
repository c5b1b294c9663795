"""Training data from class folders, FER2013's CSV, or a CSV of paths and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.pictures.preprocessing import FACE_SIZE
from emotion_train.data.challenge_csv import CSV_COLUMNS, list_other_rows, read_challenge_csv
from emotion_train.data.class_folders import list_training_items, read_class_folders
from emotion_train.data.csv_text import read_header
from emotion_train.data.picture_list import LIST_COLUMNS, list_other_files, read_picture_list
from emotion_train.data.source import ALL_CLASSES as ALL_CLASSES
from emotion_train.data.source import PictureReader, check_class_names
from emotion_train.data.source import Source as Source
from emotion_train.errors import DataError


def read_source(
    data: Path,
    classes: Sequence[str] | None = None,
    *,
    size: int = FACE_SIZE,
    progress: bool = False,
    faces: bool = False,
    validation: Path | None = None,
) -> Source:
    """Read a data folder or CSV.

    Args:
        data: A folder ``DATA/{train,val,test}/<class>/*`` or ``DATA/<class>/*``, where only train
            is required; or a CSV, plain or gzip: FER2013's, with the columns emotion, pixels and
            perhaps Usage, or one with the columns path, label and perhaps split, and paths relative
            to the CSV's folder.
        classes: As `wanted` in `choose_classes`.
        size: Side of the faces, in pixels.
        progress: Show a bar on a terminal.
        faces: The pictures are photographs: find and crop the largest face of each.
        validation: A folder of class folders to use as the validation set.

    Raises:
        DataError: There are no usable data.
    """
    if not data.exists():
        raise DataError(f"{data}: no such folder or file.")
    if not data.is_dir() and not data.is_file():
        raise DataError(f"{data}: neither a folder nor a regular file.")
    reader = PictureReader(size, progress=progress, faces=faces)
    if data.is_dir():
        source = read_class_folders(data, classes, reader, validation)
    elif validation is not None:
        raise DataError(
            f"{data}: --val goes with a data folder; in a CSV the column split names rows of "
            f"the validation set."
        )
    elif _lists_pictures(data):
        source = read_picture_list(data, classes, reader)
    else:
        source = read_challenge_csv(data, classes, reader)
    check_class_names(data, source.classes)
    return _add_notes(source, reader)


def read_other_classes(
    data: Path,
    classes: Sequence[str],
    *,
    size: int = FACE_SIZE,
    skipped: list[str] | None = None,
    faces: bool = False,
) -> dict[str, NDArray[np.uint8]]:
    """Return the training faces of every class that is not among `classes`, by name.

    Args:
        data: As in `read_source`.
        classes: The classes to leave out.
        size: Side of the faces, in pixels.
        skipped: Extended by one sentence per picture that could not be read.
        faces: As in `read_source`.

    Returns:
        uint8, shape (n, size, size), for each other class with a readable face.
    """
    where = ""
    if data.is_dir():
        items, names = list_training_items(data, classes)
    elif _lists_pictures(data):
        items, names = list_other_files(data, classes)
    else:
        items, names = list_other_rows(data, classes)
        where = f"{data}, "
    if not items:
        return {}
    reader = PictureReader(size, faces=faces)
    read = reader.read(items, names, "other classes", where)
    if skipped is not None:
        skipped += reader.skipped
    parts = {name: read.pixels[read.labels == label] for label, name in enumerate(names)}
    return {name: pixels for name, pixels in parts.items() if len(pixels)}


def _lists_pictures(data: Path) -> bool:
    """Return whether a CSV lists files; otherwise it contains pixels.

    Raises:
        DataError: It has the columns of neither, or a column twice.
    """
    header = read_header(data)
    for columns, optional in ((LIST_COLUMNS, "split"), (CSV_COLUMNS, "usage")):
        if all(header.count(name) == 1 for name in columns) and header.count(optional) <= 1:
            return columns is LIST_COLUMNS
    shown = ", ".join(name[:40] for name in header[:10]) or "nothing"
    raise DataError(
        f"{data}: expected a CSV with the columns path, label and perhaps split, or FER2013's "
        f"emotion, pixels, Usage, each once; its first line has: {shown}."
    )


def _add_notes(source: Source, reader: PictureReader) -> Source:
    note = f"classes: {', '.join(source.classes)}"
    if others := source.inventory.other_classes:
        note += f" (not used: {', '.join(sorted(others))}; --classes all uses every class)"
    return replace(source, notes=(*source.notes, note, *reader.list_notes()))
