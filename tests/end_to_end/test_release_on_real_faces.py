"""The figures of the released models, reproduced on the real data with the public commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import emotion_models
from emotion_runtime import EmotionClassifier, read_face
from emotion_runtime.pictures import jpeg
from emotion_runtime.pictures.sources import find_pictures
from emotion_train.data.dataset import load_dataset
from emotion_train.recipe import KEEP_DUPLICATES
from emotion_train.report.tables import format_class_table
from synthetic import read_lines


def test_infer_reproduces_the_accuracy_of_the_card(
    infer: Callable[..., Result], fer2013: Path
) -> None:
    metrics = EmotionClassifier().contract.metrics["test"]
    folders = [fer2013 / "test" / name for name in metrics["classes"]]
    always_a_label = ("--min-confidence", "0", "--other-threshold", "1")
    lines = read_lines(infer(*folders, "-f", "jsonl", *always_a_label).stdout)
    assert len(lines) == metrics["pictures"] == 3852
    right = sum(Path(str(line["path"])).parent.name == line["label"] for line in lines)
    assert round(right / len(lines), 6) == metrics["accuracy"]


def test_export_of_the_release_reproduces_its_parity_report(
    export: Callable[..., Result], fer2013: Path, tmp_path: Path
) -> None:
    name = emotion_models.DEFAULT_MODEL
    contract = EmotionClassifier(name).contract
    checkpoint = emotion_models.checkpoint_path(contract.network)
    votes = fer2013.parent / "ferplus" / "votes.csv"
    if not votes.exists():
        pytest.skip(f"no votes: {votes} is missing")
    target = tmp_path / f"{name}.onnx"
    command = re.search(r"^emotion-export .*", emotion_models.card_path(name).read_text(), re.M)
    assert command is not None, "the card has the command"
    labels_and_coverage = command[0][command[0].index("--labels") :].split()
    result = export(
        *(*labels_and_coverage, "--votes", votes),
        *(target, "-c", checkpoint, "-p", contract.precision, "--parity-data", fer2013),
        *(("--calibration", fer2013) if contract.precision == "int8" else ()),
    )
    assert result.exit_code == 0, result.output
    assert EmotionClassifier(target).contract.other_threshold == contract.other_threshold
    released = emotion_models.model_path(name).with_suffix(".parity.json")
    then, now = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (released, target.with_suffix(".parity.json"))
    )
    assert now["faces"] == then["faces"], "the same faces"
    assert now["operators"] == then["operators"]
    for old, new in zip(then["comparisons"], now["comparisons"], strict=True):
        assert new["label_agreement"] == old["label_agreement"]
        assert new["max_logit_difference"] == pytest.approx(old["max_logit_difference"], abs=1e-4)


def test_the_classes_of_fer2013_are_counted_correctly(fer2013: Path) -> None:
    dataset = load_dataset(fer2013, holdout=0.0, duplicates=KEEP_DUPLICATES)
    rows = [line.split() for line in format_class_table(dataset).replace(",", "").splitlines()]
    assert rows[1:] == [
        ["train", "7169", "7169", "7169", "21507"],
        ["copies", "0", "2385", "4044", "6429"],
        ["validation", "46", "46", "46", "138"],
        ["test", "1774", "1247", "831", "3852"],
    ]
    assert dataset.audit.identical_groups == 903
    assert dataset.audit.contradictory_groups == 5
    assert dataset.audit.test_in_train == 327


def test_by_default_no_face_of_fer2013_is_both_trained_and_evaluated_on(fer2013: Path) -> None:
    dataset = load_dataset(fer2013)
    assert dataset.test is not None
    splits = (dataset.train, dataset.validation, dataset.holdout, dataset.test)
    assert [len(faces) for faces in splits] == [12602, 133, 1467, 3852]
    learned = dataset.train.hash_pixels()
    assert len(set(learned)) >= len(learned) - 5  # pictures with two labels
    judged = [one for faces in splits[1:] for one in faces.hash_pixels()]
    assert not set(learned) & set(judged)


def test_the_fast_decoder_reads_fer2013_as_pillow_does(
    fer2013: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    paths = list(find_pictures([str(fer2013 / "test")]))[::5]
    fast = [read_face(path) for path in paths]
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert all(np.array_equal(read_face(p), face) for p, face in zip(paths, fast, strict=True))
