"""The classifier: a proven model file, opened once, that turns pictures into predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import emotion_models
from emotion_runtime.contract import INPUT_NAME, OTHER_NAME, OUTPUT_NAMES, Contract
from emotion_runtime.errors import ModelFileError, SourceError, shown
from emotion_runtime.lazy_imports import IMPORTING
from emotion_runtime.prediction import OTHER, UNCERTAIN, FacePrediction, Prediction
from emotion_runtime.preprocessing import NamedBytes, Picture, Pixels, read_face
from emotion_runtime.probe import TOLERANCE as PROBE_TOLERANCE
from emotion_runtime.probe import draw_probe, pixel_difference
from emotion_runtime.session import Session, check_count, open_session
from emotion_runtime.sources import find_pictures

if TYPE_CHECKING:
    from emotion_runtime.faces import FaceFinder

_SUM_TOLERANCE = 0.01  # of a row of probabilities: fp16 is off by some thousandths
_SELF_TEST_BATCH = 64


class Outputs(NamedTuple):
    """What the network computes for n faces.

    Attributes:
        logits: float32, shape (n, classes).
        probabilities: float32, shape (n, classes); each row adds up to 1.
        other: Probability that a face shows none of the labels, float32, shape (n,); None of model
            files without this output.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    other: NDArray[np.float32] | None = None

    def shares(self) -> NDArray[np.float32]:
        """Return the probabilities, with `other` as a last column where there is one."""
        if self.other is None:
            return self.probabilities
        return np.concatenate([self.probabilities, self.other[:, np.newaxis]], axis=1)


