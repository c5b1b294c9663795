from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import emotion_models
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.errors import DataError
from emotion_train.networks import build_network
from emotion_train.training.teacher import Teacher, load_teacher_network
from synthetic import CLASSES, band_face

PIXELS = torch.from_numpy(np.stack([band_face(n % 3, n) for n in range(6)])[:, None])
CPU = torch.device("cpu")


def write_run(path: Path, labels: tuple[str, ...]) -> str:
    torch.manual_seed(0)
    Checkpoint("baseline", labels, build_network("baseline", len(labels)).state_dict()).save(path)
    return str(path)


def test_a_teacher_with_more_classes_gives_targets_of_the_students_classes(tmp_path: Path) -> None:
    labels = ("angry", "surprise", "sad", "neutral", "happy")
    member = load_teacher_network(write_run(tmp_path / "five.pt", labels), CPU)
    targets = Teacher([member], CLASSES, 48).predict(PIXELS)
    assert targets.shape == (6, 3)
    assert targets.dtype == torch.float32
    np.testing.assert_allclose(targets.sum(dim=1), 1, atol=1e-6)
    reversed_targets = Teacher([member], CLASSES[::-1], 48).predict(PIXELS)
    np.testing.assert_allclose(reversed_targets.flip(1), targets, atol=1e-6)


def test_several_teachers_give_the_mean_of_their_targets(tmp_path: Path) -> None:
    one = load_teacher_network(write_run(tmp_path / "one.pt", CLASSES), CPU)
    other = load_teacher_network("edge", CPU)
    shares = [Teacher([member], CLASSES, 48).predict(PIXELS) for member in (one, other)]
    both = Teacher([one, other], CLASSES, 48).predict(PIXELS)
    np.testing.assert_allclose(both, (shares[0] + shares[1]) / 2, atol=1e-6)


def test_a_released_model_gives_the_targets_of_its_checkpoint() -> None:
    checkpoint = emotion_models.checkpoint_path("edge")
    by_name, by_checkpoint = (
        Teacher([load_teacher_network(source, CPU)], CLASSES, 48).predict(PIXELS)
        for source in ("edge", str(checkpoint))
    )
    np.testing.assert_allclose(by_name, by_checkpoint, atol=1e-5)


def test_a_teacher_that_lacks_a_class_is_refused(tmp_path: Path) -> None:
    member = load_teacher_network(write_run(tmp_path / "two.pt", ("happy", "sad")), CPU)
    with pytest.raises(DataError, match=r"two\.pt: does not know surprise; a teacher"):
        Teacher([member], CLASSES, 48)
