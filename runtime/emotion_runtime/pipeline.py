"""Many pictures, one network: read, batch, infer, and give the answers in the order asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from emotion_runtime.classifier import EmotionClassifier, path_of
from emotion_runtime.errors import PictureError
from emotion_runtime.prediction import Prediction
from emotion_runtime.preprocessing import Picture, Pixels


def predict_stream(
    classifier: EmotionClassifier, pictures: Iterable[Picture], *, batch_size: int
) -> Iterator[Prediction]:
    """Classify pictures batch by batch, in constant memory; a bad picture is an answer too."""
    stream = iter(pictures)
    while batch := list(islice(stream, batch_size)):
        faces: list[Pixels] = []
        errors: list[str | None] = []
        for picture in batch:
            try:
                faces.append(classifier.read(picture))
                errors.append(None)
            except PictureError as error:
                errors.append(str(error))
        answers = iter(classifier.infer(np.stack(faces))[1] if faces else ())
        for picture, reason in zip(batch, errors, strict=True):
            path = path_of(picture)
            if reason is None:
                yield classifier.interpret(next(answers), path)
            else:
                yield Prediction(None, None, None, path, reason)
