"""Choose golden inputs that reveal a fault: they activate all channels, half lie near a border.

A fault changes an output only if the faulty channel is active, and a label only near the border
between two labels. A few hundred candidates are made from average faces, because a model file must
not contain pictures of people. From these, a greedy search chooses the inputs that together
activate the most channels; it reaches at least 1 − 1/e of the best coverage (Nemhauser, Wolsey and
Fisher 1978). That each channel should be active in some test input is the neuron coverage of Pei
et al. (2017, "DeepXplore").
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from emotion_export.parity.comparison import Infer, run_in_batches
from emotion_runtime.model.contract import INPUT_NAME
from emotion_runtime.model.session import import_onnxruntime
from emotion_runtime.pictures.preprocessing import Pixels

MAX_INPUTS = 24  # 3 kB each in the metadata of a file for 48×48 pixels
STEPS = 255  # of the range of the logits, as in eight bits
MIN_MARGIN_STEPS = 4  # between two logits; twice the tolerance of two steps, so no label flips
LOW_MARGIN_STEPS = 12  # with a margin of up to this, an input lies near a border
_TARGET_MARGIN_STEPS = 6
_MAX_COUNTED_INPUTS = 3.0  # per channel; further inputs that activate it count for nothing
_CANDIDATES_PER_KIND = 96
_BATCH_SIZE = 64

Floats = NDArray[np.float64]


def choose_golden_inputs(
    graph: onnx.ModelProto, infer: Infer, average_faces: Pixels, size: int
) -> Pixels:
    """Choose up to `MAX_INPUTS` inputs. Equal logits give equal inputs on every machine.

    Args:
        graph: The float graph, whose channels the inputs activate.
        infer: Runs the graph of the file, which decides the margins.
        average_faces: uint8, shape (n, size, size). If there are none, generated patterns are
            used.
        size: Side of the faces, in pixels.

    Returns:
        uint8, shape (k, size, size), k ≤ `MAX_INPUTS`. Each label that any candidate has is
        among them; half of them have a margin of `MIN_MARGIN_STEPS` to `LOW_MARGIN_STEPS` if
        there are enough.
    """
    rng = np.random.default_rng(0)
    faces = average_faces if len(average_faces) else draw_patterns(size)
    step = float(np.ptp(_compute_logits(infer, faces))) / STEPS
    candidates = np.concatenate(
        [
            faces,
            _move(faces, rng),
            _combine_halves(faces, rng),
            _add_light(faces, rng),
            _mix_near_borders(infer, faces, step * _TARGET_MARGIN_STEPS, rng),
        ]
    )
    logits = _compute_logits(infer, candidates)
    ordered = np.sort(logits, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    usable = margins >= step * MIN_MARGIN_STEPS  # False for NaN
    if usable.sum() < MAX_INPUTS:
        usable[np.argsort(-np.nan_to_num(margins, nan=-1.0))[:MAX_INPUTS]] = True
    kept = np.flatnonzero(usable)
    chosen = _choose_covering(
        _measure_channel_activity(graph, candidates[kept]),
        margins[kept],
        logits[kept].argmax(axis=1),
        low=margins[kept] <= step * LOW_MARGIN_STEPS,
    )
    return np.ascontiguousarray(candidates[kept[chosen]])


def draw_patterns(size: int, count: int = 12) -> Pixels:
    """Return smooth random blobs of light with a fixed seed, uint8, shape (count, size, size)."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1.0, 1.0, size)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    centres, signs = rng.uniform(-1, 1, (count, 8, 2, 1, 1)), rng.uniform(-1, 1, (count, 8, 1, 1))
    distances = (x - centres[:, :, 0]) ** 2 + (y - centres[:, :, 1]) ** 2
    return _stretch((signs * np.exp(-8 * distances)).sum(axis=1))


def _compute_logits(infer: Infer, faces: Pixels) -> NDArray[np.float32]:
    return run_in_batches(infer, faces).logits


