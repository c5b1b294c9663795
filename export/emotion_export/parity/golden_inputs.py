"""Choose golden inputs that notice a fault: every channel is active, and half lie near a border.

A fault changes an output only where the faulty channel is active, and a label only near a border
between two labels. So some hundred candidates are made from average faces (no person's picture may
travel in a file), and of these the inputs are chosen that together activate the most channels:
greedily, which comes within 1 − 1/e of the best choice (Nemhauser, Wolsey and Fisher 1978). That
each channel should be active in some test input is the neuron coverage of Pei et al. (2017,
"DeepXplore").
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from emotion_export.parity.comparison import Infer, run_in_batches
from emotion_runtime.model.contract import INPUT_NAME
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures.preprocessing import Pixels

COUNT = 24  # inputs; 3 kB each in the metadata of a file for 48×48 pixels
STEPS = 255  # in the range of the logits: what eight bits can tell apart
LEAST_MARGIN_STEPS = 4  # between two logits: twice a tolerance of two steps, so that no label flips
LOW_MARGIN_STEPS = 12  # up to here an input lies near a border
_AIMED_MARGIN_STEPS = 6
_ENOUGH_INPUTS = 3.0  # in which a channel is active; more of them notice no more
_OF_A_KIND = 96
_BATCH = 64

Floats = NDArray[np.float64]


def choose_golden_inputs(
    graph: onnx.ModelProto, infer: Infer, average_faces: Pixels, size: int
) -> Pixels:
    """Choose `COUNT` inputs; the same ones on every machine where the logits are the same.

    Args:
        graph: The network in float; its channels are to be active.
        infer: Runs the file itself, whose margins count.
        average_faces: uint8, shape (n, size, size). Where there are none, generated patterns take
            their place.
        size: Side of the faces, in pixels.

    Returns:
        uint8, shape (k, size, size), k ≤ `COUNT`. One input at least has each label that any
        candidate has; half of them have a margin of `LEAST_MARGIN_STEPS` to `LOW_MARGIN_STEPS`
        where there are so many.
    """
    rng = np.random.default_rng(0)
    faces = average_faces if len(average_faces) else draw_patterns(size)
    step = float(np.ptp(_logits(infer, faces))) / STEPS
    candidates = np.concatenate(
        [
            faces,
            _moved(faces, rng),
            _halves(faces, rng),
            _lit(faces, rng),
            _near_borders(infer, faces, step * _AIMED_MARGIN_STEPS, rng),
        ]
    )
    logits = _logits(infer, candidates)
    ordered = np.sort(logits, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    usable = margins >= step * LEAST_MARGIN_STEPS  # no NaN is
    if usable.sum() < COUNT:
        usable[np.argsort(-np.nan_to_num(margins, nan=-1.0))[:COUNT]] = True
    kept = np.flatnonzero(usable)
    chosen = _cover(
        _channel_activity(graph, candidates[kept]),
        margins[kept],
        logits[kept].argmax(axis=1),
        low=margins[kept] <= step * LOW_MARGIN_STEPS,
    )
    return np.ascontiguousarray(candidates[kept[chosen]])


def draw_patterns(size: int, count: int = 12) -> Pixels:
    """Draw smooth blobs of light, seeded; they reach every layer as a face does."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1.0, 1.0, size)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    centres, signs = rng.uniform(-1, 1, (count, 8, 2, 1, 1)), rng.uniform(-1, 1, (count, 8, 1, 1))
    distances = (x - centres[:, :, 0]) ** 2 + (y - centres[:, :, 1]) ** 2
    return _stretched((signs * np.exp(-8 * distances)).sum(axis=1))


def _logits(infer: Infer, faces: Pixels) -> NDArray[np.float32]:
    return run_in_batches(infer, faces).logits


