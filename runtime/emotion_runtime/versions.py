"""Find the version of a package, also where its metadata is missing."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

_MODULES = {"Pillow": "PIL"}  # where the module has another name than the package


def find_version(package: str) -> str | None:
    """Return the version of a package; None where it is not known.

    A one-file program has no metadata of its packages, and a build of onnxruntime for a GPU has
    them under another name. The module itself tells its version then, if it has been imported.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        module = sys.modules.get(_MODULES.get(package, package))
        found = getattr(module, "__version__", None)
        return None if found is None else str(found)
