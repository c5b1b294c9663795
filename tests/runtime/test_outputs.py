"""Sorted folders, contact sheets and resumed runs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from emotion_runtime import EmotionClassifier
from emotion_runtime.infer.job import Job
from synthetic import CLASSES, band_model, read_lines, save_face

Infer = Callable[..., Result]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two pictures of each class in class folders, and a damaged one."""
    folder = tmp_path / "faces"
    for label in range(3):
        for number in range(2):
            save_face(folder / f"album {number}" / f"{label}.png", label, number)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def relative(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


EXPECTED = sorted(f"{CLASSES[n]}/album {a}/{n}.png" for n in range(3) for a in range(2))


@pytest.mark.parametrize("link", [False, True])
def test_pictures_are_sorted_into_class_folders(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path, link: bool
) -> None:
    target = tmp_path / "sorted"
    arguments = [faces, "-m", model_file, "--sort-into", target, *(["--link"] if link else [])]
    for _ in range(2):  # a second run changes nothing
        assert infer(*arguments).exit_code == 1  # one picture is damaged
        assert relative(target) == EXPECTED
    for name in EXPECTED:
        assert (target / name).is_symlink() == link
        source = faces / name.partition("/")[2]
        assert (target / name).read_bytes() == source.read_bytes()


def test_sorting_replaces_no_other_picture(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    other = save_face(tmp_path / "sorted" / "happy" / "album 0" / "0.png", 2)
    before = other.read_bytes()
    result = infer(faces, "-m", model_file, "--sort-into", tmp_path / "sorted")
    assert result.exit_code == 1
    assert "is another picture already" in result.stderr
    assert other.read_bytes() == before


def test_sorting_into_an_input_folder_is_refused(
    infer: Infer, model_file: Path, faces: Path
) -> None:
    result = infer(faces, "-m", model_file, "--sort-into", faces / "sorted")
    assert result.exit_code == 1
    assert "lies in" in result.stderr
    assert not (faces / "sorted").exists()


def test_the_next_command_after_sorting_is_shown(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    target = tmp_path / "sorted by label"
    arguments = [faces / "album 0", "-m", model_file, "--sort-into", target]
    result = infer(*arguments)
    assert result.stderr.splitlines()[-1] == (
        f"sorted pictures are in {target}; move those that are wrong; "
        f"next: emotion-eval '{target}' -m {model_file}"
    )
    assert infer(*arguments, "-q").stderr == ""
    result = infer(*arguments[:-1], tmp_path / "strict", "--min-confidence", "0.9")
    assert result.stderr.splitlines()[-1].endswith(f" -m {model_file} --min-confidence 0.9")


def test_a_contact_sheet_is_drawn(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    infer(faces, "-m", model_file, "--contact-sheet", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 600
        assert len(np.unique(np.asarray(sheet.convert("L")))) > 50


def test_a_contact_sheet_of_many_is_a_sample(
    infer: Infer, model_file: Path, faces: Path, tmp_path: Path
) -> None:
    paths = [faces / "album 0" / "0.png"] * 300
    sizes = []
    for count in (120, 300):
        result = infer(*paths[:count], "-m", model_file, "--contact-sheet", tmp_path / "s.png")
        assert result.exit_code == 0
        with Image.open(tmp_path / "s.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[0] == sizes[1]


def test_strict_stops_at_the_first_bad_picture(infer: Infer, model_file: Path, faces: Path) -> None:
    arguments = [faces / "album 0", faces / "broken.png", faces / "album 1", "-m", model_file]
    result = infer(*arguments, "--strict", "-f", "jsonl", "-b", "2")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_null_terminated_paths_may_contain_line_breaks(
    infer: Infer, model_file: Path, tmp_path: Path
) -> None:
    path = save_face(tmp_path / "a\nb.png", 1)
    result = infer("-", "-0", "-m", model_file, "-f", "jsonl", input=f"{path}\0{path}\0")
    assert [line["path"] for line in read_lines(result.stdout)] == [str(path)] * 2


def test_a_pattern_that_the_shell_did_not_expand_is_expanded(
    infer: Infer, model_file: Path, faces: Path
) -> None:
    result = infer(faces / "album*" / "1.png", "-m", model_file, "-f", "jsonl")
    assert [line["label"] for line in read_lines(result.stdout)] == ["sad", "sad"]
    nothing = infer(faces / "no*.png", "-m", model_file, "-f", "jsonl")
    assert nothing.exit_code == 1
    assert "No such file" in nothing.stdout


def test_files_that_are_not_pictures_are_counted(
    infer: Infer, model_file: Path, faces: Path
) -> None:
    (faces / "notes.txt").write_text("hello")
    save_face(faces / ".hidden.png", 0)
    result = infer(faces, "-m", model_file)
    assert "2 other files passed over" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume needs -f jsonl and -o"),
        (["--resume", "-f", "csv", "-o", "x.csv"], "--resume needs -f jsonl and -o"),
        (["--link"], "--link needs --sort-into"),
        (["--contact-sheet", "x.txt"], ".png, .jpg or .webp"),
    ],
)
def test_options_that_need_others_are_refused_without_them(
    infer: Infer, arguments: list[str], message: str
) -> None:
    result = infer("x.png", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


class TestResume:
    """A killed run is resumed without repeating or losing a picture."""

    def command(self, model: Path, faces: Path, output: Path) -> list[str]:
        arguments = [faces, "-m", model, "-f", "jsonl", "-o", output, "--resume", "-b", "3", "-q"]
        return [sys.executable, "-m", "emotion_runtime", *map(str, arguments)]

    @pytest.mark.slow
    def test_killed_at_random_moments(self, model_file: Path, tmp_path: Path) -> None:
        faces, output = tmp_path / "faces", tmp_path / "predictions.jsonl"
        first = save_face(faces / "00000.png", 1)
        for number in range(1, 4000):
            (faces / f"{number:05}.png").hardlink_to(first)
        partial = output.with_name("predictions.jsonl.partial")
        moments, kills = random.Random(0), 0
        for _ in range(4):
            process = subprocess.Popen(self.command(model_file, faces, output))
            begun = partial.stat().st_size if partial.exists() else 0
            while process.poll() is None:
                if partial.exists() and partial.stat().st_size > begun:
                    time.sleep(moments.uniform(0, 0.05))
                    process.kill()
                    kills += process.wait() != 0
                    break
                time.sleep(0.002)
        assert kills, "every run ended before it could be killed"
        subprocess.run(self.command(model_file, faces, output), check=True)
        lines = read_lines(output.read_text())
        assert [line["path"] for line in lines] == [str(faces / f"{n:05}.png") for n in range(4000)]
        assert not partial.exists()

    def test_the_picture_of_an_incomplete_last_line_is_repeated(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "a.jsonl"
        arguments = [faces, "-m", model_file, "-f", "jsonl", "-o", output, "--resume"]
        infer(*arguments)
        whole = output.read_bytes()
        output.unlink()
        (tmp_path / "a.jsonl.partial").write_bytes(whole[: len(whole) // 2])
        result = infer(*arguments)
        assert "continuing after" in result.stderr
        assert output.read_bytes() == whole

    def arguments(self, model: Path, faces: Path, output: Path) -> list[object]:
        return [faces, "-m", model, "-f", "jsonl", "-o", output, "--resume"]

    def interrupt(self, output: Path, lines: int) -> bytes:
        """Cut a complete output off as a killed run would; return the complete text."""
        whole = output.read_bytes()
        output.unlink()
        kept = whole.splitlines(keepends=True)[:lines]
        output.with_name(output.name + ".partial").write_bytes(b"".join(kept) + b'{"path": "x')
        return whole

    def test_other_pictures_are_refused(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "a.jsonl"
        arguments = self.arguments(model_file, faces, output)
        infer(*arguments)
        whole = self.interrupt(output, 3)
        (faces / "album 0" / "1.png").unlink()
        result = infer(*arguments)
        assert result.exit_code == 1
        assert "not those of the interrupted run" in result.stderr
        lines = whole.splitlines(keepends=True)[:3]
        assert (tmp_path / "a.jsonl.partial").read_bytes() == b"".join(lines)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (["-m", "other"], "model_sha256"),
            (["--min-confidence", "0.9"], "min_confidence 0.0 instead of 0.9"),
            (["--faces"], "faces false instead of true"),
            (["--faces", "--largest"], "largest false instead of true"),
            (["--faces", "--min-face", "50"], "min_face null instead of 50"),
        ],
    )
    @pytest.mark.parametrize("complete", [False, True])
    def test_a_run_with_other_settings_is_not_resumed(
        self,
        infer: Infer,
        model_file: Path,
        faces: Path,
        tmp_path: Path,
        change: list[str],
        message: str,
        complete: bool,
    ) -> None:
        output = tmp_path / "a.jsonl"
        arguments = self.arguments(model_file, faces, output)
        infer(*arguments)
        if not complete:
            self.interrupt(output, 3)
        before = {path: path.read_bytes() for path in tmp_path.glob("a.jsonl*")}
        other = band_model(tmp_path / "other.onnx", metadata={"training": '{"seed": 1}'})
        result = infer(*arguments, *[str(other) if one == "other" else one for one in change])
        assert result.exit_code == 1
        assert message in result.stderr
        assert "name another file, or remove this one" in result.stderr
        assert {path: path.read_bytes() for path in tmp_path.glob("a.jsonl*")} == before

    def test_lines_without_their_settings_are_refused(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        """Lines of an earlier version, or of another run."""
        output = tmp_path / "a.jsonl"
        arguments = self.arguments(model_file, faces, output)
        for name in ("a.jsonl.partial", "a.jsonl"):
            (tmp_path / name).write_text(json.dumps({"path": "other.png"}) + "\n")
            result = infer(*arguments)
            assert result.exit_code == 1
            assert f"{tmp_path / name}: exists, but the settings" in result.stderr
            assert "Remove it to start again" in result.stderr
            assert (tmp_path / name).read_text() == '{"path": "other.png"}\n'
            assert [path.name for path in tmp_path.glob("a.jsonl*")] == [name]
            (tmp_path / name).unlink()

    def test_a_complete_output_is_not_classified_again(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        output, sheet = tmp_path / "a.jsonl", tmp_path / "sheet.png"
        arguments = self.arguments(model_file, faces, output)
        first = infer(*arguments)
        whole, written = output.read_bytes(), output.stat().st_mtime_ns
        result = infer(*arguments, "--contact-sheet", sheet)
        assert "complete already" in result.stderr
        assert first.stderr.strip() in result.stderr, "the summary is the same"
        assert result.exit_code == first.exit_code == 1, "one picture is damaged"
        assert sheet.is_file()
        assert (output.read_bytes(), output.stat().st_mtime_ns) == (whole, written)
        assert not list(tmp_path.glob("*.partial"))
        late = save_face(faces / "late.png", 0)
        more = infer(*arguments)
        assert more.exit_code == 1
        assert f"is complete, but has no line of {late}" in more.stderr
        late.unlink()
        output.write_bytes(whole[:-1])
        assert "has been changed since it was complete" in infer(*arguments).stderr

    @pytest.mark.parametrize("complete", [False, True])
    def test_pictures_that_changed_after_their_results_are_counted(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path, complete: bool
    ) -> None:
        output = tmp_path / "a.jsonl"
        arguments = self.arguments(model_file, faces, output)
        infer(*arguments)
        if not complete:
            self.interrupt(output, 4)
        written = output if complete else tmp_path / "a.jsonl.partial"
        for path in (*faces.rglob("*.png"), written):
            os.utime(path, (1e9, 1e9))
        assert "changed after" not in infer(*arguments).stderr
        if not complete:
            self.interrupt(output, 4)
            os.utime(written, (1e9, 1e9))
        first = json.loads(written.read_text().splitlines()[0])["path"]
        os.utime(first, (1e9 + 1, 1e9 + 1))
        result = infer(*arguments)
        assert "warning: 1 picture changed after the results" in result.stderr
        assert f"(such as {first})" in result.stderr

    def test_settings_are_those_of_the_model_that_was_opened(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        """The file may have been replaced since."""
        classifier = EmotionClassifier(model_file)
        digest = hashlib.sha256(model_file.read_bytes()).hexdigest()
        band_model(model_file, metadata={"training": '{"seed": 1}'})
        output = tmp_path / "a.jsonl"
        job = Job(classifier, (str(faces),), print, format_name="jsonl", output=output, resume=True)
        job.run()
        settings = json.loads((tmp_path / "a.jsonl.settings.json").read_text())["settings"]
        assert settings["model_sha256"] == digest

    def test_summary_sheet_and_folders_cover_the_interrupted_run_too(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        output, folder = tmp_path / "a.jsonl", tmp_path / "sorted"
        arguments = self.arguments(model_file, faces, output)
        sheets = [tmp_path / "0.png", tmp_path / "1.png"]
        first = infer(*arguments, "--contact-sheet", sheets[0])
        self.interrupt(output, 4)
        result = infer(*arguments, "--contact-sheet", sheets[1], "--sort-into", folder)
        *told, _ = result.stderr.splitlines()  # the last line suggests the next command
        assert told == ["continuing after 4 pictures", *first.stderr.splitlines()]
        assert sheets[0].read_bytes() == sheets[1].read_bytes()
        assert relative(folder) == EXPECTED

    def test_crops_that_an_earlier_run_did_not_write_are_reported(
        self, infer: Infer, tmp_path: Path
    ) -> None:
        photograph = Path(__file__).parents[2] / "docs" / "faces.png"
        output, crops = tmp_path / "a.jsonl", tmp_path / "crops"
        arguments = [photograph, "--faces", "-f", "jsonl", "-o", output, "--resume"]
        infer(*arguments)
        result = infer(*arguments, "--crops", crops)
        assert result.exit_code == 1
        assert "faces.png_1.png: not written: an earlier run classified it" in result.stderr
        assert "5 outputs could not be written" in result.stderr
        assert not crops.exists()

    def test_a_second_process_is_refused(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "a.jsonl"
        command = self.command(model_file, Path("-"), output)
        picture = f"{faces / 'album 0' / '0.png'}\n"
        with subprocess.Popen(command, stdin=subprocess.PIPE) as first:
            assert first.stdin is not None
            first.stdin.write(picture.encode())
            first.stdin.flush()
            partial = tmp_path / "a.jsonl.partial"
            for _ in range(600):
                if partial.exists() and partial.stat().st_size:
                    break
                time.sleep(0.02)
            arguments = self.arguments(model_file, Path("-"), output)
            second = infer(*arguments, input=picture)
            assert second.exit_code == 1
            assert f"{output}: another process is writing it" in second.stderr
            first.stdin.close()
            assert first.wait(timeout=60) == 0
        assert len(output.read_text().splitlines()) == 1
        assert "complete already" in infer(*arguments, input=picture).stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="links as POSIX has them")
    def test_a_partial_file_that_is_a_link_is_not_followed(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("whole\nbroken")
        partial = tmp_path / "a.jsonl.partial"
        arguments = self.arguments(model_file, faces, tmp_path / "a.jsonl")
        for plant in (partial.symlink_to, partial.hardlink_to):
            plant(victim)
            result = infer(*arguments)
            assert result.exit_code == 1
            assert "a.jsonl.partial: " in result.stderr
            partial.unlink()
        os.mkfifo(partial)
        assert "is not a regular file" in infer(*arguments).stderr
        assert victim.read_text() == "whole\nbroken"

    @pytest.mark.skipif(sys.platform == "win32", reason="a FIFO")
    def test_only_a_regular_file_can_be_resumed(
        self, infer: Infer, model_file: Path, faces: Path, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "fifo")
        for output in (tmp_path / "fifo", Path("/dev/stdout")):
            result = infer(*self.arguments(model_file, faces, output))
            assert result.exit_code == 1
            assert "is not a regular file, which --resume needs" in result.stderr
