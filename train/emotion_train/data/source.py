"""What one reading of labelled pictures gives, whatever form they came in."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.errors import PictureError
from emotion_runtime.labels import RESERVED_LABELS, check_labels
from emotion_runtime.pictures.preprocessing import (
    FACE_SIZE,
    Picture,
    Pixels,
    find_photograph_size,
    read_face,
)
from emotion_runtime.prediction import format_count
from emotion_train.data.faces import Faces
from emotion_train.data.layout import SPLITS as SPLITS
from emotion_train.errors import DataError

if TYPE_CHECKING:
    from emotion_runtime.faces.finder import FaceFinder

ALL_CLASSES = ("all",)
FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
FER2013_DEFAULT = ("happy", "sad", "surprise")

# Why a file of a class is not used; columns of the table of the data.
NOT_A_PICTURE = "no picture"
UNREADABLE = "unreadable"
NO_FACE = "no face"
MISSING = "missing"
REPEATED = "repeated"
DUPLICATE = "duplicate"
VOTED_OUT = "voted out"

_LOOKED_AT = 16  # pictures whose size is looked at, to notice whole photographs

Item = tuple[str, int, Callable[[], Picture]]  # name, label, how to get the picture


@dataclass(frozen=True)
class Inventory:
    """How many files there are, and why some of them are not used.

    Attributes:
        found: Files or rows of each class that the run knows, over all splits.
        left_out: How many of these are not used, by class and reason.
        other_classes: Pictures of each class that the run does not know.
    """

    found: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    other_classes: Counter[str] = field(default_factory=Counter)

    def without(self, faces: Iterable[str], reason: str) -> Inventory:
        """Return an inventory in which further files, named by their class, are left out."""
        more = Counter((name, reason) for name in faces)
        return replace(self, left_out=self.left_out + more)


@dataclass(frozen=True)
class Source:
    """What one reading of the data gave.

    Attributes:
        classes: The classes, in label order.
        splits: ``train`` always, ``validation`` and ``test`` where the source has them.
        skipped: One sentence for each picture or row that could not be read.
        unreadable: How many pictures of the classes could not be read, by split.
        faceless: In how many photographs no face was found, by split.
        passed_over: One sentence, with a count, for each kind of file or row that is not read.
        notes: What was recognised and chosen, one sentence each without a full stop.
        flat: The source has no splits: all of it is in ``train``.
        inventory: Counts for the table of the data.
    """

    classes: tuple[str, ...]
    splits: dict[str, Faces]
    skipped: list[str] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    faceless: Counter[str] = field(default_factory=Counter)
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    flat: bool = False
    inventory: Inventory = field(default_factory=Inventory)


class Reading:
    """Reads pictures as the device would, and counts what cannot be used.

    Args:
        size: Side of the faces, in pixels.
        progress: Show a bar on a terminal.
        faces: The pictures are photographs: find the largest face of each, and crop it.
    """

    def __init__(
        self, size: int = FACE_SIZE, *, progress: bool = False, faces: bool = False
    ) -> None:
        self.size, self.progress = size, progress
        self.skipped: list[str] = []
        self.unreadable: Counter[str] = Counter()
        self.faceless: Counter[str] = Counter()
        self.several = 0
        self._large: list[tuple[str, tuple[int, int]]] = []
        self._looked_at = 0
        self.inventory = Inventory()
        self._finder = _open_finder() if faces else None

    def read(self, items: list[Item], classes: Sequence[str], split: str, where: str = "") -> Faces:
        """Read each item; what cannot be used is named in `skipped`.

        Args:
            items: Name, label and picture of each; the table counts them as found.
            classes: Class names in label order.
            split: What they are for, as in ``train``.
            where: Put in front of a name that a message gives, such as a file and a comma.
        """
        pixels, labels, names = [], [], []
        what = f"finding faces, {split}" if self._finder else f"reading {split}"
        if split == "train" and self._finder is None:
            self._look_for_photographs(items)
        hidden = None if self.progress else True
        bar = tqdm(items, desc=what, unit=" pictures", leave=False, disable=hidden)
        for name, label, get in bar:
            self.inventory.found[classes[label]] += 1
            try:
                face = self._face(get())
            except PictureError as error:
                text = str(error)
                self.skipped.append(f"{where}{name}: {text}" if name not in text else text)
                self.inventory.left_out[classes[label], UNREADABLE] += 1
                self.unreadable[split] += 1
                continue
            if face is None:
                self.skipped.append(f"{where}{name}: no face was found.")
                self.inventory.left_out[classes[label], NO_FACE] += 1
                self.faceless[split] += 1
                continue
            pixels.append(face)
            labels.append(label)
            names.append(name)
        if not pixels:
            shape = (0, self.size, self.size)
            return Faces(np.empty(shape, np.uint8), np.empty(0, np.int64), ())
        return Faces(np.stack(pixels), np.array(labels, np.int64), tuple(names))

    def notes(self) -> list[str]:
        """Return what was found about faces in the pictures, in sentences without a full stop."""
        if self._finder is None:
            if 2 * len(self._large) <= self._looked_at:
                return []
            name, (width, height) = self._large[0]
            return [
                f"hint: {len(self._large)} of {self._looked_at} pictures looked at are larger or "
                f"longer than crops of faces, such as {name} of {width}×{height} pixels: where "
                f"they are photographs, --faces finds and crops the largest face of each"
            ]
        notes = []
        if faceless := self.faceless.total():
            notes.append(f"no face was found in {format_count(faceless, 'picture')}: left out")
        if self.several:
            notes.append(
                f"{self.several:,} pictures show several faces: the largest of each is used"
            )
        return notes + self._finder.notes()

    def _look_for_photographs(self, items: list[Item]) -> None:
        """Look at the size of some pictures, spread over all of them."""
        for name, _, get in items[:: max(1, len(items) // _LOOKED_AT)][:_LOOKED_AT]:
            try:
                picture = get()
            except PictureError:  # reading it will name it
                continue
            if isinstance(picture, str | Path):
                self._looked_at += 1
                if (size := find_photograph_size(str(picture))) is not None:
                    self._large.append((name, size))

    def _face(self, picture: Picture) -> Pixels | None:
        """Return the pixels that the network sees; None where there is no face."""
        if self._finder is None:
            return read_face(picture, self.size)
        found = self._finder.find(picture, self.size)
        self.several += len(found) > 1
        boxes = [one.detected or one.box for one in found]
        areas = [box.width * box.height for box in boxes]
        return found[areas.index(max(areas))].pixels if found else None


def _open_finder() -> FaceFinder:
    from emotion_runtime.faces.detectors import open_detector
    from emotion_runtime.faces.finder import FaceFinder

    return FaceFinder(open_detector(threads=count_usable_cpus()))


def check_class_names(data: Path, classes: Sequence[str]) -> None:
    """Refuse class names that the results of emotion-infer could not hold.

    Args:
        data: Where the names were found, for the message.
        classes: Class names in label order.

    Raises:
        DataError: A name is not possible. Where it is that of a folder that ``emotion-infer
            --sort-into`` makes for pictures without a label, the message has advice.
    """
    try:
        check_labels(classes)
    except ValueError as error:
        reserved = [name for name in classes if name.casefold() in RESERVED_LABELS]
        named = [name for name in classes if name not in reserved]
        advice = ""
        if reserved and len(named) > 1:
            options = " ".join(shlex.join(["--class", name]) for name in named)
            if not any("," in name for name in named):
                options = shlex.join(["--classes", ",".join(named)])
            advice = (
                f". Where emotion-infer put the pictures there to which it gave no label, move "
                f"them to their classes, or leave them out with {options}"
            )
        raise DataError(f"{data}: {error}{advice}.") from error


def choose_classes(found: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes of a run.

    Args:
        found: The classes that the data have, sorted.
        wanted: Names in label order; ``("all",)`` for every class that was found; None or nothing
            for those as well, but for FER2013's happy, sad and surprise where its seven classes,
            and no others, were found.
    """
    if wanted and tuple(wanted) != ALL_CLASSES:
        return tuple(wanted)
    if not wanted and sorted(found) == sorted(FER2013_CLASSES):
        return FER2013_DEFAULT
    return tuple(found)


def check_source(data: Path, source: Source) -> Source:
    """Refuse a source in which a class has no picture; drop held-out splits that are empty.

    Raises:
        DataError: A class has no readable picture in train.
    """
    counts = source.splits["train"].counts(len(source.classes))
    empty = [name for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        reason = f" ({source.skipped[0]})" if source.skipped else ""
        place = "" if source.flat else " in train"
        raise DataError(f"{data}: no readable picture of {', '.join(empty)}{place}{reason}.")
    told = []
    for split, effect in (
        ("validation", "validation pictures are drawn from train"),
        ("test", "nothing is measured on it"),
    ):
        if split in source.splits and not len(source.splits[split]):
            del source.splits[split]
            lost = source.unreadable[split] + source.faceless[split]
            reason = "it has no picture of the classes"
            if lost and not source.faceless[split]:
                reason = f"none of its {lost:,} pictures could be read"
            elif lost:
                reason = f"none of its {lost:,} pictures could be used"
            told.append(f"{split}: {reason}; {effect}")
    return replace(source, passed_over=(*source.passed_over, *told))
