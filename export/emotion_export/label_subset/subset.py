"""The classes of a network that a model file keeps; the others become the output `other`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from emotion_export.errors import ExportError


class ExpectedOutputs(NamedTuple):
    """The outputs that a model file must return, computed from the logits of the network.

    Attributes:
        logits: float32, shape (n, labels).
        probabilities: float64, shape (n, labels); each row adds up to 1.
        other: Sum of the probabilities of the dropped classes in the softmax over all of them,
            float64, shape (n,); None if all classes are kept.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    other: NDArray[np.float64] | None


@dataclass(frozen=True)
class LabelSubset:
    """The classes that a file keeps, and those that it drops.

    Attributes:
        classes: Classes of the network, in the order of its logits.
        kept: Indices of the file's labels among them, in the order of its columns.
    """

    classes: tuple[str, ...]
    kept: tuple[int, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of the file."""
        return tuple(self.classes[index] for index in self.kept)

    @property
    def dropped(self) -> tuple[int, ...]:
        """Return the indices of the classes whose sum is `other`; empty if all are kept."""
        return tuple(index for index in range(len(self.classes)) if index not in self.kept)

    @property
    def other_classes(self) -> tuple[str, ...]:
        """Return the names of these classes."""
        return tuple(self.classes[index] for index in self.dropped)

    def compute_outputs(
        self, logits: NDArray[np.floating[Any]], temperature: float
    ) -> ExpectedOutputs:
        """Return the outputs of the file for logits of the network.

        Args:
            logits: Shape (n, classes).
            temperature: Logits are divided by it before softmax.
        """
        kept = logits[:, self.kept]
        scaled = logits.astype(np.float64) / temperature
        probabilities = softmax(scaled[:, self.kept], axis=1)
        other = softmax(scaled, axis=1)[:, self.dropped].sum(axis=1) if self.dropped else None
        return ExpectedOutputs(kept.astype(np.float32), probabilities, other)

    def map_labels(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the true label of each face from its class; the label ``other`` comes last.

        Args:
            classes: Indices in `self.classes`, shape (n,).
        """
        table = np.full(len(self.classes), len(self.kept), np.int64)
        table[list(self.kept)] = np.arange(len(self.kept))
        return table[classes]


def keep_all(classes: Sequence[str]) -> LabelSubset:
    """Return the subset with all classes."""
    return LabelSubset(tuple(classes), tuple(range(len(classes))))


def keep_labels(classes: Sequence[str], wanted: Sequence[str]) -> LabelSubset:
    """Return the subset with some classes.

    Args:
        classes: Classes of the network, in the order of its logits.
        wanted: Names among them, in the order of the file's columns.

    Raises:
        ExportError: A name is unknown or repeated, there is only one name, or they are all classes.
    """
    known = ", ".join(classes)
    if unknown := [name for name in wanted if name not in classes]:
        raise ExportError(f"the network does not know the label {unknown[0]!r}; it knows {known}.")
    if repeated := [name for name in wanted if list(wanted).count(name) > 1]:
        raise ExportError(f"the label {repeated[0]!r} is given twice.")
    if len(wanted) < 2:
        raise ExportError("a model file has at least two labels; give two or more of the classes.")
    if len(wanted) == len(classes):
        raise ExportError(
            f"the labels are all classes of the network ({known}), so none is left for the output "
            f"other; leave the labels out to keep all classes."
        )
    return LabelSubset(tuple(classes), tuple(list(classes).index(name) for name in wanted))
