"""SHA-256 of files, which identifies the model that made a prediction."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK_BYTES = 2**20  # bytes


def compute_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
