"""Sentences and tables about the figures of a run, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.command_line.text_width import measure_width, pad_left
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_runtime.prediction import format_count
from emotion_train.class_weights import NO_WEIGHTS
from emotion_train.data.balance import ClassBalance, compute_balance
from emotion_train.data.dataset import Dataset
from emotion_train.recipe import Recipe

_TEMPERATURE_LIMITS = (0.1, 10.0)  # of the search in `fit_temperature`


def describe_accuracy(figures: dict[str, Any]) -> str:
    """Return the accuracy on a split in words, with its limits.

    Args:
        figures: The figures of the split, as in ``metrics.json``.
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
        if figures.get("macro_f1") is not None:
            balanced += f", macro F1 {figures['macro_f1']:.2%}"
    interval = describe_interval(figures)
    unreadable = figures.get("unreadable", 0)
    unread = f"; {unreadable:,} more could not be read" if unreadable else ""
    return (
        f"{figures['accuracy']:.2%} accuracy on {format_count(figures['pictures'], 'picture')} "
        f"({interval}{balanced}{unread})"
    )


def describe_split(figures: dict[str, Any], *, by_votes: bool = False) -> str:
    """Return the accuracy on a split against labels and, if there are votes, their majority.

    Args:
        figures: The figures of the split, as in ``metrics.json``.
        by_votes: The run was trained on votes; their majority comes first.
    """
    majority = figures.get("annotators_agree")
    if majority is None:
        return describe_accuracy(figures) + (" against the labels" if by_votes else "")
    if "accuracy_interval" not in majority:  # of older versions
        return describe_accuracy(figures)
    votes = f"annotators' majority: {describe_accuracy(majority)}"
    labels = f"labels: {describe_accuracy(figures)}"
    return "; ".join((votes, labels) if by_votes else (labels, votes))


def describe_threshold(figures: dict[str, Any]) -> str:
    """Return coverage and accuracy at the chosen confidence threshold, in words.

    Args:
        figures: The figures of the report, as in ``metrics.json``.
    """
    chosen = figures["min_confidence"]
    row = next(one for one in figures["confidence"] if one["min_confidence"] == chosen)
    text = f"confidence threshold {chosen:.2f}: coverage {row['coverage']:.1%}"
    if row["accuracy"] is not None:
        low, high = row["accuracy_interval"]
        text += f", accuracy there {row['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%})"
    return f"{text}, on {row['pictures']:,} held-out pictures"


def describe_train_loss(recipe: Recipe) -> str:
    """Return a description of the training loss, for a caption."""
    faces = "plain faces" if recipe.augmentation == "none" else "augmented faces"
    targets = ["labels"] if recipe.vote_weight < 1 else []
    targets += ["votes"] if recipe.vote_weight else []
    if recipe.teacher_weight:
        targets = [*targets, "teacher"] if recipe.teacher_weight < 1 else ["teacher"]
    smoothing = (
        f", with label smoothing {recipe.label_smoothing:g}" if recipe.label_smoothing else ""
    )
    weights = ", with class weights" if recipe.class_weights != NO_WEIGHTS else ""
    return f"train: {faces}, targets from {', '.join(targets)}{smoothing}{weights}"


def describe_interval(figures: dict[str, Any]) -> str:
    """Return the 95 % interval of the accuracy, followed by a comma.

    Args:
        figures: The figures of a split, as in ``metrics.json``.
    """
    low, high = compute_wilson_interval(
        round(figures["accuracy"] * figures["pictures"]), figures["pictures"]
    )
    return f"95 % interval {low:.1%} to {high:.1%}, "


