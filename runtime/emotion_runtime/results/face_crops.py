"""The crops of faces, as the network received them, one file each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from emotion_runtime.atomic import write_new_file
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.results.sorting import make_relative_to_roots


class FaceCrops:
    """Writes ``FOLDER/<path of the picture under its root>_<number>.png`` for each face.

    Faces are numbered from 1, from left to right. Existing files are not replaced.

    Args:
        folder: Folder of the crops.
        roots: The inputs of the run: files and folders.

    Raises:
        OutputError: `folder` lies in a folder that is classified, which would include the crops.
    """

    def __init__(self, folder: Path, roots: Sequence[str]) -> None:
        self._folder = folder
        self._get_relative_path = make_relative_to_roots(folder, roots)
        self._path: str | None = None
        self._boxes: set[tuple[int, int, int, int]] = set()  # of the picture at that path

    def add(self, prediction: Prediction) -> None:
        """Write the crop of one face; other predictions are ignored.

        Raises:
            OutputError: Another picture is there already, or it cannot be written.
        """
        if not isinstance(prediction, FacePrediction) or prediction.path is None:
            return
        # A picture that is named twice in a row begins again with a box that it had before.
        if prediction.path != self._path or prediction.box in self._boxes:
            self._path, self._boxes = prediction.path, set()
        if prediction.box is None:
            return
        self._boxes.add(prediction.box)
        target = self._folder / f"{self._get_relative_path(prediction.path)}_{len(self._boxes)}.png"
        if prediction.crop is None:  # result of an interrupted run
            if target.is_file():
                return
            raise OutputError(f"{target}: not written: an earlier run classified it without crops.")
        if os.path.lexists(target):
            if _holds_crop(target, prediction):
                return  # from an earlier run, or the same picture named twice
            raise OutputError(f"{target}: is another picture already; choose an empty folder.")
        with write_new_file(target) as temporary:
            Image.fromarray(prediction.crop).save(temporary)

    def save(self) -> None:
        """Do nothing: `add` has written each crop."""


def _holds_crop(path: Path, prediction: FacePrediction) -> bool:
    """Return whether a file holds the crop of a prediction."""
    if prediction.crop is None or not path.is_file():
        return False
    try:
        with Image.open(path, formats=["PNG"]) as image:
            height, width = prediction.crop.shape
            return (
                image.mode == "L"
                and image.size == (width, height)
                and image.tobytes() == prediction.crop.tobytes()
            )
    except Exception:  # noqa: BLE001  whatever is wrong with it, it is another file
        return False
