"""The cards of the released models, in Markdown and HTML."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import emotion_models
from emotion_runtime import EmotionClassifier

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


@pytest.mark.parametrize("name", emotion_models.names())
def test_the_front_matter_of_a_card_is_yaml_with_the_figures_of_the_file(name: str) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install '.[dev]'")
    from render_cards import FRONT_MATTER

    text = emotion_models.card_path(name).read_text(encoding="utf-8")
    found = FRONT_MATTER.match(text)
    assert found is not None
    values = yaml.safe_load(found[1])
    assert values["license"] == "mit"
    assert values["pipeline_tag"] == "image-classification"
    assert "fer2013" in values["datasets"]
    contract = EmotionClassifier(name).contract
    assert contract.precision in values["tags"]
    (index,) = values["model-index"]
    assert index["name"] == name
    result = index["results"][0]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"]["split"] == "test"
    figures = {one["type"]: one["value"] for one in result["metrics"]}
    assert figures["accuracy"] == pytest.approx(contract.metrics["test"]["accuracy"], abs=5e-5)
    assert set(figures) == set(values["metrics"])
    assert all(0 <= value <= 1 for value in figures.values())


def test_the_html_of_a_card_has_no_front_matter() -> None:
    from render_cards import render_html

    assert render_html("---\nlicense: mit\n---\n\n# edge\n") == "<h1>edge</h1>\n"
    assert render_html("# edge\n\n---\n") == "<h1>edge</h1>\n<hr />\n"


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
