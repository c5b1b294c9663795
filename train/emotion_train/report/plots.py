"""The pictures of the report, drawn on a plain matplotlib `Figure` without global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from emotion_runtime.atomic import write_atomically
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_train.data.balance import ClassBalance
from emotion_train.data.faces import Faces
from emotion_train.evaluation import Metrics, Reliability
from emotion_train.report.confidence import Coverage

# Blue and orange are distinguishable for colour-blind readers and in print.
BLUE, ORANGE, GREEN, RED = "#3b6ea8", "#e08a2e", "#3d8b54", "#c0392b"
_DPI = 120
_SPLITS = {"validation": "validation", "holdout": "hold-out"}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")


def add_legend_below(figure: Figure, axes: Axes) -> None:
    """Add the legend under the axes, where it covers no line."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(3, len(labels))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def simplify_frame(axes: Axes) -> None:
    """Remove the upper and right side of the frame; draw horizontal grid lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def plot_loss(
    history: Sequence[dict[str, float]], kept_epoch: int, path: Path, caption: str
) -> None:
    """Draw training and held-out loss per epoch.

    Args:
        history: One row per epoch; with votes, the loss on votes is drawn too.
        kept_epoch: The epoch whose weights were kept.
        path: The PNG to write.
        caption: A description of the training loss.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 3 else None  # one or two epochs are hardly a line
    axes.plot(epochs, [r["train_loss"] for r in history], color=BLUE, marker=marker, label="train")
    for name, colour in (("validation", ORANGE), ("holdout", GREEN)):
        if f"{name}_loss" in history[0]:
            values = [row[f"{name}_loss"] for row in history]
            axes.plot(epochs, values, color=colour, marker=marker, label=_SPLITS[name])
        if f"{name}_votes_loss" in history[0]:
            values = [row[f"{name}_votes_loss"] for row in history]
            label = f"{_SPLITS[name]}, votes"
            axes.plot(epochs, values, "--", color=colour, marker=marker, label=label)
    axes.axvline(kept_epoch, color="gray", linestyle=":", label=f"chosen epoch ({kept_epoch})")
    figure.suptitle("Loss per epoch")
    axes.set(xlabel="epoch", ylabel="loss (nats)")
    axes.set_title(caption, fontsize=8, color="gray")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend_below(figure, axes)
    simplify_frame(axes)
    save_figure(figure, path)


