"""Configuration of the documentation site, built by ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "sphinx_extensions"))
# The packages of this checkout, wherever another version is installed.
for _folder in ("models", "runtime", "train", "export"):
    sys.path.insert(0, str(HERE.parent / _folder))

import emotion_runtime  # noqa: E402

project = "emotion-edge"
author = "The emotion-edge developers"
copyright = author
version = release = emotion_runtime.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "repository_pages",
]
root_doc = "index"
exclude_patterns = ["sphinx_extensions"]
suppress_warnings = ["myst.header"]  # some files of the repository skip a level of headings
smartquotes = False  # "--help" keeps its hyphens, in tables too
myst_heading_anchors = 4
myst_links_external_new_tab = False

# Docstrings have Markdown's single backticks: names become links, other text becomes code.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False
maximum_signature_line_length = 80

# The theme has no fonts and scripts of other servers; a test checks the built pages.
html_theme = "furo"
html_title = f"emotion-edge {version}"
html_static_path = ["static"]
html_favicon = "static/icon.svg"
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
html_last_updated_fmt = None  # the same sources give the same pages
