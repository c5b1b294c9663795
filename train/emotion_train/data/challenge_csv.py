"""The CSV of the ICML 2013 challenge, FER2013's own, with the pixels in it; Kaggle's as well."""

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
    Reading,
    Source,
    check_source,
    choose_classes,
)
from emotion_train.errors import DataError

# The numbers of the challenge's ``emotion`` column.
CSV_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_SPLITS = {"training": "train", "publictest": "test", "privatetest": "test"}
CSV_COLUMNS = ("emotion", "pixels")
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class _Row:
    """A row whose emotion and split are known."""

    name: str
    emotion: int
    split: str
    text: str

    def picture(self) -> NDArray[np.uint8]:
        return _parse_pixels(self.text)


def read_challenge_csv(data: Path, wanted: Sequence[str] | None, reading: Reading) -> Source:
    """Read a CSV with the columns emotion, pixels and Usage; without Usage it has no splits.

    Args:
        data: The file.
        wanted: As in `choose_classes`.
        reading: Reads the pictures.

    Raises:
        DataError: It cannot be read, lacks a column, or has no row of a class.
    """
    asked = () if wanted is None or tuple(wanted) == ALL_CLASSES else tuple(wanted)
    unknown = [name for name in asked if name not in CSV_CLASSES]
    if unknown:
        raise DataError(
            f"{data}: the challenge's CSV has no class {', '.join(unknown)}; "
            f"it has {', '.join(CSV_CLASSES)}."
        )
    rows, skipped, flat = _read_rows(data)
    reading.skipped += skipped
    classes = choose_classes(_classes_of(data, rows, refuse=not asked), wanted)
    passed_over = []
    for split in _SPLITS:
        others = Counter(
            CSV_CLASSES[row.emotion]
            for row in rows
            if row.split == split and CSV_CLASSES[row.emotion] not in classes
        )
        reading.inventory.other_classes.update(others)
        if others:
            shown = ", ".join(f"{name} {count:,}" for name, count in sorted(others.items()))
            passed_over.append(f"{split}: rows of classes that are not trained on ({shown})")
    splits = {}
    for split in _SPLITS:
        items: list[Item] = [
            (row.name, classes.index(CSV_CLASSES[row.emotion]), row.picture)
            for row in rows
            if row.split == split and CSV_CLASSES[row.emotion] in classes
        ]
        if items or split == "train":
            splits[split] = reading.read(items, classes, split, f"{data}, ")
    source = Source(
        classes,
        splits,
        reading.skipped,
        reading.unreadable,
        reading.faceless,
        tuple(passed_over),
        (f"layout: FER2013's CSV{', without splits' if flat else ''}",),
        flat,
        reading.inventory,
    )
    return check_source(data, source)


def list_other_rows(data: Path, excluded: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """List the training rows of every class that is not excluded, with those classes."""
    names = tuple(name for name in CSV_CLASSES if name not in excluded)
    items: list[Item] = [
        (row.name, names.index(CSV_CLASSES[row.emotion]), row.picture)
        for row in _read_rows(data)[0]
        if row.split == "train" and CSV_CLASSES[row.emotion] in names
    ]
    return items, names


def _classes_of(data: Path, rows: Sequence[_Row], *, refuse: bool) -> tuple[str, ...]:
    """Return the classes that the training rows have, in the order of their numbers.

    Args:
        data: Named in messages.
        rows: The rows.
        refuse: Refuse test rows of further classes, and a file without training rows.
    """
    trained = {row.emotion for row in rows if row.split == "train"}
    if refuse and not trained:
        raise DataError(f"{data}: has no row of the Usage Training.")
    for row in rows if refuse else ():
        if row.emotion not in trained:
            raise DataError(
                f"{data}, {row.name}: a test picture of {CSV_CLASSES[row.emotion]}, a class of "
                f"which there is no training picture; name the classes with --classes."
            )
    return tuple(CSV_CLASSES[emotion] for emotion in sorted(trained))


def _read_rows(data: Path) -> tuple[list[_Row], list[str], bool]:
    """Read the rows of the CSV.

    Returns:
        Those whose emotion and Usage are known, a sentence for each other, and whether the file
        has no column Usage.
    """
    lines = read_rows(data)
    header = [cell.strip().casefold() for cell in next(lines, (0, []))[1]]
    places = [header.index(name) for name in CSV_COLUMNS]
    usage = header.index("usage") if "usage" in header else None
    rows: list[_Row] = []
    skipped: list[str] = []
    for line, cells in lines:
        name = f"row {line}"
        try:
            emotion, text = (cells[place] for place in places)
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
    """Turn ``"70 80 82 …"`` into a square picture."""
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
