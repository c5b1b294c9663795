"""The result of an audit, from which its files are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_train.audit.copies import IDENTICAL, NEARLY_IDENTICAL, CopyGroup
from emotion_train.audit.label_quality import LabelQuality
from emotion_train.audit.pictures import AuditedPictures
from emotion_train.audit.votes_comparison import VotesComparison

COPY, CONTRADICTORY_COPY, LEAKING_COPY = "copy", "copy under another label", "copy in another split"


@dataclass(frozen=True, eq=False)
class AuditResult:
    """The result of an audit of n pictures.

    Attributes:
        pictures: All pictures.
        rated: Indices of the m pictures whose labels were rated, in ascending order.
        probabilities: float64 (m, classes), of networks that have not learned from the picture.
        quality: The quality of the labels of these m pictures.
        groups: The groups of copies.
        issues: Which pictures have each of `QUALITY_ISSUES`, bool (n,).
        votes: The comparison with annotators' votes, if there is one.
        method: Where the probabilities come from, a sentence without a full stop.
    """

    pictures: AuditedPictures
    rated: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    quality: LabelQuality
    groups: Sequence[CopyGroup]
    issues: Mapping[str, NDArray[np.bool_]]
    votes: VotesComparison | None
    method: str

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the labels of the rated pictures, int64 (m,)."""
        return self.pictures.faces.labels[self.rated]

    def rank(self) -> NDArray[np.int64]:
        """Return indices into `rated`, the most suspicious label first; ties by name."""
        names = [self.pictures.faces.names[index] for index in self.rated]
        keys = list(zip(self.quality.scores.tolist(), names, strict=True))
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)

    def count_suggestions(self) -> NDArray[np.int64]:
        """Return how often each label gets each suggestion, int64 (classes, classes).

        Rows are labels, columns are suggestions, of all rated pictures.
        """
        return _count_pairs(self.labels, self.quality.suggested, len(self.pictures.classes))

    def list_pairs(self) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Yield label, suggestion and the ranked issues of this pair; the largest pair first.

        The issues are indices into `rated`.
        """
        ranked = self.rank()
        ranked = ranked[self.quality.is_issue[ranked]]
        pairs = Counter((int(self.labels[one]), int(self.quality.suggested[one])) for one in ranked)
        for (label, suggested), _ in pairs.most_common():
            is_pair = (self.labels[ranked] == label) & (self.quality.suggested[ranked] == suggested)
            yield label, suggested, ranked[is_pair]

    def list_further_issues(self) -> list[list[str]]:
        """Return the issues besides the label of each picture, n lists."""
        found: list[list[str]] = [[] for _ in range(len(self.pictures))]
        for name, has_issue in self.issues.items():
            for one in np.flatnonzero(has_issue):
                found[one].append(name)
        for group in self.groups:
            kinds = [COPY]
            if group.is_contradictory or group.is_leaking:
                kinds = [CONTRADICTORY_COPY] * group.is_contradictory
                kinds += [LEAKING_COPY] * group.is_leaking
            if group.kind != IDENTICAL:
                kinds = [f"near {kind}" for kind in kinds]
            for index in group.members:
                found[index] += kinds
        return found

    def _count_copies(self, kind: str) -> dict[str, int]:
        groups = [group for group in self.groups if group.kind == kind]
        return {
            "groups": len(groups),
            "under_several_labels": sum(group.is_contradictory for group in groups),
            "in_several_splits": sum(group.is_leaking for group in groups),
        }

    def to_figures(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        classes, quality = self.pictures.classes, self.quality
        shares = quality.estimate_wrong_shares()
        counts = self.count_suggestions()
        by_class = {}
        for label, name in enumerate(classes):
            is_class = self.labels == label
            by_class[name] = {
                "pictures": int(is_class.sum()),
                "issues": int((is_class & quality.is_issue).sum()),
                "estimated_wrong_share": None if np.isnan(shares[label]) else float(shares[label]),
                "suggestions": dict(zip(classes, counts[label].tolist(), strict=True)),
            }
        return {
            "method": self.method,
            "pictures": len(self.pictures),
            "rated": len(self.rated),
            "issues": int(quality.is_issue.sum()),
            "agreement": quality.measure_agreement(),
            "kappa": quality.measure_kappa(),
            "estimated_wrong_share": quality.estimate_wrong_share(),
            "classes": by_class,
            "copies": self._count_copies(IDENTICAL),
            "near_copies": self._count_copies(NEARLY_IDENTICAL),
            "further_issues": {name: int(has.sum()) for name, has in self.issues.items()},
            "unreadable": len(self.pictures.unreadable),
            "votes": None if self.votes is None else self.votes.to_figures(),
        }


def _count_pairs(
    rows: NDArray[np.int64], columns: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts
