"""Classify faces with a model file, without emotion-edge: python classify.py MODEL PICTURE...

Needs numpy, Pillow and onnxruntime. This is the shortest complete client, to be ported to other
languages and engines; docs/model-format.md specifies the file.
"""

import json
import os
import sys

import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # has to be set before the import
import onnxruntime


def read_face(path: str, size: int) -> np.ndarray:
    """Return a picture as the network's input, uint8, shape (1, 1, size, size)."""
    with Image.open(path) as opened:
        opened.draft("L", (2 * size, 2 * size))  # decode large JPEGs at reduced scale
        image = ImageOps.exif_transpose(opened)
    if image.mode not in ("L", "LA", "P", "RGB", "RGBA"):
        raise OSError(f"pixels of the kind {image.mode} are not supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    gray = image.convert("L")  # ITU-R 601-2
    if gray.size != (size, size):
        side = min(gray.size)
        left, top = (gray.width - side) // 2, (gray.height - side) // 2
        method = Image.Resampling.BILINEAR  # antialiased
        # In two calls, since the order of the passes depends on the version of Pillow.
        gray = gray.resize((size, gray.height), method, box=(left, 0, left + side, gray.height))
        gray = gray.resize((size, size), method, box=(0, top, size, top + side))
    return np.asarray(gray)[np.newaxis, np.newaxis]


def main(model: str, *pictures: str) -> int:
    """Print path, label and confidence of each picture; return the exit code."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    values = {key.removeprefix("emotion_edge."): value for key, value in metadata.items()}
    if values.get("contract_version") not in ("1", "2"):
        sys.exit(f"{model}: its contract version is {values.get('contract_version')}, not 1 or 2.")
    labels, size = json.loads(values["labels"]), json.loads(values["input"])["size"]
    min_confidence = np.float32(values["min_confidence"])
    other_threshold = np.float32(values.get("other_threshold", 1))  # 1: no face is "other"

    failed = False
    for path in pictures:
        try:
            face = read_face(path, size)
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
            continue
        _, probabilities, *other = (output[0] for output in session.run(None, {"pixels": face}))
        best = int(probabilities.argmax())
        label, confidence = labels[best], probabilities[best]
        if confidence < min_confidence:
            label = "uncertain"
        if other and other_threshold < 1 and other[0] >= other_threshold:
            label, confidence = "other", other[0]
        print(path, label, f"{confidence:.6f}", sep="\t")
    return int(failed)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        code = main(*sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough, such as head
        os._exit(0)
    sys.exit(code)
