"""Class weights: the weight of each class in the loss."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from emotion_runtime.errors import shorten_repr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_WEIGHTS = "none"
BALANCED = "balanced"
MAX_WEIGHT = 1e6
MIN_WEIGHT = 1e-6

# A lazy match, so that names may contain commas and equals signs.
_PAIR = re.compile(r"\s*(.+?)\s*=\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(?:,|$)", re.IGNORECASE)


def parse_class_weights(text: str) -> dict[str, float]:
    """Return the weight of each class that ``NAME=W,NAME=W`` names.

    Raises:
        ValueError: The text has another form, names a class twice, or has a weight outside
            `MIN_WEIGHT` to `MAX_WEIGHT`. The message is a sentence without a full stop.
    """
    weights: dict[str, float] = {}
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise ValueError(
                f"{shorten_repr(text)} is neither balanced nor of the form NAME=WEIGHT,…"
            )
        name, number = pair.groups()
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            raise ValueError(
                f"the weight {shorten_repr(number)} of {shorten_repr(name)} is not a number "
                f"from {MIN_WEIGHT:g} to {MAX_WEIGHT:,.0f}"
            )
        if name in weights:
            raise ValueError(f"{shorten_repr(name)} has two weights")
        weights[name] = weight
        position = pair.end()
    return weights


def format_class_weights(weights: Mapping[str, float]) -> str:
    """Return weights as `parse_class_weights` reads them, in the order of the names."""
    return ",".join(f"{name}={weights[name]!r}" for name in sorted(weights))


def check_class_weights(text: str, classes: Sequence[str]) -> None:
    """Check that class weights name only classes of the run.

    Raises:
        ValueError: There is one. The message is a sentence without a full stop.
    """
    if text in (NO_WEIGHTS, BALANCED):
        return
    unknown = [name for name in parse_class_weights(text) if name not in classes]
    if unknown:
        raise ValueError(
            f"no class is named {shorten_repr(unknown[0])}; they are {', '.join(classes)}"
        )


def compute_class_weights(
    text: str, classes: Sequence[str], targets: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Return the weight of each class in the loss, or None for an unweighted loss.

    ``balanced`` is n / (classes × faces of the class), as in scikit-learn. A face with soft labels
    counts for each class by its share. Weights by name are scaled to a mean of 1 over the training
    faces, so that the learning rate keeps its meaning; classes that are not named have a weight of
    1 before scaling.

    Args:
        text: ``none``, ``balanced`` or ``NAME=W,…``.
        classes: Class names in label order.
        targets: float32, shape (n, classes), the training targets.

    Returns:
        float32, shape (classes,).
    """
    import numpy as np  # imported late: --help loads this module too

    if text == NO_WEIGHTS:
        return None
    class_sizes = targets.sum(axis=0, dtype=np.float64)
    if text == BALANCED:
        weights = len(targets) / (len(classes) * np.maximum(class_sizes, 1.0))
    else:
        by_name = parse_class_weights(text)
        weights = np.array([by_name.get(name, 1.0) for name in classes])
        weights *= len(targets) / float(weights @ class_sizes)
    scaled: NDArray[np.float32] = weights.astype(np.float32)
    return scaled