def plot_accuracy(history: Sequence[dict[str, float]], kept_epoch: int, path: Path) -> None:
    """Draw held-out accuracy per epoch."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 3 else None
    drawn = []
    for name, colour in (("validation", ORANGE), ("holdout", GREEN)):
        if f"{name}_accuracy" in history[0]:
            drawn.append(_SPLITS[name])
            values = [100 * row[f"{name}_accuracy"] for row in history]
            axes.plot(epochs, values, color=colour, marker=marker, label=_SPLITS[name])
        if f"{name}_majority_accuracy" in history[0]:
            values = [100 * row[f"{name}_majority_accuracy"] for row in history]
            label = f"{_SPLITS[name]}, annotators' majority"
            axes.plot(epochs, values, "--", color=colour, marker=marker, label=label)
    axes.axvline(kept_epoch, color="gray", linestyle=":", label=f"chosen epoch ({kept_epoch})")
    axes.set(xlabel="epoch", ylabel="accuracy (%)")
    axes.set_title(f"{' and '.join(drawn).capitalize()} accuracy per epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend_below(figure, axes)
    simplify_frame(axes)
    save_figure(figure, path)


def plot_metrics(
    metrics: Metrics, classes: Sequence[str], split: str, path: Path, calibration_error: float
) -> None:
    """Draw the table of metrics beside the confusion matrix.

    Args:
        metrics: The metrics.
        classes: Class names in label order.
        split: The name of the split, for the title.
        path: The PNG to write.
        calibration_error: Against the labels or votes to which the temperature was fitted.
    """
    low, high = metrics.accuracy_interval()
    count = len(classes)
    figure = Figure(figsize=(9 + 0.8 * count, 2.6 + 0.75 * count), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    left.axis("off")
    figure.suptitle(
        f"{split}: accuracy {metrics.accuracy:.2%} ({low:.1%} to {high:.1%}) on "
        f"{metrics.support.sum():,} pictures\nexpected calibration error {calibration_error:.2%}"
    )
    figures = metrics.to_dict(classes)
    columns = [
        [row[name] for row in figures["classes"].values()] for name in ("precision", "recall", "f1")
    ]
    # No mean unless all classes have a value.
    columns = [[*column, None if None in column else sum(column) / count] for column in columns]
    rows = [
        [name, *("–" if value is None else f"{value:.1%}" for value in values), f"{support:,}"]
        for name, *values, support in zip(
            (*classes, "mean"), *columns, [*metrics.support, metrics.support.sum()], strict=True
        )
    ]
    table = left.table(
        cellText=rows,
        colLabels=["class", "precision", "recall", "F1", "pictures"],
        loc="center",
        cellLoc="center",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(10)
    table.scale(1, 1.7)
    _draw_confusion(right, metrics.confusion, classes)
    save_figure(figure, path)


def _draw_confusion(axes: Axes, confusion: NDArray[np.int64], classes: Sequence[str]) -> None:
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks: dict[str, Any] = {"ticks": range(len(classes)), "labels": classes}
    axes.set_xticks(**ticks, rotation=30, ha="right")
    axes.set_yticks(**ticks)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    for row, column in np.ndindex(*confusion.shape):
        share = shares[row, column]
        axes.text(
            column, row, f"{confusion[row, column]:,}\n{share:.1%}", ha="center", va="center",
            color="white" if share > 0.5 else "black", fontsize=9,
        )  # fmt: skip


def plot_predictions(
    faces: Faces,
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
    path: Path,
    *,
    columns: int = 8,
    seed: int = 0,
) -> None:
    """Draw sample faces of every class with true and predicted label; mistakes are red.

    Args:
        faces: The faces, n of them.
        probabilities: float64, shape (n, classes).
        classes: Class names in label order.
        path: The PNG to write.
        columns: Faces per class.
        seed: Seeds the choice of faces.
    """
    rows = len(classes)
    figure = Figure(figsize=(1.45 * columns, 1.95 * rows + 0.5), layout="constrained")
    figure.suptitle("Sample predictions (drawn at random; mistakes in red)")
    grid = figure.subplots(rows, columns, squeeze=False)
    rng = np.random.default_rng(seed)
    for label, row in enumerate(grid):
        members = np.flatnonzero(faces.labels == label)
        drawn = rng.permutation(members)[:columns]
        for column, axes in enumerate(row):
            axes.axis("off")
            if column >= len(drawn):
                continue
            face_probabilities = probabilities[drawn[column]]
            predicted = int(face_probabilities.argmax())
            axes.imshow(faces.pixels[drawn[column]], cmap="gray", vmin=0, vmax=255)
            axes.set_title(
                f"true: {classes[label]}\n"
                f"pred: {classes[predicted]} {face_probabilities[predicted]:.0%}",
                fontsize=8,
                color="black" if predicted == label else RED,
            )
    save_figure(figure, path)


def plot_classes(balance: ClassBalance, classes: Sequence[str], path: Path) -> None:
    """Draw the training faces of each class before and after oversampling."""
    figure = Figure(figsize=(4.4 + 0.9 * len(classes), 4.4), layout="constrained")
    before, after = figure.subplots(1, 2, sharey=True)
    for axes, copies, title in ((before, False, "before"), (after, True, "after balance")):
        axes.bar(classes, balance.original, color=BLUE, label="original")
        if copies:
            axes.bar(
                classes, balance.copies, bottom=balance.original, color=ORANGE, label="copies",
            )  # fmt: skip
        heights = balance.total if copies else balance.original
        for position, height in enumerate(heights):
            axes.text(position, height, f"{height:,}", ha="center", va="bottom", fontsize=9)
        axes.set_title(title)
        axes.set_ylim(0, 1.12 * balance.total.max())  # leaves space for the numbers
        axes.tick_params(axis="x", rotation=30 if len(classes) > 3 else 0)
        simplify_frame(axes)
    before.set_ylabel("training faces")
    figure.suptitle("Classes in the training set")
    figure.legend(
        *after.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    save_figure(figure, path)


def plot_coverage(coverage: Sequence[Coverage], path: Path) -> None:
    """Draw coverage and accuracy against the confidence threshold."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    thresholds = [one.min_confidence for one in coverage]
    lines = [
        ("coverage of known faces", [one.coverage for one in coverage], BLUE, "-"),
        ("accuracy of the covered", [one.accuracy for one in coverage], GREEN, "-"),
    ]
    for index, name in enumerate(coverage[0].others):
        shade = str(0.35 + 0.12 * index)
        lines.append((f"coverage of {name}", [one.others[name] for one in coverage], shade, "--"))
    for name, values, colour, style in lines:
        percent = [100 * value for value in values]
        axes.plot(thresholds, percent, style, color=colour, marker=".", label=name)
    axes.set(xlabel="confidence threshold", ylabel="%", title="Coverage and accuracy")
    axes.set_ylim(0, 102)
    add_legend_below(figure, axes)
    simplify_frame(axes)
    save_figure(figure, path)


