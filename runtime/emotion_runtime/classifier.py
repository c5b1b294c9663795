"""The classifier: a proven model file, opened once, that turns pictures into predictions."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import emotion_models
from emotion_runtime.counts import check_count
from emotion_runtime.errors import ModelFileError, PictureError, shorten_repr
from emotion_runtime.model.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES, Contract
from emotion_runtime.model.outputs import Outputs, compute_other_tolerance
from emotion_runtime.model.self_test import SelfTest, draw_probe, measure_pixel_difference
from emotion_runtime.model.session import Session, open_session
from emotion_runtime.pictures.arguments import (
    check_picture,
    check_pictures,
    find_type_error,
    get_path,
)
from emotion_runtime.pictures.preprocessing import Picture, Pixels, is_small, read_face
from emotion_runtime.pictures.sources import find_folder_pictures
from emotion_runtime.prediction import OTHER, UNCERTAIN, Prediction
from emotion_runtime.streaming import MapBatch, map_batches

_SUM_TOLERANCE = 0.01  # of a row of probabilities: fp16 is off by some thousandths
_SELF_TEST_BATCH = 64


class EmotionClassifier:
    """Opens a model file once and classifies pictures.

    Its methods may be called from threads and in forked children. It can be copied, pickled and
    sent to worker processes, which open the same file themselves.

    Args:
        model: A file that `emotion-export` wrote, or the name of a released model; None for the
            default one.
        threads: Threads of onnxruntime for one call, at least 1. One is the fastest for many
            pictures, which `predict_many` spreads over its workers; no thread spins for work.
        provider: Where onnxruntime runs it, such as ``"CUDAExecutionProvider"``; what it cannot
            run there runs on the CPU.
        min_confidence: Below it the label is ``"uncertain"``, 0 to 1; None for the file's own.
        other_threshold: Where the probability that a face shows none of the labels reaches it, the
            label is ``"other"``, 0 to 1; at 1 never. None for the file's own.

    Attributes:
        model_path: The file that was opened.
        contract: What it says of itself.
        labels: Its class names, in the order of the outputs' columns.
        min_confidence: The confidence threshold in force.
        other_threshold: The threshold of `other` in force; None in files without this output.

    Raises:
        ModelFileError: The file is missing, no model, damaged, or does not keep the contract, or
            this onnxruntime lacks the provider.
        ValueError: `threads` is less than 1, a threshold is not from 0 to 1, or the file has no
            output `other` that `other_threshold` could be for.
        TypeError: `threads` is no integer, or a threshold no number.
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
        threads = check_count("threads", threads)
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
        """Return the hexadecimal SHA-256 of the model file, as it was opened."""
        return self._session.sha256()

    def read(self, picture: Picture) -> Pixels:
        """Read a picture as this model wants it: uint8 (size, size).

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It is nothing that counts as a picture, such as a list or None.
        """
        check_picture(picture)
        return read_face(picture, self.contract.input.size)

    def infer(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on faces that are read already.

        Args:
            pixels: uint8, shape (n, 1, size, size) or (n, size, size).

        Returns:
            Logits and probabilities, float32, each of shape (n, classes). `compute` gives the
            output `other` too, where the file has it.

        Raises:
            ModelFileError, ValueError, TypeError: As `compute`.
        """
        outputs = self.compute(pixels)
        return outputs.logits, outputs.probabilities

    def compute(self, pixels: Pixels) -> Outputs:
        """Run the network on faces that are read already, and return all of its outputs.

        Args:
            pixels: uint8, shape (n, 1, size, size) or (n, size, size).

        Raises:
            ModelFileError: The network cannot be run, or its outputs are not what the contract
                says: of another shape, or no probabilities (NaN among them).
            ValueError: `pixels` has another shape.
            TypeError: `pixels` is no array of uint8.
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
            none = np.zeros(shape, np.float32)
            return Outputs(none, none.copy(), np.zeros(0, np.float32) if has_other else None)
        names = (*OUTPUT_NAMES, OTHER_NAME) if has_other else OUTPUT_NAMES
        logits, probabilities, *further = self._session.run(names, {INPUT_NAME: pixels})
        other = further[0] if further else None
        if logits.shape != shape or probabilities.shape != shape:
            raise ModelFileError(
                f"{self.model_path}: gives outputs of shape {logits.shape} and "
                f"{probabilities.shape} for {shape[0]} faces and {shape[1]} labels."
            )
        # One sum for all rows, which is cheap; it finds a NaN and an infinity too, since no
        # comparison with them is true. Each row is looked at in `interpret`.
        off = abs(float(probabilities.sum()) / len(pixels) - 1)
        if not (off <= _SUM_TOLERANCE and probabilities.min() >= 0):
            raise self._make_probability_error()
        if other is not None:
            if other.shape != shape[:1]:
                raise ModelFileError(
                    f"{self.model_path}: gives the output other with the shape {other.shape} for "
                    f"{shape[0]} faces."
                )
            if not (other.min() >= 0 and other.max() <= 1 + _SUM_TOLERANCE):  # a NaN too
                raise self._make_probability_error()
        return Outputs(logits, probabilities, other)

    def predict(self, picture: Picture) -> Prediction:
        """Classify one picture: a path, encoded bytes, a PIL image or a uint8 array.

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It is nothing that counts as a picture, such as a list or None.
        """
        face = self.read(picture)
        (prediction,) = self.interpret_all(self.compute(face[np.newaxis]), [get_path(picture)])
        return prediction

    def predict_many(
        self, pictures: Iterable[Picture], *, batch_size: int = 32, workers: int | None = None
    ) -> Iterator[Prediction]:
        """Classify a stream of pictures in order; a bad one is a `Prediction` with an error.

        Args:
            pictures: Whatever `predict` takes, mixed as you like; a generator is taken from only
                some batches ahead.
            batch_size: Most pictures of one call of the network, at least 1.
            workers: Threads that read and infer, at least 1; None for the CPUs that this process
                may use.

        Raises:
            ModelFileError: The network cannot be run; while the stream is taken from.
            ValueError: `batch_size` or `workers` is less than 1.
            TypeError: One of them is no integer, or `pictures` is a single picture.
        """
        check_pictures(pictures)
        return map_batches(
            make_picture_predictor(self), pictures, batch_size=batch_size, workers=workers
        )

    def predict_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int = 32,
        workers: int | None = None,
    ) -> Iterator[Prediction]:
        """Classify the pictures of a folder, recursively and sorted, as `predict_many` does.

        Raises:
            SourceError: The folder is missing, holds no picture, or cannot be listed.
        """
        pictures = find_folder_pictures(folder)
        return self.predict_many(pictures, batch_size=batch_size, workers=workers)

    def interpret_all(self, outputs: Outputs, paths: Iterable[str | None]) -> Iterator[Prediction]:
        """Yield a `Prediction` for each face of the outputs of `compute`.

        Args:
            outputs: Of n faces.
            paths: Where each of them came from.

        Raises:
            ModelFileError, ValueError: As `interpret`.
        """
        others = repeat(None) if outputs.other is None else map(float, outputs.other)
        # Not strict: the endless `repeat` has no length.
        for row, path, other in zip(outputs.probabilities, paths, others, strict=False):
            yield self.interpret(row, path, other=other)

    def interpret(
        self,
        probabilities: NDArray[np.float32],
        path: str | None = None,
        *,
        other: float | None = None,
    ) -> Prediction:
        """Turn one row of probabilities, shape (classes,), into a `Prediction`.

        Args:
            probabilities: float32, shape (classes,).
            path: Where the picture came from.
            other: Probability that the face shows none of the labels, of files with this output.

        Raises:
            ModelFileError: They do not add up to 1; a NaN does not.
            ValueError: They are not as many as the labels, or `other` is missing, not from 0 to 1,
                or given for a file that does not have it.
        """
        values = [float(value) for value in probabilities]
        if len(values) != len(self.labels):
            raise ValueError(f"{len(values)} probabilities for {len(self.labels)} labels")
        if not abs(sum(values) - 1) <= _SUM_TOLERANCE:
            raise self._make_probability_error()
        confidence = max(values)
        # In the network's own precision: its 0.9 is a little less than Python's.
        floor = float(np.float32(self.min_confidence))
        label = self.labels[values.index(confidence)] if confidence >= floor else UNCERTAIN
        by_label = dict(zip(self.labels, values, strict=True))
        if self.other_threshold is None:
            if other is not None:
                raise ValueError(f"{self.model_path}: has no output other")
            return Prediction(label, confidence, by_label, path)
        if other is None or not 0 <= other <= 1 + _SUM_TOLERANCE:  # a NaN too
            raise ValueError(f"other must be from 0 to 1 for this model file, not {other}")
        other = min(other, 1.0)
        # As `Outputs.decide`: in float32, and never at a threshold of 1.
        if self.other_threshold < 1 and other >= float(np.float32(self.other_threshold)):
            label, confidence = OTHER, other
        return Prediction(label, confidence, by_label, path, other=other)

    def _make_probability_error(self) -> ModelFileError:
        return ModelFileError(
            f"{self.model_path}: gives numbers that are no probabilities (not finite, negative, or "
            f"not adding up to 1)."
        )

    def self_test(self) -> SelfTest:
        """Run the file's golden inputs on this machine and compare with the proof's answers."""
        golden = self.contract.golden
        starts = range(0, len(golden.pixels), _SELF_TEST_BATCH)
        parts = [self.compute(golden.pixels[start : start + _SELF_TEST_BATCH]) for start in starts]
        logits = np.concatenate([part.logits for part in parts])
        other_difference = None
        if golden.other is not None and self.other_threshold is not None:
            others = np.concatenate([part.other for part in parts if part.other is not None])
            other_difference = float(np.abs(others - golden.other).max())
        differences = np.abs(logits - golden.logits)
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
            graph_changed=graph != recorded if recorded and graph is not None else None,
        )


