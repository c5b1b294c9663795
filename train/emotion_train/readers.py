"""Where labelled pictures come from: Kaggle's folders of FER2013, or the challenge's own CSV.

Both give the same: for each split that the source has, the faces of the classes asked for.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from emotion_runtime.errors import PictureError
from emotion_runtime.preprocessing import FACE_SIZE, Picture, read_face
from emotion_runtime.sources import is_picture_name
from emotion_train.errors import DataError
from emotion_train.faces import Faces

ALL_CLASSES = ("all",)

# The numbers of the ICML 2013 challenge's ``emotion`` column.
CSV_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_SPLITS = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}

Item = tuple[str, int, Callable[[], Picture]]  # name, label, how to get the picture


@dataclass(frozen=True)
class Source:
    """What one reading of the data gave.

    Attributes:
        classes: The classes, in label order.
        splits: ``train`` always, ``test`` where the source has one.
        skipped: One sentence for each picture or row that could not be read.
    """

    classes: tuple[str, ...]
    splits: dict[str, Faces]
    skipped: list[str] = field(default_factory=list)


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
    return (_read_folders if data.is_dir() else _read_csv)(data, tuple(classes), size, progress)


def read_other_classes(
    data: Path, classes: Sequence[str], *, size: int = FACE_SIZE
) -> dict[str, NDArray[np.uint8]]:
    """Read the training faces of every class that is not among `classes`, by name.

    Returns:
        uint8, shape (n, size, size), for each other class that has a readable face.
    """
    if data.is_dir():
        found = sorted(p.name for p in (data / "train").iterdir() if _is_class_folder(p))
    else:
        found = list(CSV_CLASSES)
    others = [name for name in found if name not in classes]
    faces = {}
    for name in others:
        try:
            faces[name] = read_source(data, (name,), size=size).splits["train"].pixels
        except DataError:
            continue  # a class without a readable picture
    return faces


def _read_folders(data: Path, classes: tuple[str, ...], size: int, progress: bool) -> Source:
    train = data / "train"
    if not train.is_dir():
        raise DataError(f"{data}: has no folder 'train'; expected {data}/train/<class>/*.jpg.")
    if classes == ALL_CLASSES:
        classes = tuple(sorted(p.name for p in train.iterdir() if _is_class_folder(p)))
        if not classes:
            raise DataError(f"{train}: has no class folders; expected {train}/<class>/*.jpg.")
    found = sorted(p.name for p in train.iterdir() if _is_class_folder(p))
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(
            f"{train}: no folder for the class {_listed(missing)}; "
            f"found {_listed(found) if found else 'no class at all'}."
        )
    splits = {}
    skipped: list[str] = []
    for split in ("train", "test"):
        if (data / split).is_dir():
            items = list(_folder_items(data, split, classes))
            splits[split] = _read_items(items, size, skipped, f"reading {split}", progress)
    return _checked(data, Source(classes, splits, skipped))


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


def _read_csv(data: Path, classes: tuple[str, ...], size: int, progress: bool) -> Source:
    if classes == ALL_CLASSES:
        classes = CSV_CLASSES
    unknown = [name for name in classes if name not in CSV_CLASSES]
    if unknown:
        raise DataError(
            f"{data}: the challenge's CSV has no class {_listed(unknown)}; "
            f"it has {_listed(CSV_CLASSES)}."
        )
    label_of = {CSV_CLASSES.index(name): label for label, name in enumerate(classes)}
    items: dict[str, list[Item]] = {"train": [], "test": []}
    skipped: list[str] = []
    csv.field_size_limit(sys.maxsize)
    try:
        with _open_text(data) as lines:
            reader = csv.DictReader(lines)
            columns = set(reader.fieldnames or ())
            if not {"emotion", "pixels", "Usage"} <= columns:
                raise DataError(f"{data}: expected a CSV with the columns emotion, pixels, Usage.")
            for row in reader:
                name = f"row {reader.line_num}"
                try:
                    emotion, split = int(row["emotion"]), CSV_SPLITS[row["Usage"]]
                except (TypeError, ValueError, KeyError):
                    skipped.append(f"{data}, {name}: no known emotion number and Usage.")
                    continue
                if emotion in label_of:
                    text = row["pixels"] or ""
                    items[split].append((name, label_of[emotion], lambda t=text: _parse_pixels(t)))  # type: ignore[misc]
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise DataError(f"{data}: cannot be read as CSV ({error}).") from error
    splits = {
        split: _read_items(found, size, skipped, f"reading {split}", progress, f"{data}, ")
        for split, found in items.items()
        if found or split == "train"
    }
    return _checked(data, Source(classes, splits, skipped))


def _open_text(path: Path) -> TextIO:
    """Open plain text or gzip, told apart by gzip's first two bytes and not by the name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")


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
    return source


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
