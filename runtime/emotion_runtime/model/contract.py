"""The contract: the metadata that make a model file self-describing, in ``metadata_props``.

Every key starts with ``emotion_edge.``; every value is a string, JSON where it has structure.
`emotion_export` writes a `Contract` and the runtime reads it, both with this module. The format
is specified in ``docs/model-format.md``.
"""

from __future__ import annotations

import base64
import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import ModelFileError, shorten_repr
from emotion_runtime.labels import check_labels
from emotion_runtime.pictures.preprocessing import ASPECT, COLOUR, FACE_SIZE, RESIZE

PREFIX = "emotion_edge."
VERSION = 1
OTHER_VERSION = 2  # of files with the output `other`
SUPPORTED_VERSIONS = {str(version): version for version in (VERSION, OTHER_VERSION)}

INPUT_NAME = "pixels"
OUTPUT_NAMES = ("logits", "probabilities")
OTHER_NAME = "other"  # the third output of files of contract version 2

PRECISIONS = ("fp32", "fp16", "int8")
MAX_METADATA_BYTES = 16 * 2**20
MAX_SIDE_PIXELS = 1024  # of the model's input
MAX_LABELS = 1000
MAX_GOLDEN_INPUTS = 1000
MAX_JSON_DEPTH = 20
MAX_NAME_CHARACTERS = 200  # of the network's name
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

