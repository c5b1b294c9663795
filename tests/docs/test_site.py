"""The documentation site builds, its links work, and it loads nothing from other servers."""

from __future__ import annotations

import importlib
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import emotion_models

ROOT = Path(__file__).parents[2]
# Attributes that make a browser load something.
RESOURCES = {"src", "srcset", "poster", "data"}
FOREIGN = re.compile(r"(?:https?:)?//", re.IGNORECASE)

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The links, resources and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if not value:
                continue
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in RESOURCES or (tag == "link" and name == "href"):
                self.resources.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_the_site_has_a_page_for_every_file(site: Path, pages: dict[Path, Page]) -> None:
    documents = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix(".md") for path in pages}
    assert documents <= built
    assert len(documents) > 30


def test_every_link_leads_to_a_page_and_an_anchor(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else None
            if not target.exists() or (
                parts.fragment and anchors is not None and unquote(parts.fragment) not in anchors
            ):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_no_page_loads_anything_from_another_server(site: Path, pages: dict[Path, Page]) -> None:
    foreign = [
        f"{path.name}: {one}"
        for path, page in pages.items()
        for one in page.resources
        if FOREIGN.match(one)
    ]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        foreign += [
            f"{path.name}: {one}"
            for one in re.findall(r"(?:@import\s+|url\(\s*)[\"']?([^\"')\s]+)", text)
            if FOREIGN.match(one)
        ]
    for path in site.rglob("*.js"):
        text = path.read_text(encoding="utf-8", errors="replace")
        loads = re.findall(r"(?:fetch|import|importScripts)\(\s*[\"'`]([^\"'`]+)", text)
        foreign += [f"{path.name}: {one}" for one in loads if FOREIGN.match(one)]
    assert not foreign


def test_every_resource_of_a_page_exists(pages: dict[Path, Page]) -> None:
    missing = [
        f"{path.name}: {one}"
        for path, page in pages.items()
        for one in page.resources
        if not one.startswith("data:")
        and not (path.parent / unquote(urlsplit(one).path)).resolve().exists()
    ]
    assert not missing


@pytest.mark.parametrize("package", ["emotion_runtime", "emotion_models", "emotion_export"])
def test_every_public_name_is_in_the_reference(pages: dict[Path, Page], package: str) -> None:
    reference = next(page for path, page in pages.items() if path.name == "python.html")
    names = importlib.import_module(package).__all__
    assert names
    assert [name for name in names if f"{package}.{name}" not in reference.anchors] == []


def test_every_released_model_has_its_card_on_the_site(pages: dict[Path, Page]) -> None:
    cards = {path.stem for path in pages if path.parent.name == "models"}
    assert set(emotion_models.names()) <= cards
    index = next(
        page for path, page in pages.items() if path.parts[-2:] == ("models", "index.html")
    )
    assert {f"{name}.html" for name in emotion_models.names()} <= set(index.links)


def test_a_card_on_the_site_has_no_front_matter(site: Path) -> None:
    for name in emotion_models.names():
        text = (site / "models" / f"{name}.html").read_text(encoding="utf-8")
        assert "model-index" not in text
        assert "expressions, not feelings" in text


def test_the_reference_describes_what_it_names(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    # What Sphinx takes over from the type of a constant or a named tuple.
    assert "Create a new string object" not in text
    assert "Alias for field number" not in text
    assert " -- " not in text
    # What is before a colon in the first line of a property's docstring becomes its type.
    assert ">Type<span" not in text


def test_options_keep_their_hyphens(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"\s[–—](?:help|faces|resume|labels|self-test)\b", text) == [], path.name
