"""What came of a run: the chosen epoch is calibrated, measured, and completed with its figures."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_runtime import __version__
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.pictures.preprocessing import read_face
from emotion_train.checkpoints.checkpoint import BEST, load_checkpoint
from emotion_train.data.balance import ClassBalance
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.votes import SoftLabels, Votes
from emotion_train.errors import RunError
from emotion_train.evaluation import predict_logits
from emotion_train.networks.face_network import count_multiply_adds, count_parameters
from emotion_train.recipe import Recipe
from emotion_train.report.average_faces import make_average_faces
from emotion_train.report.calibration import Calibration
from emotion_train.report.fonts import choose_fonts
from emotion_train.report.split_result import INDEPENDENT, SPLIT_NAMES, SplitResult
from emotion_train.report.tables import (
    describe_split,
    describe_threshold,
    describe_train_loss,
    list_calibration_warnings,
    list_prediction_warnings,
    write_report,
    write_splits,
)

REPORT = "report"
_AVERAGES_PER_CLASS = 12


@dataclass(frozen=True, eq=False)
class RunReport:
    """A finished training, and what it is measured on.

    Attributes:
        dataset: The splits.
        recipe: What the training, or the data of it, followed.
        device: Where the network runs.
        history: One row an epoch; empty where there were no epochs.
        best_epoch: The epoch whose weights were kept; None where there were no epochs.
        votes: For the accuracy where annotators agree.
        others: Faces of classes that the network does not know, uint8 (n, size, size), by name.
        coverage: Part of the held-out faces that must reach the confidence threshold.
        with_test: Measure on the test set; trials leave it alone.
        origin: Lines of the report that say where the weights come from; None for those of a
            recipe and its best epoch.
        extensions: How the number of epochs was changed, one text each.
        balance: Which classes got copies; None for every class as large as the largest.
        sources: What else is to be told of the training in the checkpoint: digests, no paths.
        by_votes: The run is taught by votes: they judge it too.
        warnings: What the run warned of before its first epoch, for the report.
    """

    dataset: Dataset
    recipe: Recipe
    device: torch.device
    history: Sequence[dict[str, float]]
    best_epoch: int | None
    votes: Votes | None
    others: Mapping[str, NDArray[np.uint8]]
    coverage: float
    with_test: bool
    origin: Mapping[str, str] | None = None
    extensions: Sequence[str] = ()
    balance: ClassBalance | None = None
    sources: Mapping[str, Any] = field(default_factory=dict)
    by_votes: bool = False
    warnings: Sequence[str] = ()

    def complete(self, folder: Path) -> dict[str, Any]:
        """Write the report, and put its figures into the run's ``best.pt``."""
        dataset, recipe = self.dataset, self.recipe
        best = load_checkpoint(folder / BEST)
        network = best.build().to(self.device)
        held_out = [
            SplitResult(
                name, faces, self._logits(network, faces.pixels, name), self._soft_labels(faces)
            )
            for name, faces in (("hold-out", dataset.holdout), ("validation", dataset.validation))
            if len(faces)
        ]
        fitted = Calibration.of(held_out, self.coverage, by_votes=self.by_votes)
        evaluated = fitted.spread(held_out)
        others = {n: self._logits(network, pixels, n) for n, pixels in self.others.items()}
        coverage = fitted.measure_thresholds(others)
        temperature, threshold = fitted.temperature, fitted.threshold
        if dataset.test is not None and self.with_test:
            evaluated = [self._test(network, dataset.test, temperature), *evaluated]
        facts = {
            "network": f"{recipe.network}, {count_parameters(network):,} parameters, "
            f"{count_multiply_adds(network) / 1e6:.2f} M multiply-adds a face",
            **self._origin(),
            **({"extended": "; ".join(self.extensions)} if self.extensions else {}),
            "temperature": f"{temperature:.3f}, {fitted.describe()}",
            "confidence threshold": f"{threshold:.2f}, for a coverage of {self.coverage:.0%}",
            "tools": ", ".join(f"{k} {v}" for k, v in collect_tool_versions().items()),
        }
        write_splits(folder / REPORT, dataset)
        figures = write_report(
            folder / REPORT,
            dataset,
            self.history,
            self.best_epoch,
            fitted,
            evaluated,
            coverage,
            facts,
            balance=self.balance,
            warnings=self.warnings,
            caption=describe_train_loss(recipe),
        )
        replace(
            best,
            temperature=temperature,
            min_confidence=threshold,
            metrics=figures,
            training={**best.training, **self.sources, "tool_versions": collect_tool_versions()},
            average_faces=self._average_faces(),
            probe=torch.from_numpy(read_face(draw_probe(), recipe.size)),
        ).save(folder / BEST)
        return figures

    def summary(self, figures: dict[str, Any]) -> str:
        """Return the main figures in a line, with what they do not cover."""
        split = next(name for name in SPLIT_NAMES if name in figures)
        text = f"{split}: {describe_split(figures[split], by_votes=self.by_votes)}"
        if self.coverage < 1:
            text += f"; {describe_threshold(figures)}"
        return text

    def list_warnings(self, figures: dict[str, Any]) -> list[str]:
        """Return what makes the figures say less than they seem, without a full stop."""
        found = [
            text
            for split in SPLIT_NAMES
            if split in figures
            for text in list_prediction_warnings(figures[split], split)
        ]
        fonts = choose_fonts(self.dataset.classes).warning()
        return found + list_calibration_warnings(figures) + ([fonts] if fonts else [])

    def _soft_labels(self, faces: Faces) -> SoftLabels | None:
        """Return the votes on faces; None where there are none for any of them."""
        if self.votes is None or not self.votes.find_listed(faces).any():
            return None
        return self.votes.make_soft_labels(faces, len(self.dataset.classes))

    def _test(self, network: torch.nn.Module, faces: Faces, temperature: float) -> SplitResult:
        return SplitResult(
            "test",
            faces,
            self._logits(network, faces.pixels, "test"),
            self._soft_labels(faces),
            self.dataset.unreadable.get("test", 0),
            temperature,
            INDEPENDENT,
        )

    def _logits(
        self, network: torch.nn.Module, pixels: NDArray[np.uint8], name: str
    ) -> NDArray[np.float32]:
        """Return the network's logits, (n, classes), once all are numbers."""
        logits = predict_logits(network, pixels)
        wrong = int((~np.isfinite(logits)).any(axis=1).sum())
        if wrong:
            raise RunError(
                f"the network gives no number for {wrong:,} of the {len(pixels):,} {name} "
                f"pictures; the training has diverged, lower the learning rate."
            )
        return logits

    def _origin(self) -> Mapping[str, str]:
        if self.origin is not None:
            return self.origin
        planned, stopped = self.recipe.epochs, ""
        if len(self.history) < planned:
            stopped = f" (stopped early, {planned} were planned)"
        return {
            "recipe": ", ".join(f"{k} {v}" for k, v in self.recipe.to_dict().items()),
            "epoch kept": f"{self.best_epoch} of {len(self.history)}{stopped}",
        }

    def _average_faces(self) -> torch.Tensor:
        """Make the average faces that travel with the checkpoint; uint8 (k, 1, size, size)."""
        train, classes = self.dataset.train, range(len(self.dataset.classes))
        made = [make_average_faces(train, label, _AVERAGES_PER_CLASS) for label in classes]
        return torch.from_numpy(np.concatenate(made)).unsqueeze(1)


def collect_tool_versions() -> dict[str, str]:
    """Name the packages that decide what a run learns, with their versions."""
    found = {"emotion-edge": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "Pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
