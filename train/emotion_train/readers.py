"""Where labelled pictures come from: Kaggle's folders of FER2013, or the challenge's own CSV.

Both give the same: for each split that the source has, the faces of the classes asked for.
"""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from emotion_runtime.errors import PictureError
from emotion_runtime.labels import check_labels
from emotion_runtime.preprocessing import FACE_SIZE, Picture, read_face
from emotion_runtime.sources import is_picture_name
from emotion_train.errors import DataError
from emotion_train.faces import Faces
from emotion_train.passed_over import SPLITS, check_test_folders, list_passed_over

ALL_CLASSES = ("all",)

# The numbers of the ICML 2013 challenge's ``emotion`` column.
CSV_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_SPLITS = {"training": "train", "publictest": "test", "privatetest": "test"}
CSV_COLUMNS = ("emotion", "pixels", "usage")

Item = tuple[str, int, Callable[[], Picture]]  # name, label, how to get the picture


@dataclass(frozen=True)
class Source:
    """What one reading of the data gave.

    Attributes:
        classes: The classes, in label order.
        splits: ``train`` always, ``test`` where the source has one.
        skipped: One sentence for each picture or row that could not be read.
        unreadable: How many pictures of the classes could not be read, by split.
        passed_over: One sentence, with a count, for each kind of file or row that is not read.
    """

    classes: tuple[str, ...]
    splits: dict[str, Faces]
    skipped: list[str] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    passed_over: tuple[str, ...] = ()


def read_source(
    data: Path, classes: Sequence[str], *, size: int = FACE_SIZE, progress: bool = False
) -> Source:
    """Read a data folder or CSV.

    Args:
        data: A folder with ``train/<class>/*`` and perhaps ``test/<class>/*``, or a file with the
            columns emotion, pixels, Usage (plain or gzip).
        classes: Class names in label order, or ``("all",)`` for every class found.
        size: Side of the faces, in pixels.
        progress: Show a bar on a terminal.

    Raises:
        DataError: Nothing usable is there; the message says what was expected.
    """
    if not data.exists():
        raise DataError(f"{data}: no such folder or file.")
    if not data.is_dir() and not data.is_file():
        raise DataError(f"{data}: neither a folder nor a regular file.")
    read = _read_folders if data.is_dir() else _read_csv
    source = read(data, tuple(classes), size, progress)
    try:
        check_labels(source.classes)
    except ValueError as error:
        raise DataError(f"{data}: {error}.") from error
    return source