T = TypeVar("T")


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the input ``pixels``, uint8 (batch, 1, size, size)."""

    size: int = FACE_SIZE
    colour: str = COLOUR
    resize: str = RESIZE
    aspect: str = ASPECT


@dataclass(frozen=True, eq=False)
class GoldenInputs:
    """Inputs with their expected outputs, with which a device verifies the file on its own chip.

    The logits of an fp32 file are PyTorch's. An fp16 or int8 file differs from those by design; it
    has its own logits, from the export that passed the parity check.

    Attributes:
        pixels: uint8, shape (k, 1, size, size).
        logits: float32, shape (k, classes).
        tolerance: Largest absolute difference of a logit that is allowed.
        probe: The picture of `self_test.draw_probe` as the training read it, uint8 (size, size);
            None in older files, which have none.
        other: The output `other` of each input, float32, shape (k,); None in files without it.
        mean_tolerance: Largest mean absolute difference of the logits that is allowed; None for no
            limit.
    """

    pixels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    tolerance: float
    probe: NDArray[np.uint8] | None = None
    other: NDArray[np.float32] | None = None
    mean_tolerance: float | None = None

    def to_json(self) -> str:
        """Return JSON, with pixels as base64 of their bytes in row-major order."""
        values = {
            "shape": list(self.pixels.shape),
            "pixels": base64.b64encode(self.pixels.tobytes()).decode("ascii"),
            "logits": [[float(f"{value:.9g}") for value in row] for row in self.logits],
            "tolerance": self.tolerance,
        }
        if self.probe is not None:
            values["probe"] = base64.b64encode(self.probe.tobytes()).decode("ascii")
        if self.other is not None:
            values["other"] = [float(f"{value:.9g}") for value in self.other]
        if self.mean_tolerance is not None:
            values["mean_tolerance"] = self.mean_tolerance
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> GoldenInputs:
        """Parse the JSON that `to_json` returns.

        Raises:
            ValueError: The text is something else; the message has the reason.
        """
        try:
            return cls._parse(text)
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    @classmethod
    def _parse(cls, text: str) -> GoldenInputs:
        values = json.loads(text)
        data = base64.b64decode(values["pixels"], validate=True)
        pixels = np.frombuffer(data, np.uint8).reshape(values["shape"])
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # numbers beyond float32 are refused below
            logits = np.array(values["logits"], np.float32)
            other = np.array(values["other"], np.float32) if "other" in values else None
        if pixels.ndim != 4 or logits.ndim != 2 or len(pixels) != len(logits):
            raise ValueError("golden inputs and logits do not match")
        if not 1 <= len(pixels) <= MAX_GOLDEN_INPUTS:
            raise ValueError(f"{len(pixels)} golden inputs, not 1 to {MAX_GOLDEN_INPUTS}")
        if not np.isfinite(logits).all():
            raise ValueError("a golden logit is not finite")
        tolerance = _parse_tolerance(values["tolerance"])
        mean_tolerance = None
        if "mean_tolerance" in values:
            mean_tolerance = _parse_tolerance(values["mean_tolerance"])
        probe = None
        if "probe" in values:
            data = base64.b64decode(values["probe"], validate=True)
            probe = np.frombuffer(data, np.uint8).reshape(pixels.shape[2:])
        if other is not None and not (
            other.shape == pixels.shape[:1] and ((other >= 0) & (other <= 1)).all()
        ):
            raise ValueError("golden values of other are not a probability for each input")
        return cls(pixels, logits, tolerance, probe, other, mean_tolerance)


def _parse_tolerance(value: Any) -> float:
    tolerance = float(value)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"the tolerance is {tolerance}")
    return tolerance


@dataclass(frozen=True, eq=False)
class Contract:
    """The metadata of a model file.

    Attributes:
        labels: Class names in the order of the outputs' columns.
        network: The architecture's name, such as ``baseline``.
        golden: Inputs and expected outputs for the self-test.
        input: How pictures become pixels.
        precision: ``fp32``, ``fp16`` or ``int8``.
        temperature: Divides the logits before the softmax, inside the graph.
        min_confidence: Confidence threshold, below which the label is ``"uncertain"``; at 0 it
            never is.
        other_threshold: Threshold of the output `other`, 0 to 1, from which on the label is
            ``"other"``; at 1 it never is. None in files without this output, which have contract
            version 1.
        other_classes: The classes of the network whose probabilities `other` adds up; empty in
            files without it.
        metrics: Measured figures, each with the data that it was measured on.
        parity: The figures of the parity check against PyTorch.
        training: Seed, epochs, recipe and the digest of the data.
        tool_versions: Versions of the packages that made the file.
        graph_sha256: Hexadecimal SHA-256 of the graph in the ONNX file, with its operators and
            weights; empty in older files, which have none.
    """

    labels: tuple[str, ...]
    network: str
    golden: GoldenInputs
    input: InputSpec = field(default_factory=InputSpec)
    precision: str = "fp32"
    temperature: float = 1.0
    min_confidence: float = 0.0
    other_threshold: float | None = None
    other_classes: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tool_versions: dict[str, str] = field(default_factory=dict)
    graph_sha256: str = ""

    @property
    def version(self) -> int:
        """Return the contract version, which is 2 with the output `other` and else 1."""
        return VERSION if self.other_threshold is None else OTHER_VERSION

    def to_metadata(self) -> dict[str, str]:
        """Return the key–value pairs of ``metadata_props``; NaN becomes null.

        Raises:
            ModelFileError: The labels or the size of the input are not allowed.
        """
        try:
            check_labels((*self.labels, *self.other_classes))
        except ValueError as error:
            raise ModelFileError(f"no model file can be written: {error}.") from error
        if not 1 <= self.input.size <= MAX_SIDE_PIXELS:
            raise ModelFileError(
                f"no model file can be written: its input would be {self.input.size} pixels wide, "
                f"not 1 to {MAX_SIDE_PIXELS}."
            )
        values = {
            "contract_version": str(self.version),
            "labels": json.dumps(list(self.labels)),
            "input": json.dumps(asdict(self.input)),
            "network": self.network,
            "precision": self.precision,
            "temperature": repr(self.temperature),
            "min_confidence": repr(self.min_confidence),
            "metrics": json.dumps(_replace_non_finite(self.metrics), allow_nan=False),
            "parity": json.dumps(_replace_non_finite(self.parity), allow_nan=False),
            "training": json.dumps(_replace_non_finite(self.training), allow_nan=False),
            "tool_versions": json.dumps(_replace_non_finite(self.tool_versions), allow_nan=False),
            "golden": self.golden.to_json(),
        }
        if self.graph_sha256:
            values["graph_sha256"] = self.graph_sha256
        if self.other_threshold is not None:
            values["other_threshold"] = repr(self.other_threshold)
            values["other_classes"] = json.dumps(list(self.other_classes))
        return {PREFIX + name: value for name, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], file: str) -> Contract:
        """Parse the contract of a model file.

        Args:
            metadata: The ``metadata_props`` of the file.
            file: Name of the file, for messages.

        Raises:
            ModelFileError: There is no contract, its version is unknown, a part is malformed or
                too large, a label is not allowed, or it requires preprocessing that this runtime
                does not have.
        """
        total = sum(len(key) + len(value) for key, value in metadata.items())
        if total > MAX_METADATA_BYTES:
            raise ModelFileError(
                f"{file}: more than {MAX_METADATA_BYTES // 2**20} MiB of metadata, refused."
            )
        version = metadata.get(PREFIX + "contract_version")
        if version is None:
            raise ModelFileError(
                f"{file}: an ONNX file without the emotion-edge contract; "
                f"make one with emotion-export."
            )
        if version not in SUPPORTED_VERSIONS:
            named = version if version.isdecimal() and len(version) < 20 else shorten_repr(version)
            raise ModelFileError(
                f"{file}: has contract version {named}, this runtime reads versions "
                f"{' and '.join(SUPPORTED_VERSIONS)}; install a matching emotion-edge."
            )
        reader = _MetadataReader(metadata, file)
        labels, spec, golden = reader.read_labels(), reader.read_input(), reader.read_golden()
        has_other = SUPPORTED_VERSIONS[version] == OTHER_VERSION
        shape = golden.pixels.shape[1:]
        if golden.logits.shape[1] != len(labels) or shape != (1, spec.size, spec.size):
            raise reader.make_error("golden")
        if has_other and golden.other is None:
            raise reader.make_error("golden", "without values of the output other")
        return cls(
            labels=labels,
            network=reader.read_name("network"),
            golden=golden,
            input=spec,
            precision=reader.read_precision(),
            temperature=reader.read_number("temperature", above=0.0),
            min_confidence=reader.read_number("min_confidence", maximum=1.0),
            other_threshold=reader.read_number("other_threshold", maximum=1.0)
            if has_other
            else None,
            other_classes=reader.read_other_classes(labels) if has_other else (),
            metrics=reader.read_json("metrics", dict),
            parity=reader.read_json("parity", dict),
            training=reader.read_json("training", dict),
            tool_versions=reader.read_json("tool_versions", dict),
            graph_sha256=reader.read_digest("graph_sha256"),
        )

    def describe(self) -> dict[str, Any]:
        """Return the contract as JSON values for a person, without the golden pixels."""
        described: dict[str, Any] = {
            "contract_version": self.version,
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
        if self.golden.mean_tolerance is not None:
            described["golden"] |= {"mean_tolerance": self.golden.mean_tolerance}
        if self.graph_sha256:
            described["graph_sha256"] = self.graph_sha256
        if self.other_threshold is not None:
            described["other_threshold"] = self.other_threshold
            described["other_classes"] = list(self.other_classes)
        return described


class _MetadataReader:
    """Reads the metadata of a file key by key; errors name the file and the key."""

    def __init__(self, metadata: Mapping[str, str], file: str) -> None:
        self._metadata, self._file = metadata, file

    def make_error(self, name: str, why: str = "missing or malformed") -> ModelFileError:
        return ModelFileError(
            f"{self._file}: its contract is damaged: {PREFIX}{name} is {why}; "
            f"export the model again."
        )

    def read_text(self, name: str) -> str:
        try:
            return self._metadata[PREFIX + name]
        except KeyError as error:
            raise self.make_error(name) from error

    def read_name(self, name: str) -> str:
        text = self.read_text(name)
        if len(text) > MAX_NAME_CHARACTERS:
            raise self.make_error(name, f"longer than {MAX_NAME_CHARACTERS} characters")
        return text

    def read_digest(self, name: str) -> str:
        """Read a SHA-256 in hexadecimal digits; empty where the key is missing."""
        text = self._metadata.get(PREFIX + name, "")
        if text and not re.fullmatch("[0-9a-f]{64}", text):
            raise self.make_error(name, "no SHA-256")
        return text

    def read_json(self, name: str, kind: type[T]) -> T:
        try:
            # Older files have NaN, which is not JSON, for a figure that was not measured.
            value = json.loads(self.read_text(name), parse_constant=lambda _: None)
            _check_json(value)
        except (ValueError, RecursionError) as error:
            raise self.make_error(name) from error
        if not isinstance(value, kind):
            raise self.make_error(name)
        return value

    def read_number(
        self, name: str, *, above: float | None = None, maximum: float = math.inf
    ) -> float:
        """Read a finite number from 0 to `maximum`, or above a limit."""
        text = self.read_text(name)
        # float() would also read 1_0, full-width digits and spaces, which other readers refuse.
        if not _JSON_NUMBER.fullmatch(text):
            raise self.make_error(name)
        value = float(text) + 0.0  # -0.0 becomes 0.0
        in_range = value >= 0 if above is None else value > above
        if not (in_range and value <= maximum and math.isfinite(value)):
            raise self.make_error(name)
        return value

    def read_labels(self) -> tuple[str, ...]:
        labels = tuple(self.read_json("labels", list))
        if not 2 <= len(labels) <= MAX_LABELS:
            raise self.make_error("labels")
        try:
            check_labels(labels)
        except ValueError as error:
            raise ModelFileError(f"{self._file}: {error}; export the model again.") from error
        return labels

    def read_other_classes(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        others = tuple(self.read_json("other_classes", list))
        if not 1 <= len(others) <= MAX_LABELS:
            raise self.make_error("other_classes")
        try:
            check_labels((*labels, *others))
        except ValueError as error:
            raise ModelFileError(f"{self._file}: {error}; export the model again.") from error
        return others

    def read_precision(self) -> str:
        precision = self.read_text("precision")
        if precision not in PRECISIONS:
            raise self.make_error("precision", f"not one of {', '.join(PRECISIONS)}")
        return precision

    def read_golden(self) -> GoldenInputs:
        try:
            return GoldenInputs.from_json(self.read_text("golden"))
        except ValueError as error:
            raise self.make_error("golden") from error

    def read_input(self) -> InputSpec:
        try:
            spec = InputSpec(**self.read_json("input", dict))
        except TypeError as error:
            raise self.make_error("input") from error
        if type(spec.size) is not int or not 1 <= spec.size <= MAX_SIDE_PIXELS:
            raise self.make_error("input", f"not of a size from 1 to {MAX_SIDE_PIXELS} pixels")
        supported = InputSpec(size=spec.size)
        if spec != supported:
            raise ModelFileError(
                f"{self._file}: requires preprocessing ({shorten_repr(asdict(spec))}) that this "
                f"runtime does not do ({asdict(supported)}); install a newer emotion-edge."
            )
        return spec


def _replace_non_finite(value: Any) -> Any:
    """Return JSON values with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _replace_non_finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_non_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _check_json(value: Any) -> None:
    """Refuse JSON values that could not be written again safely.

    Raises:
        ValueError: They are nested deeper than `MAX_JSON_DEPTH`, or contain an integer of more
            than 64 bits, a number that is not finite, or a lone surrogate.
    """
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str):
                one.encode()
            elif isinstance(one, float):
                if not math.isfinite(one):
                    raise ValueError("a number is not finite")
            elif isinstance(one, int) and not -(2**63) <= one < 2**64:
                raise ValueError("an integer has more than 64 bits")
        level = below
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
