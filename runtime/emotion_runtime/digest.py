"""SHA-256 of files: which model gave an answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PART = 2**20  # bytes


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()
