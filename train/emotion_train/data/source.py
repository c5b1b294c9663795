"""Reading of labelled pictures, from whichever layout lists them."""

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

# Reasons why a file is not used; columns of the data table.
NOT_A_PICTURE = "no picture"
UNREADABLE = "unreadable"
NO_FACE = "no face"
MISSING = "missing"
REPEATED = "repeated"
DUPLICATE = "duplicate"
VOTED_OUT = "voted out"
EXCLUDED = "excluded"

_SAMPLED_PICTURES = 16  # whose size is checked, to detect whole photographs

Item = tuple[str, int, Callable[[], Picture]]  # name, label, function that returns the picture


@dataclass(frozen=True)
class Inventory:
    """Counts of the files that were found, and of those that are not used.

    Attributes:
        found: Files or rows of each class of the run, over all splits.
        left_out: How many of these are not used, by class and reason.
        other_classes: Pictures of each further class in the data.
    """

    found: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    other_classes: Counter[str] = field(default_factory=Counter)

    def leave_out(self, faces: Iterable[str], reason: str) -> Inventory:
        """Return an inventory with further files left out, one for each class name in `faces`."""
        more = Counter((name, reason) for name in faces)
        return replace(self, left_out=self.left_out + more)


@dataclass(frozen=True)
class Source:
    """The labelled faces of a data folder or CSV.

    Attributes:
        classes: The classes, in label order.
        splits: ``train`` always, ``validation`` and ``test`` where the source has them.
        skipped: One sentence per picture or row that could not be read.
        unreadable: How many pictures of the classes could not be read, by split.
        faceless: How many photographs show no face, by split.
        passed_over: One sentence, with a count, per kind of file or row that is not read.
        notes: What was recognised and chosen, in sentences without a full stop.
        is_flat: The source has no splits: all faces are in ``train``.
        inventory: Counts for the data table.
    """

    classes: tuple[str, ...]
    splits: dict[str, Faces]
    skipped: list[str] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    faceless: Counter[str] = field(default_factory=Counter)
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_flat: bool = False
    inventory: Inventory = field(default_factory=Inventory)


