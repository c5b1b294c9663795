"""Render the cards of the released models from Markdown to HTML, for the web page.

    python scripts/render_cards.py

`emotion-page` runs in the light install, which has no Markdown parser. The HTML is therefore
released beside the Markdown. A test compares the two.
"""

from __future__ import annotations

import re

import click
from markdown_it import MarkdownIt

import emotion_models
from emotion_runtime.atomic import write_atomically

# The YAML at the top of a card, which model hubs read.
FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n+", re.DOTALL | re.MULTILINE)


def render_html(markdown: str) -> str:
    """Return a card as HTML, with its text escaped, without links and without front matter.

    The target of a link is relative to the card, not to the page, so only its text is kept.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    for rule in ("link_open", "link_close"):
        parser.add_render_rule(rule, lambda *_: "")
    html: str = parser.render(FRONT_MATTER.sub("", markdown))
    return html


def write_html(name: str) -> None:
    """Write the HTML of the card of a released model."""
    html = render_html(emotion_models.card_path(name).read_text(encoding="utf-8"))
    with write_atomically(emotion_models.card_html_path(name)) as path:
        path.write_text(html, encoding="utf-8")


@click.command(help=__doc__.splitlines()[0])
def main() -> None:
    """Render the cards of all released models."""
    for name in emotion_models.names():
        write_html(name)


if __name__ == "__main__":
    main()
