"""The faces of photographs, each in a file of its own, as the network saw them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from emotion_runtime.atomic import write_new_file
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.results.sorting import inside_roots


class FaceCrops:
    """Writes ``FOLDER/<the picture's path under the folder named>_<number>.png`` for each face.

    Faces are numbered from 1 on, from left to right. Nothing that is there is replaced.

    Args:
        folder: Where crops are written; its class folders can be trained on.
        roots: The files and folders that were named.

    Raises:
        OutputError: `folder` lies in a folder that is classified: it would be found in turn.
    """

    def __init__(self, folder: Path, roots: Sequence[str]) -> None:
        self._folder = folder
        self._relative = inside_roots(folder, roots)
        self._path: str | None = None
        self._boxes: set[tuple[int, int, int, int]] = set()  # of the picture at that path

    def add(self, prediction: Prediction) -> None:
        """Write the crop of one face; what has none is passed over.

        Raises:
            OutputError: Another picture is there already, or it cannot be written.
        """
        if not isinstance(prediction, FacePrediction) or prediction.path is None:
            return
        # A picture that is named twice in a row begins again with a box that was there before.
        if prediction.path != self._path or prediction.box in self._boxes:
            self._path, self._boxes = prediction.path, set()
        if prediction.box is None:
            return
        self._boxes.add(prediction.box)
        target = self._folder / f"{self._relative(prediction.path)}_{len(self._boxes)}.png"
        if prediction.crop is None:  # of a run that --resume goes on with
            if target.is_file():
                return
            raise OutputError(f"{target}: not written: an earlier run classified it without crops.")
        if os.path.lexists(target):
            if _same(target, prediction):
                return  # an earlier run's, or the same picture named twice
            raise OutputError(f"{target}: is another picture already; choose an empty folder.")
        with write_new_file(target) as temporary:
            Image.fromarray(prediction.crop).save(temporary)

    def save(self) -> None:
        """Nothing is left to do: each crop was written as it came."""


def _same(path: Path, prediction: FacePrediction) -> bool:
    """Say whether a file holds the crop of a prediction."""
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
    except Exception:  # noqa: BLE001  whatever it is, it is another file
        return False
