"""`FaceClassifier`: finds the faces of photographs and predicts the label of each."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np

from emotion_runtime.classifier import EmotionClassifier, PictureFunction
from emotion_runtime.errors import PictureError
from emotion_runtime.faces.detection import Box
from emotion_runtime.faces.finder import Face, FaceFinder
from emotion_runtime.model.outputs import Outputs
from emotion_runtime.pictures.arguments import (
    check_picture,
    check_pictures,
    find_argument_error,
    get_path,
)
from emotion_runtime.pictures.preprocessing import Picture
from emotion_runtime.pictures.sources import find_folder_pictures
from emotion_runtime.prediction import SMALL_FACE, FacePrediction, Prediction
from emotion_runtime.processes import describe_crash, predict_in_batches
from emotion_runtime.streaming import BatchFunction

PHOTOGRAPH_BATCH_SIZE = 8  # each photograph keeps a worker busy for some hundredths of a second


class FaceClassifier:
    """Finds the faces of photographs and classifies each of them.

    It has the methods of `EmotionClassifier`: they may be called from threads and in forked
    children, and it can be copied, pickled and sent to worker processes.

    Args:
        classifier: Classifies the faces; None for the default `EmotionClassifier()`.
        finder: Finds the faces; None for the default `FaceFinder()`.
        largest: Keep only the largest face of each photograph.
        keep_crops: Keep the network's input of each face as `FacePrediction.crop`.

    Raises:
        TypeError: An argument has another type.

    Attributes:
        classifier: The classifier in use.
        finder: The finder in use.
    """

    prediction_type: ClassVar[type[Prediction]] = FacePrediction

    def __init__(
        self,
        classifier: EmotionClassifier | None = None,
        finder: FaceFinder | None = None,
        *,
        largest: bool = False,
        keep_crops: bool = False,
    ) -> None:
        if classifier is not None and not isinstance(classifier, EmotionClassifier):
            raise TypeError(
                f"classifier must be an EmotionClassifier (such as EmotionClassifier('m.onnx')), "
                f"not {type(classifier).__name__}"
            )
        if finder is not None and not isinstance(finder, FaceFinder):
            raise TypeError(
                f"finder must be a FaceFinder, such as FaceFinder(detector), not "
                f"{type(finder).__name__}"
            )
        self.classifier = EmotionClassifier() if classifier is None else classifier
        self.finder = FaceFinder() if finder is None else finder
        self._largest, self._keep_crops = largest, keep_crops

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names of the model."""
        return self.classifier.labels

    @property
    def min_confidence(self) -> float:
        """Return the confidence threshold in use."""
        return self.classifier.min_confidence

    @property
    def other_threshold(self) -> float | None:
        """Return the threshold of `other` in use; None for files without this output."""
        return self.classifier.other_threshold

    @property
    def model_sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the model file that was opened."""
        return self.classifier.model_sha256

    def find(self, picture: Picture) -> list[Face]:
        """Find the faces of a photograph, from left to right.

        Raises:
            PictureError: The picture cannot be read.
            DetectorError: The detector returned something that is not a list of faces.
        """
        return self.finder.find(picture, self.classifier.contract.input.size, largest=self._largest)

    def crop(self, picture: Picture, boxes: Sequence[Box]) -> list[Face | None]:
        """Crop faces whose bounding boxes are known, as `FaceFinder.crop` does."""
        return self.finder.crop(picture, boxes, self.classifier.contract.input.size)

    def compute(self, faces: Sequence[Face]) -> Outputs:
        """Run the network on faces, and return all of its outputs; of no faces, empty ones.

        Raises:
            ModelFileError: As in `EmotionClassifier.compute`.
        """
        size = self.classifier.contract.input.size
        pixels = np.array([face.pixels for face in faces], np.uint8).reshape(-1, size, size)
        return self.classifier.compute(pixels)

    def predict(self, picture: Picture) -> list[FacePrediction]:
        """Classify the faces of one photograph, from left to right.

        Args:
            picture: A path, encoded bytes, a PIL image or a uint8 array.

        Returns:
            One prediction for each face; an empty list for a photograph without a face.

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It has a type that is not a picture's, such as a list or None.
        """
        check_picture(picture)
        faces = self.find(picture)
        return list(self._classify(faces, [get_path(picture)] * len(faces)))

    def predict_many(
        self,
        pictures: Iterable[Picture],
        *,
        batch_size: int = PHOTOGRAPH_BATCH_SIZE,
        workers: int | None = None,
        processes: int | None = None,
    ) -> Iterator[FacePrediction]:
        """Classify the faces of a stream of photographs, in order.

        A photograph without a face gives one `FacePrediction` without a label, and an unreadable
        one gives a `FacePrediction` with an error.

        Args:
            pictures: Whatever `predict` takes, of mixed types; consumed lazily, a few batches
                ahead of the predictions.
            batch_size: Largest number of photographs whose faces go through the network together,
                at least 1.
            workers: Number of threads, at least 1; None for the number of CPUs that this process
                may use.
            processes: Number of worker processes that replace the threads, as in
                `EmotionClassifier.predict_many`; None for none.

        Raises:
            ModelFileError: The network cannot be run; raised during the iteration.
            WorkerError: The processes cannot be started; raised during the iteration.
            ValueError: A number is out of range, or both `workers` and `processes` are given.
            TypeError: One of them is not an integer, or `pictures` is a single picture.
        """
        check_pictures(pictures)
        return predict_in_batches(
            self.make_batch_function(),
            pictures,
            batch_size=batch_size,
            workers=workers,
            processes=processes,
        )

    def predict_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int = PHOTOGRAPH_BATCH_SIZE,
        workers: int | None = None,
        processes: int | None = None,
    ) -> Iterator[FacePrediction]:
        """Classify the faces of the photographs of a folder and its sub-folders, in sorted order.

        Args:
            folder: The folder.
            batch_size: As in `predict_many`.
            workers: As in `predict_many`.
            processes: As in `predict_many`.

        Raises:
            SourceError: The folder is missing, contains no picture, or cannot be listed.
        """
        pictures = find_folder_pictures(folder)
        return self.predict_many(
            pictures, batch_size=batch_size, workers=workers, processes=processes
        )

    def make_batch_function(self) -> BatchFunction[Picture, list[FacePrediction]]:
        """Return a function that classifies a batch of photographs, here or in another process."""
        return _PhotographPredictor(self)

    def predict_batch(self, batch: list[Picture], stop: threading.Event) -> list[FacePrediction]:
        """Find the faces of each photograph, and run the network on all of them together.

        Args:
            batch: The photographs.
            stop: Once it is set, nothing more is computed, and the result is empty.
        """
        found: list[list[Face] | PictureError | TypeError] = []
        for picture in batch:
            if stop.is_set():
                return []
            try:
                found.append(find_argument_error(picture) or self.find(picture))
            except PictureError as error:
                found.append(error)
        paths = [get_path(picture) for picture in batch]
        counts = [len(faces) if isinstance(faces, list) else 0 for faces in found]
        classified = self._classify(
            [face for faces in found if isinstance(faces, list) for face in faces],
            chain.from_iterable([path] * count for path, count in zip(paths, counts, strict=True)),
        )
        predictions: list[FacePrediction] = []
        for path, faces, count in zip(paths, found, counts, strict=True):
            if not isinstance(faces, list):
                predictions.append(FacePrediction.from_error(path, str(faces)))
            elif not faces:
                predictions.append(FacePrediction.without_face(path))
            predictions += islice(classified, count)
        return predictions

    def _classify(
        self, faces: Sequence[Face], paths: Iterable[str | None]
    ) -> Iterator[FacePrediction]:
        """Yield the prediction of each face; `paths` names the photograph of each."""
        predictions = self.classifier.interpret_all(self.compute(faces), paths)
        for prediction, face in zip(predictions, faces, strict=True):
            yield add_face(prediction, face, keep_crop=self._keep_crops)


class _PhotographPredictor(PictureFunction[list[FacePrediction]]):
    """Classifies the faces of photographs."""

    def __init__(self, classifier: FaceClassifier) -> None:
        self._classifier = classifier

    def __call__(self, batch: list[Picture], stop: threading.Event) -> list[FacePrediction]:
        """Return the predictions of all photographs."""
        return self._classifier.predict_batch(batch, stop)

    def describe_crash(self, item: Picture, reason: str) -> list[FacePrediction]:
        """Return the prediction with the error of a photograph that ends its process."""
        path = get_path(item)
        return [FacePrediction.from_error(path, describe_crash(path, reason))]

    def take_counts(self) -> Any:
        """Return what the finder counted since the last call."""
        return self._classifier.finder.take_counts()

    def add_counts(self, counts: Any) -> None:
        """Add the counts of a worker to those of this process."""
        self._classifier.finder.add_counts(counts)


def add_face(prediction: Prediction, face: Face, *, keep_crop: bool = False) -> FacePrediction:
    """Return a prediction together with the bounding box of its face and the detector's confidence.

    Args:
        prediction: The prediction for the pixels of `face`.
        face: The face.
        keep_crop: Keep these pixels as `FacePrediction.crop`.
    """
    x, y, width, height = (round(value) for value in face.box)
    return FacePrediction(
        **vars(prediction),
        box=(x, y, width, height),
        detection_confidence=face.confidence,
        crop=face.pixels if keep_crop else None,
        warning=SMALL_FACE if face.small else None,
    )
