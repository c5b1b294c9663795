"""The figures of an evaluation as text for a person."""

from __future__ import annotations

from collections.abc import Iterator

from emotion_runtime.command_line.text_width import display_width, left, right
from emotion_runtime.evaluate.evaluation import Evaluation
from emotion_runtime.prediction import counted
from emotion_runtime.terminal import escape_controls


def format_evaluation(evaluation: Evaluation) -> str:
    """Return the figures as lines of text."""
    return "".join(escape_controls(line) + "\n" for line in _lines(evaluation))


def _lines(evaluation: Evaluation) -> Iterator[str]:
    metrics, labels = evaluation.metrics, evaluation.labels
    total = int(metrics.confusion.sum())
    low, high = metrics.accuracy_interval()
    balanced = metrics.balanced_accuracy
    balance = (
        f"not defined without pictures of {', '.join(evaluation.missing)}"
        if balanced is None
        else f"{balanced:.2%}"
    )
    share = evaluation.covered / total
    right_there = (
        f"accuracy there {evaluation.covered_right / evaluation.covered:.2%}"
        if evaluation.covered
        else "so no picture gets a label"
    )
    yield f"pictures           {total:,}"
    yield f"accuracy           {metrics.accuracy:.2%} (95 % interval {low:.1%} to {high:.1%})"
    yield f"balanced accuracy  {balance}"
    yield f"calibration error  {metrics.calibration_error:.2%}"
    yield f"coverage           {share:.2%} at a confidence threshold of " + (
        f"{evaluation.min_confidence:.2f}, {right_there}"
    )
    width = max(5, *map(display_width, labels))
    figures = metrics.to_dict(labels)["classes"]
    yield ""
    yield f"{'class':<{width}}  precision   recall       F1  pictures"
    for place, name in enumerate(labels):
        yield (
            f"{left(name, width)}  {_percent(figures[name]['precision'], 9)}  "
            f"{_percent(figures[name]['recall'], 7)}  {_percent(figures[name]['f1'], 7)}  "
            f"{metrics.support[place]:>8,}"
        )
    yield ""
    yield f"{'true ↓  predicted →':<{max(19, width)}}" + "".join(
        f"  {right(name, max(7, display_width(name)))}" for name in labels
    )
    for row, name in enumerate(labels):
        yield left(name, max(19, width)) + "".join(
            f"  {count:>{max(7, display_width(column))},}"
            for column, count in zip(labels, metrics.confusion[row], strict=True)
        )
    if evaluation.others:
        yield ""
    for name, (count, labelled) in evaluation.others.items():
        yield (
            f"{name}: no label of the model; {labelled:,} of {counted(count, 'picture')} got one "
            f"all the same"
        )


def _percent(value: float | None, width: int) -> str:
    """Return a share as text; a dash where it is not defined."""
    return f"{'–':>{width}}" if value is None else f"{value:>{width}.1%}"
