"""Draw the README's picture of faces in a photograph: samples on a background, found and answered.

python scripts/draw_faces.py docs/faces.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emotion_runtime import FaceClassifier
from emotion_runtime.drawing.boxes import draw_faces

PLACES = [  # sample, side and corner in pixels
    ("surprise_03", 110, (60, 60)),
    ("happy_01", 170, (215, 130)),
    ("sad_01", 120, (425, 45)),
    ("happy_08", 90, (560, 190)),
    ("surprise_08", 150, (660, 60)),
]


def main(target: Path) -> None:
    """Write the picture, PNG."""
    noise = np.random.default_rng(4).integers(90, 190, (5, 12, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize((860, 330), Image.Resampling.BICUBIC)
    for name, side, corner in PLACES:
        face = Image.open(Path(__file__).parents[1] / "samples" / f"{name}.png").convert("RGB")
        oval = Image.new("L", (side, side))
        ImageDraw.Draw(oval).ellipse((4, -8, side - 4, side + 8), fill=255)
        face = face.resize((side, side), Image.Resampling.BICUBIC)
        scene.paste(face, corner, oval.filter(ImageFilter.GaussianBlur(4)))
    classifier = FaceClassifier()
    draw_faces(scene, classifier.predict(scene), classifier.labels)
    scene.save(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
