"""The text of the report, ``report.md``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_runtime.prediction import format_count
from emotion_train.data.dataset import Dataset
from emotion_train.report.content import ReportContent
from emotion_train.report.out_of_fold import MIN_FACES
from emotion_train.report.split_result import IN_SAMPLE, INDEPENDENT, OUT_OF_FOLD, SPLIT_NAMES
from emotion_train.report.tables import (
    describe_split,
    format_class_table,
    format_confidence_table,
    format_metrics_tables,
    list_calibration_warnings,
    list_prediction_warnings,
)


def format_report(content: ReportContent, figures: dict[str, Any], pictures: Sequence[str]) -> str:
    """Return the report in Markdown.

    Args:
        content: The content of the report.
        figures: Its figures, as in ``metrics.json``.
        pictures: Names of the pictures, without suffix.
    """
    split, by_votes = content.main.split, figures["judged_by"] == "votes"
    lines = [
        "# Report",
        "",
        f"**{split}: {describe_split(figures[split], by_votes=by_votes)}**.",
        "",
        f"{_describe_calibration(figures[split], by_votes=by_votes)}.",
        "",
        *_list_warnings(content, figures),
        *_format_metrics(figures[split], by_votes=by_votes),
        *("## What was measured on what", ""),
        *_format_usage_table(figures, by_votes=by_votes),
        *("", "## Confidence", ""),
        *format_confidence_table(figures["confidence"]),
    ]
    if by_votes:
        truth = figures["confidence_against"]
        reason = f", since under {MIN_FACES} pictures have a majority" if truth == "labels" else ""
        lines += ["", f"Accuracy here is against the {truth}{reason}."]
    lines += ["", "## The run", ""]
    lines += [f"- {name}: {value}" for name, value in content.facts.items()]
    lines += ["", "```", format_class_table(content.dataset, content.balance), "```", ""]
    lines += _describe_data(content.dataset)
    for name in pictures:
        lines += [f"![{name}]({name}.png)", ""]
    return "\n".join(lines)


def _list_warnings(content: ReportContent, figures: dict[str, Any]) -> list[str]:
    warnings = [
        text
        for name in SPLIT_NAMES
        if name in figures
        for text in list_prediction_warnings(figures[name], name)
    ]
    warnings += [*content.warnings, *list_calibration_warnings(figures)]
    return [line for text in warnings for line in (f"**Warning: {text}.**", "")]


def _format_metrics(figures: dict[str, Any], *, by_votes: bool) -> list[str]:
    """Return the tables of a split, against labels and, if there is one, the majority."""
    majority = figures.get("annotators_agree")
    if majority is None:
        return [*format_metrics_tables(figures), ""]
    sections = [("the annotators' majority", majority), ("the data's labels", figures)]
    lines = [
        f"The annotators' majority: the {majority['pictures']:,} of {figures['pictures']:,} "
        f"pictures where more than half of the votes name one of the classes. The data's own "
        f"labels agree with it on {majority['original_labels']:.2%} of them. The votes file "
        f"lists {majority['listed']:,} of the {figures['pictures']:,} pictures.",
        "",
    ]
    for title, block in sections if by_votes else reversed(sections):
        lines += [f"## Against {title}", "", *format_metrics_tables(block), ""]
    return lines


def _describe_data(dataset: Dataset) -> list[str]:
    lines = [f"{dataset.audit}.", ""]
    if dataset.skipped:
        lines += [
            f"{format_count(len(dataset.skipped), 'picture')} could not be read, left out.",
            "",
        ]
    if dataset.passed_over:
        lines += ["Passed over:", "", *(f"- {text}" for text in dataset.passed_over), ""]
    return lines


def _describe_calibration(figures: dict[str, Any], *, by_votes: bool) -> str:
    """Return the calibration error with and without temperature scaling, in words."""
    method = {
        INDEPENDENT: "with a temperature fitted on the held-out pictures of the training set",
        OUT_OF_FOLD: "measured out of fold: each picture with a temperature fitted on others",
        IN_SAMPLE: "in-sample: too few pictures to fit the temperature and to measure on others",
    }[figures["calibration"]]
    truth, block, name = "the labels", figures, "calibration_error"
    if by_votes and "annotators_agree" in figures:
        block, name = figures["annotators_agree"], "votes_calibration_error"
        truth = "the votes (confidence against the share of votes for the predicted label)"
    return (
        f"Expected calibration error against {truth}: {block[name]:.2%}, "
        f"{block[f'{name}_before']:.2%} before temperature scaling; {method}"
    )


def _format_usage_table(figures: dict[str, Any], *, by_votes: bool) -> list[str]:
    """Return the size, the purpose and the accuracy of each split as a Markdown table."""
    selection = "hold-out" if "hold-out" in figures else "validation"
    uses = {
        "test": "this report alone",
        "hold-out": "epoch, temperature, threshold",
        "validation": ("epoch, " if selection == "validation" else "") + "temperature, threshold",
    }
    lines = [
        f"The epoch was chosen on the {selection} pictures, by "
        + ("the cross-entropy with their votes" if by_votes else "the accuracy on their labels")
        + ": figures on them are slightly too good.",
        "",
        "| split | pictures | used to choose | accuracy, labels | accuracy, annotators' majority |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for name in SPLIT_NAMES:
        if name not in figures:
            continue
        majority = figures[name].get("annotators_agree")
        votes = "–"
        if majority is not None:
            votes = f"{_format_accuracy(majority)} of {majority['pictures']:,}"
        lines.append(
            f"| {name} | {figures[name]['pictures']:,} | {uses[name]} | "
            f"{_format_accuracy(figures[name])} | {votes} |"
        )
    return lines


def _format_accuracy(figures: dict[str, Any]) -> str:
    low, high = figures["accuracy_interval"]
    return f"{figures['accuracy']:.2%} ({low:.1%} to {high:.1%})"
