"""What a model file says of itself, in its ONNX ``metadata_props``; nothing lives outside it.

Every key starts with ``emotion_edge.``; every value is a string, JSON where it has structure.
`emotion_export` writes a `Contract`, the runtime reads it, and both go through this file.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import ModelFileError
from emotion_runtime.preprocessing import ASPECT, COLOUR, FACE_SIZE, RESIZE

PREFIX = "emotion_edge."
VERSION = 1

INPUT_NAME = "pixels"
OUTPUT_NAMES = ("logits", "probabilities")

T = TypeVar("T")


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the input ``pixels``, uint8 (batch, 1, size, size)."""

    size: int = FACE_SIZE
    colour: str = COLOUR
    resize: str = RESIZE
    aspect: str = ASPECT


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs with the logits of a proven machine, so that a device can prove the file on its chip.

    Of an fp32 file the logits are PyTorch's; one of fewer bits is off those by design, and has the
    ones it gave itself when it passed its gates.

    Attributes:
        pixels: uint8, shape (k, 1, size, size).
        logits: float32, shape (k, classes).
        tolerance: Largest absolute difference of a logit that passes.
        probe: What `probe.draw_probe` becomes as input, uint8 (size, size); None in files of
            before there was one.
    """

    pixels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    tolerance: float
    probe: NDArray[np.uint8] | None = None

    def to_json(self) -> str:
        """Encode as JSON; pixels as base64 of their bytes in row-major order."""
        values = {
            "shape": list(self.pixels.shape),
            "pixels": base64.b64encode(self.pixels.tobytes()).decode("ascii"),
            "logits": [[float(f"{value:.9g}") for value in row] for row in self.logits],
            "tolerance": self.tolerance,
        }
        if self.probe is not None:
            values["probe"] = base64.b64encode(self.probe.tobytes()).decode("ascii")
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Golden:
        """Undo `to_json`; raises ValueError, KeyError or TypeError on anything else."""
        values = json.loads(text)
        data = base64.b64decode(values["pixels"], validate=True)
        pixels = np.frombuffer(data, np.uint8).reshape(values["shape"])
        logits = np.array(values["logits"], np.float32)
        if pixels.ndim != 4 or logits.ndim != 2 or len(pixels) != len(logits):
            raise ValueError("golden inputs and logits do not match")
        probe = None
        if "probe" in values:
            data = base64.b64decode(values["probe"], validate=True)
            probe = np.frombuffer(data, np.uint8).reshape(pixels.shape[2:])
        return cls(pixels, logits, float(values["tolerance"]), probe)


@dataclass(frozen=True, eq=False)
class Contract:
    """All that a model file says of itself.

    Attributes:
        labels: Class names in the order of the outputs' columns.
        network: The architecture's name, such as ``baseline``.
        golden: Inputs and answers for the self-test.
        input: How pictures become pixels.
        precision: ``fp32``, ``fp16`` or ``int8``.
        temperature: What the logits are divided by before softmax, inside the graph.
        min_confidence: Below it the label is ``"uncertain"``; 0 never.
        metrics: Figures, each with the data it was measured on.
        parity: The figures of the proof against PyTorch.
        training: Seed, epochs, recipe, digest of the data.
        tool_versions: Of the packages that made the file.
    """

    labels: tuple[str, ...]
    network: str
    golden: Golden
    input: InputSpec = field(default_factory=InputSpec)
    precision: str = "fp32"
    temperature: float = 1.0
    min_confidence: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tool_versions: dict[str, str] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return the key–value pairs of ``metadata_props``."""
        values = {
            "contract_version": str(VERSION),
            "labels": json.dumps(list(self.labels)),
            "input": json.dumps(asdict(self.input)),
            "network": self.network,
            "precision": self.precision,
            "temperature": repr(self.temperature),
            "min_confidence": repr(self.min_confidence),
            "metrics": json.dumps(self.metrics),
            "parity": json.dumps(self.parity),
            "training": json.dumps(self.training),
            "tool_versions": json.dumps(self.tool_versions),
            "golden": self.golden.to_json(),
        }
        return {PREFIX + name: value for name, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: str) -> Contract:
        """Read the contract of `file`, which is only named in messages.

        Raises:
            ModelFileError: There is no contract, its version is unknown, a part is malformed, or
                it asks for preprocessing that this runtime does not do.
        """
        version = metadata.get(PREFIX + "contract_version")
        if version is None:
            raise ModelFileError(
                f"{file}: an ONNX file without the emotion-edge contract; "
                f"make one with emotion-export."
            )
        if version != str(VERSION):
            raise ModelFileError(
                f"{file}: keeps contract version {version}, this runtime knows version {VERSION}; "
                f"install a matching emotion-edge."
            )
        parts = _Parts(metadata, file)
        contract = cls(
            labels=tuple(parts.json("labels", list)),
            network=parts.text("network"),
            golden=parts.golden(),
            input=parts.input(),
            precision=parts.text("precision"),
            temperature=parts.number("temperature"),
            min_confidence=parts.number("min_confidence"),
            metrics=parts.json("metrics", dict),
            parity=parts.json("parity", dict),
            training=parts.json("training", dict),
            tool_versions=parts.json("tool_versions", dict),
        )
        if len(contract.labels) < 2 or not all(isinstance(name, str) for name in contract.labels):
            raise parts.malformed("labels")
        if contract.golden.logits.shape[1] != len(contract.labels):
            raise parts.malformed("golden")
        return contract

    def describe(self) -> dict[str, Any]:
        """Return the contract as JSON values for a person, golden pixels left out."""
        return {
            "contract_version": VERSION,
            "network": self.network,
            "precision": self.precision,
            "labels": list(self.labels),
            "input": asdict(self.input),
            "temperature": self.temperature,
            "min_confidence": self.min_confidence,
            "metrics": self.metrics,
            "parity": self.parity,
            "training": self.training,
            "tool_versions": self.tool_versions,
            "golden": {"inputs": len(self.golden.pixels), "tolerance": self.golden.tolerance},
        }


class _Parts:
    """Reads single parts of the metadata, each refused in a sentence that names it."""

    def __init__(self, metadata: Mapping[str, str], file: str) -> None:
        self._metadata, self._file = metadata, file

    def malformed(self, name: str) -> ModelFileError:
        return ModelFileError(
            f"{self._file}: its contract is damaged: {PREFIX}{name} is missing or malformed; "
            f"export the model again."
        )

    def text(self, name: str) -> str:
        try:
            return self._metadata[PREFIX + name]
        except KeyError as error:
            raise self.malformed(name) from error

    def json(self, name: str, kind: type[T]) -> T:
        try:
            value = json.loads(self.text(name))
        except ValueError as error:
            raise self.malformed(name) from error
        if not isinstance(value, kind):
            raise self.malformed(name)
        return value

    def number(self, name: str) -> float:
        try:
            return float(self.text(name))
        except ValueError as error:
            raise self.malformed(name) from error

    def golden(self) -> Golden:
        try:
            return Golden.from_json(self.text("golden"))
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise self.malformed("golden") from error

    def input(self) -> InputSpec:
        try:
            spec = InputSpec(**self.json("input", dict))
        except TypeError as error:
            raise self.malformed("input") from error
        known = InputSpec(size=spec.size)
        if spec != known or not isinstance(spec.size, int) or spec.size < 1:
            raise ModelFileError(
                f"{self._file}: asks for preprocessing ({asdict(spec)}) that this runtime does "
                f"not do ({asdict(known)}); install a newer emotion-edge."
            )
        return spec
