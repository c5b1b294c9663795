from __future__ import annotations

import numpy as np
import pytest
import torch

from emotion_train.checkpoint import Checkpoint
from emotion_train.errors import DataError
from emotion_train.faces import Faces
from emotion_train.networks import build_network
from emotion_train.targets import label_targets, mix, teacher_targets
from synthetic import CLASSES, band_face

FACES = Faces(np.stack([band_face(n % 3, n) for n in range(6)]), np.arange(6) % 3, ("",) * 6)


def make_teacher(labels: tuple[str, ...]) -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint("baseline", labels, build_network("baseline", len(labels)).state_dict())


def test_a_mix_keeps_the_label_where_nothing_else_is_known() -> None:
    labels = label_targets(FACES, 3)[:2]
    other = np.array([[0, 0.5, 0.5], [np.nan] * 3], np.float32)
    np.testing.assert_allclose(mix(labels, other, 0.4), [[0.6, 0.2, 0.2], [0, 1, 0]], atol=1e-6)


def test_a_teacher_of_more_classes_is_asked_for_the_students() -> None:
    teacher = make_teacher(("angry", "surprise", "sad", "neutral", "happy"))
    targets = teacher_targets(teacher, FACES, CLASSES, torch.device("cpu"))
    assert targets.shape == (6, 3)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    turned = teacher_targets(teacher, FACES, CLASSES[::-1], torch.device("cpu"))
    np.testing.assert_allclose(turned[:, ::-1], targets, atol=1e-6)


def test_a_mirrored_face_is_taught_the_same() -> None:
    teacher = make_teacher(CLASSES)
    mirrored = Faces(np.ascontiguousarray(FACES.pixels[:, :, ::-1]), FACES.labels, FACES.names)
    one, other = (
        teacher_targets(teacher, faces, CLASSES, torch.device("cpu")) for faces in (FACES, mirrored)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_teacher_that_lacks_a_class_is_refused() -> None:
    with pytest.raises(DataError, match="does not know surprise"):
        teacher_targets(make_teacher(("happy", "sad")), FACES, CLASSES, torch.device("cpu"))
