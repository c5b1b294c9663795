"""Change a model file in many small ways, and count the changes that its self-test detects.

    python scripts/perturb_model.py edge-int8
    python scripts/perturb_model.py model.onnx --faces fer2013 --draws 3

The self-test has two parts. The digest of the graph detects any change of the file. The golden
inputs detect an onnxruntime or a processor that computes other outputs. A changed file simulates
both: the table counts the files that pass with the digest, those that pass by the golden inputs
only, and the labels of faces that such a file changes.

Exit code 1: a file with a zeroed channel or a reversed weight changes a label and passes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from emotion_export.parity.faces import read_parity_faces
from emotion_runtime import EmotionClassifier
from emotion_runtime.pictures.preprocessing import Pixels

SAMPLES = Path(__file__).parents[1] / "samples"
ZEROED, REVERSED = "an output channel zeroed", "a weight of full range reversed"
SERIOUS = (ZEROED, REVERSED)  # none of these that changes a label may pass

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Change:
    """A tensor of a graph with other values.

    Attributes:
        kind: The kind of change, the same text for all draws.
        tensor: The name of the tensor.
        values: The new values.
    """

    kind: str
    tensor: str
    values: Array


@dataclass(frozen=True)
class Outcome:
    """The result of a change.

    Attributes:
        kind: As in `Change`.
        tensor: As in `Change`.
        flips: Faces whose label changed.
        passed: Whether the self-test passed.
        passed_by_numbers: Whether it passed without the digest of the graph.
    """

    kind: str
    tensor: str
    flips: int
    passed: bool
    passed_by_numbers: bool


def draw_changes(model: onnx.ModelProto, seed: int, zeroed: int, reverse: int) -> Iterator[Change]:
    """Yield changes of a graph: of random channels and weights, and one change of each tensor.

    Args:
        model: A model of any precision; only int8 has steps of a bias and zero points.
        seed: The seed of the draws.
        zeroed: Number of output channels to set to zero, each in its own file.
        reverse: Number of weights to reverse, each in its own file.
    """
    rng = np.random.default_rng(seed)
    tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    layers = _find_layers(model, tensors)
    for _ in range(zeroed):
        name, axis = layers[rng.integers(len(layers))]
        values = np.moveaxis(tensors[name].copy(), axis, 0)
        values[rng.integers(len(values))] = 0
        yield Change(ZEROED, name, np.moveaxis(values, 0, axis))
    for _ in range(reverse):
        name, _ = layers[rng.integers(len(layers))]
        values = tensors[name].copy()
        sizes = np.abs(values.astype(np.float64)).ravel()
        index = rng.choice(np.flatnonzero(sizes >= 0.9 * sizes.max()))
        values.ravel()[index] = -values.ravel()[index]
        yield Change(REVERSED, name, values)
    for name, _ in layers:
        values = tensors[name]
        if values.dtype == np.int8:
            moved = np.clip(values.astype(np.int16) + 1, -128, 127).astype(np.int8)
            yield Change("every weight of a layer off by one", name, moved)
        else:
            yield Change("every weight of a layer in float 1 % larger", name, _scale(values, 1.01))
    yield from _change_quantisation(model, tensors)


def _change_quantisation(model: onnx.ModelProto, tensors: dict[str, Array]) -> Iterator[Change]:
    """Yield changes of biases, scales and zero points, each tensor once."""
    done = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        source, scale, *zero_point = node.input
        for name in (source, scale, *zero_point):
            if name not in tensors or name in done:
                continue
            done.add(name)
            values = tensors[name]
            if name == scale:
                yield Change("a scale 1 % larger", name, _scale(values, 1.01))
            elif name in zero_point and values.dtype == np.uint8:
                yield Change("a zero point off by one", name, values + np.uint8(1))
            elif name == source and values.dtype == np.int32:
                yield Change("every bias of a layer off by one", name, values + np.int32(1))


def _scale(values: Array, factor: float) -> Array:
    return (values.astype(np.float64) * factor).astype(values.dtype)


def _find_layers(model: onnx.ModelProto, tensors: dict[str, Array]) -> list[tuple[str, int]]:
    """Return the names of the weight tensors, and the axis of their output channels."""
    stored = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        name = stored.get(node.input[1], node.input[1])
        if name in tensors:
            transposed = any(one.name == "transB" and one.i for one in node.attribute)
            found.append((name, 0 if node.op_type == "Conv" or transposed else -1))
    return found


def perturb(path: Path, changes: Iterable[Change], faces: Pixels) -> list[Outcome]:
    """Apply each change to a copy of the file, and run the self-test of the copy.

    Args:
        path: The model file; it is not changed.
        changes: The changes.
        faces: The faces whose changed labels are counted, uint8, shape (n, size, size).
    """
    model = onnx.load(path)
    before = _label(EmotionClassifier(path), faces)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "changed.onnx"
        for change in changes:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            tensor = next(one for one in copy.graph.initializer if one.name == change.tensor)
            tensor.CopyFrom(numpy_helper.from_array(change.values, change.tensor))
            onnx.save(copy, changed)
            classifier = EmotionClassifier(changed)
            test = classifier.self_test()
            outcomes.append(
                Outcome(
                    change.kind,
                    change.tensor,
                    int((_label(classifier, faces) != before).sum()),
                    test.passed,
                    replace(test, graph_changed=None).passed,
                )
            )
    return outcomes


def _label(classifier: EmotionClassifier, faces: Pixels) -> NDArray[np.int64]:
    starts = range(0, len(faces), 64)
    parts = [classifier.infer(faces[start : start + 64])[1].argmax(axis=1) for start in starts]
    return np.concatenate(parts)


def format_table(outcomes: list[Outcome], faces: int) -> str:
    """Return a Markdown table of the outcomes by kind."""
    lines = [
        f"| change | files | change a label of {faces:,} faces | pass | pass by the golden inputs "
        f"only | of these, change a label | labels that these change, at most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in dict.fromkeys(one.kind for one in outcomes):
        rows = [one for one in outcomes if one.kind == kind]
        by_numbers = [one for one in rows if one.passed_by_numbers]
        cells = [
            len(rows),
            sum(one.flips > 0 for one in rows),
            sum(one.passed for one in rows),
            len(by_numbers),
            sum(one.flips > 0 for one in by_numbers),
            max((one.flips for one in by_numbers), default=0),
        ]
        lines.append(f"| {kind} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return "\n".join(lines)


def find_missed(outcomes: list[Outcome]) -> list[Outcome]:
    """Return the serious changes that change a label and pass the self-test."""
    return [one for one in outcomes if one.kind in SERIOUS and one.flips and one.passed]


@click.command()
@click.argument("model", metavar="MODEL.onnx|NAME")
@click.option(
    "--faces",
    type=click.Path(path_type=Path),
    default=SAMPLES,
    help="Faces on which changed labels are counted.  [default: the samples]",
)
@click.option("--most-faces", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option(
    "--draws", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds of the draws."
)
def main(model: str, faces: Path, most_faces: int, draws: int) -> None:
    """Change MODEL in many small ways, and print the changes that its self-test detects."""
    classifier = EmotionClassifier(model)
    pixels = read_parity_faces(faces, most_faces, size=classifier.contract.input.size).pixels
    outcomes = []
    for seed in range(draws):
        changes = list(draw_changes(onnx.load(classifier.model_path), seed, 20, 24))
        drawn = [
            one for one in changes if seed == 0 or one.kind in SERIOUS
        ]  # the others are the same
        outcomes += perturb(classifier.model_path, drawn, pixels)
    click.echo(format_table(outcomes, len(pixels)))
    if missed := find_missed(outcomes):
        raise SystemExit(f"{len(missed)} files change a label and pass: {missed[0]}")


if __name__ == "__main__":
    main()
