"""Training, export and inference with the three commands, on synthetic faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from emotion_runtime import read_face
from emotion_train.checkpoints.checkpoint import load_checkpoint
from synthetic import read_lines, save_face, write_data


@pytest.mark.slow
@pytest.mark.parametrize(("network", "size"), [("baseline", 48), ("edge", 64)])
def test_the_exported_model_predicts_the_labels_of_the_network(
    train: Callable[..., Result],
    export: Callable[..., Result],
    evaluate: Callable[..., Result],
    infer: Callable[..., Result],
    tmp_path: Path,
    network: str,
    size: int,
) -> None:
    data = write_data(tmp_path / "data", (40, 40, 40), 10)
    arguments = [
        "--network",
        network,
        "--size",
        str(size),
        "--epochs",
        "5",
        "--batch-size",
        "8",
        "--validation",
        "10",
    ]
    trained = train(data, "-o", tmp_path / "run", *arguments, "--augmentation", "light")
    assert trained.exit_code == 0, trained.output
    exported = export(tmp_path / "model.onnx", "-c", tmp_path / "run")
    assert exported.exit_code == 0, exported.output

    evaluated = evaluate(data / "test", "-m", tmp_path / "model.onnx", "-f", "json")
    report = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["test"]
    figures = json.loads(evaluated.stdout)
    of_training = {"calibration", "calibration_error_before"}  # how the temperature was fitted
    assert of_training <= set(report)
    exact = set(report) - of_training - {"calibration_error", "cross_entropy"}
    assert {name: figures[name] for name in exact} == {name: report[name] for name in exact}
    for name in ("calibration_error", "cross_entropy"):
        assert figures[name] == pytest.approx(report[name], abs=1e-5)

    # Large pictures of another shape than the network's input.
    for label in range(3):
        save_face(data / "test" / "large" / f"{label}.png", label, size=300)
    result = infer(data / "test", "-m", tmp_path / "model.onnx", "-f", "jsonl")
    assert result.exit_code == 0, result.output
    lines = read_lines(result.stdout)
    assert len(lines) == 33

    checkpoint = load_checkpoint(tmp_path / "run")
    faces = np.stack([read_face(str(line["path"]), size) for line in lines])[:, np.newaxis]
    with torch.inference_mode():
        predicted = checkpoint.build()(torch.from_numpy(faces)).argmax(dim=1).tolist()
    assert [line["label"] for line in lines] == [checkpoint.labels[label] for label in predicted]
    named = [line for line in lines if Path(str(line["path"])).parent.name != "large"]
    right = sum(line["label"] == Path(str(line["path"])).parent.name for line in named)
    assert right / len(named) > 0.9, "the bands are easy to tell apart"


@pytest.mark.slow
def test_only_the_test_set_of_flat_data_is_evaluated(
    train: Callable[..., Result],
    export: Callable[..., Result],
    evaluate: Callable[..., Result],
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    for label, name in enumerate(("first", "second")):
        for number in range(40):
            save_face(data / name / "more" / f"{number}.png", label, number)
    options = ("--network", "edge", "--epochs", "2", "--batch-size", "8")
    trained = train(data, "-o", tmp_path / "run", *options)
    assert trained.exit_code == 0, trained.output
    splits = tmp_path / "run" / "report" / "splits.csv"
    assert splits.read_text().startswith("path,label,split\n")
    assert export(tmp_path / "model.onnx", "-c", tmp_path / "run").exit_code == 0
    report = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["test"]

    chosen = evaluate(data, "-m", tmp_path / "model.onnx", "-f", "json", "--splits", splits)
    assert chosen.exit_code == 0, chosen.output
    figures = json.loads(chosen.stdout)
    assert figures["pictures"] == report["pictures"] == 12
    assert figures["confusion_matrix"] == report["confusion_matrix"]
    assert figures["outside_split"] == 68
    assert "68 pictures left out: not in the test set" in chosen.stderr

    (data / "first" / "more").rename(tmp_path / "gone")
    lost = evaluate(data, "-m", tmp_path / "model.onnx", "-f", "json", "--splits", splits)
    assert "6 pictures of the test set not found here" in lost.stderr
    other = evaluate(data, "-m", tmp_path / "model.onnx", "--splits", data / "nothing.csv")
    assert (other.exit_code, "no such file" in other.stderr) == (1, True)
