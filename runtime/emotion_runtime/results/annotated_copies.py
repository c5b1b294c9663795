"""Copies of pictures with the bounding box and the label of each face."""

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
from emotion_runtime.results.sorting import make_relative_to_roots

_WRITABLE_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
}  # others become PNG


class AnnotatedCopies:
    """Writes a copy of each picture to ``FOLDER/<path of the picture under its root>``.

    Existing files are not overwritten; an equal copy of an earlier run is left as it is.

    Args:
        folder: Folder of the copies.
        roots: The inputs of the run: files and folders.
        labels: The labels of the model.
        font: Draws the labels; None for the shipped font.

    Raises:
        OutputError: `folder` lies in a folder that is classified, which would include the copies.
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
        self._get_relative_path = make_relative_to_roots(folder, roots)
        self._faces: list[FacePrediction] = []  # of the picture that is drawn next

    def add(self, prediction: Prediction) -> None:
        """Collect a face; a picture is drawn at the first face of the next picture.

        Raises:
            OutputError: A copy cannot be written.
        """
        if not isinstance(prediction, FacePrediction):
            return
        if self._faces and self._faces[0].path != prediction.path:
            self.save()
        if prediction.error is None and prediction.path is not None:
            self._faces.append(prediction)

    def save(self) -> None:
        """Draw the faces that were collected into a copy of their picture.

        Raises:
            OutputError: The copy cannot be written.
        """
        if not self._faces:
            return
        faces, self._faces = self._faces, []
        path = os.fspath(faces[0].path or "")
        target = self._folder / self._get_relative_path(path)
        if target.suffix.lower() not in _WRITABLE_SUFFIXES:
            target = target.with_name(target.name + ".png")
        if _is_same_file(path, target):
            raise OutputError(f"{target}: is the picture itself; name another folder.")
        try:
            image = process_picture(path, lambda image: to_rgb(turn_upright(image)))
        except PictureError as error:  # deleted since it was classified
            raise OutputError(f"{target}: cannot be drawn ({error})") from error
        draw_faces(image, faces, self._labels, self._font)
        with write_new_file(target) as temporary:
            image.save(temporary, quality=92)


def _is_same_file(one: str, other: Path) -> bool:
    try:
        return other.samefile(one)
    except OSError:
        return False  # `other` does not exist yet
