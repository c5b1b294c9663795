"""The classifier: a proven model file, opened once, that turns pictures into predictions."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import emotion_models
from emotion_runtime.contract import INPUT_NAME, OUTPUT_NAMES, Contract
from emotion_runtime.errors import ModelFileError, SourceError
from emotion_runtime.prediction import UNCERTAIN, FacePrediction, Prediction
from emotion_runtime.preprocessing import NamedBytes, Picture, Pixels, read_face
from emotion_runtime.probe import TOLERANCE as PROBE_TOLERANCE
from emotion_runtime.probe import draw_probe, pixel_difference
from emotion_runtime.sources import find_pictures

if TYPE_CHECKING:
    from emotion_runtime.faces import FaceFinder


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
    """

    inputs: int
    max_difference: float
    tolerance: float
    label_flips: int
    pixel_difference: int | None = None

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
        if self.pixel_difference is not None and self.pixel_difference > PROBE_TOLERANCE:
            found.append(
                f"a picture is read {self.pixel_difference} of 255 off what the training read: "
                f"this Pillow decodes or resizes otherwise"
            )
        return found


class EmotionClassifier:
    """Opens a model file once and classifies pictures; its methods may be called from threads.

    Args:
        model: A file that `emotion-export` wrote, or the name of a released model; None for the
            default one.
        threads: Threads of onnxruntime for one call. One is the fastest for many pictures, which
            `predict_many` spreads over its workers, and no thread ever spins for work.
        provider: Where onnxruntime runs it, such as ``"CUDAExecutionProvider"``; what it cannot
            run there runs on the CPU.
        min_confidence: Below it the label is ``"uncertain"``; None for the file's own floor.

    Raises:
        ModelFileError: The file is missing, no ONNX, or does not keep the contract, or this
            onnxruntime lacks the provider.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        provider: str = "CPUExecutionProvider",
        min_confidence: float | None = None,
    ) -> None:
        self.model_path = resolve_model(model)
        self._session = open_session(self.model_path, threads, provider)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.contract = Contract.from_metadata(metadata, str(self.model_path))
        self.labels = self.contract.labels
        _check_graph(self._session, self.contract, self.model_path)
        floor = self.contract.min_confidence if min_confidence is None else min_confidence
        self.min_confidence = floor

    def read(self, picture: Picture) -> Pixels:
        """Read a picture as this model wants it: uint8 (size, size).

        Raises:
            PictureError: The picture cannot be read.
        """
        return read_face(picture, self.contract.input.size)

    def infer(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on faces that are read already.

        Args:
            pixels: uint8, shape (n, 1, size, size) or (n, size, size).

        Returns:
            Logits and probabilities, float32, each of shape (n, classes).
        """
        if pixels.ndim == 3:
            pixels = pixels[:, np.newaxis]
        logits, probabilities = self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: pixels})
        return logits, probabilities

    def predict(self, picture: Picture) -> Prediction:
        """Classify one picture: a path, encoded bytes, a PIL image or a uint8 array.

        Raises:
            PictureError: The picture cannot be read.
        """
        face = self.read(picture)
        _, probabilities = self.infer(face[np.newaxis])
        return self.interpret(probabilities[0], path_of(picture))

    def predict_many(
        self, pictures: Iterable[Picture], *, batch_size: int = 32, workers: int | None = None
    ) -> Iterator[Prediction]:
        """Classify a stream of pictures in order; a bad one is a `Prediction` with an error.

        Args:
            pictures: Whatever `predict` takes, mixed as you like; a generator is taken from only
                some batches ahead.
            batch_size: Most pictures of one call of the network.
            workers: Threads that read and infer; None for the CPUs that this process may use.
        """
        from emotion_runtime.cpus import usable_cpus
        from emotion_runtime.pipeline import predict_stream, whole_pictures

        return predict_stream(
            whole_pictures(self), pictures, batch_size=batch_size, workers=workers or usable_cpus()
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
        """
        faces = (finder or self._finder).find(picture, self.contract.input.size, largest=largest)
        from emotion_runtime.pipeline import face_probabilities, of_face

        path = path_of(picture)
        return [
            of_face(self.interpret(row, path), face, keep_crop=keep_crops)
            for row, face in zip(face_probabilities(self, faces), faces, strict=True)
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
            batch_size: Most photographs whose faces go through the network together.
            workers: Threads, each with photographs of its own; None for the CPUs that this
                process may use.
            keep_crops: Keep what the network saw of each face, as `FacePrediction.crop`.
        """
        from emotion_runtime.cpus import usable_cpus
        from emotion_runtime.pipeline import faces_within, predict_stream

        answer = faces_within(self, finder or self._finder, largest=largest, keep_crops=keep_crops)
        return predict_stream(
            answer, pictures, batch_size=batch_size, workers=workers or usable_cpus()
        )

    @functools.cached_property
    def _finder(self) -> FaceFinder:
        from emotion_runtime.faces import FaceFinder

        return FaceFinder()

    def interpret(self, probabilities: NDArray[np.float32], path: str | None = None) -> Prediction:
        """Turn one row of probabilities, shape (classes,), into a `Prediction`."""
        values = [float(value) for value in probabilities]
        confidence = max(values)
        label = self.labels[values.index(confidence)]
        return Prediction(
            label=label if confidence >= self.min_confidence else UNCERTAIN,
            confidence=confidence,
            probabilities=dict(zip(self.labels, values, strict=True)),
            path=path,
        )

    def self_test(self) -> SelfTest:
        """Run the file's golden inputs on this machine and compare with the proof's answers."""
        golden = self.contract.golden
        logits, _ = self.infer(golden.pixels)
        return SelfTest(
            inputs=len(golden.pixels),
            max_difference=float(np.abs(logits - golden.logits).max()),
            tolerance=golden.tolerance,
            label_flips=int((logits.argmax(axis=1) != golden.logits.argmax(axis=1)).sum()),
            pixel_difference=None
            if golden.probe is None
            else pixel_difference(self.read(draw_probe()), golden.probe),
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
    if not path.is_file():
        known = ", ".join(emotion_models.names())
        raise ModelFileError(f"{name}: no such model file, nor a released model ({known}).")
    return path


def path_of(picture: Picture) -> str | None:
    """Return the path of a picture that was given as one, or remembers it."""
    if isinstance(picture, (str, os.PathLike)):
        return os.fspath(picture)
    return picture.path if isinstance(picture, NamedBytes) else None


def open_session(path: Path, threads: int = 1, provider: str = "CPUExecutionProvider") -> Any:
    """Open an ONNX file as the device wants it.

    Raises:
        ModelFileError: onnxruntime cannot open it, or lacks the provider.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise ModelFileError(
            f"this onnxruntime has no provider {provider}; it has {', '.join(available)}."
        )
    options = onnxruntime.SessionOptions()
    # Stated, not left to onnxruntime: it counts the machine's cores, not the container's.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pool that spins between calls burns a device's battery and the decoder's CPU.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers = list(dict.fromkeys([provider, "CPUExecutionProvider"]))
    try:
        return onnxruntime.InferenceSession(path, sess_options=options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no public base
        reason = " ".join(str(error).split())
        raise ModelFileError(
            f"{path}: not a model that onnxruntime {onnxruntime.__version__} can open ({reason})"
        ) from error


def _check_graph(session: Any, contract: Contract, path: Path) -> None:
    """Hold the graph itself against what the contract says of it."""
    size, classes = contract.input.size, len(contract.labels)
    inputs = {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()}
    outputs = {o.name: (o.type, o.shape[1:]) for o in session.get_outputs()}
    if inputs != {INPUT_NAME: ("tensor(uint8)", [1, size, size])}:
        raise ModelFileError(
            f"{path}: its input is {inputs}, not {INPUT_NAME} uint8 (batch, 1, {size}, {size})."
        )
    wanted = dict.fromkeys(OUTPUT_NAMES, ("tensor(float)", [classes]))
    if outputs != wanted:
        raise ModelFileError(
            f"{path}: its outputs are {outputs}, not {' and '.join(OUTPUT_NAMES)} "
            f"float32 (batch, {classes})."
        )
    if not isinstance(session.get_inputs()[0].shape[0], str):
        raise ModelFileError(f"{path}: its batch size is fixed; the contract wants a dynamic one.")
