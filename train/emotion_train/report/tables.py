"""The report of a run: ``metrics.json`` for machines, ``report.md`` and pictures for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_runtime.atomic import replacing
from emotion_runtime.command_line.text_width import display_width, right
from emotion_runtime.evaluate.metrics import Metrics, wilson_interval
from emotion_train.data.balance import balance_table
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.evaluation import measure
from emotion_train.report import plots
from emotion_train.report.confidence import Coverage

SPLITS = "splits.csv"


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A network's answers on one split.

    Attributes:
        split: The split's name in the report.
        faces: The faces, n of them.
        logits: float32, shape (n, classes).
        majority: What most annotators named, int64 (n,), -1 for no class; None without votes.
        listed: Faces that the votes file lists.
        unreadable: Pictures of the split that could not be read, and are not measured.
    """

    split: str
    faces: Faces
    logits: NDArray[np.float32]
    majority: NDArray[np.int64] | None = None
    listed: int = 0
    unreadable: int = 0

    def metrics(self, temperature: float) -> Metrics:
        """Measure against the data's own labels."""
        return measure(self.logits, self.faces.labels, temperature)

    def agreed(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """Measure on the pictures whose annotators agree, against what they say."""
        if self.majority is None:
            return None
        kept = self.majority >= 0
        if not kept.any():
            return None
        truth = self.majority[kept]
        right = self.logits[kept].argmax(axis=1) == truth
        return {
            "pictures": int(kept.sum()),
            "listed": self.listed,
            "accuracy": round(float(right.mean()), 6),
            "original_labels": round(float((self.faces.labels[kept] == truth).mean()), 6),
            "recall": {
                name: round(float(right[truth == label].mean()), 6)
                for label, name in enumerate(classes)
                if (truth == label).any()
            },
        }


def write_report(
    folder: Path,
    dataset: Dataset,
    history: Sequence[dict[str, float]],
    best_epoch: int | None,
    temperature: float,
    evaluated: Sequence[Evaluated],
    coverage: Sequence[Coverage],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write the report.

    Args:
        folder: Where to; it is made.
        dataset: What was trained on.
        history: One row an epoch, as in ``history.csv``; empty where there were no epochs.
        best_epoch: The epoch whose weights were kept; None where there were no epochs.
        temperature: Fitted on held-out faces.
        evaluated: Answers on each split; the first is the one reported on in full.
        coverage: What confidence thresholds do, on held-out faces.
        facts: Further lines of the report, name → value.

    Returns:
        What stands in ``metrics.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = dataset.classes
    figures: dict[str, Any] = {"classes": list(classes), "temperature": round(temperature, 6)}
    for one in evaluated:
        figures[one.split] = one.metrics(temperature).to_dict(classes)
        if one.unreadable:
            figures[one.split]["unreadable"] = one.unreadable
        if agreed := one.agreed(classes):
            figures[one.split]["annotators_agree"] = agreed
    figures["confidence"] = [one.to_dict() for one in coverage]
    main = evaluated[0]
    metrics = main.metrics(temperature)
    chances = softmax(main.logits.astype(np.float64) / temperature, axis=1)
    pictures = ["metrics", "predictions", "coverage", "classes"]
    if history and best_epoch is not None:
        plots.plot_loss(history, best_epoch, folder / "loss.png")
        plots.plot_accuracy(history, best_epoch, folder / "accuracy.png")
        pictures[1:1] = ["loss", "accuracy"]
    plots.plot_metrics(metrics, classes, main.split, folder / "metrics.png")
    plots.plot_predictions(main.faces, chances, classes, folder / "predictions.png")
    table = balance_table(dataset.train, len(classes))
    plots.plot_classes(table, classes, folder / "classes.png")
    plots.plot_coverage(coverage, folder / "coverage.png")
    _write(folder / "metrics.json", json.dumps(figures, indent=2) + "\n")
    _write(folder / "report.md", _markdown(dataset, figures, main.split, facts, pictures))
    return figures


def write_splits(folder: Path, dataset: Dataset) -> None:
    """Write ``splits.csv``: which picture was in which split, for emotion-eval --splits."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": dataset.train,
        "validation": dataset.validation,
        "hold-out": dataset.holdout,
        "test": dataset.test,
    }
    with (
        replacing(folder / SPLITS) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "label", "split"])
        for split, faces in parts.items():
            if faces is not None:
                for name, label in zip(faces.names, faces.labels, strict=True):
                    rows.writerow([name, dataset.classes[label], split])


def describe_accuracy(figures: dict[str, Any]) -> str:
    """Return one split's accuracy in words that claim no more than was measured.

    Args:
        figures: Of the split, as in ``metrics.json``.
    """
    missing = figures["missing_classes"]
    if missing:
        covered = [name for name in figures["classes"] if name not in missing]
        balanced = (
            f"which show {', '.join(covered)} alone; no pictures of {', '.join(missing)}, so no "
            f"balanced accuracy"
        )
    else:
        balanced = f"balanced {figures['balanced_accuracy']:.2%}"
    interval = describe_interval(figures)
    unreadable = figures.get("unreadable", 0)
    lost = f"; {unreadable:,} more could not be read" if unreadable else ""
    return (
        f"{figures['accuracy']:.2%} accuracy on {figures['pictures']:,} pictures "
        f"({interval}{balanced}{lost})"
    )


def describe_interval(figures: dict[str, Any]) -> str:
    """Return the accuracy's 95 % interval with a comma behind it, such as for a bracket.

    Args:
        figures: Of a split, as in ``metrics.json``.
    """
    low, high = wilson_interval(
        round(figures["accuracy"] * figures["pictures"]), figures["pictures"]
    )
    return f"95 % interval {low:.1%} to {high:.1%}, "


def prediction_warnings(figures: dict[str, Any], split: str) -> list[str]:
    """Describe classes that the network never predicts, without a full stop.

    Args:
        figures: Of the split, as in ``metrics.json``.
        split: Its name.
    """
    classes = list(figures["classes"])
    predicted = [
        name
        for name, counts in zip(
            classes, zip(*figures["confusion_matrix"], strict=True), strict=True
        )
        if any(counts)
    ]
    if len(predicted) == 1 and figures["never_predicted"]:
        return [f"the network predicts only {predicted[0]!r}, on all {split} pictures"]
    return [
        f"the network never predicts {name!r}, which {figures['classes'][name]['support']:,} "
        f"{split} pictures show"
        for name in figures["never_predicted"]
    ]


def _markdown(
    dataset: Dataset,
    figures: dict[str, Any],
    split: str,
    facts: dict[str, Any],
    pictures: Sequence[str],
) -> str:
    main = figures[split]
    lines = [
        "# Report",
        "",
        f"**{split}: {describe_accuracy(main)}**, expected calibration error "
        f"{main['calibration_error']:.2%}.",
        "",
    ]
    for name in ("test", "hold-out", "validation"):
        for text in prediction_warnings(figures[name], name) if name in figures else ():
            lines += [f"**Warning: {text}.**", ""]
    if agreed := main.get("annotators_agree"):
        lines += [
            f"**{agreed['accuracy']:.2%}** on the {agreed['pictures']:,} pictures where a strict "
            f"majority of annotators names one of the classes, against that vote "
            f"(the data's own labels: {agreed['original_labels']:.2%}). The votes file lists "
            f"{agreed['listed']:,} of the {main['pictures']:,} pictures.",
            "",
        ]
    lines += metrics_tables(main)
    lines += ["", "## Confidence", "", *confidence_table(figures["confidence"])]
    lines += ["", "## The run", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "```", class_table(dataset), "```", "", str(dataset.audit) + ".", ""]
    if dataset.skipped:
        lines += [f"{len(dataset.skipped):,} pictures could not be read and were left out.", ""]
    if dataset.passed_over:
        lines += ["Passed over:", "", *(f"- {text}" for text in dataset.passed_over), ""]
    for name in pictures:
        lines += [f"![{name}]({name}.png)", ""]
    return "\n".join(lines)


def confidence_table(rows: list[dict[str, Any]]) -> list[str]:
    """Lay out what confidence thresholds do, as in ``metrics.json``, as a Markdown table.

    Args:
        rows: One a threshold. Earlier files name it ``floor``.
    """
    others = list(rows[0]["others"])
    unknown = f", and on {', '.join(others)}, which the network does not know" if others else ""
    lines = [
        "Below the confidence threshold the label is `uncertain`. Measured on held-out training "
        f"faces{unknown}.",
        "",
        "| confidence threshold | coverage | accuracy |"
        + "".join(f" coverage of {name} |" for name in others),
        "| ---: | ---: | ---: |" + " ---: |" * len(others),
    ]
    for row in rows:
        right = "" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        shares = "".join(f" {share:.1%} |" for share in row["others"].values())
        threshold = row["min_confidence"] if "min_confidence" in row else row["floor"]
        lines.append(f"| {threshold:.2f} | {row['coverage']:.1%} | {right} |{shares}")
    return lines


def metrics_tables(figures: dict[str, Any]) -> list[str]:
    """Lay out one split's figures, as in ``metrics.json``, as Markdown tables."""
    lines = [
        "| class | precision | recall | F1 | pictures |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in figures["classes"].items():
        cells = [_percent(row[figure]) for figure in ("precision", "recall", "f1")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['support']:,} |")
    classes = list(figures["classes"])
    lines += ["", "Confusion matrix (rows true, columns predicted):", ""]
    lines.append("| | " + " | ".join(classes) + " |")
    lines.append("| --- |" + " ---: |" * len(classes))
    for name, counts in zip(classes, figures["confusion_matrix"], strict=True):
        lines.append(f"| **{name}** | " + " | ".join(f"{n:,}" for n in counts) + " |")
    return lines


def _percent(figure: float | None) -> str:
    """Return a figure as text; an undefined one as a dash."""
    return "–" if figure is None else f"{figure:.2%}"


def class_table(dataset: Dataset) -> str:
    """Lay out the faces of every split by class, as printed before training."""
    classes = len(dataset.classes)
    balance = balance_table(dataset.train, classes)
    rows: list[tuple[str, NDArray[np.int64]]] = [
        ("train", balance.total),
        ("  augmented", balance.augmented),
        ("validation", dataset.validation.counts(classes)),
    ]
    if len(dataset.holdout):
        rows.append(("hold-out", dataset.holdout.counts(classes)))
    if dataset.test is not None:
        rows.append(("test", dataset.test.counts(classes)))
    widths = [max(8, display_width(name) + 2) for name in (*dataset.classes, "total")]
    lines = [" " * 11 + "".join(map(right, (*dataset.classes, "total"), widths))]
    for name, counts in rows:
        values = [*counts, counts.sum()]
        lines.append(
            f"{name:<11}" + "".join(f"{v:>{w},}" for v, w in zip(values, widths, strict=True))
        )
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
