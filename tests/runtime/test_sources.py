from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from emotion_runtime import SourceError
from emotion_runtime.pictures.sources import find_pictures
from synthetic import save_face


def test_folders_are_recursive_sorted_and_without_other_files(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", "a/b/1.png"):
        save_face(tmp_path / name, 0) if name.endswith("png") else (
            (tmp_path / "a").mkdir(exist_ok=True),
            (tmp_path / name).write_bytes(b"x"),
        )
    (tmp_path / "notes.txt").write_text("no")
    save_face(tmp_path / ".hidden.png", 0)
    save_face(tmp_path / ".cache" / "c.png", 0)
    found = [Path(p).relative_to(tmp_path).as_posix() for p in find_pictures([str(tmp_path)])]
    assert found == ["a/b/1.png", "a/z.JPG", "b.png"]


def test_a_given_file_is_kept_whatever_its_suffix() -> None:
    assert list(find_pictures(["no_suffix", "gone.png"])) == ["no_suffix", "gone.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures"):
        list(find_pictures([str(tmp_path)]))


def test_a_link_to_a_parent_folder_is_not_followed(tmp_path: Path) -> None:
    save_face(tmp_path / "a" / "1.png", 0)
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)
    assert len(list(find_pictures([str(tmp_path)]))) == 1


def test_every_folder_is_visited_once_and_others_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for _ in range(25):  # 2^24 paths to the one picture
        folder.mkdir()
        (folder / "left").mkdir()
        (folder / "right").symlink_to("left", target_is_directory=True)
        folder = folder / "left" / "a"
    save_face(folder / "1.png", 0)
    repeats: list[str] = []
    found = list(find_pictures([str(tmp_path)], on_repeat=repeats.append))
    assert found == [str(folder / "1.png")]
    assert len(repeats) == 25
    assert len(list(find_pictures([str(tmp_path)] * 2))) == 2  # listed twice because given twice


def test_folders_may_be_deeper_than_the_recursion_limit(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("1.png").touch()
    os.chdir(tmp_path)
    found = list(find_pictures(["."]))
    os.chdir(Path(found[0]).parent)
    Path("1.png").unlink()
    for _ in range(1200):  # pytest could not remove it
        os.chdir("..")
        Path("d").rmdir()
    assert len(found) == 1


def test_hidden_folders_and_broken_links_are_counted(tmp_path: Path) -> None:
    save_face(tmp_path / ".hidden" / "1.png", 0)
    save_face(tmp_path / "2.png", 0)
    (tmp_path / "loop").symlink_to("loop")
    others: list[str] = []
    found = list(find_pictures([str(tmp_path)], on_other=others.append))
    assert [Path(path).name for path in found] == ["2.png"]
    assert sorted(Path(path).name for path in others) == [".hidden", "loop"]


def test_heic_in_a_folder_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"x")
    assert len(list(find_pictures([str(tmp_path)]))) == 1