def _pairs(faces: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    first, second = rng.integers(len(faces), size=(2, _OF_A_KIND))
    return faces[first], faces[second]


def _moved(faces: Pixels, rng: np.random.Generator) -> Pixels:
    """Move and mirror faces by up to an eighth of their side."""
    chosen, _ = _pairs(faces, rng)
    reach = faces.shape[1] // 8
    shifts = rng.integers(-reach, reach + 1, (_OF_A_KIND, 2))
    mirrored = rng.integers(2, size=_OF_A_KIND)
    return np.stack(
        [
            np.roll(face[:, ::-1] if mirror else face, tuple(shift), (0, 1))
            for face, shift, mirror in zip(chosen, shifts, mirrored, strict=True)
        ]
    )


def _halves(faces: Pixels, rng: np.random.Generator) -> Pixels:
    """Put the upper part of one face over the lower part of another."""
    upper, lower = _pairs(faces, rng)
    size = faces.shape[1]
    heights = rng.integers(size // 4, 3 * size // 4 + 1, (_OF_A_KIND, 1, 1))
    return np.where(np.arange(size)[:, np.newaxis] < heights, upper, lower)


def _lit(faces: Pixels, rng: np.random.Generator) -> Pixels:
    """Mix two faces, and add uneven light."""
    first, second = _pairs(faces, rng)
    share, strength = rng.uniform(0, 1, (2, _OF_A_KIND, 1, 1))
    light = draw_patterns(faces.shape[1], _OF_A_KIND)
    return _stretched(first * (1 - share) + second * share + 1.5 * strength * light)


def _near_borders(infer: Infer, faces: Pixels, margin: float, rng: np.random.Generator) -> Pixels:
    """Mix faces of two labels, so that the first keeps its label by little more than a margin."""
    labels = _logits(infer, faces).argmax(axis=1)
    first, second = rng.integers(len(faces), size=(2, 4 * _OF_A_KIND))
    differ = np.flatnonzero(labels[first] != labels[second])[:_OF_A_KIND]
    first, second = first[differ], second[differ]
    if not len(differ):
        return faces[:0]

    def mixed(share: Floats) -> Pixels:
        shares = share[:, np.newaxis, np.newaxis]
        mixture: Pixels = np.rint(faces[first] * (1 - shares) + faces[second] * shares).astype(
            np.uint8
        )
        return mixture

    low, high = np.zeros(len(differ)), np.ones(len(differ))
    rows = np.arange(len(differ))
    for _ in range(8):  # halvings of 256 shades
        middle = (low + high) / 2
        logits = _logits(infer, mixed(middle))
        own = logits[rows, labels[first]].copy()
        logits[rows, labels[first]] = -np.inf
        keeps = own - logits.max(axis=1) >= margin
        low, high = np.where(keeps, middle, low), np.where(keeps, high, middle)
    return mixed(low)


def _stretched(images: Floats) -> Pixels:
    """Spread the values of each image over the whole range."""
    low, high = images.min(axis=(1, 2), keepdims=True), images.max(axis=(1, 2), keepdims=True)
    stretched: Pixels = np.rint((images - low) / np.maximum(high - low, 1e-6) * 255).astype(
        np.uint8
    )
    return stretched


def _channel_activity(graph: onnx.ModelProto, faces: Pixels) -> Floats:
    """Return how active each channel is that a layer with weights reads, shape (n, channels).

    1 is the largest activity in any of the faces; channels that none activates are left out. The
    channels of a layer add up to the same weight in each layer.
    """
    tapped = onnx.ModelProto()
    tapped.CopyFrom(graph)
    given = {tensor.name for tensor in (*graph.graph.initializer, *graph.graph.input)}
    layers = [node.input[0] for node in graph.graph.node if node.op_type in _WITH_WEIGHTS]
    names = [name for name in dict.fromkeys(layers) if name not in given]
    if not names:
        return np.zeros((len(faces), 0))
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        tapped.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    parts = []
    for start in range(0, len(faces), _BATCH):
        batch = faces[start : start + _BATCH, np.newaxis]
        parts.append([_by_channel(one) for one in session.run(names, {INPUT_NAME: batch})])
    layers_seen = []
    for layer in zip(*parts, strict=True):
        activity = np.concatenate(layer)
        activity = activity[:, activity.max(axis=0) > 0]
        if activity.shape[1]:
            layers_seen.append(activity / activity.max(axis=0) / activity.shape[1])
    return np.concatenate(layers_seen, axis=1) if layers_seen else np.zeros((len(faces), 0))


_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")


def _by_channel(values: NDArray[np.float32]) -> Floats:
    """Return the largest absolute value of each channel: the second axis of an image's tensor."""
    absolute = np.abs(values.astype(np.float64))
    if absolute.ndim == 3:  # batch, tokens, channels
        return np.asarray(absolute.max(axis=1))
    return np.asarray(absolute.reshape(*absolute.shape[:2], -1).max(axis=2))


def _cover(
    activity: Floats,
    margins: NDArray[np.float32],
    labels: NDArray[np.int64],
    low: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Choose `COUNT` rows that cover the most activity, half of them from `low` where there are."""
    count = min(COUNT, len(activity))
    chosen: list[int] = []
    for label in np.unique(labels)[:COUNT]:
        members = np.flatnonzero(labels == label)
        chosen.append(int(members[margins[members].argmax()]))
    covered = activity[chosen].sum(axis=0)
    # Each channel has a weight that is its largest activity.
    enough = _ENOUGH_INPUTS * activity.max(axis=0, initial=0.0)
    while len(chosen) < count:
        free = np.ones(len(activity), bool)
        free[chosen] = False
        few = low[chosen].sum() < count // 2
        if few and (free & low).any():
            free &= low
        left = np.flatnonzero(free)
        gains = np.minimum(covered + activity[left], enough).sum(axis=1)
        best = int(left[gains.argmax()])
        chosen.append(best)
        covered = covered + activity[best]
    return np.array(chosen[:count])
