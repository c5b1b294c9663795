"""``audit.csv``: one row a picture, the most suspicious label first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotion_runtime.results.csv_rows import CsvRows
from emotion_runtime.results.output import open_output
from emotion_train.audit.result import AuditResult
from emotion_train.data.exclusion import COLUMNS, NO, YES

COPY_COLUMNS = ("group", "kind", "path", "label", "split")


def write_audit_table(path: Path, result: AuditResult) -> None:
    """Write the scores, suggestions, probabilities and further issues of all pictures.

    Rated pictures come first, by ascending score. Pictures that were not rated have empty columns.

    Raises:
        OutputError: The file cannot be written.
    """
    pictures, quality = result.pictures, result.quality
    classes, faces = pictures.classes, pictures.faces
    further = result.list_further_issues()
    with open_output(path) as stream:
        rows = CsvRows(stream)
        rows.write([*COLUMNS, *(f"probability_{name}" for name in classes)])
        for one in result.rank():
            index = int(result.rated[one])
            rows.write(
                [
                    faces.names[index],
                    classes[faces.labels[index]],
                    pictures.splits[index],
                    classes[quality.suggested[one]],
                    f"{quality.scores[one]:.6f}",
                    YES if quality.is_issue[one] else NO,
                    "; ".join(further[index]),
                    *(f"{value:.6f}" for value in result.probabilities[one]),
                ]
            )
        for index in np.setdiff1d(np.arange(len(pictures)), result.rated):
            label, split = classes[faces.labels[index]], pictures.splits[index]
            empty = [""] * len(classes)
            issues = "; ".join(further[index])
            rows.write([faces.names[index], label, split, "", "", "", issues, *empty])


def write_copy_table(path: Path, result: AuditResult) -> None:
    """Write the groups of copies, one row a picture.

    Raises:
        OutputError: The file cannot be written.
    """
    with open_output(path) as stream:
        rows = CsvRows(stream)
        rows.write(COPY_COLUMNS)
        for number, group in enumerate(result.groups, start=1):
            for index in group.members:
                rows.write([number, group.kind, *describe_picture(result, index)])


def describe_picture(result: AuditResult, index: int) -> Sequence[str]:
    """Return name, label and split of a picture."""
    pictures = result.pictures
    label = pictures.classes[pictures.faces.labels[index]]
    return (pictures.faces.names[index], label, pictures.splits[index])
