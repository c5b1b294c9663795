"""A CSV that lists picture files: ``path,label`` and perhaps ``split``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_runtime.errors import shorten_repr
from emotion_runtime.prediction import format_count
from emotion_runtime.terminal import escape_controls
from emotion_train.data.csv_text import read_rows
from emotion_train.data.layout import SPLIT_NAMES, SPLITS
from emotion_train.data.source import (
    MISSING,
    REPEATED,
    Item,
    Reading,
    Source,
    check_source,
    choose_classes,
)
from emotion_train.errors import DataError

LIST_COLUMNS = ("path", "label")
_EXAMPLES = 7  # names that a message lists


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    split: str


def read_picture_list(data: Path, wanted: Sequence[str] | None, reading: Reading) -> Source:
    """Read the pictures that a CSV lists, at paths relative to its folder.

    Args:
        data: The file; without a column ``split`` it has no splits.
        wanted: As in `choose_classes`.
        reading: Reads the pictures.

    Raises:
        DataError: It cannot be read, has no training rows of a class, or lists one file under two
            labels or in two splits.
    """
    rows, passed_over, flat = _read_rows(data)
    found = sorted({row.label for row in rows if row.split == "train"})
    classes = choose_classes(found, wanted)
    if not found:
        which = "" if flat else " whose split is train"
        told = f" ({passed_over[0]})" if passed_over else ""
        raise DataError(f"{data}: has no row with a path and a label{which}{told}.")
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(
            f"{data}: no training row of the class {_named(missing)}; found {_named(found)}."
        )
    for row in rows:
        if row.label not in found and row.split != "train":
            raise DataError(
                f"{data}, line {row.line}: a {row.split} picture of {shorten_repr(row.label)}, a "
                f"class of which there is no training picture; it has {_named(found)}."
            )
    others = Counter(row.label for row in rows if row.label not in classes)
    reading.inventory.other_classes.update(others)
    if others:
        counts = [f"{name} {count:,}" for name, count in sorted(others.items())]
        passed_over.append(f"rows of classes that are not trained on ({_named(counts)})")
    kept = _without_repeats(data, [row for row in rows if row.label in classes], reading)
    if again := reading.inventory.left_out.total():
        passed_over.append(
            f"{format_count(again, 'row')} that list{'s' if again == 1 else ''} a file once more"
        )
    there = {row.path for row in kept if _exists(data.parent, row.path)}
    present = [row for row in kept if row.path in there]
    lost = [row for row in kept if row.path not in there]
    for row in lost:
        reading.inventory.found[row.label] += 1
        reading.inventory.left_out[row.label, MISSING] += 1
    if lost:
        passed_over.append(
            f"{len(lost):,} of {format_count(len(kept), 'file')} that are listed do not exist in "
            f"{data.parent} (such as {_named([lost[0].path])})"
        )
    splits = {}
    for split in SPLITS:
        items: list[Item] = [
            (row.path, classes.index(row.label), lambda row=row: data.parent / row.path)  # type: ignore[misc]
            for row in present
            if row.split == split
        ]
        if items or split == "train":
            splits[split] = reading.read(items, classes, split)
    source = Source(
        classes,
        splits,
        reading.skipped,
        reading.unreadable,
        reading.faceless,
        tuple(passed_over),
        (f"layout: a CSV of paths and labels{', without splits' if flat else ''}",),
        flat,
        reading.inventory,
    )
    if lost and not len(splits["train"]):
        raise DataError(f"{data}: {passed_over[-1]}.")
    return check_source(data, source)


def list_other_files(data: Path, excluded: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """List the training files of every class that is not excluded, with those classes."""
    rows = [row for row in _read_rows(data)[0] if row.split == "train"]
    names = tuple(sorted({row.label for row in rows} - set(excluded)))
    items: list[Item] = [
        (row.path, names.index(row.label), lambda row=row: data.parent / row.path)  # type: ignore[misc]
        for row in rows
        if row.label in names and _exists(data.parent, row.path)
    ]
    return items, names


def _named(names: Sequence[str]) -> str:
    """Return the first of some names from the file, safe to show, and how many more there are."""
    first = ", ".join(escape_controls(name)[:80] for name in names[:_EXAMPLES])
    return first if len(names) <= _EXAMPLES else f"{first} and {len(names) - _EXAMPLES:,} more"


def _real_path(folder: Path, path: str) -> str:
    """Return one spelling for all paths of a file, such as a.png and ./a.png, and links to it."""
    try:
        return os.path.realpath(folder / path)
    except (OSError, ValueError):  # too long, or no path at all
        return path


def _exists(folder: Path, path: str) -> bool:
    try:
        return (folder / path).exists()
    except (OSError, ValueError):  # too long, or no path at all
        return False


def _read_rows(data: Path) -> tuple[list[_Row], list[str], bool]:
    """Read the rows.

    Returns:
        Those whose path, label and split are known; a sentence without a full stop for each kind
        of row or column that is not read; and whether the file has no column split.
    """
    lines = read_rows(data)
    header = [cell.strip().casefold() for cell in next(lines, (0, []))[1]]
    places = [header.index(name) for name in LIST_COLUMNS]
    place = header.index("split") if "split" in header else None
    rows: list[_Row] = []
    short: list[int] = []
    long: list[int] = []
    unknown = Counter[str]()
    for line, cells in lines:
        if any(cell.strip() for cell in cells[len(header) :]):
            long.append(line)  # a comma in a path or a label, without quotes around it
            continue
        if len(cells) <= max(*places, place or 0):
            short.append(line)
            continue
        path, label = (cells[one].strip() for one in places)
        split = "train" if place is None else cells[place].strip()
        if not path or not label:
            short.append(line)
        elif place is not None and split.casefold() not in SPLIT_NAMES:
            unknown[split] += 1
        else:
            rows.append(_Row(line, path, label, SPLIT_NAMES[split.casefold()]))
    passed_over = []
    if more := [name for name in header if name not in (*LIST_COLUMNS, "split")]:
        passed_over.append(f"the columns {_named(more)}")
    if short:
        passed_over.append(
            f"{format_count(len(short), 'row')} without a path, a label or a split (such as "
            f"line {short[0]})"
        )
    if long:
        passed_over.append(
            f"{format_count(len(long), 'row')} with more values than the header has columns (such "
            f"as line {long[0]}); put a path or a label with a comma in quotes"
        )
    if unknown:
        named = _named([f"{shorten_repr(name)} {count:,}" for name, count in unknown.most_common()])
        passed_over.append(
            f"{format_count(unknown.total(), 'row')} of an unknown split ({named}); "
            f"known are train, val and test"
        )
    return rows, passed_over, place is None


def _without_repeats(data: Path, rows: Sequence[_Row], reading: Reading) -> list[_Row]:
    """Keep each file once.

    Raises:
        DataError: A file is listed under two labels, or in two splits.
    """
    kept: dict[str, _Row] = {}
    for row in rows:
        first = kept.setdefault(_real_path(data.parent, row.path), row)
        if first is row:
            continue
        for what in ("label", "split"):
            before, now = getattr(first, what), getattr(row, what)
            if before != now:
                raise DataError(
                    f"{data}: {_named([row.path])} has the {what} {shorten_repr(before)} in line "
                    f"{first.line} and {shorten_repr(now)} in line {row.line}."
                )
        reading.inventory.found[row.label] += 1
        reading.inventory.left_out[row.label, REPEATED] += 1
    return list(kept.values())
