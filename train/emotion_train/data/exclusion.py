"""Training pictures to leave out, or to weight less, by the scores of ``emotion-audit``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import shorten_repr
from emotion_runtime.prediction import format_count
from emotion_train.data.checks import require_every_class
from emotion_train.data.csv_text import read_rows
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.source import EXCLUDED
from emotion_train.errors import DataError
from emotion_train.recipe import EXCLUDE_ISSUES, is_exclusion

AUDIT_TABLE = "audit.csv"
# The columns of audit.csv before those of the probabilities.
COLUMNS = ("path", "label", "split", "suggested_label", "score", "label_issue", "further_issues")
YES, NO = "yes", "no"
_NEEDED = ("path", "label", "score", "label_issue")


@dataclass(frozen=True)
class _Row:
    label: str
    score: float | None
    is_issue: bool


@dataclass(frozen=True, eq=False)
class ExcludedDataset:
    """A dataset after the exclusion.

    Attributes:
        dataset: The splits.
        weights: The weight of each training face in the loss, float32 (n,); None for 1.
        excluded: Number of training pictures that were left out or weighted.
    """

    dataset: Dataset
    weights: NDArray[np.float32] | None
    excluded: int


class AuditTable:
    """The scores in an ``audit.csv``.

    Args:
        path: The file, or the folder that ``emotion-audit`` wrote.

    Raises:
        DataError: The file cannot be read, or was not written by ``emotion-audit``.
    """

    def __init__(self, path: Path) -> None:
        self._path = find_audit_table(path)
        self._rows = _read_audit(self._path)

    def choose(self, rule: str) -> dict[str, str]:
        """Return the label at the time of the audit of each excluded picture, by its name.

        Args:
            rule: As `Recipe.exclude`.

        Raises:
            DataError: There is no such picture.
        """
        scores = {name: row.score for name, row in self._rows.items() if row.score is not None}
        if rule == EXCLUDE_ISSUES:
            chosen = [name for name, row in self._rows.items() if row.is_issue]
        elif rule.endswith("%"):
            count = round(float(rule.removesuffix("%")) / 100 * len(scores))
            chosen = sorted(scores, key=lambda name: (scores[name], name))[:count]
        else:
            chosen = [name for name, score in scores.items() if score < float(rule)]
        if not chosen:
            raise DataError(
                f"{self._path}: has no picture {describe_rule(rule)}; leave --exclude out."
            )
        return {name: self._rows[name].label for name in chosen}

    def count_unknown(self, faces: Faces) -> tuple[int, int]:
        """Return how many faces the audit does not list, and how many it lists without a score."""
        rows = [self._rows.get(name) for name in faces.names]
        unlisted = sum(row is None for row in rows)
        return unlisted, sum(row is not None and row.score is None for row in rows)

    def require_some(self, *splits: Faces) -> None:
        """Check that the audit is that of these pictures.

        Raises:
            DataError: None of the faces of any split is in the file.
        """
        names = [name for faces in splits for name in faces.names]
        if not any(name in self._rows for name in names):
            raise DataError(
                f"{self._path}: the audit of other data, which lists none of the pictures (such "
                f"as {names[0]})."
            )


def parse_exclusion(text: str) -> tuple[Path, str]:
    """Return file and rule of ``FILE``, ``FILE:SCORE`` or ``FILE:PERCENT%``.

    Raises:
        ValueError: The number is out of range. The message is a sentence without a full stop.
    """
    name, colon, rule = text.rpartition(":")
    if not colon or not name or _parse_number(rule.removesuffix("%")) is None:
        return Path(text), EXCLUDE_ISSUES
    if not is_exclusion(rule):
        is_share = rule.endswith("%")
        kind = "share above 0% and below 100%" if is_share else "score above 0 and below 1"
        raise ValueError(f"{rule} is not a {kind}")
    return Path(name), rule.strip()


def describe_rule(rule: str) -> str:
    """Return which pictures a rule means, to follow a noun."""
    if rule == EXCLUDE_ISSUES:
        return "that the audit marks as label issues"
    if rule.endswith("%"):
        return f"among the {rule.removesuffix('%')} % with the lowest scores of the audit"
    return f"with a score below {rule} in the audit"


def find_audit_table(path: Path) -> Path:
    """Return the ``audit.csv`` that a path names, or that is in the folder it names."""
    return path / AUDIT_TABLE if path.is_dir() else path


def require_audit_table(path: Path) -> None:
    """Check that the file of an audit exists.

    Raises:
        DataError: It does not.
    """
    if path.is_file():
        return
    name, _, rule = str(path).rpartition(":")
    if name and find_audit_table(Path(name)).is_file():
        raise DataError(
            f"{path}: no such file, and {rule!r} is neither a score such as 0.1 nor a share such "
            f"as 3%."
        )
    raise DataError(f"{path}: no such file; emotion-audit writes it.")


def exclude_pictures(
    dataset: Dataset, path: Path, rule: str, weight: float, tell: Callable[[str], None]
) -> ExcludedDataset:
    """Leave out training pictures, or weight them less, by the scores of an audit.

    Held-out and test pictures stay: figures without them would be too good. A picture whose label
    has been changed since the audit stays too.

    Args:
        dataset: The splits.
        path: As in `AuditTable`.
        rule: As `Recipe.exclude`.
        weight: The weight of the excluded pictures in the loss; 0 leaves them out.
        tell: Receives messages about what happens to the pictures.

    Raises:
        DataError: The audit cannot be read, is that of other data, or leaves a class empty.
    """
    table = AuditTable(path)
    train = dataset.train
    held_out = [dataset.validation, dataset.holdout, *([dataset.test] if dataset.test else [])]
    table.require_some(train, *held_out)
    labels = table.choose(rule)
    is_excluded = _find_excluded(train, labels, dataset.classes)
    for text in _describe(dataset, labels, is_excluded, held_out, rule, weight):
        tell(text)
    for text in _describe_unknown(table, train):
        tell(text)
    excluded = int(is_excluded.sum())
    if weight:
        weights = np.where(is_excluded, weight, 1.0).astype(np.float32)
        return ExcludedDataset(dataset, weights, excluded)
    names = (dataset.classes[label] for label in train.labels[is_excluded])
    dataset = replace(
        dataset,
        train=train.take(np.flatnonzero(~is_excluded)),
        inventory=dataset.inventory.leave_out(names, EXCLUDED),
    )
    require_every_class(dataset.train, dataset.classes, "those that --exclude takes away")
    return ExcludedDataset(dataset, None, excluded)


def _find_excluded(
    faces: Faces, labels: dict[str, str], classes: Sequence[str]
) -> NDArray[np.bool_]:
    """Return which faces are excluded under the label that they have, bool (n,)."""
    names = zip(faces.names, faces.labels, strict=True)
    return np.array([labels.get(name) == classes[label] for name, label in names], np.bool_)


def _describe(
    dataset: Dataset,
    labels: dict[str, str],
    is_excluded: NDArray[np.bool_],
    held_out: Sequence[Faces],
    rule: str,
    weight: float,
) -> list[str]:
    """Return what happens to the excluded pictures, in sentences without a full stop."""
    classes, excluded = dataset.classes, int(is_excluded.sum())
    kept = sum(int(_find_excluded(faces, labels, classes).sum()) for faces in held_out)
    changed = sum(
        name in labels and labels[name] != classes[label]
        for faces in (dataset.train, *held_out)
        for name, label in zip(faces.names, faces.labels, strict=True)
    )
    action = f"weighted {weight:g} in the loss" if weight else "left out"
    sentences = [
        f"exclude: {format_count(excluded, 'training picture')} {describe_rule(rule)} {action} "
        f"({excluded / max(1, len(dataset.train)):.1%} of train)"
    ]
    if kept:
        sentences.append(
            f"exclude: {format_count(kept, 'such picture')} in validation, hold-out or test kept: "
            f"without them the figures would be too good"
        )
    if changed:
        sentences.append(
            f"exclude: {format_count(changed, 'such picture')} kept, whose label has changed "
            f"since the audit"
        )
    if missing := len(labels) - excluded - kept - changed:
        sentences.append(
            f"exclude: {format_count(missing, 'such picture')} not in these splits: left out "
            f"already, or no longer in the data"
        )
    return sentences


def _describe_unknown(table: AuditTable, train: Faces) -> list[str]:
    """Return how many training pictures have no score, in sentences without a full stop."""
    unlisted, unrated = table.count_unknown(train)
    total = format_count(len(train), "training picture")
    sentences = []
    if unlisted:
        sentences.append(f"exclude: {unlisted:,} of {total} not in the audit: kept")
    if unrated:
        sentences.append(
            f"exclude: {unrated:,} of {total} without a score in the audit: kept (emotion-audit "
            f"--from rates none that its run was trained on)"
        )
    return sentences


def _read_audit(path: Path) -> dict[str, _Row]:
    """Return the rows of an audit by the name of the picture.

    Raises:
        DataError: The file cannot be read, or was not written by ``emotion-audit``.
    """
    require_audit_table(path)
    lines = read_rows(path, errors="surrogateescape")
    header = next(lines, (0, []))[1]
    if not all(header.count(name) == 1 for name in _NEEDED):
        raise DataError(
            f"{path}: expected an audit.csv of emotion-audit, with the columns "
            f"{', '.join(_NEEDED)}, each once."
        )
    columns = [header.index(name) for name in _NEEDED]
    rows: dict[str, _Row] = {}
    for line, cells in lines:
        if len(cells) <= max(columns):
            raise DataError(f"{path}, line {line}: has fewer values than the header has columns.")
        # A leading apostrophe protects the cell from spreadsheets, see `CsvRows`.
        name, label, score, mark = (cells[column].removeprefix("'") for column in columns)
        value = _parse_number(score)
        if (value is None and score) or not 0 <= (value or 0) <= 1 or mark not in (YES, NO, ""):
            raise DataError(
                f"{path}, line {line}: a score is a number from 0 to 1 and label_issue is yes or "
                f"no, not {shorten_repr(score)} and {shorten_repr(mark)}."
            )
        if name in rows:
            raise DataError(f"{path}, line {line}: lists {shorten_repr(name)} a second time.")
        rows[name] = _Row(label, value, mark == YES)
    return rows


def _parse_number(text: str) -> float | None:
    """Return a finite number; None for other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
