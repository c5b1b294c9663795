"""CSV files that list pictures, with the columns path, label and perhaps split."""

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
    PictureReader,
    Source,
    check_source,
    choose_classes,
)
from emotion_train.errors import DataError

LIST_COLUMNS = ("path", "label")
_MAX_NAMES_SHOWN = 7  # in a message


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    split: str


def read_picture_list(data: Path, wanted: Sequence[str] | None, reader: PictureReader) -> Source:
    """Read the pictures that a CSV lists, at paths relative to its folder.

    Args:
        data: The file; without a column ``split`` it has no splits.
        wanted: As in `choose_classes`.
        reader: Reads the pictures and counts what it leaves out.

    Raises:
        DataError: The file cannot be read, has no training rows of a class, or lists a picture
            under two labels or in two splits.
    """
    rows, passed_over, is_flat = _read_rows(data)
    classes = _choose_row_classes(data, rows, wanted, passed_over, is_flat=is_flat)
    others = Counter(row.label for row in rows if row.label not in classes)
    reader.inventory.other_classes.update(others)
    if others:
        counts = [f"{name} {count:,}" for name, count in sorted(others.items())]
        passed_over.append(f"rows of classes that are not trained on ({_join_names(counts)})")
    rows = _remove_repeats(data, [row for row in rows if row.label in classes], reader)
    if repeats := reader.inventory.left_out.total():
        passed_over.append(
            f"{format_count(repeats, 'row')} that list{'s' if repeats == 1 else ''} a file "
            f"once more"
        )
    present = _remove_missing(data, rows, reader, passed_over)
    splits = {}
    for split in SPLITS:
        items: list[Item] = [
            (row.path, classes.index(row.label), lambda row=row: data.parent / row.path)  # type: ignore[misc]
            for row in present
            if row.split == split
        ]
        if items or split == "train":
            splits[split] = reader.read(items, classes, split)
    source = reader.make_source(
        classes,
        splits,
        passed_over=passed_over,
        layout=f"a CSV of paths and labels{', without splits' if is_flat else ''}",
        is_flat=is_flat,
    )
    if len(present) < len(rows) and not len(splits["train"]):
        raise DataError(f"{data}: {passed_over[-1]}.")
    return check_source(data, source)


def list_other_files(data: Path, excluded: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """Return the training files of all classes that are not excluded, and these classes."""
    rows = [row for row in _read_rows(data)[0] if row.split == "train"]
    names = tuple(sorted({row.label for row in rows} - set(excluded)))
    items: list[Item] = [
        (row.path, names.index(row.label), lambda row=row: data.parent / row.path)  # type: ignore[misc]
        for row in rows
        if row.label in names and _exists(data.parent, row.path)
    ]
    return items, names


def _choose_row_classes(
    data: Path,
    rows: Sequence[_Row],
    wanted: Sequence[str] | None,
    passed_over: Sequence[str],
    *,
    is_flat: bool,
) -> tuple[str, ...]:
    """Return the classes of a run.

    Raises:
        DataError: A class has no training row, or there are no training rows at all.
    """
    found = sorted({row.label for row in rows if row.split == "train"})
    classes = choose_classes(found, wanted)
    if not found:
        which = "" if is_flat else " whose split is train"
        reason = f" ({passed_over[0]})" if passed_over else ""
        raise DataError(f"{data}: has no row with a path and a label{which}{reason}.")
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(
            f"{data}: no training row of the class {_join_names(missing)}; found "
            f"{_join_names(found)}."
        )
    for row in rows:
        if row.label not in found and row.split != "train":
            raise DataError(
                f"{data}, line {row.line}: a {row.split} picture of {shorten_repr(row.label)}, a "
                f"class of which there is no training picture; it has {_join_names(found)}."
            )
    return classes


def _join_names(names: Sequence[str]) -> str:
    """Return the first of some names from the file, safe to print, and the number of others."""
    first = ", ".join(escape_controls(name)[:80] for name in names[:_MAX_NAMES_SHOWN])
    return (
        first
        if len(names) <= _MAX_NAMES_SHOWN
        else f"{first} and {len(names) - _MAX_NAMES_SHOWN:,} more"
    )


def _real_path(folder: Path, path: str) -> str:
    """Return one spelling for all paths to a file, such as a.png, ./a.png and links."""
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
        The valid rows; a sentence without a full stop per kind of row or column that is not read;
        and whether the column split is missing.
    """
    lines = read_rows(data)
    header = [cell.strip().casefold() for cell in next(lines, (0, []))[1]]
    columns = [header.index(name) for name in LIST_COLUMNS]
    split_column = header.index("split") if "split" in header else None
    rows: list[_Row] = []
    short: list[int] = []
    long: list[int] = []
    unknown = Counter[str]()
    for line, cells in lines:
        if any(cell.strip() for cell in cells[len(header) :]):
            long.append(line)  # a comma in a path or a label, without quotes around it
            continue
        if len(cells) <= max(*columns, split_column or 0):
            short.append(line)
            continue
        path, label = (cells[column].strip() for column in columns)
        split = "train" if split_column is None else cells[split_column].strip()
        if not path or not label:
            short.append(line)
        elif split_column is not None and split.casefold() not in SPLIT_NAMES:
            unknown[split] += 1
        else:
            rows.append(_Row(line, path, label, SPLIT_NAMES[split.casefold()]))
    passed_over = []
    if more := [name for name in header if name not in (*LIST_COLUMNS, "split")]:
        passed_over.append(f"the columns {_join_names(more)}")
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
        splits = [f"{shorten_repr(name)} {count:,}" for name, count in unknown.most_common()]
        passed_over.append(
            f"{format_count(unknown.total(), 'row')} of an unknown split ({_join_names(splits)}); "
            f"known are train, val and test"
        )
    return rows, passed_over, split_column is None


def _remove_repeats(data: Path, rows: Sequence[_Row], reader: PictureReader) -> list[_Row]:
    """Return the rows with each file once; count the repeats.

    Raises:
        DataError: A file is listed under two labels, or in two splits.
    """
    kept: dict[str, _Row] = {}
    for row in rows:
        first = kept.setdefault(_real_path(data.parent, row.path), row)
        if first is row:
            continue
        for field in ("label", "split"):
            before, now = getattr(first, field), getattr(row, field)
            if before != now:
                raise DataError(
                    f"{data}: {_join_names([row.path])} has the {field} {shorten_repr(before)} in "
                    f"line {first.line} and {shorten_repr(now)} in line {row.line}."
                )
        reader.inventory.found[row.label] += 1
        reader.inventory.left_out[row.label, REPEATED] += 1
    return list(kept.values())


def _remove_missing(
    data: Path, rows: Sequence[_Row], reader: PictureReader, passed_over: list[str]
) -> list[_Row]:
    """Return the rows whose file exists; count and describe the others."""
    existing = {row.path for row in rows if _exists(data.parent, row.path)}
    missing = [row for row in rows if row.path not in existing]
    for row in missing:
        reader.inventory.found[row.label] += 1
        reader.inventory.left_out[row.label, MISSING] += 1
    if missing:
        passed_over.append(
            f"{len(missing):,} of {format_count(len(rows), 'file')} that are listed do not exist "
            f"in {data.parent} (such as {_join_names([missing[0].path])})"
        )
    return [row for row in rows if row.path in existing]
