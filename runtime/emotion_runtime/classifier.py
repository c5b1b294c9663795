"""`EmotionClassifier`: opens a verified model file once and predicts the labels of pictures."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

import emotion_models
from emotion_runtime.counts import MAX_THREADS, check_count
from emotion_runtime.errors import ModelFileError, PictureError, shorten_repr
from emotion_runtime.model.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES, Contract
from emotion_runtime.model.outputs import Outputs, compute_other_tolerance
from emotion_runtime.model.self_test import SelfTest, draw_probe, measure_pixel_difference
from emotion_runtime.model.session import Session, open_session
from emotion_runtime.pictures.arguments import (
    check_picture,
    check_pictures,
    find_argument_error,
    get_path,
)
from emotion_runtime.pictures.preprocessing import Picture, Pixels, is_small, read_face
from emotion_runtime.pictures.sources import find_folder_pictures
from emotion_runtime.prediction import OTHER, UNCERTAIN, Prediction
from emotion_runtime.processes import (
    describe_crash,
    has_interpreter_lock,
    predict_in_batches,
)
from emotion_runtime.streaming import BatchFunction

R = TypeVar("R")

_SUM_TOLERANCE = 0.01  # of the sum of a row of probabilities; fp16 is off by some thousandths
_SELF_TEST_BATCH_SIZE = 64


class EmotionClassifier:
    """Opens a model file once and classifies pictures.

    Its methods may be called from threads and in forked children. It can be copied, pickled and
    sent to worker processes, which open the same file themselves.

    Args:
        model: A file that `emotion-export` wrote, or the name of a released model; None for the
            default one.
        threads: onnxruntime's threads for one call, at least 1. One is the fastest for many
            pictures, which `predict_many` distributes over its workers. Idle threads do not spin.
        provider: Execution provider of onnxruntime, such as ``"CUDAExecutionProvider"``; operators
            that it does not support run on the CPU.
        min_confidence: Confidence threshold, 0 to 1: below it the label is ``"uncertain"``. None
            for the model file's threshold.
        other_threshold: Threshold of the output `other`, 0 to 1: from it on the label is
            ``"other"``; at 1 it never is. None for the model file's threshold.

    Attributes:
        model_path: Path of the model file.
        contract: The metadata of the model file.
        labels: Class names, in the order of the outputs' columns.
        min_confidence: The confidence threshold in use.
        other_threshold: The threshold of `other` in use; None for files without this output.

    Raises:
        ModelFileError: The file is missing, damaged, not a model, or does not conform to the
            contract, or this onnxruntime lacks the provider.
        ValueError: `threads` is not from 1 to 1024, a threshold is not from 0 to 1, or
            `other_threshold` is given for a file without the output `other`.
        TypeError: `threads` is not an integer, or a threshold is not a number.
    """

    prediction_type: ClassVar[type[Prediction]] = Prediction

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        provider: str = "CPUExecutionProvider",
        min_confidence: float | None = None,
        other_threshold: float | None = None,
    ) -> None:
        _check_threshold("min_confidence", min_confidence)
        _check_threshold("other_threshold", other_threshold)
        threads = check_count("threads", threads, MAX_THREADS)
        self.model_path = resolve_model(model)
        self._session: Session = open_session(self.model_path, threads, provider)
        self.contract = Contract.from_metadata(self._session.metadata(), str(self.model_path))
        self.labels = self.contract.labels
        _check_graph(self._session, self.contract)
        if min_confidence is None:
            min_confidence = self.contract.min_confidence
        self.min_confidence = float(min_confidence)
        if other_threshold is None:
            other_threshold = self.contract.other_threshold
        elif self.contract.other_threshold is None:
            raise ValueError(
                f"{self.model_path}: has no output other (its network knows no classes but its "
                f"labels), so that no threshold of it can be set"
            )
        self.other_threshold = None if other_threshold is None else float(other_threshold)

    def __repr__(self) -> str:
        other = (
            "" if self.other_threshold is None else f"other_threshold={self.other_threshold:g}, "
        )
        return (
            f"EmotionClassifier({str(self.model_path)!r}, labels={list(self.labels)}, "
            f"min_confidence={self.min_confidence:g}, {other}threads={self._session.threads}, "
            f"provider={self._session.provider!r})"
        )

    @property
    def model_sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the model file that was opened."""
        return self._session.sha256()

    def read(self, picture: Picture) -> Pixels:
        """Read a picture and convert it to the model's input, uint8 (size, size).

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It has a type that is not a picture's, such as a list or None.
        """
        check_picture(picture)
        return read_face(picture, self.contract.input.size)

    def infer(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on faces that have been read, and return logits and probabilities.

        Args:
            pixels: uint8, shape (n, 1, size, size) or (n, size, size).

        Returns:
            Logits and probabilities, float32, each of shape (n, classes). `compute` also returns
            the output `other`, where the file has it.

        Raises:
            ModelFileError, ValueError, TypeError: As in `compute`.
        """
        outputs = self.compute(pixels)
        return outputs.logits, outputs.probabilities

    def compute(self, pixels: Pixels) -> Outputs:
        """Run the network on faces that have been read, and return all of its outputs.

        Args:
            pixels: uint8, shape (n, 1, size, size) or (n, size, size).

        Raises:
            ModelFileError: The network cannot be run, or its outputs do not conform to the
                contract: they have another shape, or are not probabilities (NaN among them).
            ValueError: `pixels` has another shape.
            TypeError: `pixels` is not an array of uint8.
        """
        size = self.contract.input.size
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            kind = getattr(pixels, "dtype", None) or type(pixels).__name__
            raise TypeError(f"pixels must be an array of uint8, not {kind}")
        if pixels.ndim == 3:
            pixels = pixels[:, np.newaxis]
        if pixels.shape[1:] != (1, size, size):
            raise ValueError(
                f"pixels must have the shape (n, 1, {size}, {size}) or (n, {size}, {size}), "
                f"not {pixels.shape}"
            )
        shape = (len(pixels), len(self.labels))
        has_other = self.other_threshold is not None
        if not len(pixels):
            empty = np.zeros(shape, np.float32)
            return Outputs(empty, empty.copy(), np.zeros(0, np.float32) if has_other else None)
        names = (*OUTPUT_NAMES, OTHER_NAME) if has_other else OUTPUT_NAMES
        logits, probabilities, *further = self._session.run(names, {INPUT_NAME: pixels})
        outputs = Outputs(logits, probabilities, further[0] if further else None)
        self._check_outputs(outputs, shape)
        return outputs

    def _check_outputs(self, outputs: Outputs, shape: tuple[int, int]) -> None:
        """Refuse outputs of another shape, and numbers that are not probabilities.

        Args:
            outputs: What the network returned.
            shape: Expected number of faces and of classes.
        """
        logits, probabilities, other = outputs
        if logits.shape != shape or probabilities.shape != shape:
            raise ModelFileError(
                f"{self.model_path}: returns outputs of shape {logits.shape} and "
                f"{probabilities.shape} for {shape[0]} faces and {shape[1]} labels."
            )
        # One sum over all rows is cheap and also finds NaN and infinity, for which every comparison
        # is false. `interpret` checks each row.
        error = abs(float(probabilities.sum()) / shape[0] - 1)
        if not (error <= _SUM_TOLERANCE and probabilities.min() >= 0):
            raise self._make_probability_error()
        if other is not None:
            if other.shape != shape[:1]:
                raise ModelFileError(
                    f"{self.model_path}: returns the output other with shape {other.shape} for "
                    f"{shape[0]} faces."
                )
            if not (other.min() >= 0 and other.max() <= 1 + _SUM_TOLERANCE):  # true for NaN too
                raise self._make_probability_error()

    def predict(self, picture: Picture) -> Prediction:
        """Classify one picture: a path, encoded bytes, a PIL image or a uint8 array.

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It has a type that is not a picture's, such as a list or None.
        """
        face = self.read(picture)
        (prediction,) = self.interpret_all(self.compute(face[np.newaxis]), [get_path(picture)])
        return prediction

    def predict_many(
        self,
        pictures: Iterable[Picture],
        *,
        batch_size: int = 32,
        workers: int | None = None,
        processes: int | None = None,
    ) -> Iterator[Prediction]:
        """Classify a stream of pictures in order.

        An unreadable picture gives a `Prediction` with an error.

        With small pictures two threads are hardly faster than one, because of Python's interpreter
        lock. For many thousands of them use `processes`. Each process imports the main module, so
        that a script must make this call in a block ``if __name__ == "__main__":``.

        Args:
            pictures: Whatever `predict` takes, of mixed types; consumed lazily, a few batches
                ahead of the predictions.
            batch_size: Largest number of pictures in one call of the network, at least 1.
            workers: Number of threads, at least 1; None for the number of CPUs that this process
                may use.
            processes: Number of worker processes that replace the threads; None for none. Each
                takes a quarter of a second to start and about 80 MB of memory. A picture that
                ends its process gives a `Prediction` with an error.

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
        batch_size: int = 32,
        workers: int | None = None,
        processes: int | None = None,
    ) -> Iterator[Prediction]:
        """Classify the pictures of a folder and its sub-folders in sorted order.

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

    def make_batch_function(self) -> BatchFunction[Picture, list[Prediction]]:
        """Return a function that classifies the pictures of a batch, here or in another process."""
        return _PicturePredictor(self)

    def interpret_all(self, outputs: Outputs, paths: Iterable[str | None]) -> Iterator[Prediction]:
        """Yield a `Prediction` for each face of the outputs of `compute`.

        Args:
            outputs: Outputs of n faces.
            paths: Path of the picture of each face.

        Raises:
            ModelFileError, ValueError: As in `interpret`.
        """
        others = repeat(None) if outputs.other is None else map(float, outputs.other)
        # Not strict: `repeat` is endless.
        for row, path, other in zip(outputs.probabilities, paths, others, strict=False):
            yield self.interpret(row, path, other=other)

    def interpret(
        self,
        probabilities: NDArray[np.float32],
        path: str | None = None,
        *,
        other: float | None = None,
    ) -> Prediction:
        """Convert the probabilities of one face to a `Prediction`.

        Args:
            probabilities: float32, shape (classes,).
            path: Path of the picture.
            other: Probability that the face shows none of the labels, for files with this output.

        Raises:
            ModelFileError: The probabilities do not add up to 1, or contain NaN.
            ValueError: Their number differs from the number of labels, or `other` is missing, not
                from 0 to 1, or given for a file without this output.
        """
        values = [float(value) for value in probabilities]
        if len(values) != len(self.labels):
            raise ValueError(f"{len(values)} probabilities for {len(self.labels)} labels")
        if not abs(sum(values) - 1) <= _SUM_TOLERANCE:
            raise self._make_probability_error()
        confidence = max(values)
        # In float32, the precision of the outputs: its 0.9 is slightly less than Python's.
        min_confidence = float(np.float32(self.min_confidence))
        is_certain = confidence >= min_confidence
        label = self.labels[values.index(confidence)] if is_certain else UNCERTAIN
        by_label = dict(zip(self.labels, values, strict=True))
        if self.other_threshold is None:
            if other is not None:
                raise ValueError(f"{self.model_path}: has no output other")
            return Prediction(label, confidence, by_label, path)
        if other is None or not 0 <= other <= 1 + _SUM_TOLERANCE:  # true for NaN too
            raise ValueError(f"other must be from 0 to 1 for this model file, not {other}")
        other = min(other, 1.0)
        # As in `Outputs.decide`: in float32, and never at a threshold of 1.
        if self.other_threshold < 1 and other >= float(np.float32(self.other_threshold)):
            label, confidence = OTHER, other
        return Prediction(label, confidence, by_label, path, other=other)

    def _make_probability_error(self) -> ModelFileError:
        return ModelFileError(
            f"{self.model_path}: returns numbers that are not probabilities (not finite, negative, "
            f"or not adding up to 1)."
        )

    def self_test(self) -> SelfTest:
        """Run the file's golden inputs on this machine and compare with the recorded outputs."""
        golden = self.contract.golden
        starts = range(0, len(golden.pixels), _SELF_TEST_BATCH_SIZE)
        batches = [
            self.compute(golden.pixels[start : start + _SELF_TEST_BATCH_SIZE]) for start in starts
        ]
        logits = np.concatenate([batch.logits for batch in batches])
        other_difference = None
        if golden.other is not None and self.other_threshold is not None:
            others = np.concatenate([batch.other for batch in batches if batch.other is not None])
            other_difference = float(np.abs(others - golden.other).max())
        differences = np.abs(logits - golden.logits)
        probabilities = np.concatenate([batch.probabilities for batch in batches])
        expected = _softmax(logits.astype(np.float64) / self.contract.temperature)
        recorded, graph = self.contract.graph_sha256, self._session.graph_sha256()
        return SelfTest(
            inputs=len(golden.pixels),
            max_difference=float(differences.max()),
            tolerance=golden.tolerance,
            label_flips=int((logits.argmax(axis=1) != golden.logits.argmax(axis=1)).sum()),
            pixel_difference=None
            if golden.probe is None
            else measure_pixel_difference(self.read(draw_probe()), golden.probe),
            other_difference=other_difference,
            other_tolerance=compute_other_tolerance(golden.tolerance, self.contract.temperature),
            mean_difference=float(differences.mean()),
            mean_tolerance=golden.mean_tolerance,
            probability_difference=float(np.abs(probabilities - expected).max()),
            graph_changed=graph != recorded if recorded and graph is not None else None,
        )


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def resolve_model(model: str | os.PathLike[str] | None) -> Path:
    """Return the path of a model file, given by its path or by the name of a released model.

    Raises:
        ModelFileError: It is neither a file nor the name of a released model, or is empty.
    """
    name = emotion_models.DEFAULT_MODEL if model is None else os.fspath(model)
    if name in emotion_models.names():
        return emotion_models.model_path(name)
    if not name:  # `Path` would make it the current folder
        raise ModelFileError("the name of the model is empty.")
    path = Path(name)
    if not _path_exists(path):
        known = ", ".join(emotion_models.names())
        raise ModelFileError(f"{name}: no such model file, nor a released model ({known}).")
    return path


