"""``index.html``: a page of the audit in one file, which loads nothing."""

from __future__ import annotations

import base64
import html
import io
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.prediction import format_count
from emotion_runtime.results.output import open_output
from emotion_runtime.terminal import escape_controls
from emotion_train.audit.copies import IDENTICAL, NEARLY_IDENTICAL, CopyGroup
from emotion_train.audit.result import AuditResult
from emotion_train.audit.summary import (
    describe_agreement,
    describe_copies,
    describe_votes,
    describe_weakness,
)

MAX_SHOWN = 60  # pictures of a section
MAX_GROUPS_SHOWN = 60
MAX_COPIES_SHOWN = 12  # of a group
_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(path: Path, result: AuditResult, title: str) -> None:
    """Write the page: summary, label issues of each pair, copies and further issues.

    The pictures are part of the file, at the size that the network receives.

    Args:
        path: The file.
        result: The audit.
        title: The name of the data.

    Raises:
        OutputError: The file cannot be written.
    """
    sections = {
        "summary": ("Summary", _format_summary(result)),
        "labels": ("Labels that are probably wrong", _format_pairs(result)),
        "copies": ("Copies", _format_copies(result)),
        "further": ("Further issues", _format_further(result)),
    }
    template = string.Template(_TEMPLATE.read_text(encoding="utf-8"))
    text = template.substitute(
        title=_escape(title),
        method=_escape(result.method),
        links="".join(f'<a href="#{name}">{head}</a>' for name, (head, _) in sections.items()),
        sections="\n".join(
            f'<section id="{name}"><h2>{head}</h2>\n{body}\n</section>'
            for name, (head, body) in sections.items()
        ),
    )
    with open_output(path) as stream:
        stream.write(text)


def _format_summary(result: AuditResult) -> str:
    classes, quality = result.pictures.classes, result.quality
    shares, counts = quality.estimate_wrong_shares(), result.count_suggestions()
    rows = []
    for label, name in enumerate(classes):
        is_class = result.labels == label
        issues = int(quality.is_issue[is_class].sum())
        share = "–" if np.isnan(shares[label]) else f"{shares[label]:.1%}"
        rows.append([name, f"{int(is_class.sum()):,}", f"{issues:,}", share])
    issues = int(quality.is_issue.sum())
    total = [f"{len(result.rated):,}", f"{issues:,}", f"{quality.estimate_wrong_share():.1%}"]
    rows.append(["all", *total])
    confusion = "".join(
        f"<tr><th>{_escape(name)}</th>"
        + "".join(
            f'<td class="same">{count:,}</td>' if label == column else f"<td>{count:,}</td>"
            for column, count in enumerate(counts[label])
        )
        + "</tr>"
        for label, name in enumerate(classes)
    )
    head = "".join(f"<th>{_escape(name)}</th>" for name in classes)
    votes = ""
    if result.votes is not None:
        lines = "".join(f"<li>{_escape(text)}</li>" for text in describe_votes(result.votes))
        votes = f"<p>Against the annotators’ votes:</p><ul>{lines}</ul>"
    header = ["class", "rated", "label issues", "estimated share of wrong labels"]
    weakness = describe_weakness(result)
    warning = f'<p class="mark">Warning: {_escape(weakness)}.</p>' if weakness else ""
    return (
        f"{warning}<p>{len(result.rated):,} of {format_count(len(result.pictures), 'picture')} "
        f"rated. {_escape(describe_agreement(result))}.</p>"
        f"{_format_table(header, rows)}"
        f"<p>How often each label (row) gets each suggestion (column):</p>"
        f'<div class="scroll"><table><tr><th>label</th>{head}</tr>{confusion}</table></div>'
        f"{votes}<p>An estimate is only as good as the networks: check by eye before you "
        f"correct a label. All pictures are in <code>audit.csv</code>.</p>"
    )


