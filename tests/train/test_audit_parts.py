"""The parts of an audit: copies, folds, the quality of labels and pictures, votes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from emotion_runtime.faces.detectors import open_detector
from emotion_runtime.pictures.preprocessing import read_face
from emotion_train.audit.copies import (
    IDENTICAL,
    NEARLY_IDENTICAL,
    find_copy_groups,
    number_groups,
)
from emotion_train.audit.cross_validation import take_others
from emotion_train.audit.folds import EVERY_FOLD, assign_folds
from emotion_train.audit.label_quality import measure_label_quality
from emotion_train.audit.picture_quality import (
    MIN_FACE_CONFIDENCE,
    has_wrong_size,
    is_blurred,
    is_dark,
    is_light,
    shows_face,
)
from emotion_train.audit.pictures import AuditedPictures
from emotion_train.audit.votes_comparison import compare_with_votes
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "happy_03.png"


def make_pictures(
    pixels: list[NDArray[np.uint8]], labels: list[int], splits: list[str] | None = None
) -> AuditedPictures:
    names = tuple(f"{number}.png" for number in range(len(pixels)))
    return AuditedPictures(
        classes=("a", "b"),
        faces=Faces(np.stack(pixels), np.array(labels, np.int64), names),
        splits=tuple(splits or ["train"] * len(pixels)),
        files=(None,) * len(pixels),
    )


def smooth_face(seed: int) -> NDArray[np.uint8]:
    """Draw a smooth random picture, which survives compression."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC))


def compress(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


class TestCopies:
    def test_identical_and_nearly_identical_pictures_are_grouped(self) -> None:
        first, second, third = smooth_face(0), smooth_face(1), smooth_face(2)
        lighter = (third * 0.7 + 60).astype(np.uint8)
        pixels = [first, second, compress(first), second.copy(), third, lighter, smooth_face(3)]
        pictures = make_pictures(pixels, [0, 0, 1, 0, 1, 1, 0], [*["train"] * 5, "test", "test"])
        groups = find_copy_groups(pictures)
        assert [(group.kind, group.members) for group in groups] == [
            (NEARLY_IDENTICAL, (0, 2)),  # under two labels
            (NEARLY_IDENTICAL, (4, 5)),  # in two splits
            (IDENTICAL, (1, 3)),
        ]
        assert groups[0].is_contradictory
        assert groups[0].labels == ("a", "b")
        assert groups[1].is_leaking
        assert not groups[2].is_contradictory
        assert number_groups(groups, 7).tolist() == [0, 1, 0, 1, 4, 4, 6]

    def test_a_mirror_image_is_a_copy(self) -> None:
        mirrored = np.ascontiguousarray(smooth_face(0)[:, ::-1])
        groups = find_copy_groups(make_pictures([smooth_face(0), mirrored], [0, 1]))
        assert [group.members for group in groups] == [(0, 1)]

    def test_copies_of_copies_are_one_group(self) -> None:
        first = smooth_face(0)
        darker = (first * 0.8).astype(np.uint8)
        pixels = [first, compress(first), compress(darker)]
        assert len(find_copy_groups(make_pictures(pixels, [0, 0, 0]))) == 1

    def test_identical_copies_under_two_labels_are_not_hidden_among_near_ones(self) -> None:
        first, near = smooth_face(0), compress(smooth_face(0))
        pictures = make_pictures([near, first, smooth_face(1), first], [0, 0, 0, 1])
        groups = find_copy_groups(pictures)
        assert [(group.kind, group.members) for group in groups] == [
            (IDENTICAL, (1, 3)),
            (NEARLY_IDENTICAL, (0, 1, 3)),
        ]
        assert number_groups(groups, 4).tolist() == [0, 0, 2, 0]

    def test_pictures_of_one_gray_value_are_no_copies_of_faces(self) -> None:
        flat = [np.full((48, 48), value, np.uint8) for value in (0, 9, 255)]
        assert find_copy_groups(make_pictures([*flat, smooth_face(0)], [0, 0, 0, 0])) == []


class TestFolds:
    def test_each_class_is_spread_and_copies_stay_together(self) -> None:
        pixels = [smooth_face(seed) for seed in range(24)]
        pictures = make_pictures([*pixels, pixels[0]], [0, 1] * 12 + [1])
        groups = number_groups(find_copy_groups(pictures), 25)
        folds = assign_folds(pictures, groups, 3)
        assert folds[0] == folds[24]
        for label in (0, 1):
            members = folds[:24][pictures.faces.labels[:24] == label]
            assert np.bincount(members, minlength=3).tolist() == [4, 4, 4]

    def test_a_test_picture_is_in_the_fold_of_its_copy_or_in_every_fold(self) -> None:
        pixels = [smooth_face(seed) for seed in range(8)]
        splits = ["train"] * 8 + ["test"] * 2
        pictures = make_pictures(
            [*pixels, compress(pixels[3]), smooth_face(99)], [0, 1] * 4 + [1, 0], splits
        )
        folds = assign_folds(pictures, number_groups(find_copy_groups(pictures), 10), 2)
        assert folds[8] == folds[3]
        assert folds[9] == EVERY_FOLD

    def test_no_network_learns_from_its_fold_or_from_a_test_picture(self) -> None:
        pixels = [smooth_face(seed) for seed in range(6)]
        faces = make_pictures([*pixels, pixels[0]], [0, 1] * 3 + [0]).faces
        others = take_others(faces, np.array([0, 0, 1, 1, EVERY_FOLD, 2, 0]), 1)
        assert others.names == ("0.png", "1.png", "5.png")  # the copy only once


def test_label_quality_finds_the_labels_that_were_changed() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 100)
    labels = truth.copy()
    labels[:10] = 1  # a tenth of the first class is labelled as the second
    probabilities = np.full((300, 3), 0.05)
    probabilities[np.arange(300), truth] = rng.uniform(0.8, 0.9, 300)
    probabilities[:10, 0] = 0.97
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    quality = measure_label_quality(labels, probabilities)
    assert np.flatnonzero(quality.is_issue).tolist() == list(range(10))
    assert (quality.suggested[:10] == 0).all()
    assert quality.scores[:10].max() < 0.1 < quality.scores[10:].min()
    assert quality.joint.sum() == pytest.approx(1)
    assert quality.estimate_wrong_shares() == pytest.approx([0, 10 / 110, 0])
    assert quality.estimate_wrong_share() == pytest.approx(10 / 300)


