"""What came of a run: the chosen epoch is calibrated, measured, and completed with its figures."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_runtime import __version__
from emotion_runtime.preprocessing import read_face
from emotion_runtime.probe import draw_probe
from emotion_train.average_faces import average_faces
from emotion_train.checkpoint import BEST, load_checkpoint
from emotion_train.confidence import FLOORS, Coverage, choose_floor, cover
from emotion_train.dataset import Dataset
from emotion_train.evaluation import fit_temperature, predict_logits
from emotion_train.networks.face_network import multiply_adds, parameter_count
from emotion_train.report import Evaluated, write_report
from emotion_train.training import Trainer
from emotion_train.votes import Votes

REPORT = "report"
_AVERAGES_PER_CLASS = 12


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished training, and what it is measured on.

    Attributes:
        dataset: The splits.
        trainer: Stands after its last epoch.
        votes: For the accuracy where annotators agree.
        others: Faces of classes that the network does not know, uint8 (n, size, size), by name.
        answered: Part of the held-out faces that the confidence floor must let through.
        with_test: Measure on the test set; trials leave it alone.
    """

    dataset: Dataset
    trainer: Trainer
    votes: Votes | None
    others: Mapping[str, NDArray[np.uint8]]
    answered: float
    with_test: bool

    def complete(self, folder: Path) -> dict[str, Any]:
        """Write the report, and put its figures into the run's ``best.pt``."""
        dataset, trainer = self.dataset, self.trainer
        best = load_checkpoint(folder / BEST)
        network = best.build().to(trainer.place.device)
        evaluated = {
            name: Evaluated(name, faces, predict_logits(network, faces.pixels))
            for name, faces in (("hold-out", dataset.holdout), ("validation", dataset.validation))
            if len(faces)
        }
        logits = np.concatenate([one.logits for one in evaluated.values()])
        labels = np.concatenate([one.faces.labels for one in evaluated.values()])
        temperature = fit_temperature(logits, labels)
        coverage, floor = self._coverage(network, logits, labels, temperature)
        if dataset.test is not None and self.with_test:
            majority = None if self.votes is None else self.votes.majority(dataset.test)
            answers = predict_logits(network, dataset.test.pixels)
            test = Evaluated("test", dataset.test, answers, majority)
            evaluated = {"test": test, **evaluated}
        recipe = trainer.recipe
        figures = write_report(
            folder / REPORT,
            dataset,
            trainer.history,
            int(trainer.best["epoch"]),
            temperature,
            list(evaluated.values()),
            coverage,
            {
                "network": f"{recipe.network}, {parameter_count(network):,} parameters, "
                f"{multiply_adds(network) / 1e6:.2f} M multiply-adds a face",
                "recipe": ", ".join(f"{k} {v}" for k, v in recipe.to_dict().items()),
                "epoch kept": f"{trainer.best['epoch']:.0f} of {recipe.epochs}",
                "temperature": f"{temperature:.3f}",
                "confidence floor": f"{floor:.2f}",
                "tools": ", ".join(f"{k} {v}" for k, v in tool_versions().items()),
            },
        )
        replace(
            best,
            temperature=temperature,
            min_confidence=floor,
            metrics=figures,
            training={**best.training, "tool_versions": tool_versions()},
            average_faces=self._average_faces(),
            probe=torch.from_numpy(read_face(draw_probe(), recipe.size)),
        ).save(folder / BEST)
        return figures

    def summary(self, figures: dict[str, Any]) -> str:
        """Say the main figures in a line."""
        split = next(name for name in ("test", "hold-out", "validation") if name in figures)
        main = figures[split]
        return (
            f"{split}: accuracy {main['accuracy']:.2%}, balanced {main['balanced_accuracy']:.2%} "
            f"on {main['pictures']:,} pictures"
        )

    def _coverage(
        self,
        network: torch.nn.Module,
        logits: NDArray[np.float32],
        labels: NDArray[np.int64],
        temperature: float,
    ) -> tuple[list[Coverage], float]:
        """Measure floors on held-out faces and on those of unknown classes; choose one."""

        def chances(values: NDArray[np.float32]) -> NDArray[np.float64]:
            scaled: NDArray[np.float64] = softmax(values.astype(np.float64) / temperature, axis=1)
            return scaled

        known = chances(logits)
        others = {n: chances(predict_logits(network, faces)) for n, faces in self.others.items()}
        floor = choose_floor(known, self.answered)
        floors = sorted({*FLOORS, floor})
        return [cover(one, known, labels, others) for one in floors], floor

    def _average_faces(self) -> torch.Tensor:
        """Make the average faces that travel with the checkpoint; uint8 (k, 1, size, size)."""
        train, classes = self.dataset.train, range(len(self.dataset.classes))
        made = [average_faces(train, label, _AVERAGES_PER_CLASS) for label in classes]
        return torch.from_numpy(np.concatenate(made)).unsqueeze(1)


def tool_versions() -> dict[str, str]:
    """Name the packages that decide what a run learns, with their versions."""
    found = {"emotion-edge": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "Pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
