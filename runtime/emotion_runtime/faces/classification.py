"""From faces that were found to predictions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import PictureError
from emotion_runtime.pictures.arguments import path_of, type_error_of
from emotion_runtime.pictures.preprocessing import Picture
from emotion_runtime.prediction import FacePrediction, Prediction
from emotion_runtime.streaming import Answer

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.faces.finder import Face, FaceFinder


def faces_within(
    classifier: EmotionClassifier,
    finder: FaceFinder,
    *,
    largest: bool = False,
    keep_crops: bool = False,
) -> Answer[FacePrediction]:
    """Find the faces of each picture; the faces of a batch go through the network together."""

    def answer(batch: list[Picture], stop: threading.Event) -> list[FacePrediction]:
        found: list[list[Face] | PictureError | TypeError] = []
        for picture in batch:
            if stop.is_set():
                return []
            if (unlike := type_error_of(picture)) is not None:
                found.append(unlike)
                continue
            try:
                found.append(finder.find(picture, classifier.contract.input.size, largest=largest))
            except PictureError as error:
                found.append(error)
        every = [face for one in found if isinstance(one, list) for face in one]
        answers = iter(face_probabilities(classifier, every))
        predictions = []
        for picture, one in zip(batch, found, strict=True):
            path = path_of(picture)
            if isinstance(one, (PictureError, TypeError)):
                predictions.append(FacePrediction(None, None, None, path, str(one)))
            elif not one:
                predictions.append(FacePrediction(None, None, None, path))
            else:
                predictions += [
                    of_face(classifier.interpret(next(answers), path), face, keep_crop=keep_crops)
                    for face in one
                ]
        return predictions

    return answer


def face_probabilities(classifier: EmotionClassifier, faces: Sequence[Face]) -> NDArray[np.float32]:
    """Run faces through the network together: float32 (faces, classes), also of none."""
    if not faces:
        return np.zeros((0, len(classifier.labels)), dtype=np.float32)
    return classifier.infer(np.stack([face.pixels for face in faces]))[1]


def of_face(prediction: Prediction, face: Face, *, keep_crop: bool = False) -> FacePrediction:
    """Add where the face was found, and what the network saw where that is wanted."""
    x, y, width, height = (round(value) for value in face.box)
    return FacePrediction(
        **vars(prediction),
        box=(x, y, width, height),
        detection_confidence=face.confidence,
        crop=face.pixels if keep_crop else None,
    )
