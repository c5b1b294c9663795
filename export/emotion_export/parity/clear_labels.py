"""Find the faces with a clear label, for which another label is an error and no rounding.

If a network gives two labels nearly the same probability, a file in fp16 or int8 may choose the
other one because of rounding, and both are right about equally often. The share of such faces
depends on the task: it is 2 % of the held-out faces for the three released labels, and 17 % for
the seven classes of FER2013. A limit on the labels of all faces would therefore refuse good files
with many classes: the int8 file of seven classes changed 1.2 % of all labels and lost no accuracy,
and no changed label had a margin above 0.03. A file with wrong ranges changes clear labels too.
The tests of accuracy and recall cover the other faces: they count every face.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CLEAR_MARGIN = 0.1  # between the probabilities of the two most probable labels


def find_clear_labels(
    probabilities: NDArray[np.floating[Any]],
    other: NDArray[np.floating[Any]] | None = None,
    other_threshold: float | None = None,
) -> NDArray[np.bool_]:
    """Return which faces have a clear label, bool, shape (n,).

    Args:
        probabilities: Of the float network, shape (n, labels), at least two labels.
        other: Its output `other`, shape (n,); None without this output.
        other_threshold: From this value of `other` on, the label is ``other``. A label is clear
            if `other` is at least half of `CLEAR_MARGIN` away from it: the difference of two
            probabilities that add up to 1 changes twice as fast as each of them.
    """
    largest = np.partition(probabilities, -2, axis=1)[:, -2:]
    clear: NDArray[np.bool_] = largest[:, 1] - largest[:, 0] >= CLEAR_MARGIN
    if other is None or other_threshold is None or other_threshold >= 1:
        return clear
    # If a face is labelled other, the order of the labels does not matter.
    clear |= other >= other_threshold
    clear &= np.abs(other - other_threshold) >= CLEAR_MARGIN / 2
    return clear
