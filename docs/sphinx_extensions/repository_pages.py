"""Sphinx extension: files of the repository as pages, with links that work in both places.

The Markdown files link to each other by their paths in the repository, so that they can be read on
its web page. A page that begins with ``<!-- page: ../benchmarks/README.md -->`` gets the content
of that file, and every link to that file leads to the page. A link to any other file outside of
``docs/`` keeps its text alone: the site has no such page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_PAGE = re.compile(r"<!-- page: (\S+) -->")
_FENCE = re.compile(r"^ *(```+|~~~+)")
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
# A badge or picture as the text of a link.
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#|//")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)


class Repository:
    """The files of the repository that are pages of the site.

    Args:
        documents: The folder of the documentation's sources.
    """

    def __init__(self, documents: Path) -> None:
        self.documents = documents.resolve()
        self.page_by_file: dict[Path, str] = {}
        self.file_by_page: dict[str, Path] = {}
        for page in sorted(self.documents.rglob("*.md")):
            found = _PAGE.match(page.read_text(encoding="utf-8"))
            if found:
                file = (page.parent / found[1]).resolve()
                name = page.relative_to(self.documents).with_suffix("").as_posix()
                self.page_by_file[file], self.file_by_page[name] = name, file

    def read(self, name: str, text: str) -> str:
        """Return the content of a page, whose links lead to pages.

        Args:
            name: The page, its path below the documentation's folder without a suffix.
            text: The page's own file.
        """
        page = self.documents / f"{name}.md"
        file = self.file_by_page.get(name)
        if file is not None:
            text = _FRONT_MATTER.sub("", file.read_text(encoding="utf-8"))
        folder = page.parent if file is None else file.parent
        lines, fence = [], ""
        for line in text.split("\n"):
            mark = _FENCE.match(line)
            if mark and (not fence or mark[1].startswith(fence)):
                fence = "" if fence else mark[1]
            elif not fence:
                line = _LINK.sub(lambda link: self._adapt(link, folder, page.parent), line)
            lines.append(line)
        return "\n".join(lines)

    def _adapt(self, link: re.Match[str], folder: Path, page_folder: Path) -> str:
        """Return a link of a file in `folder` for a page in `page_folder`."""
        target = link["target"]
        if _ELSEWHERE.match(target):
            return link[0]
        path, mark, anchor = target.partition("#")
        file = (folder / path).resolve()
        if file in self.page_by_file:
            name = self.page_by_file[file]
            return f"[{link['text']}](/{name}.md{mark}{anchor})"
        if link["image"] or file.is_relative_to(self.documents):
            relative = Path(os.path.relpath(file, page_folder)).as_posix()
            return f"{link['image']}[{link['text']}]({relative}{mark}{anchor})"
        return link["text"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    repository = Repository(Path(app.srcdir))

    def read(app: Sphinx, name: str, content: list[str]) -> None:
        content[0] = repository.read(name, content[0])
        if name in repository.file_by_page:
            app.env.note_dependency(str(repository.file_by_page[name]))

    def set_dashes(app: Sphinx, document: nodes.document) -> None:
        # Sphinx's own separator of a parameter and its description, for its smart quotes, which are
        # off since they would turn "--help" into a dash.
        for text in list(document.findall(nodes.Text)):
            if text == " -- ":
                text.parent.replace(text, nodes.Text(" – "))

    app.connect("source-read", read)
    app.connect("doctree-read", set_dashes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
