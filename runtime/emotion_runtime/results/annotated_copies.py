"""Copies of pictures with a box around each face, and what the network says of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from emotion_runtime.atomic import write_new_file
from emotion_runtime.drawing.boxes import draw_faces
from emotion_runtime.drawing.fonts import Font
from emotion_runtime.errors import OutputError, PictureError
from emotion_runtime.pictures.preprocessing import process_picture, to_rgb, turn_upright
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.results.sorting import inside_roots

_KEEP = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"}  # others become PNG


class AnnotatedCopies:
    """Writes ``FOLDER/<the picture's path under the folder named>`` for each picture.

    Nothing that is there is overwritten; an equal copy of an earlier run is left as it is.

    Args:
        folder: Where copies are made.
        roots: The files and folders that were named.
        labels: The model's.
        font: Draws the labels; None for the font that ships.

    Raises:
        OutputError: `folder` lies in a folder that is classified: it would be found in turn.
    """

    def __init__(
        self,
        folder: Path,
        roots: Sequence[str],
        labels: Sequence[str],
        font: Font | None = None,
    ) -> None:
        self._folder, self._labels = folder, tuple(labels)
        self._font = Font() if font is None else font
        self._relative = inside_roots(folder, roots)
        self._waiting: list[FacePrediction] = []

    def add(self, prediction: Prediction) -> None:
        """Take a face; a picture is drawn when the next one begins.

        Raises:
            OutputError: A copy cannot be written.
        """
        if not isinstance(prediction, FacePrediction):
            return
        if self._waiting and self._waiting[0].path != prediction.path:
            self.save()
        if prediction.error is None and prediction.path is not None:
            self._waiting.append(prediction)

    def save(self) -> None:
        """Draw the picture that waits.

        Raises:
            OutputError: The copy cannot be written.
        """
        if not self._waiting:
            return
        faces, self._waiting = self._waiting, []
        path = os.fspath(faces[0].path or "")
        target = self._folder / self._relative(path)
        if target.suffix.lower() not in _KEEP:
            target = target.with_name(target.name + ".png")
        if _is_same_file(path, target):
            raise OutputError(f"{target}: is the picture itself; name another folder.")
        try:
            image = process_picture(path, lambda one: to_rgb(turn_upright(one)))
        except PictureError as error:  # gone since it was classified
            raise OutputError(f"{target}: cannot be drawn ({error})") from error
        draw_faces(image, faces, self._labels, self._font)
        with write_new_file(target) as temporary:
            image.save(temporary, quality=92)


def _is_same_file(one: str, other: Path) -> bool:
    try:
        return other.samefile(one)
    except OSError:
        return False  # there is no other yet
