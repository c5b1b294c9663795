from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from synthetic import CLASSES, band_model, read_lines, save_face

Infer = Callable[..., Result]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Three good pictures, a damaged one and a text file."""
    folder = tmp_path / "faces"
    for label, name in enumerate(CLASSES):
        save_face(folder / f"{name}.png", label)
    (folder / "broken.png").write_bytes((folder / "sad.png").read_bytes()[:200])
    (folder / "text.jpg").write_text("hello")
    return folder


def good(folder: Path) -> list[Path]:
    return [folder / f"{name}.png" for name in CLASSES]


def test_each_picture_has_a_json_line_and_bad_ones_do_not_end_the_run(
    infer: Infer, model_file: Path, faces: Path
) -> None:
    result = infer(faces, "-m", model_file, "-f", "jsonl")
    lines = read_lines(result.stdout)
    assert [line["label"] for line in lines] == [None, "happy", "sad", "surprise", None]
    assert list(lines[1]) == ["path", "label", "confidence", "probabilities", "error"]
    assert lines[1]["path"] == str(faces / "happy.png")
    assert lines[1]["error"] is None
    assert lines[0]["confidence"] is None
    assert lines[0]["probabilities"] is None
    assert "broken.png" in str(lines[0]["error"])
    assert result.exit_code == 1
    assert "2 could not be read" in result.stderr


def test_all_formats_have_the_same_values(infer: Infer, model_file: Path, faces: Path) -> None:
    arguments = [*good(faces), "-m", model_file, "-f"]
    lines = read_lines(infer(*arguments, "jsonl").stdout)
    assert json.loads(infer(*arguments, "json").stdout) == lines
    rows = list(csv.DictReader(io.StringIO(infer(*arguments, "csv").stdout)))
    assert list(rows[0]) == ["path", "label", "confidence", *CLASSES, "error"]
    assert [row["label"] for row in rows] == [line["label"] for line in lines]
    assert float(rows[0]["happy"]) == pytest.approx(lines[0]["probabilities"]["happy"])  # type: ignore[index]
    table = infer(*arguments, "table").stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == list(CLASSES)
    assert len({line.index(str(faces)) for line in table[1:]}) == 1, "columns are aligned"


def test_paths_come_from_standard_input(infer: Infer, model_file: Path, faces: Path) -> None:
    result = infer("-", "-m", model_file, "-f", "jsonl", input="\n".join(map(str, good(faces))))
    assert [line["label"] for line in read_lines(result.stdout)] == list(CLASSES)
    assert result.exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX names")
def test_unusual_names_are_kept(infer: Infer, model_file: Path, tmp_path: Path) -> None:
    names = ["sp ace.png", 'quo"te,.png', "new\nline.png", "лицо 顔.png"]
    for name in names:
        save_face(tmp_path / "f" / name, 0)
    lines = read_lines(infer(tmp_path / "f", "-m", model_file, "-f", "jsonl").stdout)
    assert sorted(Path(str(line["path"])).name for line in lines) == sorted(names)
    rows = csv.DictReader(io.StringIO(infer(tmp_path / "f", "-m", model_file, "-f", "csv").stdout))
    assert sorted(Path(row["path"]).name for row in rows) == sorted(names)
    table = infer(tmp_path / "f", "-m", model_file).stdout
    assert len(table.splitlines()) == 1 + len(names)


def test_an_output_file_is_complete_or_not_written(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    target = tmp_path / "predictions.csv"
    result = infer(*good(faces), "-m", model_file, "-f", "csv", "-o", target)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert len(target.read_text().splitlines()) == 4
    missing = infer(*good(faces), "-m", model_file, "-o", tmp_path / "no" / "x.csv")
    assert missing.exit_code == 1
    assert "cannot be written" in missing.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faces", "predictions.csv"]


def test_a_dash_is_standard_output(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = infer(*good(faces), "-m", model_file, "-f", "csv", "-o", "-")
    assert len(result.stdout.splitlines()) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]
    assert infer("x", "-f", "jsonl", "-o", "-", "--resume").exit_code == 2


def test_quiet_prints_only_results(infer: Infer, model_file: Path, faces: Path) -> None:
    result = infer(*good(faces), "-m", model_file, "-q", "-f", "jsonl")
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 3


def test_describe_and_self_test(infer: Infer, model_file: Path, tmp_path: Path) -> None:
    described = json.loads(infer("--describe", "-m", model_file).stdout)
    assert described["labels"] == list(CLASSES)
    assert described["input"]["size"] == 48
    passed = infer("--self-test", "-m", model_file)
    assert passed.exit_code == 0
    assert "self-test passed: 3 golden inputs" in passed.stdout
    bad = band_model(tmp_path / "bad.onnx", golden_offset=1.0)
    failed = infer("--self-test", "-m", bad)
    assert failed.exit_code == 1
    assert "self-test failed" in failed.stderr


def test_wrong_usage_is_2_and_failure_is_1(infer: Infer, model_file: Path, tmp_path: Path) -> None:
    assert infer().exit_code == 2
    assert infer("x.png", "-f", "xml").exit_code == 2
    assert infer("x.png", "-b", "0").exit_code == 2
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        (["x.png", "-m", "no_such_model"], "no such model file"),
        (["gone.png", "-m", model_file], "No such file"),
        ([tmp_path / "empty", "-m", model_file], "no pictures in this folder"),
    ]:
        result = infer(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert "Traceback" not in result.output


def test_an_empty_folder_does_not_end_the_run(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = infer(tmp_path / "empty", *good(faces), "-m", model_file, "-f", "jsonl")
    assert len(result.stdout.splitlines()) == 3
    assert result.exit_code == 1


def run_infer(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "emotion_runtime", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


def test_a_closed_pipe_is_not_an_error(model_file: Path, faces: Path) -> None:
    paths = [*good(faces)] * 2000  # more than fits into a pipe
    process = run_infer(*paths, "-m", model_file, "-f", "jsonl", "-q", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_gives_one_sentence(model_file: Path, faces: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = run_infer(*good(faces), "-m", model_file, "-f", "jsonl", "-q", stdout=full)
        _, error = process.communicate()
    assert process.returncode == 1
    assert b"No space left" in error
    assert b"Traceback" not in error


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_a_name_that_is_not_utf8_keeps_its_bytes(model_file: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    save_face(tmp_path / "a.png", 1).rename(os.fsdecode(name))
    process = run_infer(os.fsdecode(name), "-m", model_file, "-f", "jsonl", stdout=subprocess.PIPE)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert os.fsencode(json.loads(out)["path"]) == name
