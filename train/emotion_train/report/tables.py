"""The report of a run: ``metrics.json`` for machines, ``report.md`` and pictures for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.atomic import write_atomically
from emotion_runtime.command_line.text_width import measure_width, pad_left
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_train.class_weights import NO_WEIGHTS
from emotion_train.data.balance import BalanceTable, balance_table
from emotion_train.data.dataset import Dataset
from emotion_train.recipe import Recipe
from emotion_train.report import plots
from emotion_train.report.confidence import Coverage
from emotion_train.report.evaluated import (
    IN_SAMPLE,
    INDEPENDENT,
    OUT_OF_FOLD,
    SPLIT_NAMES,
    Evaluated,
)
from emotion_train.report.fitting import Fitted
from emotion_train.report.fonts import choose_fonts, use_fonts
from emotion_train.report.out_of_fold import FEWEST_FACES

SPLITS = "splits.csv"
_TEMPERATURE_LIMITS = (0.1, 10.0)  # between which `fit_temperature` searches


def write_report(
    folder: Path,
    dataset: Dataset,
    history: Sequence[dict[str, float]],
    best_epoch: int | None,
    fitted: Fitted,
    evaluated: Sequence[Evaluated],
    coverage: Sequence[Coverage],
    facts: dict[str, Any],
    *,
    warnings: Sequence[str] = (),
    caption: str = "",
    balance: BalanceTable | None = None,
) -> dict[str, Any]:
    """Write the report.

    Args:
        folder: Where to; it is made.
        dataset: What was trained on.
        history: One row an epoch, as in ``history.csv``; empty where there were no epochs.
        best_epoch: The epoch whose weights were kept; None where there were no epochs.
        fitted: Temperature and threshold.
        evaluated: The network's logits on each split; the first is the one reported on in full.
        coverage: What confidence thresholds do, on held-out faces.
        facts: Further lines of the report, name → value.
        warnings: What the run warned of, without a full stop.
        caption: What the training loss was measured on.
        balance: Which classes got copies; None for every class as large as the largest.

    Returns:
        What stands in ``metrics.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = dataset.classes
    figures: dict[str, Any] = {
        "classes": list(classes),
        "temperature": round(fitted.temperature, 6),
        "judged_by": "votes" if fitted.by_votes else "labels",
    }
    for one in evaluated:
        figures[one.split] = one.to_dict(classes)
    figures["confidence"] = [one.to_dict() for one in coverage]
    figures["confidence_against"] = "annotators' majority" if fitted.by_majority else "labels"
    figures["min_confidence"] = round(fitted.threshold, 6)
    main = evaluated[0]
    truth = main.truth(by_votes=fitted.by_votes)
    title = main.split if truth is main.faces.labels else f"{main.split}, annotators' majority"
    pictures = ["metrics", "predictions", "coverage", "reliability", "classes"]
    table = balance_table(dataset.train, len(classes)) if balance is None else balance
    with use_fonts(choose_fonts(classes)):
        if history and best_epoch is not None:
            plots.plot_loss(history, best_epoch, folder / "loss.png", caption)
            plots.plot_accuracy(history, best_epoch, folder / "accuracy.png")
            pictures[1:1] = ["loss", "accuracy"]
        by_votes = fitted.by_votes and main.votes is not None
        before, after = main.measure_reliability(by_votes=by_votes)
        plots.plot_metrics(main.measure(truth), classes, title, folder / "metrics.png", after.error)
        plots.plot_predictions(main.faces, main.probabilities, classes, folder / "predictions.png")
        plots.plot_classes(table, classes, folder / "classes.png")
        plots.plot_coverage(coverage, folder / "coverage.png")
        title = f"{main.split}, temperature {fitted.temperature:.2f} ({main.fitted})"
        path = folder / "reliability.png"
        plots.plot_reliability(before, after, title, path, by_votes=by_votes)
    _write(folder / "metrics.json", json.dumps(figures, indent=2) + "\n")
    text = _markdown(dataset, table, figures, main.split, facts, warnings, pictures)
    _write(folder / "report.md", text)
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
        write_atomically(folder / SPLITS) as temporary,
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
        if figures.get("macro_f1") is not None:
            balanced += f", macro F1 {figures['macro_f1']:.2%}"
    interval = describe_interval(figures)
    unreadable = figures.get("unreadable", 0)
    lost = f"; {unreadable:,} more could not be read" if unreadable else ""
    return (
        f"{figures['accuracy']:.2%} accuracy on {figures['pictures']:,} pictures "
        f"({interval}{balanced}{lost})"
    )