def _format_pairs(result: AuditResult) -> str:
    """Return a grid of pictures for each pair of label and suggestion."""
    classes, quality, faces = result.pictures.classes, result.quality, result.pictures.faces
    parts = []
    for label, suggested, issues in result.list_pairs():
        shown = issues[:MAX_SHOWN]
        figures = [
            _format_picture(
                faces.pixels[result.rated[one]],
                f"score {quality.scores[one]:.2f}",
                faces.names[result.rated[one]],
            )
            for one in shown
        ]
        parts.append(
            f"<h3>labelled {_escape(classes[label])}, suggested "
            f'<span class="mark">{_escape(classes[suggested])}</span></h3>'
            f'<p class="faint">{_describe_shown(len(shown), len(issues), "picture")}, the most '
            f"suspicious first</p><ol>{''.join(figures)}</ol>"
        )
    if not parts:
        return "<p>None.</p>"
    parts.insert(
        0,
        '<p class="faint">The score is the probability of the label. Pictures are shown as the '
        "networks receive them.</p>",
    )
    return "\n".join(parts)


def _format_copies(result: AuditResult) -> str:
    """Return the groups under several labels or in several splits."""
    conflicts = [one for one in result.groups if one.is_contradictory or one.is_leaking]
    shown = conflicts[:MAX_GROUPS_SHOWN]
    items = "".join(_format_group(result, group) for group in shown)
    counted = _describe_shown(len(shown), len(conflicts), "group")
    return (
        f"<p>{_escape(describe_copies(result, IDENTICAL))}.<br>"
        f"{_escape(describe_copies(result, NEARLY_IDENTICAL))}.<br>"
        "All groups are in <code>copies.csv</code>.</p>"
        f'<p class="faint">Under several labels or in several splits: {counted}</p>'
        f'<ul class="copies">{items}</ul>'
    )


def _format_group(result: AuditResult, group: CopyGroup) -> str:
    pictures = result.pictures
    reasons = [f"labels {', '.join(group.labels)}"] if group.is_contradictory else []
    reasons += [f"splits {', '.join(group.splits)}"] if group.is_leaking else []
    figures = [
        _format_picture(
            pictures.faces.pixels[index],
            f"{pictures.classes[pictures.faces.labels[index]]}, {pictures.splits[index]}",
            pictures.faces.names[index],
        )
        for index in group.members[:MAX_COPIES_SHOWN]
    ]
    more = len(group.members) - len(figures)
    rest = f'<p class="faint">{more:,} more</p>' if more else ""
    return (
        f"<li>{_escape(group.kind)}: {_escape('; '.join(reasons))}"
        f"<ol>{''.join(figures)}</ol>{rest}</li>"
    )


def _format_further(result: AuditResult) -> str:
    faces, parts = result.pictures.faces, []
    for name, has_issue in result.issues.items():
        indices = np.flatnonzero(has_issue)
        shown = indices[:MAX_SHOWN]
        figures = [
            _format_picture(
                faces.pixels[index],
                result.pictures.classes[faces.labels[index]],
                faces.names[index],
            )
            for index in shown
        ]
        parts.append(
            f"<h3>{_escape(name)}</h3>"
            f'<p class="faint">{_describe_shown(len(shown), len(indices), "picture")}</p>'
            f"<ol>{''.join(figures)}</ol>"
        )
    unreadable = result.pictures.unreadable
    lines = "".join(f"<li>{_escape(text)}</li>" for text in unreadable[:MAX_SHOWN])
    counted = _describe_shown(min(MAX_SHOWN, len(unreadable)), len(unreadable), "picture")
    parts.append(f'<h3>unreadable</h3><p class="faint">{counted}</p><ul>{lines}</ul>')
    return "\n".join(parts)


def _format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr><th>{_escape(row[0])}</th>"
        + "".join(f"<td>{_escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _format_picture(pixels: NDArray[np.uint8], caption: str, name: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<li><figure><img loading="lazy" alt="{_escape(name)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{_escape(caption)}<br>'
        f"<small>{_escape(name)}</small></figcaption></figure></li>"
    )


def _describe_shown(shown: int, total: int, noun: str) -> str:
    """Return how many of some things are shown."""
    if not total:
        return "none"
    counted = format_count(total, noun)
    return f"{shown:,} of {counted}" if shown < total else counted


def _escape(text: str) -> str:
    """Return text for HTML; bytes of names that are not UTF-8 become question marks."""
    printable = escape_controls(text).encode("utf-8", "replace").decode("utf-8")
    return html.escape(printable)