def plot_reliability(
    before: Reliability, after: Reliability, title: str, path: Path, *, by_votes: bool = False
) -> None:
    """Draw reliability diagrams without and with the temperature, above counts per bin.

    A calibrated network is on the diagonal. The error bars are 95 % intervals (Wilson, 1927): a bin
    of few pictures may be far from the diagonal by chance.

    Args:
        before: Reliability at a temperature of 1.
        after: Reliability at the fitted temperature.
        title: The title.
        path: The PNG to write.
        by_votes: The accuracy is the share of the votes for the predicted label.
    """
    measure = "votes for the predicted label" if by_votes else "accuracy"
    figure = Figure(figsize=(9, 5.8), layout="constrained")
    figure.suptitle(f"Reliability: {title}")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    for column, (one, name) in enumerate(((before, "before"), (after, "after"))):
        _draw_reliability(axes[0, column], one, measure)
        axes[0, column].set_title(
            f"{name} temperature scaling\nexpected calibration error {one.error:.2%}", fontsize=11
        )
        _draw_counts(axes[1, column], one)
    axes[0, 0].set_ylabel(f"{measure} (%)")
    axes[1, 0].set_ylabel("pictures")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save_figure(figure, path)


def _draw_reliability(axes: Axes, one: Reliability, measure: str) -> None:
    """Draw a reliability diagram: a dot per bin at its mean confidence, and the calibration gap."""
    filled = one.pictures > 0
    counts, right = one.pictures[filled], one.right[filled]
    confidence, accuracy = 100 * one.confidence[filled] / counts, 100 * right / counts
    bounds = [compute_wilson_interval(round(a), int(n)) for a, n in zip(right, counts, strict=True)]
    low, high = 100 * np.array(bounds).T
    axes.plot([0, 100], [0, 100], ":", color="gray", label="calibrated")
    axes.vlines(confidence, accuracy, confidence, color=ORANGE, linewidth=3, alpha=0.6, label="gap")
    axes.errorbar(
        confidence, accuracy, yerr=np.maximum([accuracy - low, high - accuracy], 0), fmt="o",
        color=BLUE, markersize=4, linewidth=1, capsize=2, label=f"{measure}, 95 % interval",
    )  # fmt: skip
    axes.set(xlim=(0, 101), ylim=(0, 101))
    simplify_frame(axes)


def _draw_counts(axes: Axes, one: Reliability) -> None:
    """Draw the number of pictures in each bin."""
    bins = len(one.pictures)
    centres = 100 * (np.arange(bins) + 0.5) / bins
    axes.bar(centres, one.pictures, width=90 / bins, color=BLUE, alpha=0.6)
    for centre, count in zip(centres, one.pictures, strict=True):
        if count:
            axes.text(centre, count, f"{count:,}", ha="center", va="bottom", fontsize=6)
    axes.set_xlabel("confidence (%)")
    axes.set_ylim(top=1.25 * max(axes.get_ylim()[1] / 1.25, one.pictures.max()))
    simplify_frame(axes)