def describe_split(figures: dict[str, Any], *, by_votes: bool = False) -> str:
    """Return one split's accuracy against what judges it, and against what else is known.

    Args:
        figures: Of the split, as in ``metrics.json``.
        by_votes: The run is taught by votes: the annotators' majority comes first.
    """
    agreed = figures.get("annotators_agree")
    if agreed is None:
        return describe_accuracy(figures) + (" against the labels" if by_votes else "")
    if "accuracy_interval" not in agreed:  # of older versions
        return describe_accuracy(figures)
    votes = f"annotators' majority: {describe_accuracy(agreed)}"
    labels = f"labels: {describe_accuracy(figures)}"
    return "; ".join((votes, labels) if by_votes else (labels, votes))


def describe_threshold(figures: dict[str, Any]) -> str:
    """Return what the chosen confidence threshold does.

    Args:
        figures: As in ``metrics.json``.
    """
    chosen = figures["min_confidence"]
    row = next(one for one in figures["confidence"] if one["min_confidence"] == chosen)
    text = f"confidence threshold {chosen:.2f}: coverage {row['coverage']:.1%}"
    if row["accuracy"] is not None:
        low, high = row["accuracy_interval"]
        text += f", accuracy there {row['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%})"
    return f"{text}, on {row['pictures']:,} held-out pictures"


def describe_train_loss(recipe: Recipe) -> str:
    """Return what the training loss of an epoch is measured on, for a caption."""
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
    """Return the accuracy's 95 % interval with a comma behind it, such as for a bracket.

    Args:
        figures: Of a split, as in ``metrics.json``.
    """
    low, high = compute_wilson_interval(
        round(figures["accuracy"] * figures["pictures"]), figures["pictures"]
    )
    return f"95 % interval {low:.1%} to {high:.1%}, "