def test_agreement_beyond_chance() -> None:
    labels = np.repeat([0, 1], [30, 10])
    probabilities = np.tile([0.9, 0.1], (40, 1))
    always_first = measure_label_quality(labels, probabilities)
    assert (always_first.measure_agreement(), always_first.measure_kappa()) == (0.75, 0.0)
    probabilities[30:] = [0.1, 0.9]
    assert measure_label_quality(labels, probabilities).measure_kappa() == 1.0
    only_one_class = measure_label_quality(np.zeros(4, np.int64), np.tile([0.9, 0.1], (4, 1)))
    assert only_one_class.measure_kappa() == 0.0


def test_a_class_without_pictures_has_no_share() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]] * 20)
    quality = measure_label_quality(np.array([0, 1] * 20), probabilities)
    assert np.isnan(quality.estimate_wrong_shares()[2])


class TestPictureQuality:
    def test_dark_and_light_pictures(self) -> None:
        face = read_face(SAMPLE)
        assert is_dark((face * 0.25).astype(np.uint8))
        assert is_light(np.clip(face.astype(int) // 32 + 247, 0, 255).astype(np.uint8))
        assert not is_dark(face)
        assert not is_light(face)

    def test_a_blurred_picture_at_any_size_and_contrast(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
        blurred = ImageOps.autocontrast(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(4)))
        for side in (48, 96, 240):
            pixels = np.asarray(blurred.resize((side, side), Image.Resampling.BICUBIC))
            assert is_blurred(pixels)
            assert is_blurred(pixels // 2)
        assert not is_blurred(noise)
        assert not is_blurred(noise // 8)
        assert not is_blurred(np.zeros((48, 48), np.uint8))  # dark, but not blurred

    @pytest.mark.parametrize(
        ("size", "is_wrong"),
        [((48, 48), False), ((600, 480), False), ((47, 60), True), ((200, 90), True)],
    )
    def test_a_wrong_size(self, size: tuple[int, int], is_wrong: bool, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.new("L", size).save(path)
        assert has_wrong_size(path, 48) is is_wrong

    def test_a_row_of_a_csv_has_no_size(self) -> None:
        assert not has_wrong_size(None, 48)

    def test_a_tight_crop_shows_a_face_and_noise_does_not(self) -> None:
        detector = open_detector(threshold=MIN_FACE_CONFIDENCE)
        face = read_face(SAMPLE)
        assert shows_face(face, detector)
        noise = np.random.default_rng(0).permutation(face.ravel()).reshape(face.shape)
        assert not shows_face(noise, detector)


def test_the_ranking_is_compared_with_votes(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    rows = {
        "0.png": "1,9,0,0",  # another class
        "1.png": "9,1,0,0",  # the label
        "2.png": "1,1,5,3",  # none of the classes
        "3.png": "5,3,2,0",  # no majority
        "4.png": "8,1,1,0",  # the label
    }
    for number in range(7, 52):
        rows[f"{number}.png"] = "9,0,0,0"
    text = "".join(f"{name},{counts}\n" for name, counts in rows.items())
    path.write_text(f"path,a,b,neutral,not_a_face\n{text}")
    many = 55
    names = tuple(f"{number}.png" for number in range(many))
    faces = Faces(np.zeros((many, 2, 2), np.uint8), np.zeros(many, np.int64), names)
    scores = np.linspace(0, 1, many)
    found = compare_with_votes(Votes(path, ("a", "b")), faces, scores)
    assert (found.rated, found.listed) == (55, 50)
    assert (found.agreeing, found.contradicting) == (47, 1)
    assert found.auroc == 1.0
    assert len(found.first) == 1
    # The pictures that the file does not list are no part of the first 50.
    first = found.first[0]
    assert (first.pictures, first.another_class, first.none_of_the_classes) == (50, 1, 1)
    assert (first.no_majority, first.label) == (1, 47)
    assert first.precision == 2 / 50
    swapped = scores.copy()
    swapped[0], swapped[1] = scores[1], scores[0]
    assert compare_with_votes(Votes(path, ("a", "b")), faces, swapped).auroc == 46 / 47
