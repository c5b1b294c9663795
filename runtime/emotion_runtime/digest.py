"""SHA-256 of files: which model gave an answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PART_BYTES = 2**20  # bytes


def compute_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            digest.update(part)
    return digest.hexdigest()
