"""The cards of the released models, in Markdown and HTML."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import emotion_models

pytest.importorskip(
    "markdown_it", reason="markdown-it-py is not installed: pip install --group dev"
)
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))


@pytest.mark.parametrize("name", emotion_models.names())
def test_the_html_of_a_card_is_rendered_from_its_markdown(name: str) -> None:
    from render_cards import render_html

    html = emotion_models.card_html_path(name).read_text(encoding="utf-8")
    assert html == render_html(emotion_models.card_path(name).read_text(encoding="utf-8")), (
        "run: python scripts/render_cards.py"
    )
    assert "<table>" in html
    assert "expressions, not feelings" in html
    assert "<a" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[click](javascript:alert(1)) [card](other.md)",
        '`"><img src=x onerror=alert(1)>`',
        "| <b> | **<i>** |\n| --- | ---: |",
        "# </h1><script>",
        "- `**a`b**",
    ],
)
def test_the_text_of_a_card_is_escaped(text: str) -> None:
    from render_cards import render_html

    tags = set(re.findall(r"</?([a-z0-9]+)", render_html(text)))
    assert tags <= {"h1", "p", "ul", "li", "table", "thead", "tr", "th", "code", "strong", "pre"}
