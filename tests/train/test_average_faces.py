from __future__ import annotations

import numpy as np
import pytest

from emotion_train.data.faces import Faces
from emotion_train.report.average_faces import MIN_FACES_PER_AVERAGE, make_average_faces
from synthetic import band_face


def make_faces(count: int, copies: int = 0) -> Faces:
    pixels = [band_face(1, seed) for seed in range(count)] + [band_face(1, 0)] * copies
    labels = np.ones(len(pixels), np.int64)
    return Faces(np.stack(pixels), labels, tuple(map(str, range(len(pixels)))))


def test_an_average_shows_the_class_and_no_single_face() -> None:
    faces = make_faces(60)
    averages = make_average_faces(faces, 1, 2)
    assert averages.shape == (2, 48, 48)
    assert averages.dtype == np.uint8
    assert averages[0][16:32].mean() > averages[0][:16].mean() + 100
    apart = np.abs(faces.pixels.astype(int) - averages[0]).mean(axis=(1, 2))
    assert apart.min() > 15
    np.testing.assert_array_equal(averages, make_average_faces(faces, 1, 2))


def test_too_few_faces_give_no_average() -> None:
    assert len(make_average_faces(make_faces(MIN_FACES_PER_AVERAGE - 1), 1, 4)) == 0
    assert len(make_average_faces(make_faces(30), 0, 4)) == 0


def test_copies_of_one_photograph_count_once() -> None:
    assert len(make_average_faces(make_faces(10, copies=60), 1, 4)) == 0


def test_fewer_than_24_faces_an_average_are_refused() -> None:
    with pytest.raises(ValueError, match="could show a person"):
        make_average_faces(make_faces(30), 1, 1, per_average=2)
