"""Format the figures of an evaluation as text."""

from __future__ import annotations

from collections.abc import Iterator

from emotion_runtime.command_line.text_width import measure_width, pad_left, pad_right
from emotion_runtime.evaluate.evaluation import Evaluation
from emotion_runtime.prediction import OTHER, UNCERTAIN, format_count
from emotion_runtime.terminal import escape_controls


def format_evaluation(evaluation: Evaluation) -> str:
    """Return the figures of an evaluation as lines of text."""
    return "".join(escape_controls(line) + "\n" for line in _format_lines(evaluation))


def _format_lines(evaluation: Evaluation) -> Iterator[str]:
    metrics, labels = evaluation.metrics, evaluation.labels
    low, high = metrics.accuracy_interval()
    balanced = metrics.balanced_accuracy
    balanced_text = (
        f"not defined without pictures of {', '.join(evaluation.missing)}"
        if balanced is None
        else f"{balanced:.2%}"
    )
    accuracy = f"{metrics.accuracy:.2%} (95 % interval {low:.1%} to {high:.1%})"
    yield f"pictures           {_format_pictures(evaluation)}"
    yield f"accuracy           {accuracy}{_name_ignored(evaluation)}"
    yield f"balanced accuracy  {balanced_text}"
    yield f"calibration error  {metrics.calibration_error:.2%}"
    yield f"coverage           {_format_coverage(evaluation)}"
    yield from _format_other(evaluation)
    yield ""
    if evaluation.open_set is not None:
        yield f"Most probable label of the {format_count(evaluation.pictures, 'picture')}:"
    yield from _format_classes(evaluation)
    yield ""
    columns, confusion = labels, metrics.confusion
    if evaluation.confusion is not None and evaluation.other_threshold is not None:
        columns, confusion = (*labels, OTHER), evaluation.confusion
        everything = format_count(int(confusion.sum()), "picture")
        confidence = ", at any confidence" if evaluation.min_confidence else ""
        yield f"{everything} at an other threshold of {evaluation.other_threshold:.2f}{confidence}:"
    width = max(19, *map(measure_width, labels))
    yield f"{'true ↓  predicted →':<{width}}" + "".join(
        f"  {pad_left(name, max(7, measure_width(name)))}" for name in columns
    )
    for row, name in enumerate(columns):
        if row == len(labels) and not confusion[row].any():
            continue  # no folder of other classes
        yield pad_right(name, width) + "".join(
            f"  {count:>{max(7, measure_width(column))},}"
            for column, count in zip(columns, confusion[row], strict=True)
        )
    if evaluation.others:
        yield ""
    for name, (count, labelled) in evaluation.others.items():
        if name == UNCERTAIN:
            yield f"{name}: {format_count(count, 'picture')} left out, which may show any class"
            continue
        part = f" ({labelled / count:.1%})" if evaluation.other_threshold is not None else ""
        yield (
            f"{name}: no label of the model; {labelled:,} of {format_count(count, 'picture')} "
            f"got one all the same{part if count else ''}"
        )


def _format_pictures(evaluation: Evaluation) -> str:
    """Return the number of pictures, and of those that only `other` or no figure covers."""
    if not evaluation.other_pictures:
        return f"{evaluation.pictures:,}"
    left_out = "" if evaluation.open_set is not None else ", which the figures leave out"
    return (
        f"{evaluation.pictures:,} of the labels, {evaluation.other_pictures:,} of other classes"
        f"{left_out}"
    )


def _name_ignored(evaluation: Evaluation) -> str:
    """Return a note on what the accuracy of the most probable label leaves out of account."""
    ignored = [OTHER] if evaluation.open_set is not None else []
    if evaluation.min_confidence:
        ignored.append("the confidence threshold")
    if not ignored:
        return ""
    return f", the most probable label without regard to {' and '.join(ignored)}"


def _format_coverage(evaluation: Evaluation) -> str:
    threshold = f"a confidence threshold of {evaluation.min_confidence:.2f}"
    if evaluation.other_threshold is not None:
        threshold += f" and an other threshold of {evaluation.other_threshold:.2f}"
    covered_accuracy = (
        f"accuracy of these {evaluation.covered_right / evaluation.covered:.2%}"
        if evaluation.covered
        else "no picture gets a label"
    )
    pictures = format_count(evaluation.pictures, "picture")
    share = f"{evaluation.covered / evaluation.pictures:.2%}"
    if evaluation.open_set is not None:
        share += f" of the {pictures} of the labels"
    return f"{share} at {threshold}, {covered_accuracy}"


def _format_other(evaluation: Evaluation) -> Iterator[str]:
    """Yield lines about the output `other`, for models that have it."""
    if evaluation.open_set is None:
        return
    known, others = evaluation.pictures, evaluation.other_pictures
    share = f"{evaluation.covered_right / known:.2%}"
    yield f"right label        {share} of the {format_count(known, 'picture')} of the labels"
    auroc = evaluation.open_set.auroc()
    if auroc is None:
        yield "AUROC of other     not defined without pictures of other classes"
        return
    share = f"{evaluation.unlabelled / others:.2%}"
    yield f"no label           {share} of the {format_count(others, 'picture')} of other classes"
    right = (evaluation.covered_right + evaluation.unlabelled) / (known + others)
    yield (
        f"right in all       {right:.2%} of {known + others:,} pictures: the right label, or none "
        f"on another class"
    )
    pictures = format_count(known, "picture")
    yield f"AUROC of other     {auroc:.4f} ({pictures} of the labels, {others:,} others)"


def _format_classes(evaluation: Evaluation) -> Iterator[str]:
    """Yield the table of precision, recall and F1 of the most probable label."""
    labels = evaluation.labels
    width = max(5, *map(measure_width, labels))
    classes = evaluation.metrics.to_dict(labels)["classes"]
    yield f"{'class':<{width}}  precision   recall       F1  pictures"
    for name in labels:
        figures = classes[name]
        yield (
            f"{pad_right(name, width)}  {_format_percent(figures['precision'], 9)}  "
            f"{_format_percent(figures['recall'], 7)}  {_format_percent(figures['f1'], 7)}  "
            f"{figures['support']:>8,}"
        )


def _format_percent(value: float | None, width: int) -> str:
    """Return a share as text, or a dash where it is not defined."""
    return f"{'–':>{width}}" if value is None else f"{value:>{width}.1%}"
