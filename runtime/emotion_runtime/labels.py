"""Check class names: in training, at export, and when a model file is opened.

Labels become columns of a CSV, fields of a JSON line and folder names. A hostile or unlucky label
could hide a column or write outside of a folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from emotion_runtime.errors import shorten_repr
from emotion_runtime.terminal import is_control

# Columns of the results, and the words in place of a label where a picture gets none.
RESERVED_LABELS = frozenset(
    [
        "path",
        "label",
        "confidence",
        "probabilities",
        "error",
        "other",
        "uncertain",
        "unreadable",
        "no face",
        "box",
        "x",
        "y",
        "width",
        "height",
        "detection_confidence",
        "warning",
        "time",
        "frame",
        "face",
    ]
)
_WITHOUT_JOINERS = {0x200C: None, 0x200D: None}  # for emoji and Indic scripts; invisible alone
MAX_LABEL_BYTES = 200  # in UTF-8; most file systems allow 255 for a folder's name

_MAX_SHOWN_CHARACTERS = 100  # characters of a name in a message


def check_labels(labels: Sequence[str]) -> None:
    """Refuse class names that could do harm in the results.

    Args:
        labels: Class names in label order.

    Raises:
        ValueError: A name is reserved, empty, repeated or too long, is ``.`` or ``..``, or
            contains a slash, a backslash, a control character, an invisible character or a lone
            surrogate. The message is one sentence without a full stop, to follow the name of a
            file.
    """
    seen: dict[str, str] = {}
    for label in labels:
        if not isinstance(label, str):
            raise ValueError(f"a class is named {_shorten_label(label)}, which is not text")
        problem = _find_problem(label)
        if problem:
            raise ValueError(f"no class may be named {_shorten_label(label)}: {problem}")
        # Some file systems ignore case, and "é" has two encodings that look the same.
        plain = unicodedata.normalize("NFC", label.translate(_WITHOUT_JOINERS)).casefold()
        if plain in seen:
            one, other = _shorten_label(seen[plain]), _shorten_label(label)
            raise ValueError(f"the classes {one} and {other} cannot be told apart")
        seen[plain] = label


def _shorten_label(label: object) -> str:
    return shorten_repr(label, _MAX_SHOWN_CHARACTERS)


def _find_problem(label: str) -> str | None:
    if not label.strip():
        return "the name is empty"
    if label != label.strip():
        return "it begins or ends with a space"
    if label.translate(_WITHOUT_JOINERS).casefold() in RESERVED_LABELS:
        return "the name is reserved for a column or an outcome of the results"
    if label in (".", ".."):
        return "it names a folder of the file system"
    if "/" in label or "\\" in label:
        return "it contains a path separator"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in label):
        return "it contains a control character or half a character"
    if any(is_control(character) for character in label):
        return "it contains an invisible character, which can reverse or hide text"
    if not label.translate(_WITHOUT_JOINERS):
        return "the name is empty"
    if len(label.encode()) > MAX_LABEL_BYTES:
        return f"it is longer than {MAX_LABEL_BYTES} bytes"
    return None
