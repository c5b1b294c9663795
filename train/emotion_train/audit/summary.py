"""The summary of an audit as text, for standard output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from emotion_runtime.command_line.text_width import measure_width, pad_left, pad_right
from emotion_runtime.prediction import format_count
from emotion_train.audit.copies import IDENTICAL, NEARLY_IDENTICAL
from emotion_train.audit.label_quality import MIN_KAPPA
from emotion_train.audit.result import AuditResult
from emotion_train.audit.votes_comparison import VotesComparison

_FIRST_SHOWN = (100, 200)


def format_summary(result: AuditResult) -> str:
    """Return the summary of an audit, without control characters of names."""
    return "\n".join(_format_lines(result))


def describe_copies(result: AuditResult, kind: str) -> str:
    """Return how many groups of copies of a kind there are, a sentence without a full stop."""
    groups = [group for group in result.groups if group.kind == kind]
    several_labels = sum(group.is_contradictory for group in groups)
    several_splits = sum(group.is_leaking for group in groups)
    return (
        f"{format_count(len(groups), 'group')} of {kind} pictures among all "
        f"{len(result.pictures):,}, "
        f"{several_labels:,} of them under several labels, {several_splits:,} in several splits"
    )


def describe_agreement(result: AuditResult) -> str:
    """Return how often suggestion and label agree, a sentence without a full stop."""
    quality = result.quality
    return (
        f"{quality.measure_agreement():.1%} of {format_count(len(result.rated), 'rated label')} "
        f"equal the suggestion (Cohen's kappa {quality.measure_kappa():.2f})"
    )


def describe_weakness(result: AuditResult) -> str | None:
    """Return a warning about networks that do not know the classes, or None."""
    kappa = result.quality.measure_kappa()
    if kappa >= MIN_KAPPA:
        return None
    return (
        f"the networks agree little with the labels (Cohen's kappa {kappa:.2f}, below "
        f"{MIN_KAPPA}): expect many right labels among the label issues, and estimates that are "
        f"too high; more pictures or more epochs may help"
    )


def describe_further_issues(result: AuditResult) -> str:
    """Return how many pictures have each further issue, without a full stop."""
    counts = [f"{name} {int(has.sum()):,}" for name, has in result.issues.items()]
    return (
        f"of all {format_count(len(result.pictures), 'picture')}: {', '.join(counts)}; besides, "
        f"{len(result.pictures.unreadable):,} unreadable"
    )


def describe_votes(votes: VotesComparison) -> Iterator[str]:
    """Yield sentences about the comparison with votes, without a full stop."""
    yield (
        f"{votes.listed:,} of {format_count(votes.rated, 'rated picture')} are in the votes file, "
        f"and the figures are of these; most votes are for the label of "
        f"{votes.agreeing:,} of them, and for another class of {votes.contradicting:,}"
    )
    if votes.auroc is None:
        yield "AUROC of the score: not defined, since one of these two kinds is missing"
    else:
        yield f"AUROC of the score, between these two kinds: {votes.auroc:.3f}"
    for first in votes.first:
        yield (
            f"of the first {first.pictures:,}: {first.precision:.0%} wrong to the annotators "
            f"({first.another_class:,} another class, {first.none_of_the_classes:,} none of the "
            f"classes); no majority {first.no_majority:,}, the label {first.label:,}"
        )


def _format_lines(result: AuditResult) -> Iterator[str]:
    quality = result.quality
    issues = int(quality.is_issue.sum())
    yield result.method
    yield (
        f"label issues       {issues:,} of {format_count(len(result.rated), 'rated picture')} "
        f"({issues / len(result.rated):.1%}); estimated share of wrong labels "
        f"{quality.estimate_wrong_share():.1%}"
    )
    yield f"agreement          {describe_agreement(result)}"
    yield f"copies             {describe_copies(result, IDENTICAL)}"
    yield f"near copies        {describe_copies(result, NEARLY_IDENTICAL)}"
    yield f"further issues     {describe_further_issues(result)}"
    yield ""
    yield from _format_classes(result)
    yield ""
    yield from _format_confusion(result)
    if result.votes is not None:
        yield ""
        yield from describe_votes(result.votes)


def _format_classes(result: AuditResult) -> Iterator[str]:
    """Yield a table with a row for each class."""
    classes = result.pictures.classes
    width = max(5, *map(measure_width, classes))
    shares = result.quality.estimate_wrong_shares()
    yield f"{'class':<{width}}    rated  label issues  estimated share of wrong labels"
    for label, name in enumerate(classes):
        is_class = result.labels == label
        issues = int(result.quality.is_issue[is_class].sum())
        share = "–" if np.isnan(shares[label]) else f"{shares[label]:.1%}"
        yield f"{pad_right(name, width)}  {int(is_class.sum()):>7,}  {issues:>12,}  {share:>31}"


def _format_confusion(result: AuditResult) -> Iterator[str]:
    """Yield the confusion matrix of labels and suggestions."""
    classes = result.pictures.classes
    first = f"{'label ↓  suggested →':<21}"
    width = max(len(first), *map(measure_width, classes))
    columns = [max(7, measure_width(name)) for name in classes]
    yield _join_cells(pad_right(first, width), classes, columns)
    for name, row in zip(classes, result.count_suggestions(), strict=True):
        yield _join_cells(pad_right(name, width), [f"{count:,}" for count in row], columns)


def _join_cells(first: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return first + "".join(
        f"  {pad_left(cell, width)}" for cell, width in zip(cells, widths, strict=True)
    )
