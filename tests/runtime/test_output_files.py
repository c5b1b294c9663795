"""Output files, devices and links; inputs and files of other programs are not replaced."""

from __future__ import annotations

import os
import resource
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from emotion_runtime.atomic import write_atomically, write_new_file
from emotion_runtime.errors import OutputError
from emotion_runtime.results.output_guard import check_video_outputs
from synthetic import save_face

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files as POSIX has them")
Infer = Callable[..., Result]
SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def face(tmp_path: Path) -> Path:
    return save_face(tmp_path / "in" / "face.png", 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def device(path: Path, minor: int) -> Path:
    """Make a device: 1:3 is null, 1:7 is full."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except (OSError, AttributeError):
        pytest.skip("only root can make devices")
    return path


def test_a_device_is_written_to_and_not_replaced(
    infer: Infer, model_file: Path, face: Path, tmp_path: Path
) -> None:
    null, link = device(tmp_path / "null", 3), tmp_path / "link"
    link.symlink_to(null)
    sheet = device(tmp_path / "null.png", 3)
    for output in (null, link):
        result = infer(face, "-m", model_file, "-o", output, "--contact-sheet", sheet)
        assert result.exit_code == 0, result.output
        assert "1 picture" in result.stderr
    assert stat.S_ISCHR(null.stat().st_mode)
    assert stat.S_ISCHR(sheet.stat().st_mode)
    assert link.is_symlink()
    full = device(tmp_path / "full", 7)
    refused = infer(face, "-m", model_file, "-o", full)
    assert refused.exit_code == 1
    assert f"{full}: cannot be written (No space left on device)" in refused.stderr
    assert stat.S_ISCHR(full.stat().st_mode)
    assert names(tmp_path) == ["full", "in", "link", "null", "null.png"]


def test_the_reader_of_a_fifo_gets_every_byte(
    infer: Infer, model_file: Path, face: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    read: list[bytes] = []
    for arguments, begin in ((["-o", fifo], b"path,"), (["--contact-sheet", fifo], b"\x89PNG")):
        reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
        reader.start()
        result = infer(face, "-m", model_file, "-f", "csv", *arguments)
        reader.join(timeout=20)
        assert result.exit_code == 0, result.output
        assert read.pop().startswith(begin)
        assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_socket_and_a_folder_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(OutputError, match="is a socket"), write_atomically(tmp_path / "s"):
            pass
    with pytest.raises(OutputError, match="is a folder"), write_atomically(tmp_path):
        pass


def test_the_target_of_a_link_is_replaced_and_the_link_kept(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to("deep/file")
    for text in ("new", "newer"):  # without and with an existing target
        with write_atomically(tmp_path / "link") as temporary:
            temporary.write_text(text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "deep" / "file").read_text() == text
    assert names(tmp_path / "deep") == ["file"]


def test_mode_and_owner_are_those_of_the_file_that_is_replaced(tmp_path: Path) -> None:
    for mode in (0o600, 0o640, 0o666):
        target = tmp_path / f"{mode}"
        target.write_text("old")
        target.chmod(mode)
        if os.geteuid() == 0:
            os.chown(target, 12345, 54321)
        with write_atomically(target) as temporary:
            assert (
                temporary.stat().st_mode & 0o777 & ~mode == 0
            )  # and it is never readable by others in between
            temporary.write_text("new")
        status = target.stat()
        assert status.st_mode & 0o777 == mode
        if os.geteuid() == 0:
            assert (status.st_uid, status.st_gid) == (12345, 54321)
    before = os.umask(0o027)
    try:
        with write_atomically(tmp_path / "fresh") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root can write to any file")
def test_a_read_only_file_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "locked"
    target.write_text("old")
    target.chmod(0o444)
    with pytest.raises(OutputError, match="Permission denied"), write_atomically(target):
        pass


def test_a_file_with_the_longest_possible_name_is_written(
    infer: Infer, model_file: Path, face: Path, tmp_path: Path
) -> None:
    for name in ("x" * 255, "é" * 125 + ".json", "y." + "z" * 250):
        with write_atomically(tmp_path / name) as temporary:
            temporary.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
    result = infer(face, "-m", model_file, "-o", tmp_path / ("a" * 251 + ".csv"))
    assert result.exit_code == 0, result.output
    longer = infer(face, "-m", model_file, "-o", tmp_path / ("a" * 252 + ".csv"))
    assert longer.exit_code == 1
    assert "cannot be written (File name too long)" in longer.stderr
    resumed = infer(
        *(face, "-m", model_file, "-f", "jsonl", "--resume", "-o", tmp_path / ("a" * 251 + ".jsl"))
    )
    assert resumed.exit_code == 1
    assert "File name too long" in resumed.stderr


def test_a_full_disk_names_the_output_and_keeps_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match="result: cannot be written"):  # noqa: SIM117
            with write_atomically(target) as temporary:
                temporary.write_bytes(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["result"]


def test_in_a_folder_nothing_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    for text in ("one", "one"):  # the same file again is no conflict
        with write_new_file(target) as temporary:
            temporary.write_text(text)
    with (
        pytest.raises(OutputError, match="another file already"),
        write_new_file(target) as temporary,
    ):
        temporary.write_text("two")
    assert target.read_text() == "one"
    assert names(target.parent) == ["file"]
    with pytest.raises(ValueError, match="bad"), write_new_file(tmp_path / "c" / "d" / "file"):
        raise ValueError("bad")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("through", ["name", "link", "hard link", "folder"])
def test_an_input_is_refused_as_an_output(
    infer: Infer, model_file: Path, face: Path, tmp_path: Path, through: str
) -> None:
    before = face.read_bytes()
    output = face if through in ("name", "folder") else tmp_path / "other.png"
    if through == "link":
        output.symlink_to(face)
    elif through == "hard link":
        output.hardlink_to(face)
    source = face.parent if through == "folder" else face
    for option in ("-o", "--contact-sheet"):
        result = infer(source, "-m", model_file, option, output)
        assert result.exit_code == 1
        assert f"{option} {output}: is {face}, an input of this run" in result.stderr
        assert face.read_bytes() == before
    assert names(face.parent) == ["face.png"]


def test_the_model_is_refused_as_an_output(infer: Infer, model_file: Path, face: Path) -> None:
    before = model_file.read_bytes()
    result = infer(face, "-m", model_file, "-o", model_file)
    assert result.exit_code == 1
    assert "an input of this run" in result.stderr
    assert model_file.read_bytes() == before


def test_two_outputs_must_be_two_files(
    infer: Infer, model_file: Path, face: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.png").symlink_to("sheet.png")
    arguments = ["-o", tmp_path / "link.png", "--contact-sheet", tmp_path / "sheet.png"]
    result = infer(face, "-m", model_file, *arguments)
    assert result.exit_code == 1
    assert "is the file of -o" in result.stderr
    assert not (tmp_path / "sheet.png").exists()


def test_annotated_copies_overwrite_nothing(infer: Infer, tmp_path: Path) -> None:
    """Neither originals, nor copies of pictures with the same name, nor other files."""
    one, other = tmp_path / "one" / "f.png", tmp_path / "two" / "f.png"
    for path, sample in ((one, "happy_01"), (other, "sad_01")):
        path.parent.mkdir()
        with Image.open(SAMPLES / f"{sample}.png") as image:
            image.resize((160, 160)).save(path)
    before = one.read_bytes(), other.read_bytes()
    itself = infer(one, "--faces", "--annotate", one.parent)
    assert itself.exit_code == 1
    assert "is the picture itself" in itself.stderr
    again = infer(other, "--faces", "--annotate", one.parent)
    assert again.exit_code == 1
    assert "exists and is another file already" in again.stderr
    clash = infer(one, other, "--faces", "--annotate", tmp_path / "out")
    assert clash.exit_code == 1
    assert "exists and is another file already" in clash.stderr
    assert "2 faces" in clash.stderr
    assert "1 output could not be written" in clash.stderr
    repeated = infer(one, "--faces", "--annotate", tmp_path / "out")
    assert repeated.exit_code == 0, repeated.output
    assert (one.read_bytes(), other.read_bytes()) == before


def test_a_video_is_refused_as_an_output(tmp_path: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path in (first, second):
        path.write_bytes(b"video")
    both, one = [str(first), str(second)], [str(first)]
    for sources, output, annotate, message in [
        (one, None, first, "an input of this run"),
        (one, first, None, "an input of this run"),
        (both, None, tmp_path, "an input of this run"),
        (one, tmp_path / "c.mp4", tmp_path / "c.mp4", "is the file of -o"),
        (["x/a.mp4", "y/a.mp4"], None, tmp_path / "out", "is the file of --annotate"),
        (["x/a.mp4", "x/c.mp4"], None, tmp_path, "another file already"),
    ]:
        with pytest.raises(OutputError, match=message):
            check_video_outputs(sources, output, annotate)
    check_video_outputs(both, tmp_path / "t.csv", tmp_path / "out")
    check_video_outputs(
        one, tmp_path / "t.csv", second
    )  # given as an output and not an input: replaced


def test_one_name_that_is_too_long_does_not_end_the_run(
    infer: Infer, model_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    for name in ("a" * 246 + ".png", "b.png"):
        save_face(folder / name, 0)
    # With the long name the path is longer than the 4,096 bytes that Linux allows.
    target = tmp_path
    while len(str(target)) < 3850:
        target = target / ("d" * min(200, 3900 - len(str(target))))
    result = infer(folder, "-m", model_file, "--sort-into", target)
    assert result.exit_code == 1
    assert "cannot be written (File name too long)" in result.stderr
    assert "2 pictures: happy 2" in result.stderr
    assert "1 output could not be written" in result.stderr
    assert (target / "happy" / "b.png").is_file()
    (tmp_path / "sorted" / "happy").mkdir(parents=True)
    (tmp_path / "sorted" / "happy" / "b.png").write_bytes(b"mine")
    result = infer(folder, "-m", model_file, "--sort-into", tmp_path / "sorted")
    assert result.exit_code == 1
    assert "2 pictures: happy 2" in result.stderr
    assert "1 output could not be written" in result.stderr
    assert (tmp_path / "sorted" / "happy" / "b.png").read_bytes() == b"mine"
    assert (tmp_path / "sorted" / "happy" / ("a" * 246 + ".png")).is_file()


def test_refused_runs_leave_no_folder(
    infer: Infer, model_file: Path, face: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none.png"
    for option in ("--sort-into", "--annotate"):
        extra = ["--faces"] if option == "--annotate" else []
        assert infer(missing, "-m", model_file, option, tmp_path / "out", *extra).exit_code == 1
    assert names(tmp_path) == ["in"]


def test_an_evaluation_replaces_no_picture(model_file: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from emotion_runtime.evaluate.cli import main

    pictures = [save_face(tmp_path / "in" / n / "=x.png", 0) for n in ("happy", "sad", "surprise")]
    before = pictures[1].read_bytes()
    common = [str(tmp_path / "in"), "-m", str(model_file)]
    for option in ("-o", "--wrong", "--confusion-matrix", "--contact-sheet"):
        result = CliRunner().invoke(main, [*common, option, str(pictures[1])])
        assert result.exit_code == 1
        assert "an input of this run" in result.stderr
        assert pictures[1].read_bytes() == before
    both = CliRunner().invoke(
        main, [*common, "-o", str(tmp_path / "a"), "--wrong", f"{tmp_path}/a"]
    )
    assert "is the file of -o" in both.stderr
