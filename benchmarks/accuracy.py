"""Measure every released file on test pictures: ``python benchmarks/accuracy.py DATA``.

Reads the folder ``test`` of DATA. Reports accuracy with confidence intervals, recall of each class,
the calibration curve, accuracy by coverage, and accuracy on damaged pictures. These figures are
for reports only: nothing may be chosen by them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

import emotion_models
from corruptions import CORRUPTIONS, STRENGTHS
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_runtime.pictures.sources import find_pictures
from emotion_train.evaluation import CALIBRATION_BINS, measure
from results import ResultOptions, benchmark_command, report_result

MIN_FACES = 20  # of a bin in the calibration curve
BATCH_SIZE = 256


def load_test_pictures(data: Path, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the test pictures of some classes, uint8 (n, 48, 48), and their labels (n,)."""
    faces, truth = [], []
    for label, name in enumerate(labels):
        for path in find_pictures([str(data / "test" / name)]):
            faces.append(read_face(path))
            truth.append(label)
    return np.stack(faces), np.array(truth)


def infer_all(model: EmotionClassifier, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and probabilities of faces, each (n, classes), computed in batches."""
    starts = range(0, len(faces), BATCH_SIZE)
    batches = [model.infer(faces[start : start + BATCH_SIZE]) for start in starts]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return logits, probabilities


def calibration_curve(probabilities: np.ndarray, truth: np.ndarray) -> list[tuple[float, float]]:
    """Return (confidence, accuracy) of each bin with enough faces."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        (float(confidence[members].mean()), float(right[members].mean()))
        for members in (bins == number for number in range(CALIBRATION_BINS))
        if members.sum() >= MIN_FACES
    ]


def coverage_curve(probabilities: np.ndarray, truth: np.ndarray) -> list[tuple[float, float]]:
    """Return (coverage, accuracy), from the most confident faces to all faces."""
    order = np.argsort(-probabilities.max(axis=1))
    right = (probabilities.argmax(axis=1) == truth)[order]
    return [
        (float(i / len(right)), float(right[:i].mean()))
        for i in np.linspace(max(1, len(right) // 20), len(right), 39).astype(int)
    ]


def _group_by_labels(data: Path) -> dict[tuple[str, ...], dict[str, EmotionClassifier]]:
    """Return the released models by their labels: each is measured on the pictures of these."""
    groups: dict[tuple[str, ...], dict[str, EmotionClassifier]] = {}
    for name in emotion_models.names():
        model = EmotionClassifier(name)
        missing = [label for label in model.labels if not (data / "test" / label).is_dir()]
        if missing:
            print(f"{name} is not measured: no test/{', test/'.join(missing)}", file=sys.stderr)
            continue
        groups.setdefault(model.labels, {})[name] = model
    return groups


def _measure_models(
    models: dict[str, EmotionClassifier], data: Path, every: int
) -> tuple[str, dict[str, float], dict[str, Any], dict[str, dict[str, list[float]]]]:
    """Return the tables, the figures, the curves, and the accuracy on damaged pictures.

    All models have the same labels.
    """
    labels = next(iter(models.values())).labels
    faces, truth = load_test_pictures(data, labels)
    rows: list[str] = []
    figures: dict[str, float] = {}
    curves: dict[str, Any] = {}
    for name, model in models.items():
        logits, probabilities = infer_all(model, faces)
        figure = measure(logits, truth, model.contract.temperature)
        low, high = compute_wilson_interval(round(figure.accuracy * len(truth)), len(truth))
        curves[name] = (
            calibration_curve(probabilities, truth),
            coverage_curve(probabilities, truth),
        )
        figures[f"{name}, accuracy"] = figure.accuracy
        each = " | ".join(f"{value:.1%}" for value in figure.recall)
        rows.append(
            f"| {name} | {figure.accuracy:.2%} | {low:.1%}–{high:.1%} | "
            f"{figure.balanced_accuracy:.2%} | {each} | {figure.calibration_error:.1%} |"
        )
    text = f"{len(faces):,} test pictures of {data.resolve().name}:\n\n"
    text += "| model | accuracy | 95 % interval | balanced | "
    text += " | ".join(f"recall {label}" for label in labels) + " | calibration error |\n"
    text += "| --- |" + " ---: |" * (4 + len(labels)) + "\n" + "\n".join(rows)

    sample, sample_truth = faces[::every], truth[::every]
    on_damaged: dict[str, dict[str, list[float]]] = {name: {} for name in models}
    for kind, damage in CORRUPTIONS.items():
        for strength in STRENGTHS:
            rng = np.random.default_rng(strength)
            damaged = np.stack([damage(face, strength, rng) for face in sample])
            for name, model in models.items():
                right = infer_all(model, damaged)[1].argmax(axis=1) == sample_truth
                on_damaged[name].setdefault(kind, []).append(float(right.mean()))
    means = {name: np.mean(list(kinds.values())) for name, kinds in on_damaged.items()}
    figures |= {f"{name}, accuracy on damaged pictures": float(m) for name, m in means.items()}
    text += f"\n\nDamaged, {len(sample):,} of them; accuracy at the five strengths:\n\n"
    text += "| damage | " + " | ".join(models) + " |\n| --- |" + " --- |" * len(models) + "\n"
    for kind in CORRUPTIONS:
        cells = (" ".join(f"{100 * v:.0f}" for v in on_damaged[name][kind]) for name in models)
        text += f"| {kind} | {' | '.join(cells)} |\n"
    text += "| **mean** | " + " | ".join(f"**{means[name]:.1%}**" for name in models) + " |"
    return text, figures, curves, on_damaged


@benchmark_command(__doc__)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Damage each Nth picture.",
)
def main(options: ResultOptions, data: Path, every: int) -> None:
    """Print the tables."""
    if not (data / "test").is_dir():
        sys.exit(f"{data}: has no folder 'test'")
    groups = _group_by_labels(data)
    if not groups:
        sys.exit(f"{data}/test: lacks a class of every released model")
    results = [_measure_models(models, data, every) for models in groups.values()]
    curves, on_damaged = ({k: v for r in results for k, v in r[i].items()} for i in (2, 3))

    def draw(figure: Any) -> None:
        figure.set_size_inches(11, 3.6)
        calibration, coverage, damaged = figure.subplots(1, 3)
        for name, (points, covers) in curves.items():
            calibration.plot(*zip(*points, strict=True), marker=".", label=name)
            coverage.plot(*zip(*covers, strict=True), label=name)
            by_strength = np.mean(list(on_damaged[name].values()), axis=0)
            damaged.plot(STRENGTHS, by_strength, marker=".", label=name)
        calibration.plot([0.35, 1], [0.35, 1], ":", color="gray")
        calibration.set(xlabel="confidence", ylabel="accuracy", title="calibration")
        coverage.set(xlabel="coverage (share of faces with a label)", title="coverage")
        damaged.set(xlabel="strength", title="damaged pictures, mean of all kinds")
        damaged.set_xticks(STRENGTHS)
        coverage.legend(fontsize="small")

    report_result(
        options,
        "accuracy",
        "\n\n".join(result[0] for result in results),
        higher={key: value for result in results for key, value in result[1].items()},
        details={"damaged": on_damaged},
        draw=draw,
    )


if __name__ == "__main__":
    main()
