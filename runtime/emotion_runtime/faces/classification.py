"""From faces that were found to predictions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emotion_runtime.errors import PictureError
from emotion_runtime.pictures.arguments import find_type_error, get_path
from emotion_runtime.pictures.preprocessing import Picture
from emotion_runtime.prediction import SMALL_FACE, FacePrediction, Prediction
from emotion_runtime.streaming import PredictBatch

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.faces.finder import Face, FaceFinder
    from emotion_runtime.model.outputs import Outputs


def faces_within(
    classifier: EmotionClassifier,
    finder: FaceFinder,
    *,
    largest: bool = False,
    keep_crops: bool = False,
) -> PredictBatch[FacePrediction]:
    """Find the faces of each picture; the faces of a batch go through the network together."""

    def answer(batch: list[Picture], stop: threading.Event) -> list[FacePrediction]:
        found: list[list[Face] | PictureError | TypeError] = []
        for picture in batch:
            if stop.is_set():
                return []
            if (unlike := find_type_error(picture)) is not None:
                found.append(unlike)
                continue
            try:
                found.append(finder.find(picture, classifier.contract.input.size, largest=largest))
            except PictureError as error:
                found.append(error)
        every = [face for one in found if isinstance(one, list) for face in one]
        paths = [
            get_path(picture)
            for picture, one in zip(batch, found, strict=True)
            for _ in (one if isinstance(one, list) else ())
        ]
        answers = classifier.interpret_all(face_outputs(classifier, every), paths)
        predictions = []
        for picture, one in zip(batch, found, strict=True):
            path = get_path(picture)
            if isinstance(one, (PictureError, TypeError)):
                predictions.append(FacePrediction.from_error(path, str(one)))
            elif not one:
                predictions.append(FacePrediction.without_face(path))
            else:
                predictions += [of_face(next(answers), face, keep_crop=keep_crops) for face in one]
        return predictions

    return answer


def face_outputs(classifier: EmotionClassifier, faces: Sequence[Face]) -> Outputs:
    """Run faces through the network together; of no faces, outputs of length 0."""
    size = classifier.contract.input.size
    pixels = [face.pixels for face in faces]
    return classifier.compute(np.stack(pixels) if pixels else np.zeros((0, size, size), np.uint8))


def of_face(prediction: Prediction, face: Face, *, keep_crop: bool = False) -> FacePrediction:
    """Add where the face was found, and what the network saw where that is wanted."""
    x, y, width, height = (round(value) for value in face.box)
    return FacePrediction(
        **vars(prediction),
        box=(x, y, width, height),
        detection_confidence=face.confidence,
        crop=face.pixels if keep_crop else None,
        warning=SMALL_FACE if face.small else None,
    )
