"""Draw simple faces, to try the toolkit without a data set.

    python draw_faces.py FOLDER

FOLDER gets happy/, sad/ and surprise/, with 120 pictures each. The same pictures are drawn each
time.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

EXPRESSIONS = ("happy", "sad", "surprise")


def draw_face(expression: str, chance: random.Random) -> Image.Image:
    """Return a face of 64×64 pixels with an expression; `chance` varies the rest."""
    skin, back = chance.randint(120, 200), chance.randint(40, 140)
    picture = Image.new("L", (64, 64), back)
    draw = ImageDraw.Draw(picture)
    x, y, half = 32 + chance.randint(-5, 5), 32 + chance.randint(-5, 5), chance.randint(20, 28)
    draw.ellipse((x - half, y - half, x + half, y + half), fill=skin)
    for eye_x in (x - half // 2, x + half // 2):
        draw.ellipse((eye_x - 3, y - half // 4 - 3, eye_x + 3, y - half // 4 + 3), fill=30)
    mouth, top = half // 2 + chance.randint(-3, 3), y + half // 3
    strength = chance.uniform(0, 0.5)  # of the expression; some are hardly visible
    curve = int(mouth * strength) + 1
    if expression == "happy":
        draw.arc((x - mouth, top - curve, x + mouth, top + curve), 0, 180, fill=30, width=2)
    elif expression == "sad":
        draw.arc((x - mouth, top - curve, x + mouth, top + curve), 180, 360, fill=30, width=2)
    else:
        draw.ellipse((x - curve - 1, top - curve, x + curve + 1, top + curve), fill=30)
    picture = picture.rotate(chance.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=back)
    grain = Image.frombytes("L", picture.size, chance.randbytes(64 * 64))
    return Image.blend(picture, grain, 0.25)


def draw_folder(folder: Path, count: int = 120) -> None:
    """Draw `count` faces of each expression to a folder each."""
    for expression in EXPRESSIONS:
        chance = random.Random(expression)
        (folder / expression).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            face = draw_face(expression, chance)
            face.save(folder / expression / f"{number:03}.png")
    print(f"{folder}: {count} faces each of {', '.join(EXPRESSIONS)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python draw_faces.py FOLDER")
    draw_folder(Path(sys.argv[1]))