def _path_exists(path: Path) -> bool:
    """Return whether a path exists; False also for one that no file can have."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return False
    except OSError:
        pass  # opening it gives the reason
    return True


def _check_threshold(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:  # true for NaN too
        raise ValueError(f"{name} must be from 0 to 1, not {value}")


def _check_graph(session: Session, contract: Contract) -> None:
    """Refuse a graph whose inputs or outputs do not conform to the contract."""
    size, classes, path = contract.input.size, len(contract.labels), session.path
    shapes = session.inputs()
    inputs = {name: (kind, shape[1:]) for name, (kind, shape) in shapes.items()}
    outputs = {name: (kind, shape[1:]) for name, (kind, shape) in session.outputs().items()}
    if inputs != {INPUT_NAME: ("tensor(uint8)", [1, size, size])}:
        raise ModelFileError(
            f"{path}: its input is {shorten_repr(inputs)}, not {INPUT_NAME} uint8 "
            f"(batch, 1, {size}, {size})."
        )
    expected: dict[str, tuple[str, list[int]]]
    expected = dict.fromkeys(OUTPUT_NAMES, ("tensor(float)", [classes]))
    other = ""
    if contract.other_threshold is not None:
        expected[OTHER_NAME] = ("tensor(float)", [])
        other = f" and {OTHER_NAME} float32 (batch,)"
    if outputs != expected:
        raise ModelFileError(
            f"{path}: its outputs are {shorten_repr(outputs)}, not {' and '.join(OUTPUT_NAMES)} "
            f"float32 (batch, {classes}){other}."
        )
    if isinstance(shapes[INPUT_NAME][1][0], int):
        raise ModelFileError(
            f"{path}: its batch size is fixed; the contract requires a dynamic one."
        )


class PictureFunction(BatchFunction[Picture, R]):
    """A function of a batch of pictures, which are packed for a worker process."""

    def pack(self, item: Picture) -> Any:
        """Return a picture in a form that can be pickled, or its error."""
        if type(item) is str:  # most are
            return item
        from emotion_runtime.pictures.packing import pack_picture

        return pack_picture(item)


class _PicturePredictor(PictureFunction[list[Prediction]]):
    """Classifies each picture as one face.

    Decoding a small picture is mostly Python code. Two threads that do it compete for the
    interpreter lock and are no faster than one, so that only one batch of small pictures is decoded
    at a time, while other workers run the network. Large pictures are decoded in parallel, because
    their decoders release the lock.
    """

    def __init__(self, classifier: EmotionClassifier) -> None:
        self._classifier = classifier
        # One lock for each stream, not one of the module: a child that is forked while another
        # thread holds a module's lock would wait for it forever. In a free-threaded Python, none.
        self._small_picture_lock: AbstractContextManager[object] = (
            threading.Lock() if has_interpreter_lock() else contextlib.nullcontext()
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._classifier,)

    def __call__(self, batch: list[Picture], stop: threading.Event) -> list[Prediction]:
        """Return the prediction of each picture."""
        faces = _read_faces(self._classifier, batch, stop, self._small_picture_lock)
        if stop.is_set():
            return []
        pixels = [face for face in faces if isinstance(face, np.ndarray)]
        predictions: Iterator[Prediction] = iter(())
        if pixels:
            pairs = zip(batch, faces, strict=True)
            paths = [get_path(picture) for picture, face in pairs if isinstance(face, np.ndarray)]
            outputs = self._classifier.compute(np.stack(pixels))
            predictions = self._classifier.interpret_all(outputs, paths)
        return [
            next(predictions)
            if isinstance(face, np.ndarray)
            else Prediction.from_error(get_path(picture), str(face))
            for picture, face in zip(batch, faces, strict=True)
        ]

    def describe_crash(self, item: Picture, reason: str) -> list[Prediction]:
        """Return the prediction with the error of a picture that ends its process."""
        path = get_path(item)
        return [Prediction.from_error(path, describe_crash(path, reason))]


def _read_faces(
    classifier: EmotionClassifier,
    batch: list[Picture],
    stop: threading.Event,
    small_picture_lock: AbstractContextManager[object],
) -> list[Pixels | PictureError | TypeError | None]:
    """Return the pixels or the error of each picture; None for those skipped after `stop`."""
    faces: list[Pixels | PictureError | TypeError | None] = [None] * len(batch)

    def read(index: int) -> None:
        if stop.is_set():
            return
        try:
            faces[index] = classifier.read(batch[index])
        except PictureError as error:
            faces[index] = error

    large = []
    with small_picture_lock:
        for index, picture in enumerate(batch):
            if (error := find_argument_error(picture)) is not None:
                faces[index] = error
            elif is_small(picture):
                read(index)
            else:
                large.append(index)
    for index in large:
        read(index)
    return faces