def resolve_model(model: str | os.PathLike[str] | None) -> Path:
    """Find the file of a model given by path or by the name of a released one.

    Raises:
        ModelFileError: Neither a file nor a released name.
    """
    name = emotion_models.DEFAULT_MODEL if model is None else os.fspath(model)
    if name in emotion_models.names():
        return emotion_models.model_path(name)
    path = Path(name)
    if not _path_exists(path):
        known = ", ".join(emotion_models.names())
        raise ModelFileError(f"{name}: no such model file, nor a released model ({known}).")
    return path


def _path_exists(path: Path) -> bool:
    """Return whether something is there; what it is, opening it says."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return False
    except OSError:
        pass  # opening it says why
    return True


def _check_threshold(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:  # a NaN too
        raise ValueError(f"{name} must be from 0 to 1, not {value}")


def _check_graph(session: Session, contract: Contract) -> None:
    """Hold the graph itself against what the contract says of it."""
    size, classes, path = contract.input.size, len(contract.labels), session.path
    shapes = session.inputs()
    inputs = {name: (kind, shape[1:]) for name, (kind, shape) in shapes.items()}
    outputs = {name: (kind, shape[1:]) for name, (kind, shape) in session.outputs().items()}
    if inputs != {INPUT_NAME: ("tensor(uint8)", [1, size, size])}:
        raise ModelFileError(
            f"{path}: its input is {shorten_repr(inputs)}, not {INPUT_NAME} uint8 "
            f"(batch, 1, {size}, {size})."
        )
    wanted: dict[str, tuple[str, list[int]]]
    wanted = dict.fromkeys(OUTPUT_NAMES, ("tensor(float)", [classes]))
    further = ""
    if contract.other_threshold is not None:
        wanted[OTHER_NAME] = ("tensor(float)", [])
        further = f" and {OTHER_NAME} float32 (batch,)"
    if outputs != wanted:
        raise ModelFileError(
            f"{path}: its outputs are {shorten_repr(outputs)}, not {' and '.join(OUTPUT_NAMES)} "
            f"float32 (batch, {classes}){further}."
        )
    if isinstance(shapes[INPUT_NAME][1][0], int):
        raise ModelFileError(f"{path}: its batch size is fixed; the contract wants a dynamic one.")


def make_picture_predictor(classifier: EmotionClassifier) -> MapBatch[Picture, Prediction]:
    """Return the function that classifies a batch of pictures of one face each.

    Reading a small picture is mostly Python code. Two threads that do so pass the global
    interpreter lock back and forth and take as long as one, so that only one batch's small pictures
    are read at a time, while other workers run the network. Large pictures keep the decoder busy
    without that lock, and are read in parallel.
    """
    # A lock of this stream: a child that is forked while another thread holds a lock of the module
    # would wait for it for ever.
    small_pictures_lock = threading.Lock()

    def answer(batch: list[Picture], stop: threading.Event) -> list[Prediction]:
        found: list[Pixels | PictureError | TypeError | None] = [None] * len(batch)

        def read(index: int) -> None:
            if stop.is_set():
                return
            try:
                found[index] = classifier.read(batch[index])
            except PictureError as error:
                found[index] = error

        large = []
        with small_pictures_lock:
            for index, picture in enumerate(batch):
                if (error := find_type_error(picture)) is not None:
                    found[index] = error
                elif is_small(picture):
                    read(index)
                else:
                    large.append(index)
        for index in large:
            read(index)
        if stop.is_set():
            return []
        faces = [one for one in found if isinstance(one, np.ndarray)]
        answers: Iterator[Prediction] = iter(())
        if faces:
            read_pictures = zip(batch, found, strict=True)
            paths = [get_path(pic) for pic, one in read_pictures if isinstance(one, np.ndarray)]
            answers = classifier.interpret_all(classifier.compute(np.stack(faces)), paths)
        return [
            next(answers)
            if isinstance(one, np.ndarray)
            else Prediction.from_error(get_path(picture), str(one))
            for picture, one in zip(batch, found, strict=True)
        ]

    return answer
