"""Draw the documentation's picture of labelled faces in a photograph.

    python scripts/draw_faces.py docs/faces.png

The photograph is drawn too: samples on a background of noise.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emotion_runtime import FaceClassifier
from emotion_runtime.drawing.boxes import draw_faces

SAMPLE_POSITIONS = [  # sample, side and corner in pixels
    ("surprise_03", 110, (60, 60)),
    ("happy_01", 170, (215, 130)),
    ("sad_01", 120, (425, 45)),
    ("happy_08", 90, (560, 190)),
    ("surprise_08", 150, (660, 60)),
]


@click.command(help=__doc__.splitlines()[0])
@click.argument("target", type=click.Path(path_type=Path))
def main(target: Path) -> None:
    """Write the picture as PNG."""
    noise = np.random.default_rng(4).integers(90, 190, (5, 12, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize((860, 330), Image.Resampling.BICUBIC)
    for name, side, corner in SAMPLE_POSITIONS:
        face = Image.open(Path(__file__).parents[1] / "samples" / f"{name}.png").convert("RGB")
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).ellipse((4, -8, side - 4, side + 8), fill=255)
        face = face.resize((side, side), Image.Resampling.BICUBIC)
        scene.paste(face, corner, mask.filter(ImageFilter.GaussianBlur(4)))
    classifier = FaceClassifier()
    draw_faces(scene, classifier.predict(scene), classifier.labels)
    scene.save(target)


if __name__ == "__main__":
    main()
