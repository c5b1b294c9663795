"""Sort pictures into folders by what the network says of them."""

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
    """Copies or links each picture to ``FOLDER/<label>/<its path under the folder named>``.

    Args:
        folder: Where the class folders are made.
        roots: The files and folders that were named; what lies under a folder keeps its
            relative path.
        link: Make symbolic links instead of copies.

    Raises:
        OutputError: `folder` lies in a folder that is classified: it would be found in turn.
    """

    def __init__(self, folder: Path, roots: Sequence[str], *, link: bool = False) -> None:
        self._folder, self._link = folder, link
        self._relative = inside_roots(folder, roots)

    def add(self, prediction: Prediction) -> None:
        """Place one picture; one that could not be read has no class and is left where it is.

        Raises:
            OutputError: The place is taken by another file, or cannot be written.
        """
        if prediction.label is None or prediction.path is None:
            return
        target = self._folder / prediction.label / self._relative(prediction.path)
        try:
            if os.path.lexists(target):
                if filecmp.cmp(prediction.path, target, shallow=False):
                    return  # an earlier run's, or the same picture named twice
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
        """Nothing is left to do: each picture was placed as it came."""


def inside_roots(folder: Path, roots: Sequence[str]) -> Callable[[str], str]:
    """Return what gives a picture's path under the folder, among `roots`, that it was found in.

    Raises:
        OutputError: `folder`, which is written to, lies in a folder that is classified.
    """
    folders = [root for root in roots if os.path.isdir(root)]
    for root in folders:
        if folder.resolve().is_relative_to(Path(root).resolve()):
            raise OutputError(f"{folder}: lies in {root}, which is classified; name another.")

    def relative(path: str) -> str:
        for root in folders:
            inside = os.path.relpath(path, root)
            if inside.split(os.sep, 1)[0] != os.pardir:
                return inside
        return os.path.basename(path)

    return relative
