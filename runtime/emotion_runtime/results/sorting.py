"""Pictures sorted into one folder for each label."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from emotion_runtime.atomic import make_write_error, write_new_file
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import Prediction


class SortedFolders:
    """Copies or links each picture to ``FOLDER/<label>/<path of the picture under its root>``.

    Args:
        folder: Folder of the class folders.
        roots: The inputs of the run: files and folders.
        link: Create symbolic links instead of copies.

    Raises:
        OutputError: `folder` lies in a folder that is classified, which would include the copies.
    """

    def __init__(self, folder: Path, roots: Sequence[str], *, link: bool = False) -> None:
        self._folder, self._link = folder, link
        self._get_relative_path = make_relative_to_roots(folder, roots)

    def add(self, prediction: Prediction) -> None:
        """Copy or link one picture; pictures without a label are ignored.

        Raises:
            OutputError: Another file has this path, or it cannot be written.
        """
        if prediction.label is None or prediction.path is None:
            return
        target = self._folder / prediction.label / self._get_relative_path(prediction.path)
        try:
            if os.path.lexists(target):
                if filecmp.cmp(prediction.path, target, shallow=False):
                    return  # from an earlier run, or the same picture named twice
                raise OutputError(f"{target}: is another picture already; choose an empty folder.")
            with write_new_file(target) as temporary:
                if self._link:
                    temporary.unlink()
                    temporary.symlink_to(Path(prediction.path).resolve())
                else:
                    shutil.copyfile(prediction.path, temporary)
        except OSError as error:
            raise make_write_error(target, error) from error

    def save(self) -> None:
        """Do nothing: `add` has copied each picture."""


def make_relative_to_roots(folder: Path, roots: Sequence[str]) -> Callable[[str], str]:
    """Return a function that gives the path of a picture relative to its root.

    Args:
        folder: The folder to write to.
        roots: The inputs of the run: files and folders.

    Raises:
        OutputError: `folder` lies in a folder that is classified.
    """
    folders = [root for root in roots if os.path.isdir(root)]
    for root in folders:
        if folder.resolve().is_relative_to(Path(root).resolve()):
            raise OutputError(f"{folder}: lies in {root}, which is classified; name another.")

    def get_relative_path(path: str) -> str:
        for root in folders:
            inside = os.path.relpath(path, root)
            if inside.split(os.sep, 1)[0] != os.pardir:
                return inside
        return os.path.basename(path)

    return get_relative_path
