from __future__ import annotations

from pathlib import Path

import pytest

from emotion_runtime import SourceError
from emotion_runtime.sources import find_pictures
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


def test_a_file_named_outright_is_kept_whatever_its_name() -> None:
    assert list(find_pictures(["no_suffix", "gone.png"])) == ["no_suffix", "gone.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures"):
        list(find_pictures([str(tmp_path)]))


def test_a_link_back_to_a_folder_above_ends_there(tmp_path: Path) -> None:
    save_face(tmp_path / "a" / "1.png", 0)
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)
    assert len(list(find_pictures([str(tmp_path)]))) == 1
