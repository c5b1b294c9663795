"""FER2013's CSV with pixels, as published for the ICML 2013 challenge and on Kaggle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import PictureError
from emotion_train.data.csv_text import read_rows
from emotion_train.data.source import (
    ALL_CLASSES,
    Item,
    PictureReader,
    Source,
    check_source,
    choose_classes,
)
from emotion_train.errors import DataError

# Indexed by the numbers in the column ``emotion``.
CSV_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_SPLITS = {"training": "train", "publictest": "test", "privatetest": "test"}
CSV_COLUMNS = ("emotion", "pixels")
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class _Row:
    """A row with a valid emotion and split."""

    name: str
    emotion: int
    split: str
    text: str

    def read_picture(self) -> NDArray[np.uint8]:
        return _parse_pixels(self.text)


def read_challenge_csv(data: Path, wanted: Sequence[str] | None, reader: PictureReader) -> Source:
    """Read a CSV with the columns emotion, pixels and, if it has splits, Usage.

    Args:
        data: The file.
        wanted: As in `choose_classes`.
        reader: Reads the pictures and counts what it leaves out.

    Raises:
        DataError: The file cannot be read, lacks a column, or has no row of a class.
    """
    requested = () if wanted is None or tuple(wanted) == ALL_CLASSES else tuple(wanted)
    unknown = [name for name in requested if name not in CSV_CLASSES]
    if unknown:
        raise DataError(
            f"{data}: the challenge's CSV has no class {', '.join(unknown)}; "
            f"it has {', '.join(CSV_CLASSES)}."
        )
    rows, skipped, is_flat = _read_rows(data)
    reader.skipped += skipped
    classes = choose_classes(_find_classes(data, rows, strict=not requested), wanted)
    passed_over = []
    for split in _SPLITS:
        others = Counter(
            CSV_CLASSES[row.emotion]
            for row in rows
            if row.split == split and CSV_CLASSES[row.emotion] not in classes
        )
        reader.inventory.other_classes.update(others)
        if others:
            shown = ", ".join(f"{name} {count:,}" for name, count in sorted(others.items()))
            passed_over.append(f"{split}: rows of classes that are not trained on ({shown})")
    splits = {}
    for split in _SPLITS:
        items: list[Item] = [
            (row.name, classes.index(CSV_CLASSES[row.emotion]), row.read_picture)
            for row in rows
            if row.split == split and CSV_CLASSES[row.emotion] in classes
        ]
        if items or split == "train":
            splits[split] = reader.read(items, classes, split, f"{data}, ")
    source = reader.make_source(
        classes,
        splits,
        passed_over=passed_over,
        layout=f"FER2013's CSV{', without splits' if is_flat else ''}",
        is_flat=is_flat,
    )
    return check_source(data, source)


def list_other_rows(data: Path, excluded: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """Return the training rows of all classes that are not excluded, and these classes."""
    names = tuple(name for name in CSV_CLASSES if name not in excluded)
    items: list[Item] = [
        (row.name, names.index(CSV_CLASSES[row.emotion]), row.read_picture)
        for row in _read_rows(data)[0]
        if row.split == "train" and CSV_CLASSES[row.emotion] in names
    ]
    return items, names


def _find_classes(data: Path, rows: Sequence[_Row], *, strict: bool) -> tuple[str, ...]:
    """Return the classes of the training rows, in the order of their numbers.

    Args:
        data: The file, for messages.
        rows: The rows.
        strict: Raise an error if there are no training rows, or test rows of further classes.

    Raises:
        DataError: As above.
    """
    trained = {row.emotion for row in rows if row.split == "train"}
    if strict and not trained:
        raise DataError(f"{data}: has no row of the Usage Training.")
    for row in rows if strict else ():
        if row.emotion not in trained:
            raise DataError(
                f"{data}, {row.name}: a test picture of {CSV_CLASSES[row.emotion]}, a class of "
                f"which there is no training picture; name the classes with --classes."
            )
    return tuple(CSV_CLASSES[emotion] for emotion in sorted(trained))


def _read_rows(data: Path) -> tuple[list[_Row], list[str], bool]:
    """Read the rows of the CSV.

    Returns:
        The valid rows, one sentence per invalid row, and whether the column Usage is missing.
    """
    lines = read_rows(data)
    header = [cell.strip().casefold() for cell in next(lines, (0, []))[1]]
    columns = [header.index(name) for name in CSV_COLUMNS]
    usage = header.index("usage") if "usage" in header else None
    rows: list[_Row] = []
    skipped: list[str] = []
    for line, cells in lines:
        name = f"row {line}"
        try:
            emotion, text = (cells[column] for column in columns)
            number = int(emotion)
            split = "train" if usage is None else CSV_SPLITS[cells[usage].strip().casefold()]
            if not 0 <= number < len(CSV_CLASSES):
                raise ValueError(number)
        except (ValueError, KeyError, IndexError):
            what = "emotion number" if usage is None else "emotion number and Usage"
            skipped.append(f"{data}, {name}: no known {what}.")
            continue
        rows.append(_Row(name, number, split, text))
    return rows, skipped, usage is None


def _parse_pixels(text: str) -> NDArray[np.uint8]:
    """Return the square picture of ``"70 80 82 …"``."""
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise PictureError("the pixels are not all whole numbers.") from error
    side = isqrt(values.size)
    if side == 0 or side * side != values.size:
        raise PictureError(f"{values.size} pixels do not make a square.")
    if values.min() < 0 or values.max() > 255:
        raise PictureError("a pixel lies outside 0 to 255.")
    return values.astype(np.uint8).reshape(side, side)
