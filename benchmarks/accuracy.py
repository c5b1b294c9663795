"""Measure every released file on test pictures: ``python benchmarks/accuracy.py DATA``.

DATA is the data folder; its ``test`` is read. Accuracy with confidence intervals, each class, the
calibration curve, coverage against accuracy, and what is left when the pictures are damaged.
This is a report: nothing may be chosen by it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

import emotion_models
from corruptions import CORRUPTIONS, STRENGTHS
from emotion_export.parity.comparison import run_in_batches
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.pictures.sources import find_pictures
from emotion_train.evaluation import CALIBRATION_BINS, measure
from results import finish, options

FEWEST = 20  # faces of a bin that is drawn


def wilson(right: int, count: int) -> tuple[float, float]:
    """Give the 95 % interval of a proportion (Wilson, 1927)."""
    z, share = 1.96, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    return centre - half, centre + half


def load(data: Path, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Read the test pictures of some classes: uint8 (n, 48, 48), and labels (n,)."""
    faces, truth = [], []
    for label, name in enumerate(labels):
        for path in find_pictures([str(data / "test" / name)]):
            faces.append(read_face(path))
            truth.append(label)
    return np.stack(faces), np.array(truth)


def calibration(chances: np.ndarray, truth: np.ndarray) -> list[tuple[float, float]]:
    """Give (confidence, accuracy) of each bin that has enough faces to be drawn."""
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        (float(confidence[chosen].mean()), float(right[chosen].mean()))
        for chosen in (bins == number for number in range(CALIBRATION_BINS))
        if chosen.sum() >= FEWEST
    ]


def coverage(chances: np.ndarray, truth: np.ndarray) -> list[tuple[float, float]]:
    """Give (part answered, accuracy on it) from the most confident faces to all."""
    order = np.argsort(-chances.max(axis=1))
    right = (chances.argmax(axis=1) == truth)[order]
    return [
        (float(i / len(right)), float(right[:i].mean()))
        for i in np.linspace(len(right) // 20, len(right), 39).astype(int)
    ]


def main() -> None:
    """Print the tables."""
    parser = options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=3, help="damage each Nth picture (default: 3)")
    chosen = parser.parse_args()
    if not (chosen.data / "test").is_dir():
        sys.exit(f"{chosen.data}: has no folder 'test'")
    models = {name: EmotionClassifier(name) for name in emotion_models.names()}
    labels = next(iter(models.values())).labels
    faces, truth = load(chosen.data, labels)
    rows, figures, curves = [], {}, {}
    for name, model in models.items():
        logits, chances, _ = run_in_batches(model.compute, faces)
        figure = measure(logits, truth, model.contract.temperature)
        low, high = wilson(round(figure.accuracy * len(truth)), len(truth))
        curves[name] = (calibration(chances, truth), coverage(chances, truth))
        figures[f"{name}, accuracy"] = figure.accuracy
        each = " | ".join(f"{value:.1%}" for value in figure.recall)
        rows.append(
            f"| {name} | {figure.accuracy:.2%} | {low:.1%}–{high:.1%} | "
            f"{figure.balanced_accuracy:.2%} | {each} | {figure.calibration_error:.1%} |"
        )
    text = f"{len(faces):,} test pictures of {chosen.data.resolve().name}:\n\n"
    text += "| model | accuracy | 95 % interval | balanced | "
    text += " | ".join(f"recall {label}" for label in labels) + " | calibration error |\n"
    text += "| --- |" + " ---: |" * (4 + len(labels)) + "\n" + "\n".join(rows)

    some, their_truth = faces[:: chosen.every], truth[:: chosen.every]
    robust: dict[str, dict[str, list[float]]] = {name: {} for name in models}
    for kind, damage in CORRUPTIONS.items():
        for strength in STRENGTHS:
            rng = np.random.default_rng(strength)
            damaged = np.stack([damage(face, strength, rng) for face in some])
            for name, model in models.items():
                right = run_in_batches(model.infer, damaged)[1].argmax(axis=1) == their_truth
                robust[name].setdefault(kind, []).append(float(right.mean()))
    means = {name: np.mean(list(rows.values())) for name, rows in robust.items()}
    figures |= {f"{name}, accuracy on damaged pictures": float(m) for name, m in means.items()}
    text += f"\n\nDamaged, {len(some):,} of them; accuracy at the five strengths:\n\n"
    text += "| damage | " + " | ".join(models) + " |\n| --- |" + " --- |" * len(models) + "\n"
    for kind in CORRUPTIONS:
        cells = (" ".join(f"{100 * v:.0f}" for v in robust[name][kind]) for name in models)
        text += f"| {kind} | {' | '.join(cells)} |\n"
    text += "| **mean** | " + " | ".join(f"**{means[name]:.1%}**" for name in models) + " |"

    def draw(figure: Any) -> None:
        figure.set_size_inches(11, 3.6)
        calibrated, covered, damaged = figure.subplots(1, 3)
        for name, (points, covers) in curves.items():
            calibrated.plot(*zip(*points, strict=True), marker=".", label=name)
            covered.plot(*zip(*covers, strict=True), label=name)
            by_strength = np.mean(list(robust[name].values()), axis=0)
            damaged.plot(STRENGTHS, by_strength, marker=".", label=name)
        calibrated.plot([0.35, 1], [0.35, 1], ":", color="gray")
        calibrated.set(xlabel="confidence", ylabel="accuracy", title="calibration")
        covered.set(xlabel="part of the faces answered", title="coverage")
        damaged.set(xlabel="strength", title="damaged pictures, mean of all kinds")
        damaged.set_xticks(STRENGTHS)
        calibrated.legend(fontsize="small")

    finish(
        chosen,
        "accuracy",
        text,
        higher=figures,
        details={"pictures": len(faces), "damaged": robust},
        draw=draw,
    )


if __name__ == "__main__":
    main()
