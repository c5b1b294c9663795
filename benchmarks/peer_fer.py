"""The `fer` package as a peer of `folder.py`; runs in an environment of its own, with TensorFlow.

    python -m venv .venv-fer && .venv-fer/bin/pip install fer tensorflow-cpu 'setuptools<80'
    python benchmarks/folder.py fer2013/test/{happy,sad,surprise} --peer .venv-fer/bin/python

It is given whole faces, so that it need not look for them: its network alone is measured. Paths
come as one line of JSON; then each further line starts a round, answered with its labels.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Answer rounds until the input ends."""
    import cv2
    from fer.fer import FER

    paths = json.loads(sys.stdin.readline())
    detector = FER(offsets=(0, 0))  # the quantised network that the package takes by default
    wanted = ("happy", "sad", "surprise")
    for _ in sys.stdin:
        labels = []
        for path in paths:
            image = cv2.imread(path)
            height, width = image.shape[:2]
            found = detector.detect_emotions(image, face_rectangles=[(0, 0, width, height)])
            scores = found[0]["emotions"]
            labels.append(max(wanted, key=scores.__getitem__))
        print(json.dumps(labels), flush=True)


if __name__ == "__main__":
    main()
