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
from scipy.special import softmax

from emotion_runtime import __version__
from emotion_runtime.model.self_test import draw_probe
from emotion_runtime.pictures.preprocessing import read_face
from emotion_train.checkpoints.checkpoint import BEST, load_checkpoint
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.errors import RunError
from emotion_train.evaluation import fit_temperature, predict_logits
from emotion_train.networks.face_network import multiply_adds, parameter_count
from emotion_train.recipe import Recipe
from emotion_train.report.average_faces import average_faces
from emotion_train.report.confidence import THRESHOLDS, Coverage, choose_threshold, cover
from emotion_train.report.tables import (
    Evaluated,
    describe_accuracy,
    prediction_warnings,
    write_report,
    write_splits,
)

REPORT = "report"
_AVERAGES_PER_CLASS = 12
_TEMPERATURE_LIMITS = (0.1, 10.0)  # between which `fit_temperature` searches


@dataclass(frozen=True, eq=False)
class Outcome:
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
        sources: What else is to be told of the training in the checkpoint: digests, no paths.
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
    sources: Mapping[str, Any] = field(default_factory=dict)

    def complete(self, folder: Path) -> dict[str, Any]:
        """Write the report, and put its figures into the run's ``best.pt``."""
        dataset, recipe = self.dataset, self.recipe
        best = load_checkpoint(folder / BEST)
        network = best.build().to(self.device)
        evaluated = {
            name: Evaluated(name, faces, self._logits(network, faces.pixels, name))
            for name, faces in (("hold-out", dataset.holdout), ("validation", dataset.validation))
            if len(faces)
        }
        logits = np.concatenate([one.logits for one in evaluated.values()])
        labels = np.concatenate([one.faces.labels for one in evaluated.values()])
        temperature = fit_temperature(logits, labels)
        coverage, threshold = self._measure_coverage(network, logits, labels, temperature)
        if dataset.test is not None and self.with_test:
            evaluated = {"test": self._test(network, dataset.test), **evaluated}
        facts = {
            "network": f"{recipe.network}, {parameter_count(network):,} parameters, "
            f"{multiply_adds(network) / 1e6:.2f} M multiply-adds a face",
            **self._origin(),
            "temperature": f"{temperature:.3f}",
            "confidence threshold": f"{threshold:.2f}",
            "tools": ", ".join(f"{k} {v}" for k, v in tool_versions().items()),
        }
        write_splits(folder / REPORT, dataset)
        figures = write_report(
            folder / REPORT,
            dataset,
            self.history,
            self.best_epoch,
            temperature,
            list(evaluated.values()),
            coverage,
            facts,
        )
        replace(
            best,
            temperature=temperature,
            min_confidence=threshold,
            metrics=figures,
            training={**best.training, **self.sources, "tool_versions": tool_versions()},
            average_faces=self._average_faces(),
            probe=torch.from_numpy(read_face(draw_probe(), recipe.size)),
        ).save(folder / BEST)
        return figures

    def summary(self, figures: dict[str, Any]) -> str:
        """Return the main figures in a line, with what they do not cover."""
        split = next(name for name in ("test", "hold-out", "validation") if name in figures)
        return f"{split}: {describe_accuracy(figures[split])}"

    def warnings(self, figures: dict[str, Any]) -> list[str]:
        """Return what makes the figures say less than they seem, without a full stop."""
        found = [
            text
            for split in ("test", "hold-out", "validation")
            if split in figures
            for text in prediction_warnings(figures[split], split)
        ]
        return found + calibration_warnings(figures)

    def _test(self, network: torch.nn.Module, faces: Faces) -> Evaluated:
        return Evaluated(
            "test",
            faces,
            self._logits(network, faces.pixels, "test"),
            None if self.votes is None else self.votes.majority(faces),
            0 if self.votes is None else int(self.votes.lists(faces).sum()),
            self.dataset.unreadable.get("test", 0),
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

    def _measure_coverage(
        self,
        network: torch.nn.Module,
        logits: NDArray[np.float32],
        labels: NDArray[np.int64],
        temperature: float,
    ) -> tuple[list[Coverage], float]:
        """Measure thresholds on held-out faces and on those of unknown classes; choose one."""

        def chances(values: NDArray[np.float32]) -> NDArray[np.float64]:
            scaled: NDArray[np.float64] = softmax(values.astype(np.float64) / temperature, axis=1)
            return scaled

        known = chances(logits)
        others = {n: chances(self._logits(network, f, n)) for n, f in self.others.items()}
        chosen = choose_threshold(known, self.coverage)
        thresholds = sorted({*THRESHOLDS, chosen})
        return [cover(one, known, labels, others) for one in thresholds], chosen

    def _average_faces(self) -> torch.Tensor:
        """Make the average faces that travel with the checkpoint; uint8 (k, 1, size, size)."""
        train, classes = self.dataset.train, range(len(self.dataset.classes))
        made = [average_faces(train, label, _AVERAGES_PER_CLASS) for label in classes]
        return torch.from_numpy(np.concatenate(made)).unsqueeze(1)


def calibration_warnings(figures: Mapping[str, Any]) -> list[str]:
    """Describe a temperature that the held-out faces did not determine, without a full stop.

    Args:
        figures: Those of the report, as in ``metrics.json``.
    """
    temperature = figures["temperature"]
    if all(abs(temperature / limit - 1) > 0.01 for limit in _TEMPERATURE_LIMITS):
        return []
    held_out = sum(
        figures[split]["pictures"] for split in ("hold-out", "validation") if split in figures
    )
    return [
        f"the temperature {temperature:.2f} is at the limit of its range: the {held_out:,} "
        f"held-out pictures do not determine how confident the network may be, so that its "
        f"confidences are not calibrated (--holdout 0.1 measures on more)"
    ]


def tool_versions() -> dict[str, str]:
    """Name the packages that decide what a run learns, with their versions."""
    found = {"emotion-edge": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "Pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