class PictureReader:
    """Reads pictures with the preprocessing of inference, and counts what cannot be used.

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
        self.several_faces = 0
        self._large: list[tuple[str, tuple[int, int]]] = []
        self._sampled = 0
        self.inventory = Inventory()
        self._finder = _open_finder() if faces else None

    def read(self, items: list[Item], classes: Sequence[str], split: str, where: str = "") -> Faces:
        """Return the faces of some items; describe in `skipped` what cannot be used.

        Args:
            items: Name, label and picture of each; the data table counts them as found.
            classes: Class names in label order.
            split: The split, such as ``train``.
            where: Prefix of names in messages, such as a file and a comma.
        """
        pixels, labels, names = [], [], []
        description = f"finding faces, {split}" if self._finder else f"reading {split}"
        if split == "train" and self._finder is None:
            self._look_for_photographs(items)
        hidden = None if self.progress else True
        bar = tqdm(items, desc=description, unit=" pictures", leave=False, disable=hidden)
        for name, label, get in bar:
            self.inventory.found[classes[label]] += 1
            try:
                face = self._read_face(get())
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

    def make_source(
        self,
        classes: tuple[str, ...],
        splits: dict[str, Faces],
        *,
        passed_over: Sequence[str],
        layout: str,
        is_flat: bool,
    ) -> Source:
        """Return the source that was read, with the counts of this reader.

        Args:
            classes: Class names in label order.
            splits: The faces of each split.
            passed_over: Sentences about files or rows that are not read.
            layout: The layout that was recognised, for the notes.
            is_flat: The data have no splits.
        """
        return Source(
            classes=classes,
            splits=splits,
            skipped=self.skipped,
            unreadable=self.unreadable,
            faceless=self.faceless,
            passed_over=tuple(passed_over),
            notes=(f"layout: {layout}",),
            is_flat=is_flat,
            inventory=self.inventory,
        )

    def list_notes(self) -> list[str]:
        """Return notes about faces in the pictures, in sentences without a full stop."""
        if self._finder is None:
            if 2 * len(self._large) <= self._sampled:
                return []
            name, (width, height) = self._large[0]
            return [
                f"hint: {len(self._large)} of {self._sampled} pictures looked at are larger or "
                f"longer than crops of faces, such as {name} of {width}×{height} pixels: where "
                f"they are photographs, --faces finds and crops the largest face of each"
            ]
        notes = []
        if faceless := self.faceless.total():
            notes.append(f"no face was found in {format_count(faceless, 'picture')}: left out")
        if self.several_faces:
            notes.append(
                f"several faces in {format_count(self.several_faces, 'picture')}: the largest of "
                f"each is used"
            )
        return notes + self._finder.notes()

    def _look_for_photographs(self, items: list[Item]) -> None:
        """Check the sizes of some pictures, spread over all of them."""
        step = max(1, len(items) // _SAMPLED_PICTURES)
        for name, _, get in items[::step][:_SAMPLED_PICTURES]:
            try:
                picture = get()
            except PictureError:  # reported when it is read
                continue
            if isinstance(picture, str | Path):
                self._sampled += 1
                if (size := find_photograph_size(str(picture))) is not None:
                    self._large.append((name, size))

    def _read_face(self, picture: Picture) -> Pixels | None:
        """Return the pixels that the network sees; None where there is no face."""
        if self._finder is None:
            return read_face(picture, self.size)
        found = self._finder.find(picture, self.size)
        self.several_faces += len(found) > 1
        boxes = [one.detected or one.box for one in found]
        areas = [box.width * box.height for box in boxes]
        return found[areas.index(max(areas))].pixels if found else None


def _open_finder() -> FaceFinder:
    from emotion_runtime.faces.detectors import open_detector
    from emotion_runtime.faces.finder import FaceFinder

    return FaceFinder(open_detector(threads=count_usable_cpus()))


def check_class_names(data: Path, classes: Sequence[str]) -> None:
    """Raise an error for class names that the results of emotion-infer cannot represent.

    Args:
        data: The source of the names, for the message.
        classes: Class names in label order.

    Raises:
        DataError: A name is invalid. For folders that ``emotion-infer --sort-into`` makes for
            pictures without a label, the message adds advice.
    """
    try:
        check_labels(classes)
    except ValueError as error:
        reserved = [name for name in classes if name.casefold() in RESERVED_LABELS]
        valid = [name for name in classes if name not in reserved]
        advice = ""
        if reserved and len(valid) > 1:
            options = " ".join(shlex.join(["--class", name]) for name in valid)
            if not any("," in name for name in valid):
                options = shlex.join(["--classes", ",".join(valid)])
            advice = (
                f". Where emotion-infer put the pictures there to which it gave no label, move "
                f"them to their classes, or leave them out with {options}"
            )
        raise DataError(f"{data}: {error}{advice}.") from error


def choose_classes(found: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes of a run.

    Args:
        found: The classes that the data have, sorted.
        wanted: Names in label order, or ``("all",)`` for every class that was found. None or empty
            for every class too, except that FER2013's seven classes give happy, sad and surprise.
    """
    if wanted and tuple(wanted) != ALL_CLASSES:
        return tuple(wanted)
    if not wanted and sorted(found) == sorted(FER2013_CLASSES):
        return FER2013_DEFAULT
    return tuple(found)


def check_source(data: Path, source: Source) -> Source:
    """Return the source without empty held-out splits; raise an error for an empty class.

    Raises:
        DataError: A class has no readable picture in train.
    """
    counts = source.splits["train"].count_by_class(len(source.classes))
    empty = [name for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        reason = f" ({source.skipped[0]})" if source.skipped else ""
        where = "" if source.is_flat else " in train"
        raise DataError(f"{data}: no readable picture of {', '.join(empty)}{where}{reason}.")
    messages = []
    for split, effect in (
        ("validation", "validation pictures are drawn from train"),
        ("test", "nothing is measured on it"),
    ):
        if split in source.splits and not len(source.splits[split]):
            del source.splits[split]
            lost = source.unreadable[split] + source.faceless[split]
            reason = "it has no picture of the classes"
            if lost and not source.faceless[split]:
                reason = f"its {format_count(lost, 'picture')} could not be read"
            elif lost:
                reason = f"its {format_count(lost, 'picture')} could not be used"
            messages.append(f"{split}: {reason}; {effect}")
    return replace(source, passed_over=(*source.passed_over, *messages))
