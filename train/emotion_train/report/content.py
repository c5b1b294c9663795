"""The content of a report, from which its files are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_train.data.balance import ClassBalance
from emotion_train.data.dataset import Dataset
from emotion_train.report.calibration import Calibration
from emotion_train.report.confidence import Coverage
from emotion_train.report.split_result import SplitResult


@dataclass(frozen=True, eq=False)
class ReportContent:
    """The content of a report.

    Attributes:
        dataset: The splits.
        history: One row per epoch, as in ``history.csv``; empty without epochs.
        kept_epoch: The epoch whose weights were kept; None without epochs.
        calibration: Temperature and threshold.
        results: The predictions for each split; the first one is reported in full.
        coverage: Coverage and accuracy at confidence thresholds, on held-out faces.
        facts: Further lines of the report, by name.
        balance: The class balance.
        warnings: Warnings of the run, without a full stop.
        caption: A description of the training loss.
    """

    dataset: Dataset
    history: Sequence[dict[str, float]]
    kept_epoch: int | None
    calibration: Calibration
    results: Sequence[SplitResult]
    coverage: Sequence[Coverage]
    facts: Mapping[str, str]
    balance: ClassBalance
    warnings: Sequence[str] = ()
    caption: str = ""

    @property
    def main(self) -> SplitResult:
        """Return the predictions that are reported in full."""
        return self.results[0]

    def to_figures(self) -> dict[str, Any]:
        """Return the figures of the report, as JSON values for ``metrics.json``."""
        classes, calibration = self.dataset.classes, self.calibration
        return {
            "classes": list(classes),
            "temperature": round(calibration.temperature, 6),
            "judged_by": "votes" if calibration.by_votes else "labels",
            **{one.split: one.to_dict(classes) for one in self.results},
            "confidence": [one.to_dict() for one in self.coverage],
            "confidence_against": "annotators' majority" if calibration.by_majority else "labels",
            "min_confidence": round(calibration.threshold, 6),
        }
