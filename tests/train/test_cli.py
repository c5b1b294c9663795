from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from emotion_train.checkpoints.checkpoint import load_checkpoint
from synthetic import write_data

Train = Callable[..., Result]


@pytest.fixture(scope="module")
def run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One small run, shared by several tests."""
    from click.testing import CliRunner

    from emotion_train.cli import main

    folder = tmp_path_factory.mktemp("run") / "out"
    votes = folder.parent / "votes.csv"
    votes.write_text(
        "path,happiness,sadness,surprise\n"
        + "".join(f"test/happy/{n:03}.png,10,0,0\n" for n in range(8))
    )
    arguments = [str(data_folder), "-o", str(folder), "--epochs", "3", "--holdout", "0.2"]
    arguments += ["--batch-size", "8", "--validation", "46", "--votes", str(votes)]
    return folder, CliRunner().invoke(main, arguments)


@pytest.mark.slow
def test_the_table_of_the_classes_is_printed(run: tuple[Path, Result]) -> None:
    _, result = run
    assert result.exit_code == 0, result.output
    first = [line.split() for line in result.stdout.splitlines()[:6]]
    assert first[0] == ["class", "found", "train", "validation", "hold-out", "test"]
    assert first[1] == ["happy", "78", "19", "46", "5", "8"]
    assert first[4] == ["total", "212", "40", "138", "10", "24"]
    assert first[5] == []
    table = [line.split() for line in result.stdout.splitlines()[6:12]]
    assert table[0] == ["happy", "sad", "surprise", "total"]
    assert table[1] == ["train", "19", "19", "19", "57"]
    assert table[2] == ["copies", "0", "8", "9", "17"]
    assert table[3] == ["validation", "46", "46", "46", "138"]
    assert table[4] == ["hold-out", "5", "3", "2", "10"]
    assert table[5] == ["test", "8", "8", "8", "24"]
    assert "audit: 0 groups of identical pictures" in result.stdout


@pytest.mark.slow
def test_the_next_command_is_shown(run: tuple[Path, Result]) -> None:
    folder, result = run
    last = result.stderr.splitlines()[-1]
    assert last == f"next: emotion-export model.onnx --checkpoint {folder}"


@pytest.mark.slow
def test_history_has_a_row_for_each_epoch(run: tuple[Path, Result]) -> None:
    folder, _ = run
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for column in ("train_loss", "validation_loss", "validation_accuracy", "holdout_accuracy"):
        assert all(np.isfinite(float(row[column])) for row in rows)


@pytest.mark.slow
def test_the_report_is_complete_and_consistent(run: tuple[Path, Result]) -> None:
    folder, _ = run
    figures = json.loads((folder / "report" / "metrics.json").read_text())
    test = figures["test"]
    assert test["pictures"] == 24
    assert sum(map(sum, test["confusion_matrix"])) == 24
    right = sum(test["confusion_matrix"][i][i] for i in range(3))
    assert test["accuracy"] == pytest.approx(right / 24, abs=1e-6)
    assert test["classes"]["sad"]["support"] == 8
    assert test["annotators_agree"]["pictures"] == 8
    assert 0 <= test["calibration_error"] <= 1
    assert figures["confidence"][0]["coverage"] == 1
    text = (folder / "report" / "report.md").read_text()
    assert "| class | precision | recall | F1 | pictures |" in text
    for name in ("loss", "accuracy", "metrics", "predictions", "coverage", "classes"):
        assert f"({name}.png)" in text
        with Image.open(folder / "report" / f"{name}.png") as picture:
            assert min(picture.size) >= 300


@pytest.mark.slow
def test_the_checkpoint_records_its_training(run: tuple[Path, Result]) -> None:
    best = load_checkpoint(run[0])
    assert best.labels == ("happy", "sad", "surprise")
    assert best.metrics["test"]["pictures"] == 24
    assert best.training["recipe"]["epochs"] == 3
    assert best.training["seed"] == 0
    assert len(best.training["data_digest"]) == 64
    assert best.temperature > 0


@pytest.mark.slow
def test_votes_a_teacher_and_a_threshold(
    run: tuple[Path, Result], train: Train, data_folder: Path, tmp_path: Path
) -> None:
    """Train two of the classes with labels, votes and a teacher; the third is unknown."""
    votes = tmp_path / "votes.csv"
    rows = [f"train/happy/{n:03}.png,6,4,0" for n in range(69)] + ["train/happy/069.png,0,0,10"]
    rows += [f"test/sad/{n:03}.png,0,10,0" for n in range(8)]
    votes.write_text("\n".join(["path,happiness,sadness,not_a_face", *rows]) + "\n")
    result = train(
        *(data_folder, "-o", tmp_path / "run", "--network", "edge", "--classes", "happy,sad"),
        *("--epochs", "2", "--batch-size", "8", "--coverage", "0.9", "--validation", "46"),
        *("--votes", votes, "--vote-weight", "0.5", "--teacher", run[0]),
        *("--teacher", run[0] / "best.pt"),
    )
    assert result.exit_code == 0, result.output
    assert "M multiply-adds a face" in result.stderr
    assert "was trained with other held-out faces" in result.stderr
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.training["recipe"]["vote_weight"] == 0.5
    assert checkpoint.training["recipe"]["teacher_weight"] == 0.5
    assert checkpoint.min_confidence >= 0.5
    rows = checkpoint.metrics["confidence"]
    assert set(rows[0]["others"]) == {"surprise"}
    chosen = next(row for row in rows if row["min_confidence"] == checkpoint.min_confidence)
    assert chosen["coverage"] >= 0.9


@pytest.mark.slow
def test_a_run_folder_is_not_overwritten_by_default(
    run: tuple[Path, Result], train: Train, data_folder: Path
) -> None:
    before = (run[0] / "best.pt").read_bytes()
    result = train(data_folder, "-o", run[0], "--epochs", "1")
    assert result.exit_code == 1
    assert "not empty" in result.stderr
    assert (run[0] / "best.pt").read_bytes() == before


@pytest.mark.slow
def test_overwrite_replaces_a_run(train: Train, data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("old")
    common = (data_folder, "-o", tmp_path, "--epochs", "1", "--validation", "46", "-q")
    assert train(*common).exit_code == 1
    result = train(*common, "--overwrite")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert "old" not in (tmp_path / "history.csv").read_text()


@pytest.mark.slow
def test_all_classes_and_any_order(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (50, 50, 50), 2, ("b", "a", "c"))
    arguments = ["--epochs", "1", "--validation", "46", "--classes"]
    result = train(data, "-o", tmp_path / "all", *arguments, "all")
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "all").labels == ("a", "b", "c")
    result = train(data, "-o", tmp_path / "two", *arguments, "c,a")
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "two").labels == ("c", "a")


@pytest.mark.slow
def test_damaged_pictures_are_listed_counted_and_left_out(train: Train, tmp_path: Path) -> None:
    data = write_data(tmp_path / "d", (50, 50, 50), 2)
    (data / "train" / "sad" / "007.png").write_bytes(b"\x89PNG no")
    result = train(data, "-o", tmp_path / "r", "--epochs", "1", "--validation", "46")
    assert result.exit_code == 0, result.output
    assert "007.png" in result.stderr
    assert "skipped: 1 picture could" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "no such folder or file"),
        (["DATA", "--classes", "happy,bored"], 1, "no folder for the class bored"),
        (["DATA", "--classes", ","], 2, "names no class"),
        (["DATA", "--epochs", "0"], 2, "--epochs"),
        (["DATA", "--network", "vast"], 2, "baseline"),
        (["DATA", "--resume", "--overwrite"], 2, "choose one"),
        (["DATA", "--resume"], 1, "no run to resume"),
        (["DATA", "--votes", "gone.csv"], 1, "gone.csv"),
        (["DATA", "--vote-weight", "0.5"], 2, "--vote-weight needs --votes"),
        (["DATA", "--teacher-weight", "0.5"], 2, "--teacher-weight needs --teacher"),
        (["DATA", "--teacher", "gone.pt"], 1, "no such checkpoint"),
        (["DATA", "--validation", "100"], 1, "more than 100 must be there"),
        ([], 2, "DATA"),
    ],
)
def test_bad_input_gives_one_sentence_and_the_exit_code(
    train: Train, data_folder: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    filled = [str(data_folder) if a == "DATA" else a for a in arguments]
    result = train(*filled, "-o", tmp_path / "run")
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_a_learning_rate_that_diverges_is_an_error(
    train: Train, data_folder: Path, tmp_path: Path
) -> None:
    arguments = [
        "--validation",
        "46",
        "--epochs",
        "2",
        "--optimizer",
        "sgd",
        "--learning-rate",
        "1e9",
    ]
    result = train(data_folder, "-o", tmp_path / "r", *arguments)
    assert result.exit_code == 1
    assert "lower it" in result.stderr
