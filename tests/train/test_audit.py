"""``emotion-audit``: wrong labels, copies and poor pictures are found and listed."""

from __future__ import annotations

import csv
import html
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.drawing.fonts import DEFAULT_FONT_PATH
from emotion_train.audit.cli import main
from emotion_train.audit.cross_validation import CrossValidation
from emotion_train.audit.job import AuditFolder
from emotion_train.training.trainer import Row, Trainer
from shortcuts import blank_figures, make_once
from synthetic import band_face, save_face, write_data

Train = Callable[..., Result]
WRONG = {
    "train/happy/w0.png": "surprise",
    "train/happy/w1.png": "surprise",
    "train/sad/w0.png": "happy",
}
TRAININGS = ("--folds", "2", "--epochs", "6")


class Detector:
    """Finds a face in every picture but dark ones; the real one is tested with the parts."""

    def detect(self, pixels: NDArray[np.uint8]) -> list[object]:
        return [] if pixels.max() < 60 else [object()]


def audit(*arguments: object) -> Result:
    target = "emotion_train.audit.picture_quality.open_detector"
    with mock.patch(target, return_value=Detector()):
        return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="emotion-audit")


def write_faulty_data(folder: Path) -> None:
    """Write data with wrong labels, copies, and a file that is no picture."""
    write_data(folder, (26, 24, 22), 4)
    train = folder / "train"
    save_face(train / "happy" / "w0.png", 2, 500)
    save_face(train / "happy" / "w1.png", 2, 501)
    save_face(train / "sad" / "w0.png", 0, 700)
    shutil.copy(folder / "test" / "sad" / "000.png", train / "sad" / "leak.png")
    shutil.copy(train / "surprise" / "000.png", train / "surprise" / "twin.png")
    Image.fromarray(band_face(1, 600) // 8).save(train / "sad" / "dark.png")
    (train / "sad" / "broken.png").write_bytes(b"no picture")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_once(tmp_path_factory, "faulty", write_faulty_data)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    def run(folder: Path) -> None:
        result = audit(data, "-o", folder, *TRAININGS)
        assert result.exit_code == 0, result.output
        (folder / "output.txt").write_text(result.output)

    return make_once(tmp_path_factory, "audit", run)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
class TestAudit:
    def test_the_wrong_labels_come_first_with_the_right_suggestion(self, audited: Path) -> None:
        rows = read_table(audited / "audit.csv")
        assert {row["path"]: row["suggested_label"] for row in rows[:3]} == WRONG
        assert {row["path"] for row in rows if row["label_issue"] == "yes"} == set(WRONG)
        scores = [float(row["score"]) for row in rows]
        assert scores == sorted(scores)
        assert float(rows[0][f"probability_{rows[0]['label']}"]) == scores[0]
        assert len(rows) == 26 + 24 + 22 + 12 + 6

    def test_a_dark_picture_without_a_face_is_listed(self, audited: Path) -> None:
        issues = {row["path"]: row["further_issues"] for row in read_table(audited / "audit.csv")}
        assert {path for path, text in issues.items() if "no face" in text} == {
            "train/sad/dark.png"
        }
        assert issues["train/sad/dark.png"] == "dark; no face"
        assert "dark.png" in (audited / "index.html").read_text()

    def test_the_summary_has_each_class_and_the_confusion(self, data: Path, audited: Path) -> None:
        figures = json.loads((audited / "audit.json").read_text())["figures"]
        assert figures["issues"] == 3
        assert figures["unreadable"] == 1
        happy = figures["classes"]["happy"]
        assert (happy["pictures"], happy["issues"]) == (32, 2)
        assert happy["suggestions"] == {"happy": 30, "sad": 0, "surprise": 2}
        assert 0 < happy["estimated_wrong_share"] < 0.2
        assert figures["classes"]["surprise"]["estimated_wrong_share"] == 0
        output = (audited / "output.txt").read_text()
        assert "label issues       3 of 90 rated pictures (3.3%)" in output
        assert "broken.png: not a picture" in output
        assert "label ↓  suggested →" in output
        assert f"agreement          {87 / 90:.1%} of 90 rated labels equal the suggestion" in output
        assert figures["agreement"] == 87 / 90
        assert f"next: emotion-train {data} --exclude" in output

    def test_copies_are_listed_with_their_names(self, audited: Path) -> None:
        groups: dict[str, list[str]] = {}
        for row in read_table(audited / "copies.csv"):
            assert row["kind"] == "identical"
            groups.setdefault(row["group"], []).append(row["path"])
        assert list(groups.values()) == [
            ["train/sad/leak.png", "test/sad/000.png"],
            ["train/surprise/000.png", "train/surprise/twin.png"],
        ]
        issues = {row["path"]: row["further_issues"] for row in read_table(audited / "audit.csv")}
        assert "copy in another split" in issues["train/sad/leak.png"]
        assert "copy" in issues["train/surprise/twin.png"].split("; ")

    def test_the_page_is_one_file_and_the_sheets_are_there(self, audited: Path) -> None:
        page = (audited / "index.html").read_text()
        assert "train/happy/w0.png" in page
        assert "broken.png" in page
        assert 'src="http' not in page
        assert "<script" not in page
        names = sorted(path.name for path in (audited / "sheets").iterdir())
        assert names == ["01 happy as surprise.png", "02 sad as happy.png"]
        for name in names:
            Image.open(audited / "sheets" / name).verify()

    def test_an_interrupted_audit_continues_to_the_same_result(
        self, data: Path, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finish = Trainer._finish_epoch
        epochs = []

        def stop(trainer: Trainer, folder: object, row: Row) -> None:
            finish(trainer, folder, row)  # type: ignore[arg-type]
            epochs.append(row["epoch"])
            if len(epochs) == 8:  # in the second fold
                raise KeyboardInterrupt

        monkeypatch.setattr(Trainer, "_finish_epoch", stop)
        stopped = audit(data, "-o", tmp_path / "a", *TRAININGS, "--font", DEFAULT_FONT_PATH)
        assert stopped.exit_code == 130
        command = f"emotion-audit {data} -o {tmp_path / 'a'} --resume --font {DEFAULT_FONT_PATH}"
        assert f"interrupted; continue with: {command}" in stopped.output
        assert not (tmp_path / "a" / "audit.csv").exists()
        monkeypatch.setattr(Trainer, "_finish_epoch", finish)
        resumed = audit(data, "-o", tmp_path / "a", "--resume")
        assert resumed.exit_code == 0, resumed.output
        assert "fold 1 of 2: read from the earlier run" in resumed.output
        assert "fold 2 of 2: continued after epoch 2 of 6" in resumed.output
        for name in ("audit.csv", "copies.csv", "index.html"):
            assert (tmp_path / "a" / name).read_bytes() == (audited / name).read_bytes()

    def test_a_damaged_fold_is_trained_again(
        self, data: Path, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = shutil.copytree(audited, tmp_path / "a")
        (folder / "folds" / "fold-1.npz").write_bytes(b"damaged")
        logits = np.load(audited / "folds" / "fold-1.npz")["logits"]
        monkeypatch.setattr(CrossValidation, "_train", lambda *_: logits)
        result = audit(data, "-o", folder, "--resume")
        assert "fold-1.npz: damaged; this fold is trained again" in result.output
        assert (folder / "audit.csv").read_bytes() == (audited / "audit.csv").read_bytes()

    def test_a_finished_run_rates_what_it_held_out(
        self, data: Path, train: Train, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        assert train(data, "-o", run, "--epochs", 4, "--no-test").exit_code == 0
        result = audit(data, "-o", tmp_path / "a", "--from", run)
        assert result.exit_code == 0, result.output
        rows = read_table(tmp_path / "a" / "audit.csv")
        rated = {row["split"] for row in rows if row["score"]}
        assert rated == {"validation", "test"}
        unrated = [row for row in rows if not row["score"]]
        assert {row["split"] for row in unrated} == {"train"}
        assert {row["label_issue"] for row in unrated} == {""}
        without = audit(data, "-o", tmp_path / "b", "--from", run, "--no-test")
        assert without.exit_code == 0
        assert "test" not in {row["split"] for row in read_table(tmp_path / "b" / "audit.csv")}
        resumed = audit(data, "-o", tmp_path / "a", "--resume")
        assert resumed.exit_code == 1
        assert "which has nothing to resume" in resumed.output

    def test_a_run_on_other_data_is_refused(self, data: Path, train: Train, tmp_path: Path) -> None:
        other = write_data(tmp_path / "other", (14, 14, 14), 2)
        assert train(other, "-o", tmp_path / "run", "--epochs", 1).exit_code == 0
        result = audit(data, "-o", tmp_path / "a", "--from", tmp_path / "run")
        assert result.exit_code == 1
        assert "its held-out pictures are not those of" in result.output

    def test_an_audit_of_other_data_is_not_resumed(self, audited: Path, tmp_path: Path) -> None:
        other = write_data(tmp_path / "other", (8, 8, 8), 2)
        folder = shutil.copytree(audited, tmp_path / "a")
        result = audit(other, "-o", folder, "--resume")
        assert result.exit_code == 1
        assert "are not those of the audit to resume" in result.output

    def test_another_setting_is_refused_on_resumption(self, data: Path, audited: Path) -> None:
        for option, value in (("--epochs", 9), ("--folds", 3), ("--seed", 5)):
            result = audit(data, "-o", audited, "--resume", option, value)
            assert result.exit_code == 2
            assert f"was started with another {option}; leave {option} out" in result.output
        result = audit(data, "-o", audited, "--resume", "--no-test")
        assert result.exit_code == 2
        assert "was started without --no-test; leave --no-test out" in result.output

    def test_an_audit_without_the_test_set_is_resumed_without_it(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def guess(number: int, members: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.tile(np.float32([2, 1, 0]), (len(members), 1))

        monkeypatch.setattr(CrossValidation, "_train", lambda _, *values: guess(*values[:2]))
        first = audit(data, "-o", tmp_path / "a", "--folds", 2, "--no-test")
        assert first.exit_code == 0, first.output
        resumed = audit(data, "-o", tmp_path / "a", "--resume")
        assert resumed.exit_code == 0, resumed.output
        assert {row["split"] for row in read_table(tmp_path / "a" / "audit.csv")} == {"train"}
        # Networks that guess are named, and no training without their label issues is suggested.
        for text in (resumed.output, (tmp_path / "a" / "index.html").read_text()):
            assert (
                "the networks agree little with the labels (Cohen's kappa 0.00, below 0.4)"
                in html.unescape(text)
            )
        assert "emotion-train" not in resumed.output

    def test_an_audit_that_another_process_writes(self, data: Path, audited: Path) -> None:
        with AuditFolder(audited).lock():
            result = audit(data, "-o", audited, "--resume")
        assert result.exit_code == 1
        assert "another emotion-audit is writing it; wait until it has ended" in result.output

    def test_votes_are_compared_with_the_ranking(
        self, data: Path, audited: Path, tmp_path: Path
    ) -> None:
        votes = ["path,happiness,sadness,surprise,neutral"]
        column = {"happy": 0, "sad": 1, "surprise": 2}
        for row in read_table(audited / "audit.csv"):
            counts = [0, 0, 0, 2]
            counts[column[WRONG.get(row["path"], row["label"])]] += 8
            votes.append(",".join([row["path"], *map(str, counts)]))
        path = tmp_path / "votes.csv"
        path.write_text("\n".join(votes) + "\n")
        folder = shutil.copytree(audited, tmp_path / "a")
        result = audit(data, "-o", folder, "--resume", "--votes", path)
        assert "AUROC of the score, between these two kinds: 1.000" in result.output
        figures = json.loads((folder / "audit.json").read_text())["figures"]["votes"]
        assert (figures["listed"], figures["agreeing"], figures["contradicting"]) == (90, 87, 3)
        assert figures["first"][0]["another_class"] == 3
        assert "Against the annotators" in (folder / "index.html").read_text()

    def test_the_trainings_leave_no_checkpoints(self, audited: Path) -> None:
        names = sorted(path.name for path in (audited / "folds").iterdir())
        assert names == ["fold-1.npz", "fold-2.npz"]


class TestRefusals:
    def test_a_class_with_fewer_pictures_than_folds(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8, 8, 3), 2)
        result = audit(data, "-o", tmp_path / "a")
        assert result.exit_code == 1
        assert (
            "the class surprise has 3 different pictures to train on, fewer than the 5 folds of "
            "the audit; use --folds 3" in result.output
        )

    def test_copies_count_once_for_the_folds(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8, 8, 1), 0)
        for number in range(9):
            save_face(data / "train" / "surprise" / f"copy{number}.png", 2, 0)
        result = audit(data, "-o", tmp_path / "a")
        assert result.exit_code == 1
        assert "the class surprise has 1 different picture to train on" in result.output

    def test_a_class_alone_in_a_split(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8, 8, 8), 2)
        save_face(data / "test" / "angry" / "0.png", 0)
        result = audit(data, "-o", tmp_path / "a")
        assert result.exit_code == 1
        assert "1 picture of a class 'angry' that" in result.output

    def test_processes_of_torchrun(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for value in ("2", "many"):
            monkeypatch.setenv("WORLD_SIZE", value)
            result = audit(tmp_path, "-o", tmp_path / "a")
            assert result.exit_code == 2
            assert "runs in one process" in result.output

    def test_one_class(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8,), 0, classes=("happy",))
        result = audit(data, "-o", tmp_path / "a")
        assert result.exit_code == 1
        assert "one class (happy) leaves nothing to tell apart" in result.output

    def test_no_data(self, tmp_path: Path) -> None:
        result = audit(tmp_path / "none", "-o", tmp_path / "a")
        assert result.exit_code == 1
        assert "none: no such folder or file." in result.output

    def test_missing_votes_and_votes_of_other_pictures(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8, 8, 8), 0)
        result = audit(data, "-o", tmp_path / "a", "--votes", tmp_path / "none.csv")
        assert "none.csv: no such votes file." in result.output
        votes = tmp_path / "votes.csv"
        votes.write_text("path,happiness,sadness,surprise\nelsewhere.png,1,2,3\n")
        result = audit(data, "-o", tmp_path / "a", "--votes", votes)
        assert result.exit_code == 1
        assert "lists none of the pictures" in result.output
        assert not (tmp_path / "a").exists()

    def test_a_folder_with_other_files_is_not_replaced(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8, 8, 8), 0)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "mine.txt").write_text("mine")
        result = audit(data, "-o", tmp_path / "a")
        assert "a: not empty; choose another folder with -o" in result.output
        result = audit(data, "-o", tmp_path / "a", "--overwrite")
        assert result.exit_code == 1
        assert "not an audit, so that --overwrite does not replace it" in result.output

    def test_an_output_among_the_classes(self, tmp_path: Path) -> None:
        data = write_data(tmp_path / "d", (8, 8, 8), 0)
        result = audit(data, "-o", data / "train" / "audit")
        assert result.exit_code == 1
        assert "whose folders are classes" in result.output

    def test_data_within_the_folder_to_replace(self, tmp_path: Path) -> None:
        result = audit(tmp_path, "-o", tmp_path, "--overwrite")
        assert result.exit_code == 2
        assert "is replaced by it" in result.output

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--resume", "--overwrite"), "choose one"),
            (("--from", "run", "--folds", "3"), "leave --folds out"),
            (("--from", "run", "--epochs", "3"), "leave --epochs out"),
            (("--from", "run", "--class", "a", "--class", "b"), "leave --class out"),
            (("--from", "run", "--resume"), "leave --resume out"),
            (("--folds", "1"), "1 is not in the range"),
        ],
    )
    def test_options_that_exclude_each_other(
        self, arguments: tuple[str, ...], message: str, tmp_path: Path
    ) -> None:
        result = audit(tmp_path, *arguments)
        assert result.exit_code == 2
        assert message in result.output

    def test_several_processes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        result = audit(tmp_path)
        assert result.exit_code == 2
        assert "runs in one process, not in several" in result.output

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        result = audit(tmp_path, "-o", tmp_path / "a", "--resume")
        assert result.exit_code == 1
        assert "a: no audit to resume here." in result.output

    @pytest.mark.parametrize("text", ["{", '{"settings": 3}', '{"settings": {"folds": "many"}}'])
    def test_a_damaged_record(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "audit.json").write_text(text)
        result = audit(tmp_path / "d", "-o", tmp_path, "--resume")
        assert result.exit_code == 1
        assert "audit.json: damaged, the audit cannot be resumed." in result.output

    def test_a_damaged_checkpoint_of_a_run(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "best.pt").write_bytes(b"no")
        data = write_data(tmp_path / "d", (2, 2, 2), 0)
        result = audit(data, "-o", tmp_path / "a", "--from", tmp_path / "run")
        assert result.exit_code == 1
        assert "best.pt" in result.output
        assert result.output.count("\n") == 1


@pytest.mark.slow
def test_a_csv_of_paths_is_audited_too(tmp_path: Path) -> None:
    lines = ["path,label"]
    for label, name in enumerate(("happy", "sad")):
        for number in range(12):
            path = tmp_path / f"{name}{number}.png"
            Image.fromarray(band_face(label, number)).save(path)
            lines.append(f"{path.name},{name}")
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(lines) + "\n")
    with blank_figures():
        result = audit(listed, "-o", tmp_path / "a", "--folds", 2, "--epochs", 3, "-q")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    rows = read_table(tmp_path / "a" / "audit.csv")
    assert {row["path"] for row in rows} == {line.split(",")[0] for line in lines[1:]}