def read_other_classes(
    data: Path,
    classes: Sequence[str],
    *,
    size: int = FACE_SIZE,
    skipped: list[str] | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Read the training faces of every class that is not among `classes`, by name.

    Args:
        data: As in `read_source`.
        classes: The classes to leave out.
        size: Side of the faces, in pixels.
        skipped: Gets one sentence for each picture that could not be read.

    Returns:
        uint8, shape (n, size, size), for each other class that has a readable face.
    """
    told = [] if skipped is None else skipped
    if data.is_dir():
        others = tuple(name for name in _class_folders(data / "train") if name not in classes)
        items = list(_folder_items(data, "train", others))
        where = ""
    else:
        others = tuple(name for name in CSV_CLASSES if name not in classes)
        rows = [row for row in _csv_rows(data)[0] if row.split == "train"]
        items = [
            (row.name, others.index(name), row.picture)
            for row in rows
            if (name := CSV_CLASSES[row.emotion]) in others
        ]
        where = f"{data}, "
    faces = _read_items(items, size, told, "reading other classes", False, where)
    parts = {name: faces.pixels[faces.labels == label] for label, name in enumerate(others)}
    return {name: pixels for name, pixels in parts.items() if len(pixels)}


def _read_folders(data: Path, classes: tuple[str, ...], size: int, progress: bool) -> Source:
    train = data / "train"
    if not train.is_dir():
        raise DataError(f"{data}: has no folder 'train'; expected {data}/train/<class>/*.jpg.")
    found = _class_folders(train)
    if classes == ALL_CLASSES:
        classes = tuple(found)
        if not classes:
            raise DataError(f"{train}: has no class folders; expected {train}/<class>/*.jpg.")
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(
            f"{train}: no folder for the class {_listed(missing)}; "
            f"found {_listed(found) if found else 'no class at all'}."
        )
    check_test_folders(data, classes)
    source = Source(classes, {}, passed_over=tuple(list_passed_over(data, classes)))
    for split in SPLITS:
        if (data / split).is_dir():
            items = list(_folder_items(data, split, classes))
            faces = _read_items(items, size, source.skipped, f"reading {split}", progress)
            source.splits[split] = faces
            source.unreadable[split] = len(items) - len(faces)
    return _checked(data, source)


def _class_folders(train: Path) -> list[str]:
    return sorted(path.name for path in train.iterdir() if _is_class_folder(path))


def _is_class_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _folder_items(data: Path, split: str, classes: Sequence[str]) -> Iterator[Item]:
    for label, name in enumerate(classes):
        folder = data / split / name
        if not folder.is_dir():
            continue  # a test split may lack a class; a train split was checked
        for path in sorted(folder.iterdir()):
            if is_picture_name(path.name):
                yield path.relative_to(data).as_posix(), label, lambda path=path: path  # type: ignore[misc]


@dataclass(frozen=True)
class _Row:
    """A row of the challenge's CSV whose emotion and split are known."""

    name: str
    emotion: int
    split: str
    text: str

    def picture(self) -> Picture:
        return _parse_pixels(self.text)


def _read_csv(data: Path, classes: tuple[str, ...], size: int, progress: bool) -> Source:
    unknown = [name for name in classes if name not in CSV_CLASSES and classes != ALL_CLASSES]
    if unknown:
        raise DataError(
            f"{data}: the challenge's CSV has no class {_listed(unknown)}; "
            f"it has {_listed(CSV_CLASSES)}."
        )
    rows, skipped = _csv_rows(data)
    if classes == ALL_CLASSES:
        classes = _csv_classes(data, rows)
    others = Counter(
        (row.split, CSV_CLASSES[row.emotion])
        for row in rows
        if CSV_CLASSES[row.emotion] not in classes
    )
    passed_over = []
    for split in SPLITS:
        named = [f"{name} {count:,}" for (where, name), count in others.items() if where == split]
        if named:
            passed_over.append(
                f"{split}: rows of classes that --classes does not name ({_listed(sorted(named))})"
            )
    source = Source(classes, {}, skipped, passed_over=tuple(passed_over))
    for split in SPLITS:
        items = [
            (row.name, classes.index(CSV_CLASSES[row.emotion]), row.picture)
            for row in rows
            if row.split == split and CSV_CLASSES[row.emotion] in classes
        ]
        if items or split == "train":
            what = f"reading {split}"
            faces = _read_items(items, size, source.skipped, what, progress, f"{data}, ")
            source.splits[split] = faces
            source.unreadable[split] = len(items) - len(faces)
    return _checked(data, source)


def _csv_classes(data: Path, rows: Sequence[_Row]) -> tuple[str, ...]:
    """Return the classes that the training rows have, in the order of their numbers."""
    trained = {row.emotion for row in rows if row.split == "train"}
    if not trained:
        raise DataError(f"{data}: has no row of the Usage Training.")
    for row in rows:
        if row.emotion not in trained:
            raise DataError(
                f"{data}, {row.name}: a test picture of {CSV_CLASSES[row.emotion]}, a class of "
                f"which there is no training picture; name the classes with --classes."
            )
    return tuple(CSV_CLASSES[emotion] for emotion in sorted(trained))


def _csv_rows(data: Path) -> tuple[list[_Row], list[str]]:
    """Read the rows of the challenge's CSV.

    Returns:
        Those whose emotion and Usage are known, and a sentence for each other.
    """
    rows: list[_Row] = []
    skipped: list[str] = []
    csv.field_size_limit(sys.maxsize)
    try:
        with _open_text(data) as lines:
            reader = csv.reader(lines)
            places = _csv_columns(data, next(reader, []))
            for cells in reader:
                if not cells:
                    continue  # an empty line
                name = f"row {reader.line_num}"
                try:
                    emotion, text, usage = (cells[place] for place in places)
                    number, split = int(emotion), CSV_SPLITS[usage.strip().casefold()]
                    if not 0 <= number < len(CSV_CLASSES):
                        raise ValueError(number)
                except (ValueError, KeyError, IndexError):
                    skipped.append(f"{data}, {name}: no known emotion number and Usage.")
                    continue
                rows.append(_Row(name, number, split, text))
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        raise DataError(f"{data}: cannot be read as CSV ({error}).") from error
    return rows, skipped


def _csv_columns(data: Path, header: Sequence[str]) -> list[int]:
    """Find the columns emotion, pixels and Usage, whatever their case and the spaces around."""
    names = [name.strip().casefold() for name in header]
    wrong = [name for name in CSV_COLUMNS if names.count(name) != 1]
    if wrong:
        shown = _listed(name.strip()[:40] for name in header[:10]) or "nothing"
        raise DataError(
            f"{data}: expected a CSV with the columns emotion, pixels, Usage, each once; "
            f"its first line has: {shown}."
        )
    return [names.index(name) for name in CSV_COLUMNS]


def _open_text(path: Path) -> TextIO:
    """Open plain text or gzip, told apart by gzip's first two bytes and not by the name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


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


def _read_items(
    items: list[Item],
    size: int,
    skipped: list[str],
    what: str,
    progress: bool,
    where: str = "",
) -> Faces:
    """Read each item as the device would; what cannot be read is named in `skipped`."""
    pixels, labels, names = [], [], []
    bar = tqdm(items, desc=what, unit=" pictures", leave=False, disable=None if progress else True)
    for name, label, get in bar:
        try:
            pixels.append(read_face(get(), size))
        except PictureError as error:
            text = str(error)
            skipped.append(f"{where}{name}: {text}" if name not in text else text)
            continue
        labels.append(label)
        names.append(name)
    if not pixels:
        return Faces(np.empty((0, size, size), np.uint8), np.empty(0, np.int64), ())
    return Faces(np.stack(pixels), np.array(labels, np.int64), tuple(names))


def _checked(data: Path, source: Source) -> Source:
    counts = source.splits["train"].counts(len(source.classes))
    empty = [name for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        reason = f" ({source.skipped[0]})" if source.skipped else ""
        raise DataError(f"{data}: no readable picture of {_listed(empty)} in train{reason}.")
    if "test" in source.splits and not len(source.splits["test"]):
        del source.splits["test"]
        unreadable = source.unreadable["test"]
        reason = (
            f"none of its {unreadable:,} pictures could be read"
            if unreadable
            else ("it has no picture of the classes")
        )
        return replace(
            source, passed_over=(*source.passed_over, f"test: {reason}; nothing is measured on it")
        )
    return source


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