def _draw_pairs(faces: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    first, second = rng.integers(len(faces), size=(2, _CANDIDATES_PER_KIND))
    return faces[first], faces[second]


def _move(faces: Pixels, rng: np.random.Generator) -> Pixels:
    """Shift faces by up to an eighth of their side, and mirror some."""
    chosen, _ = _draw_pairs(faces, rng)
    reach = faces.shape[1] // 8
    shifts = rng.integers(-reach, reach + 1, (_CANDIDATES_PER_KIND, 2))
    mirrored = rng.integers(2, size=_CANDIDATES_PER_KIND)
    return np.stack(
        [
            np.roll(face[:, ::-1] if mirror else face, tuple(shift), (0, 1))
            for face, shift, mirror in zip(chosen, shifts, mirrored, strict=True)
        ]
    )


def _combine_halves(faces: Pixels, rng: np.random.Generator) -> Pixels:
    """Combine the upper part of one face with the lower part of another."""
    upper, lower = _draw_pairs(faces, rng)
    size = faces.shape[1]
    heights = rng.integers(size // 4, 3 * size // 4 + 1, (_CANDIDATES_PER_KIND, 1, 1))
    return np.where(np.arange(size)[:, np.newaxis] < heights, upper, lower)


def _add_light(faces: Pixels, rng: np.random.Generator) -> Pixels:
    """Mix two faces and add uneven light."""
    first, second = _draw_pairs(faces, rng)
    share, strength = rng.uniform(0, 1, (2, _CANDIDATES_PER_KIND, 1, 1))
    light = draw_patterns(faces.shape[1], _CANDIDATES_PER_KIND)
    return _stretch(first * (1 - share) + second * share + 1.5 * strength * light)


def _mix_near_borders(
    infer: Infer, faces: Pixels, margin: float, rng: np.random.Generator
) -> Pixels:
    """Mix faces of two labels so that the first keeps its label by little more than `margin`."""
    labels = _compute_logits(infer, faces).argmax(axis=1)
    first, second = rng.integers(len(faces), size=(2, 4 * _CANDIDATES_PER_KIND))
    differ = np.flatnonzero(labels[first] != labels[second])[:_CANDIDATES_PER_KIND]
    first, second = first[differ], second[differ]
    if not len(differ):
        return faces[:0]

    def mix(share: Floats) -> Pixels:
        shares = share[:, np.newaxis, np.newaxis]
        mixture: Pixels = np.rint(faces[first] * (1 - shares) + faces[second] * shares).astype(
            np.uint8
        )
        return mixture

    low, high = np.zeros(len(differ)), np.ones(len(differ))
    rows = np.arange(len(differ))
    for _ in range(8):  # bisection down to 1/256
        middle = (low + high) / 2
        logits = _compute_logits(infer, mix(middle))
        own = logits[rows, labels[first]].copy()
        logits[rows, labels[first]] = -np.inf
        keeps = own - logits.max(axis=1) >= margin
        low, high = np.where(keeps, middle, low), np.where(keeps, high, middle)
    return mix(low)


def _stretch(images: Floats) -> Pixels:
    """Stretch the values of each image to the whole range, 0 to 255."""
    low, high = images.min(axis=(1, 2), keepdims=True), images.max(axis=(1, 2), keepdims=True)
    stretched: Pixels = np.rint((images - low) / np.maximum(high - low, 1e-6) * 255).astype(
        np.uint8
    )
    return stretched


def _measure_channel_activity(graph: onnx.ModelProto, faces: Pixels) -> Floats:
    """Return the activity of each input channel of the layers with weights, shape (n, channels).

    The activity of a channel is divided by its maximum over the faces and by the number of
    channels of its layer, so that all layers have the same weight. Channels that no face activates
    are left out.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(graph)
    given = {tensor.name for tensor in (*graph.graph.initializer, *graph.graph.input)}
    layers = [node.input[0] for node in graph.graph.node if node.op_type in _OPERATORS_WITH_WEIGHTS]
    names = [name for name in dict.fromkeys(layers) if name not in given]
    if not names:
        return np.zeros((len(faces), 0))
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        probed.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    parts = []
    for start in range(0, len(faces), _BATCH_SIZE):
        batch = faces[start : start + _BATCH_SIZE, np.newaxis]
        parts.append([_max_by_channel(one) for one in session.run(names, {INPUT_NAME: batch})])
    activities = []
    for layer in zip(*parts, strict=True):
        activity = np.concatenate(layer)
        activity = activity[:, activity.max(axis=0) > 0]
        if activity.shape[1]:
            activities.append(activity / activity.max(axis=0) / activity.shape[1])
    return np.concatenate(activities, axis=1) if activities else np.zeros((len(faces), 0))


_OPERATORS_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")


def _max_by_channel(values: NDArray[np.float32]) -> Floats:
    """Return the largest absolute value of each channel, shape (n, channels)."""
    absolute = np.abs(values.astype(np.float64))
    if absolute.ndim == 3:  # batch, tokens, channels
        return np.asarray(absolute.max(axis=1))
    return np.asarray(absolute.reshape(*absolute.shape[:2], -1).max(axis=2))


def _choose_covering(
    activity: Floats,
    margins: NDArray[np.float32],
    labels: NDArray[np.int64],
    low: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Choose `MAX_INPUTS` rows that cover the most activity, half from `low` if possible."""
    count = min(MAX_INPUTS, len(activity))
    chosen: list[int] = []
    for label in np.unique(labels)[:MAX_INPUTS]:
        members = np.flatnonzero(labels == label)
        chosen.append(int(members[margins[members].argmax()]))
    covered = activity[chosen].sum(axis=0)
    # A channel counts in up to `_MAX_COUNTED_INPUTS` inputs with its largest activity.
    cap = _MAX_COUNTED_INPUTS * activity.max(axis=0, initial=0.0)
    while len(chosen) < count:
        free = np.ones(len(activity), bool)
        free[chosen] = False
        few = low[chosen].sum() < count // 2
        if few and (free & low).any():
            free &= low
        left = np.flatnonzero(free)
        gains = np.minimum(covered + activity[left], cap).sum(axis=1)
        best = int(left[gains.argmax()])
        chosen.append(best)
        covered = covered + activity[best]
    return np.array(chosen[:count])