def prediction_warnings(figures: dict[str, Any], split: str) -> list[str]:
    """Describe classes that the network never predicts, or never rightly, without a full stop.

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
    warnings = [
        f"the network never predicts {name!r}, which {figures['classes'][name]['support']:,} "
        f"{split} pictures show"
        for name in figures["never_predicted"]
    ]
    return warnings + [
        f"the network recognises none of the {row['support']:,} {split} pictures of {name!r} "
        f"(recall 0), though it predicts {name!r} for others"
        for name, row in figures["classes"].items()
        if row["support"] and row["recall"] == 0 and name not in figures["never_predicted"]
    ]


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


def _markdown(
    dataset: Dataset,
    balance: BalanceTable,
    figures: dict[str, Any],
    split: str,
    facts: dict[str, Any],
    warnings: Sequence[str],
    pictures: Sequence[str],
) -> str:
    main, by_votes = figures[split], figures["judged_by"] == "votes"
    agreed = main.get("annotators_agree")
    lines = [
        "# Report",
        "",
        f"**{split}: {describe_split(main, by_votes=by_votes)}**.",
        "",
        f"{_describe_calibration(main, by_votes=by_votes)}.",
        "",
    ]
    for name in SPLIT_NAMES:
        for text in prediction_warnings(figures[name], name) if name in figures else ():
            lines += [f"**Warning: {text}.**", ""]
    for text in (*warnings, *calibration_warnings(figures)):
        lines += [f"**Warning: {text}.**", ""]
    if agreed:
        lines += [
            f"The annotators' majority: the {agreed['pictures']:,} of {main['pictures']:,} "
            f"pictures where more than half of the votes name one of the classes. The data's own "
            f"labels agree with it on {agreed['original_labels']:.2%} of them. The votes file "
            f"lists {agreed['listed']:,} of the {main['pictures']:,} pictures.",
            "",
        ]
    titles = {"labels": main} if agreed is None else {"the annotators' majority": agreed}
    if agreed is not None:
        titles["the data's labels"] = main
        if not by_votes:
            titles = dict(reversed(titles.items()))
    for title, block in titles.items():
        if len(titles) > 1:
            lines += [f"## Against {title}", ""]
        lines += [*metrics_tables(block), ""]
    lines += ["## What was measured on what", "", *_usage_table(figures, by_votes), ""]
    lines += ["## Confidence", "", *confidence_table(figures["confidence"])]
    if by_votes:
        against = figures["confidence_against"]
        why = (
            f", since under {FEWEST_FACES} pictures have a majority" if against == "labels" else ""
        )
        lines += ["", f"Accuracy here is against the {against}{why}."]
    lines += ["", "## The run", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "```", class_table(dataset, balance), "```", "", str(dataset.audit) + ".", ""]
    if dataset.skipped:
        lines += [f"{len(dataset.skipped):,} pictures could not be read and were left out.", ""]
    if dataset.passed_over:
        lines += ["Passed over:", "", *(f"- {text}" for text in dataset.passed_over), ""]
    for name in pictures:
        lines += [f"![{name}]({name}.png)", ""]
    return "\n".join(lines)


def _describe_calibration(figures: dict[str, Any], *, by_votes: bool) -> str:
    """Return the calibration error, what it was before, and how far its figure can be trusted."""
    how = {
        INDEPENDENT: "with a temperature fitted on the held-out pictures of the training set",
        OUT_OF_FOLD: "measured out of fold: each picture with a temperature fitted on others",
        IN_SAMPLE: "in-sample: too few pictures to fit the temperature and to measure on others",
    }[figures["calibration"]]
    against, block, name = "the labels", figures, "calibration_error"
    if by_votes and "annotators_agree" in figures:
        block, name = figures["annotators_agree"], "votes_calibration_error"
        against = "the votes (confidence against the share of votes for the predicted label)"
    return (
        f"Expected calibration error against {against}: {block[name]:.2%}, "
        f"{block[f'{name}_before']:.2%} before temperature scaling; {how}"
    )


def _usage_table(figures: dict[str, Any], by_votes: bool) -> list[str]:
    """Lay out how many pictures of each split were used for what, with the accuracy on them."""
    chosen = "hold-out" if "hold-out" in figures else "validation"
    uses = {
        "test": "this report alone",
        "hold-out": "epoch, temperature, threshold",
        "validation": ("epoch, " if chosen == "validation" else "") + "temperature, threshold",
    }
    lines = [
        f"The epoch was chosen on the {chosen} pictures, by "
        + ("the cross-entropy with their votes" if by_votes else "the accuracy on their labels")
        + ": figures on them are slightly too good.",
        "",
        "| split | pictures | used to choose | accuracy, labels | accuracy, annotators' majority |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for name in SPLIT_NAMES:
        if name not in figures:
            continue
        agreed = figures[name].get("annotators_agree")
        votes = "–" if agreed is None else f"{_accuracy(agreed)} of {agreed['pictures']:,}"
        lines.append(
            f"| {name} | {figures[name]['pictures']:,} | {uses[name]} | "
            f"{_accuracy(figures[name])} | {votes} |"
        )
    return lines


def _accuracy(figures: dict[str, Any]) -> str:
    low, high = figures["accuracy_interval"]
    return f"{figures['accuracy']:.2%} ({low:.1%} to {high:.1%})"


def confidence_table(rows: list[dict[str, Any]]) -> list[str]:
    """Lay out what confidence thresholds do, as in ``metrics.json``, as a Markdown table.

    Args:
        rows: One a threshold. Earlier files name it ``floor``.
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
        right = "" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        if row.get("accuracy_interval"):
            low, high = row["accuracy_interval"]
            right += f" ({low:.1%} to {high:.1%})"
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


def class_table(dataset: Dataset, balance: BalanceTable | None = None) -> str:
    """Lay out the faces of every split by class, as printed before training.

    Args:
        dataset: The splits.
        balance: Which classes get copies; None for every class as large as the largest.
    """
    classes = len(dataset.classes)
    if balance is None:
        balance = balance_table(dataset.train, classes)
    rows: list[tuple[str, NDArray[np.int64]]] = [
        ("train", balance.total),
        ("  copies", balance.copies),
        ("validation", dataset.validation.counts(classes)),
    ]
    if len(dataset.holdout):
        rows.append(("hold-out", dataset.holdout.counts(classes)))
    if dataset.test is not None:
        rows.append(("test", dataset.test.counts(classes)))
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


def _write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