@dataclass(frozen=True)
class SelfTest:
    """How this machine's answers to the golden inputs compare with those of the proof.

    Attributes:
        inputs: Number of golden inputs.
        max_difference: Largest absolute difference of a logit.
        tolerance: What the file allows.
        label_flips: Inputs whose label differs.
        pixel_difference: Largest difference, of 255, between the probe picture as this machine
            reads it and as the training read it; None where the file has no probe.
        other_difference: Largest absolute difference of the output `other`; None in files
            without it.
        other_tolerance: What of that difference the tolerance of the logits explains.
    """

    inputs: int
    max_difference: float
    tolerance: float
    label_flips: int
    pixel_difference: int | None = None
    other_difference: float | None = None
    other_tolerance: float = 0.0

    @property
    def passed(self) -> bool:
        """Say whether the file is proven on this machine."""
        return not self.failures()

    def failures(self) -> list[str]:
        """Say what does not hold, each with its figures."""
        found = []
        if self.label_flips:
            found.append(f"{self.label_flips} of {self.inputs} golden inputs get another label")
        if not self.max_difference <= self.tolerance:  # a NaN too
            found.append(
                f"the largest logit difference is {self.max_difference:.2g} (allowed "
                f"{self.tolerance:.2g}): this onnxruntime or chip computes otherwise"
            )
        # The logits of the classes that `other` adds up are no output: this is what shows them.
        if self.other_difference is not None and not self.other_difference <= self.other_tolerance:
            found.append(
                f"the largest difference of the output other is {self.other_difference:.2g} "
                f"(allowed {self.other_tolerance:.2g}): this onnxruntime or chip computes otherwise"
            )
        if self.pixel_difference is not None and self.pixel_difference > PROBE_TOLERANCE:
            found.append(
                f"a picture is read {self.pixel_difference} of 255 off what the training read: "
                f"this Pillow decodes or resizes otherwise"
            )
        return found


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
                f"{self.model_path}: has no output other (its network knows no other classes than "
                f"its labels), so that no threshold of it can be set"
            )
        self.other_threshold = None if other_threshold is None else float(other_threshold)
        self._default_finder: FaceFinder | None = None

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
            raise self._no_probabilities()
        if other is not None:
            if other.shape != shape[:1]:
                raise ModelFileError(
                    f"{self.model_path}: gives the output other with the shape {other.shape} for "
                    f"{shape[0]} faces."
                )
            if not (other.min() >= 0 and other.max() <= 1 + _SUM_TOLERANCE):  # a NaN too
                raise self._no_probabilities()
        return Outputs(logits, probabilities, other)

    def predict(self, picture: Picture) -> Prediction:
        """Classify one picture: a path, encoded bytes, a PIL image or a uint8 array.

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It is nothing that counts as a picture, such as a list or None.
        """
        face = self.read(picture)
        (prediction,) = self.interpret_all(self.compute(face[np.newaxis]), [path_of(picture)])
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
        with IMPORTING:
            from emotion_runtime.pipeline import predict_stream, whole_pictures

        check_pictures(pictures)
        return predict_stream(
            whole_pictures(self), pictures, batch_size=batch_size, workers=workers
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
        if not Path(folder).is_dir():
            raise SourceError(f"{folder}: no such folder.")
        pictures = find_pictures([os.fspath(folder)])
        return self.predict_many(pictures, batch_size=batch_size, workers=workers)

    def predict_faces(
        self,
        picture: Picture,
        *,
        largest: bool = False,
        finder: FaceFinder | None = None,
        keep_crops: bool = False,
    ) -> list[FacePrediction]:
        """Find the faces of a photograph, and classify each, from left to right.

        Args:
            picture: As in `predict`.
            largest: Keep the largest face alone.
            finder: What finds them, where the default `faces.FaceFinder()` shall not.
            keep_crops: Keep what the network saw of each face, as `FacePrediction.crop`.

        Returns:
            One `FacePrediction` for each face; of a picture without one, an empty list.

        Raises:
            PictureError: The picture cannot be read.
            TypeError: It is nothing that counts as a picture, such as a list or None.
        """
        with IMPORTING:
            from emotion_runtime.pipeline import face_outputs, of_face

        check_picture(picture)
        faces = (finder or self._finder()).find(picture, self.contract.input.size, largest=largest)

        path = path_of(picture)
        predictions = self.interpret_all(face_outputs(self, faces), [path] * len(faces))
        return [
            of_face(prediction, face, keep_crop=keep_crops)
            for prediction, face in zip(predictions, faces, strict=True)
        ]

    def predict_faces_many(
        self,
        pictures: Iterable[Picture],
        *,
        largest: bool = False,
        finder: FaceFinder | None = None,
        batch_size: int = 8,
        workers: int | None = None,
        keep_crops: bool = False,
    ) -> Iterator[FacePrediction]:
        """Find and classify the faces of a stream of photographs, in order.

        A photograph without a face, and one that cannot be read, give a `FacePrediction` too: the
        first without a label and an error, the second with an error.

        Args:
            pictures: As in `predict_many`.
            largest: Keep the largest face of each photograph alone.
            finder: What finds them, where the default `faces.FaceFinder()` shall not.
            batch_size: Most photographs whose faces go through the network together, at least 1.
            workers: Threads, each with photographs of its own, at least 1; None for the CPUs that
                this process may use.
            keep_crops: Keep what the network saw of each face, as `FacePrediction.crop`.

        Raises:
            ModelFileError, ValueError, TypeError: As in `predict_many`.
        """
        with IMPORTING:
            from emotion_runtime.pipeline import faces_within, predict_stream

        check_pictures(pictures)
        finder = finder or self._finder()
        answer = faces_within(self, finder, largest=largest, keep_crops=keep_crops)
        return predict_stream(answer, pictures, batch_size=batch_size, workers=workers)

    def _finder(self) -> FaceFinder:
        """Return the default finder, made at its first use.

        Under the lock that a fork waits for: another one might be held in another thread then.
        """
        if self._default_finder is None:
            with IMPORTING:
                from emotion_runtime.faces import FaceFinder

                self._default_finder = FaceFinder()
        return self._default_finder

    def interpret_all(self, outputs: Outputs, paths: Iterable[str | None]) -> Iterator[Prediction]:
        """Yield a `Prediction` for each face of `compute`'s outputs, with its path.

        Raises:
            ModelFileError, ValueError: As `interpret`.
        """
        others = repeat(None) if outputs.other is None else map(float, outputs.other)
        for row, other, path in zip(outputs.probabilities, others, paths, strict=False):
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
                or of a file that does not have it.
        """
        values = [float(value) for value in probabilities]
        if len(values) != len(self.labels):
            raise ValueError(f"{len(values)} probabilities for {len(self.labels)} labels")
        if not abs(sum(values) - 1) <= _SUM_TOLERANCE:
            raise self._no_probabilities()
        confidence = max(values)
        # In the network's own precision: its 0.9 is a little less than Python's.
        floor = float(np.float32(self.min_confidence))
        label = self.labels[values.index(confidence)] if confidence >= floor else UNCERTAIN
        probabilities_by_label = dict(zip(self.labels, values, strict=True))
        if self.other_threshold is None:
            if other is not None:
                raise ValueError(f"{self.model_path}: has no output other")
            return Prediction(label, confidence, probabilities_by_label, path)
        if other is None or not 0 <= other <= 1 + _SUM_TOLERANCE:  # a NaN too
            raise ValueError(f"other must be from 0 to 1 for this model file, not {other}")
        other = min(other, 1.0)
        if is_other(other, self.other_threshold):
            label, confidence = OTHER, other
        return Prediction(label, confidence, probabilities_by_label, path, other=other)

    def _no_probabilities(self) -> ModelFileError:
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
        return SelfTest(
            inputs=len(golden.pixels),
            max_difference=float(np.abs(logits - golden.logits).max()),
            tolerance=golden.tolerance,
            label_flips=int((logits.argmax(axis=1) != golden.logits.argmax(axis=1)).sum()),
            pixel_difference=None
            if golden.probe is None
            else pixel_difference(self.read(draw_probe()), golden.probe),
            other_difference=other_difference,
            other_tolerance=other_tolerance(golden.tolerance, self.contract.temperature),
        )


def is_other(other: float, threshold: float) -> bool:
    """Return whether a face gets the label ``"other"``; at a threshold of 1 none does."""
    # In the network's own precision: its 0.9 is a little less than Python's.
    return threshold < 1 and other >= float(np.float32(threshold))


def other_tolerance(logit_tolerance: float, temperature: float) -> float:
    """Return by how much `other` may differ where every logit differs by the tolerance at most.

    `other` is the logistic function of a difference of two logarithms of sums of exponentials, of
    logits over the temperature: each moves by no more than its logits, and the slope of the
    function is 1/4 at most.
    """
    return max(logit_tolerance / (2 * temperature), 1e-6)  # the last for float32's own rounding


def resolve_model(model: str | os.PathLike[str] | None) -> Path:
    """Find the file of a model given by path or by the name of a released one.

    Raises:
        ModelFileError: Neither a file nor a released name.
    """
    name = emotion_models.DEFAULT_MODEL if model is None else os.fspath(model)
    if name in emotion_models.names():
        return emotion_models.model_path(name)
    path = Path(name)
    if not _exists(path):
        known = ", ".join(emotion_models.names())
        raise ModelFileError(f"{name}: no such model file, nor a released model ({known}).")
    return path


def _exists(path: Path) -> bool:
    """Return whether something is there; what it is, opening it says."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return False
    except OSError:
        pass  # opening it says why
    return True


def check_picture(picture: object) -> None:
    """Refuse what is no picture by its type.

    Raises:
        TypeError: It is neither a path, bytes, an image, an array nor a file.
    """
    if isinstance(picture, (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray)):
        return
    if isinstance(picture, Image.Image) or hasattr(picture, "read"):
        return
    raise TypeError(
        f"a picture is a path, bytes, a PIL image, a uint8 array or a file, "
        f"not {type(picture).__name__}"
    )


def check_pictures(pictures: object) -> None:
    """Refuse a single picture where a stream of them is wanted; its parts are no pictures.

    Raises:
        TypeError: It is one picture, or cannot be iterated over.
    """
    single = isinstance(pictures, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
    if isinstance(pictures, np.ndarray):
        # (n, height, width) are n gray pictures, (height, width, 3) is one in colour.
        single = pictures.ndim < 3 or (pictures.ndim == 3 and pictures.shape[2] in (1, 3, 4))
    if single or hasattr(pictures, "read"):
        raise TypeError(
            f"give several pictures, such as a list of paths, not one {type(pictures).__name__}"
        )
    if not isinstance(pictures, Iterable):
        raise TypeError(f"pictures must be iterable, not {type(pictures).__name__}")


def path_of(picture: Picture) -> str | None:
    """Return the path of a picture that was given as one, or remembers it."""
    if isinstance(picture, (str, os.PathLike)):
        return os.fsdecode(picture)
    return picture.path if isinstance(picture, NamedBytes) else None


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
            f"{path}: its input is {shown(inputs)}, not {INPUT_NAME} uint8 "
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
            f"{path}: its outputs are {shown(outputs)}, not {' and '.join(OUTPUT_NAMES)} "
            f"float32 (batch, {classes}){further}."
        )
    if isinstance(shapes[INPUT_NAME][1][0], int):
        raise ModelFileError(f"{path}: its batch size is fixed; the contract wants a dynamic one.")
