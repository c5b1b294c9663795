"""Format the figures of an evaluation as text."""

from __future__ import annotations

from collections.abc import Iterator

from emotion_runtime.command_line.text_width import measure_width, pad_left, pad_right
from emotion_runtime.evaluate.evaluation import Evaluation
from emotion_runtime.prediction import OTHER, format_count
from emotion_runtime.terminal import escape_controls


def format_evaluation(evaluation: Evaluation) -> str:
    """Return the figures of an evaluation as lines of text."""
    return "".join(escape_controls(line) + "\n" for line in _format_lines(evaluation))


def _format_lines(evaluation: Evaluation) -> Iterator[str]:
    metrics, labels = evaluation.metrics, evaluation.labels
    total = int(metrics.confusion.sum())
    low, high = metrics.accuracy_interval()
    balanced = metrics.balanced_accuracy
    balanced_text = (
        f"not defined without pictures of {', '.join(evaluation.missing)}"
        if balanced is None
        else f"{balanced:.2%}"
    )
    share = evaluation.covered / total
    covered_accuracy = (
        f"accuracy of these {evaluation.covered_right / evaluation.covered:.2%}"
        if evaluation.covered
        else "no picture gets a label"
    )
    yield f"pictures           {total:,}"
    yield f"accuracy           {metrics.accuracy:.2%} (95 % interval {low:.1%} to {high:.1%})"
    yield f"balanced accuracy  {balanced_text}"
    yield f"calibration error  {metrics.calibration_error:.2%}"
    threshold = f"a confidence threshold of {evaluation.min_confidence:.2f}"
    if evaluation.other_threshold is not None:
        threshold += f" and an other threshold of {evaluation.other_threshold:.2f}"
    yield f"coverage           {share:.2%} at {threshold}, {covered_accuracy}"
    yield from _format_other(evaluation)
    width = max(5, *map(measure_width, labels))
    classes = metrics.to_dict(labels)["classes"]
    yield ""
    yield f"{'class':<{width}}  precision   recall       F1  pictures"
    for index, name in enumerate(labels):
        figures = classes[name]
        yield (
            f"{pad_right(name, width)}  {_format_percent(figures['precision'], 9)}  "
            f"{_format_percent(figures['recall'], 7)}  {_format_percent(figures['f1'], 7)}  "
            f"{metrics.support[index]:>8,}"
        )
    yield ""
    columns, confusion = labels, metrics.confusion
    if evaluation.confusion is not None:
        columns, confusion = (*labels, OTHER), evaluation.confusion
    yield f"{'true ↓  predicted →':<{max(19, width)}}" + "".join(
        f"  {pad_left(name, max(7, measure_width(name)))}" for name in columns
    )
    for row, name in enumerate(columns):
        if row == len(labels) and not confusion[row].any():
            continue  # no folder of other classes
        yield pad_right(name, max(19, width)) + "".join(
            f"  {count:>{max(7, measure_width(column))},}"
            for column, count in zip(columns, confusion[row], strict=True)
        )
    if evaluation.others:
        yield ""
    for name, (count, labelled) in evaluation.others.items():
        part = f" ({labelled / count:.1%})" if evaluation.other_threshold is not None else ""
        yield (
            f"{name}: no label of the model; {labelled:,} of {format_count(count, 'picture')} "
            f"got one all the same{part if count else ''}"
        )


def _format_other(evaluation: Evaluation) -> Iterator[str]:
    """Yield lines about the output `other`, for models that have it."""
    if evaluation.open_set is None:
        return
    total = int(evaluation.metrics.confusion.sum())
    yield f"named correctly    {evaluation.covered_right / total:.2%} of these pictures"
    others, auroc = len(evaluation.open_set.others), evaluation.open_set.auroc()
    if auroc is None:
        yield "AUROC of other     not defined without pictures of other classes"
    else:
        kinds = f"{total:,} pictures of the labels, {others:,} others"
        yield f"AUROC of other     {auroc:.4f} ({kinds})"


def _format_percent(value: float | None, width: int) -> str:
    """Return a share as text, or a dash where it is not defined."""
    return f"{'–':>{width}}" if value is None else f"{value:>{width}.1%}"
