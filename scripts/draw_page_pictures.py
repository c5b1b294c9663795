"""Draw the pictures that the web page offers to try: samples, and prints of them on a wall.

    python scripts/draw_page_pictures.py

They are in ``emotion_export/page/pictures``, with which the page works before a visitor has chosen
a picture. All faces are averages of 24 faces or more; no picture shows a person.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter, ImageOps

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
FOLDER = ROOT / "export" / "emotion_export" / "page" / "pictures"
NAMES = ("happy_01", "sad_03", "surprise_02", "neutral_01", "sad_08", "surprise_04")

SIZE = (960, 540)
WALL = ((226, 222, 214), (186, 190, 192))  # upper left and lower right
PAPER, FRAME_SHARE = (252, 251, 248), 0.08  # the white border of a print, in sides of the picture
# Sample, side of the print in pixels, its centre, and its rotation in degrees.
PRINTS = (
    ("happy_08", 176, (392, 122), 3),
    ("surprise_04", 168, (604, 118), -4),
    ("sad_08", 214, (168, 176), -3),
    ("happy_01", 250, (474, 372), -1),
    ("surprise_08", 210, (802, 210), 4),
    ("sad_03", 170, (206, 420), 4),
    ("neutral_01", 164, (764, 430), -3),
)


@click.command(help=__doc__.splitlines()[0])
def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        shutil.copyfile(SAMPLES / f"{name}.png", FOLDER / f"{name}.png")
    draw_scene().save(FOLDER / "scene.webp", quality=80, method=6)


def draw_scene() -> Image.Image:
    """Return prints of average faces on a wall, RGB."""
    scene = _draw_wall()
    for name, side, centre, degrees in PRINTS:
        _draw_print(scene, name, side, centre, degrees)
    return scene


def _draw_wall() -> Image.Image:
    """Return a plain background that is lit from the upper left."""
    width, height = SIZE
    y, x = np.mgrid[0:height, 0:width]
    shade = ((y / height + x / width) / 2)[..., np.newaxis]
    pixels = (1 - shade) * np.array(WALL[0]) + shade * np.array(WALL[1])
    noise = np.random.default_rng(0).uniform(0, 1, pixels.shape)  # against visible steps
    return Image.fromarray((pixels + noise).astype(np.uint8))


def _draw_print(
    scene: Image.Image, name: str, side: int, centre: tuple[int, int], degrees: float
) -> None:
    """Draw a print with its border and its shadow."""
    border = round(FRAME_SHARE * side)
    face = Image.open(SAMPLES / f"{name}.png").convert("RGB")
    paper = Image.new("RGB", (side + 2 * border, side + 3 * border), PAPER)
    paper.paste(face.resize((side, side), Image.Resampling.BICUBIC), (border, border))
    # With a transparent margin, so that the edges are smooth.
    sheet = ImageOps.expand(paper.convert("RGBA"), 2, (*PAPER, 0))
    turned = sheet.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    left, top = (centre[0] - turned.width // 2, centre[1] - turned.height // 2)
    shadow = Image.new("L", scene.size)
    shadow.paste(turned.getchannel("A").point(lambda alpha: alpha * 2 // 5), (left + 3, top + 6))
    scene.paste((60, 60, 66), (0, 0), shadow.filter(ImageFilter.GaussianBlur(7)))
    scene.paste(turned, (left, top), turned)


if __name__ == "__main__":
    main()