def list_prediction_warnings(figures: dict[str, Any], split: str) -> list[str]:
    """Return warnings about classes that are never predicted, or never correctly.

    Args:
        figures: The figures of the split, as in ``metrics.json``.
        split: The name of the split.

    Returns:
        Sentences without a full stop.
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
    warnings = [
        f"the network never predicts {name!r}, which is on "
        f"{format_count(figures['classes'][name]['support'], f'{split} picture')}"
        for name in figures["never_predicted"]
    ]
    return warnings + [
        f"the network recognises none of the "
        f"{format_count(row['support'], f'{split} picture')} of {name!r} (recall 0), "
        f"though it predicts {name!r} for others"
        for name, row in figures["classes"].items()
        if row["support"] and row["recall"] == 0 and name not in figures["never_predicted"]
    ]


def list_calibration_warnings(figures: Mapping[str, Any]) -> list[str]:
    """Return a warning if the held-out faces did not determine the temperature.

    Args:
        figures: The figures of the report, as in ``metrics.json``.

    Returns:
        Sentences without a full stop.
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


def format_confidence_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return coverage and accuracy at confidence thresholds as a Markdown table, in lines.

    Args:
        rows: One row per threshold, as in ``metrics.json``. Earlier files call it ``floor``.
    """
    others = list(rows[0]["others"])
    count = f"{rows[0]['pictures']:,} " if "pictures" in rows[0] else ""
    unknown = f", and on {', '.join(others)}, which the network does not know" if others else ""
    lines = [
        "Below the confidence threshold the label is `uncertain`. Measured on "
        f"{count}held-out training faces{unknown}.",
        "",
        "| confidence threshold | coverage | accuracy |"
        + "".join(f" coverage of {name} |" for name in others),
        "| ---: | ---: | ---: |" + " ---: |" * len(others),
    ]
    for row in rows:
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        if row.get("accuracy_interval"):
            low, high = row["accuracy_interval"]
            accuracy += f" ({low:.1%} to {high:.1%})"
        shares = "".join(f" {share:.1%} |" for share in row["others"].values())
        threshold = row["min_confidence"] if "min_confidence" in row else row["floor"]
        lines.append(f"| {threshold:.2f} | {row['coverage']:.1%} | {accuracy} |{shares}")
    return lines


def format_metrics_tables(figures: dict[str, Any]) -> list[str]:
    """Return the figures of a split, as in ``metrics.json``, as Markdown tables, in lines."""
    lines = [
        "| class | precision | recall | F1 | pictures |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in figures["classes"].items():
        cells = [_format_percent(row[figure]) for figure in ("precision", "recall", "f1")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['support']:,} |")
    classes = list(figures["classes"])
    lines += ["", "Confusion matrix (rows true, columns predicted):", ""]
    lines.append("| | " + " | ".join(classes) + " |")
    lines.append("| --- |" + " ---: |" * len(classes))
    for name, counts in zip(classes, figures["confusion_matrix"], strict=True):
        lines.append(f"| **{name}** | " + " | ".join(f"{n:,}" for n in counts) + " |")
    return lines


def _format_percent(figure: float | None) -> str:
    """Return a figure as text; a dash for an undefined one."""
    return "–" if figure is None else f"{figure:.2%}"


def format_class_table(dataset: Dataset, balance: ClassBalance | None = None) -> str:
    """Return the table of the faces of every split by class, as printed before training.

    Args:
        dataset: The splits.
        balance: The class balance; None for every class as large as the largest.
    """
    classes = len(dataset.classes)
    if balance is None:
        balance = compute_balance(dataset.train, classes)
    rows: list[tuple[str, NDArray[np.int64]]] = [
        ("train", balance.total),
        ("  copies", balance.copies),
        ("validation", dataset.validation.count_by_class(classes)),
    ]
    if len(dataset.holdout):
        rows.append(("hold-out", dataset.holdout.count_by_class(classes)))
    if dataset.test is not None:
        rows.append(("test", dataset.test.count_by_class(classes)))
    widths = [max(8, measure_width(name) + 2) for name in (*dataset.classes, "total")]
    lines = [" " * 11 + "".join(map(pad_left, (*dataset.classes, "total"), widths))]
    for name, counts in rows:
        values = [*counts, counts.sum()]
        lines.append(
            f"{name:<11}" + "".join(f"{v:>{w},}" for v, w in zip(values, widths, strict=True))
        )
    if moved := int((balance.labels != dataset.train.labels).sum()):
        lines.append(
            f"(train: each picture under the class that has most of its target, which is not its "
            f"label for {moved:,} of them)"
        )
    return "\n".join(lines)
