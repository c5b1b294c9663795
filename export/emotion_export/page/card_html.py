"""A model's card as HTML: the few forms of Markdown that our own cards use, and no more."""

from __future__ import annotations

import html
import re
from itertools import groupby

_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    # A link's target lies beside the card, not beside the page: its words alone are kept.
    (re.compile(r"\[([^\]]+)\]\([^)]+\)"), r"\1"),
)
_RULE = re.compile(r"^\|[\s:|-]+\|$")


def card_html(markdown: str) -> str:
    """Turn headings, paragraphs, lists, tables and fenced code into HTML; the rest is text."""
    blocks: list[str] = []
    fenced: list[str] | None = None
    lines: list[str] = []
    for line in markdown.splitlines():
        fence = line.startswith("```")
        if fenced is not None and fence:
            blocks.append(_code(fenced))
            fenced = None
        elif fenced is not None:
            fenced.append(line)
        elif line.strip() and not fence:
            lines.append(line)
        else:
            blocks += _blocks(lines)
            lines = []
            fenced = [] if fence else None
    blocks += _blocks(lines)
    if fenced is not None:  # never closed
        blocks.append(_code(fenced))
    return "\n".join(blocks)


def _code(lines: list[str]) -> str:
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _blocks(lines: list[str]) -> list[str]:
    """Turn what stands between empty lines into HTML."""
    kinds = {"#": _headings, "|": _table, "-": _list}
    blocks = []
    for first, group in groupby(lines, lambda line: line[0] if line[0] in kinds else ""):
        blocks.append(kinds.get(first, _paragraph)(list(group)))
    return blocks


def _inline(text: str) -> str:
    text = html.escape(text.strip(), quote=False)
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text


def _headings(lines: list[str]) -> str:
    found = []
    for line in lines:
        level = min(6, len(line) - len(line.lstrip("#")))
        found.append(f"<h{level}>{_inline(line.lstrip('#'))}</h{level}>")
    return "\n".join(found)


def _paragraph(lines: list[str]) -> str:
    return f"<p>{_inline(' '.join(lines))}</p>"


def _list(lines: list[str]) -> str:
    items = "".join(f"<li>{_inline(line.removeprefix('-'))}</li>" for line in lines)
    return f"<ul>{items}</ul>"


def _table(lines: list[str]) -> str:
    rows = [
        "".join(f"<td>{_inline(cell)}</td>" for cell in line.strip().strip("|").split("|"))
        for line in lines
        if not _RULE.match(line.strip())
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows if re.sub(r"<[^>]+>", "", row).strip())
    return f"<table>{body}</table>"
