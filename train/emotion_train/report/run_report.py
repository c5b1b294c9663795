"""The evaluation of a finished run: calibration, metrics and report."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_runtime import __version__
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.pictures.preprocessing import read_face
from emotion_runtime.versions import find_version
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.balance import ClassBalance
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.votes import SoftLabels, Votes
from emotion_train.errors import RunError
from emotion_train.evaluation import predict_logits
from emotion_train.networks.face_network import (
    FaceNetwork,
    count_multiply_adds,
    count_parameters,
)
from emotion_train.recipe import Recipe
from emotion_train.report.average_faces import make_average_faces
from emotion_train.report.calibration import Calibration
from emotion_train.report.content import ReportContent
from emotion_train.report.files import write_report, write_splits
from emotion_train.report.fonts import choose_fonts
from emotion_train.report.split_result import INDEPENDENT, SPLIT_NAMES, SplitResult
from emotion_train.report.tables import (
    describe_split,
    describe_threshold,
    describe_train_loss,
    list_calibration_warnings,
    list_prediction_warnings,
)
from emotion_train.run_folder import RunFolder

_AVERAGES_PER_CLASS = 12


@dataclass(frozen=True, eq=False)
class RunReport:
    """A finished training, and the settings of its report.

    Attributes:
        dataset: The splits.
        recipe: The recipe of the training, or that of the averaged runs.
        device: The device for predictions.
        balance: The class balance.
        history: One row per epoch; empty without epochs.
        kept_epoch: The epoch whose weights were kept; None without epochs.
        votes: The votes, to measure the accuracy against the annotators' majority.
        others: Faces of unknown classes, uint8 (n, size, size), by name.
        coverage: Minimum fraction of the held-out faces at or above the confidence threshold.
        with_test: Measure on the test set.
        origin: Lines of the report about the origin of the weights; None for recipe and epoch.
        extensions: A sentence for each change of the number of epochs.
        sources: Further values for ``training`` in the checkpoint: digests, no paths.
        by_votes: The run was trained on votes, so they are the main measure.
        warnings: Warnings of the run before its first epoch.
    """

    dataset: Dataset
    recipe: Recipe
    device: torch.device
    balance: ClassBalance
    history: Sequence[dict[str, float]] = ()
    kept_epoch: int | None = None
    votes: Votes | None = None
    others: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    coverage: float = 1.0
    with_test: bool = True
    origin: Mapping[str, str] | None = None
    extensions: Sequence[str] = ()
    sources: Mapping[str, Any] = field(default_factory=dict)
    by_votes: bool = False
    warnings: Sequence[str] = ()

    def write(self, path: Path) -> dict[str, Any]:
        """Write the report into a run folder, and its figures into ``best.pt``.

        Returns:
            The figures.
        """
        folder = RunFolder(path)
        best = load_checkpoint(folder.best_checkpoint)
        network = best.build().to(self.device)
        held_out = self._predict_held_out(network)
        calibration = Calibration.fit(held_out, self.coverage, by_votes=self.by_votes)
        results = calibration.apply(held_out)
        if self.dataset.test is not None and self.with_test:
            test = self._predict_test(network, self.dataset.test, calibration.temperature)
            results = [test, *results]
        others = {
            name: self._predict(network, pixels, name) for name, pixels in self.others.items()
        }
        write_splits(folder, self.dataset)
        figures = write_report(
            folder,
            ReportContent(
                dataset=self.dataset,
                history=self.history,
                kept_epoch=self.kept_epoch,
                calibration=calibration,
                results=results,
                coverage=calibration.measure_thresholds(others),
                facts=self._list_facts(network, calibration),
                balance=self.balance,
                warnings=self.warnings,
                caption=describe_train_loss(self.recipe),
            ),
        )
        replace(
            best,
            temperature=calibration.temperature,
            min_confidence=calibration.threshold,
            metrics=figures,
            training={**best.training, **self.sources, "tool_versions": collect_tool_versions()},
            average_faces=self._make_average_faces(),
            probe=torch.from_numpy(read_face(draw_probe(), self.recipe.size)),
        ).save(folder.best_checkpoint)
        return figures

    def summarise(self, figures: dict[str, Any]) -> str:
        """Return the main figures in one line."""
        split = next(name for name in SPLIT_NAMES if name in figures)
        text = f"{split}: {describe_split(figures[split], by_votes=self.by_votes)}"
        if self.coverage < 1:
            text += f"; {describe_threshold(figures)}"
        return text

    def list_warnings(self, figures: dict[str, Any]) -> list[str]:
        """Return warnings about the figures and the pictures, without a full stop."""
        warnings = [
            text
            for split in SPLIT_NAMES
            if split in figures
            for text in list_prediction_warnings(figures[split], split)
        ]
        fonts = choose_fonts(self.dataset.classes).describe_missing()
        return warnings + list_calibration_warnings(figures) + ([fonts] if fonts else [])

    def _predict_held_out(self, network: FaceNetwork) -> list[SplitResult]:
        splits = {"hold-out": self.dataset.holdout, "validation": self.dataset.validation}
        return [
            SplitResult(
                split=name,
                faces=faces,
                logits=self._predict(network, faces.pixels, name),
                votes=self._make_soft_labels(faces),
            )
            for name, faces in splits.items()
            if len(faces)
        ]

    def _predict_test(self, network: FaceNetwork, faces: Faces, temperature: float) -> SplitResult:
        return SplitResult(
            split="test",
            faces=faces,
            logits=self._predict(network, faces.pixels, "test"),
            votes=self._make_soft_labels(faces),
            unreadable=self.dataset.unreadable.get("test", 0),
            temperature=temperature,
            fitted_on=INDEPENDENT,
        )

    def _predict(
        self, network: FaceNetwork, pixels: NDArray[np.uint8], name: str
    ) -> NDArray[np.float32]:
        """Return logits, (n, classes).

        Raises:
            RunError: Some are not finite.
        """
        logits = predict_logits(network, pixels)
        invalid = int((~np.isfinite(logits)).any(axis=1).sum())
        if invalid:
            raise RunError(
                f"the network gives no number for {invalid:,} of the {len(pixels):,} {name} "
                f"pictures; the training has diverged, lower the learning rate."
            )
        return logits

    def _make_soft_labels(self, faces: Faces) -> SoftLabels | None:
        """Return the soft labels of faces; None if there are no votes for any of them."""
        if self.votes is None or not self.votes.find_listed(faces).any():
            return None
        return self.votes.make_soft_labels(faces, len(self.dataset.classes))

    def _list_facts(self, network: FaceNetwork, calibration: Calibration) -> dict[str, str]:
        """Return lines of the report about the run."""
        facts = {
            "network": f"{self.recipe.network}, {count_parameters(network):,} parameters, "
            f"{count_multiply_adds(network) / 1e6:.2f} M multiply-adds a face",
            **self._describe_origin(),
        }
        if self.extensions:
            facts["extended"] = "; ".join(self.extensions)
        versions = collect_tool_versions().items()
        return {
            **facts,
            "temperature": f"{calibration.temperature:.3f}, {calibration.describe()}",
            "confidence threshold": f"{calibration.threshold:.2f}, for a coverage of "
            f"{self.coverage:.0%}",
            "tools": ", ".join(f"{name} {number}" for name, number in versions),
        }

    def _describe_origin(self) -> Mapping[str, str]:
        if self.origin is not None:
            return self.origin
        planned, stopped = self.recipe.epochs, ""
        if len(self.history) < planned:
            stopped = f" (stopped early, {planned} were planned)"
        settings = self.recipe.to_dict().items()
        return {
            "recipe": ", ".join(f"{name} {value}" for name, value in settings),
            "epoch kept": f"{self.kept_epoch} of {len(self.history)}{stopped}",
        }

    def _make_average_faces(self) -> torch.Tensor:
        """Return the average faces for the checkpoint, uint8 (k, 1, size, size)."""
        train, labels = self.dataset.train, range(len(self.dataset.classes))
        averages = [make_average_faces(train, label, _AVERAGES_PER_CLASS) for label in labels]
        return torch.from_numpy(np.concatenate(averages)).unsqueeze(1)


def collect_tool_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which the result of a run depends."""
    versions = {"emotion-edge": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "Pillow"):
        versions[name] = find_version(name) or "unknown"
    return versions
