from __future__ import annotations

import numpy as np

from emotion_train.data.faces import Faces
from emotion_train.training.targets import make_label_targets, mix_targets
from synthetic import band_face

FACES = Faces(np.stack([band_face(n % 3, n) for n in range(6)]), np.arange(6) % 3, ("",) * 6)


def test_mixed_targets_are_the_label_where_there_are_no_others() -> None:
    labels = make_label_targets(FACES, 3)[:2]
    other = np.array([[0, 0.5, 0.5], [np.nan] * 3], np.float32)
    np.testing.assert_allclose(
        mix_targets(labels, other, 0.4), [[0.6, 0.2, 0.2], [0, 1, 0]], atol=1e-6
    )
