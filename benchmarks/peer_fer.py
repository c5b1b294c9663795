"""The package `fer`, for a comparison in `folder.py`; it needs an environment with TensorFlow.

    python -m venv .venv-fer && .venv-fer/bin/pip install fer tensorflow-cpu 'setuptools<80'
    python benchmarks/folder.py fer2013/test/{happy,sad,surprise} --peer .venv-fer/bin/python

Each picture counts as one whole face, so that only its network is measured and not its detection.
The first line of the standard input is a JSON list of paths. Each further line starts a round,
whose labels are printed as a JSON list.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Classify the pictures once for each line, until the input ends."""
    import cv2
    from fer.fer import FER

    paths = json.loads(sys.stdin.readline())
    detector = FER(offsets=(0, 0))  # the quantised network, which is the default of the package
    labels = ("happy", "sad", "surprise")
    for _ in sys.stdin:
        predicted = []
        for path in paths:
            image = cv2.imread(path)
            height, width = image.shape[:2]
            found = detector.detect_emotions(image, face_rectangles=[(0, 0, width, height)])
            scores = found[0]["emotions"]
            predicted.append(max(labels, key=scores.__getitem__))
        print(json.dumps(predicted), flush=True)


if __name__ == "__main__":
    main()
