"""The data table, printed first: for each class the files found, used and left out."""

from __future__ import annotations

from collections.abc import Sequence

from emotion_runtime.command_line.text_width import measure_width, pad_right
from emotion_train.data.dataset import Dataset
from emotion_train.data.source import (
    DUPLICATE,
    EXCLUDED,
    MISSING,
    NO_FACE,
    NOT_A_PICTURE,
    REPEATED,
    UNREADABLE,
    VOTED_OUT,
)

_REASONS = (NOT_A_PICTURE, MISSING, REPEATED, UNREADABLE, NO_FACE, VOTED_OUT, EXCLUDED, DUPLICATE)


def format_data_table(dataset: Dataset) -> str:
    """Return the table of files: found = train + validation + hold-out + test + left out.

    There is a column for each reason, such as ``unreadable``, for which a file was left out, and a
    row for each class in the data that is not trained on.
    """
    inventory, classes = dataset.inventory, dataset.classes
    splits = {"train": dataset.train, "validation": dataset.validation}
    if len(dataset.holdout):
        splits["hold-out"] = dataset.holdout
    if dataset.test is not None:
        splits["test"] = dataset.test
    counts = {split: faces.count_by_class(len(classes)) for split, faces in splits.items()}
    reasons = [
        reason for reason in _REASONS if any(inventory.left_out[name, reason] for name in classes)
    ]
    rows: list[tuple[str, list[int | None]]] = []
    for label, name in enumerate(classes):
        used = [int(count[label]) for count in counts.values()]
        left_out = [inventory.left_out[name, reason] for reason in reasons]
        rows.append((name, [inventory.found[name], *used, *left_out]))
    totals = [sum(row[column] or 0 for _, row in rows) for column in range(len(rows[0][1]))]
    rows.append(("total", list(totals)))
    unused: list[int | None] = [None] * (len(totals) - 1)
    for name, found in sorted(inventory.other_classes.items()):
        rows.append((f"{name} (not used)", [found, *unused]))
    return _format_columns(["found", *splits, *reasons], rows)


def _format_columns(header: Sequence[str], rows: Sequence[tuple[str, Sequence[int | None]]]) -> str:
    first = max(len("class"), *(measure_width(name) for name, _ in rows))
    widths = [max(7, len(name)) + 2 for name in header]
    cells = [("class", header)] + [
        (name, ["" if value is None else f"{value:,}" for value in row]) for name, row in rows
    ]
    lines = []
    for name, row in cells:
        values = "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append((pad_right(name, first) + values).rstrip())
    return "\n".join(lines)
