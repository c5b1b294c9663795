"""Time large photographs: ``python benchmarks/photos.py [--megapixels N]``.

A JPEG of twelve megapixels by default, read as `emotion-infer` reads it (decoded at reduced
scale) and beside it in full, turned gray and resized. The pixels that come out are compared too.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from emotion_runtime import read_face
from harness import medians, ratios, table, take_turns
from results import draw_bars, finish, options


def photograph(megapixels: float) -> bytes:
    """Draw something with a photograph's spectrum: noise of every size, the large ones louder."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    rng = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), np.float32)
    for size in (4, 16, 64, 256, 1024):
        noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        pixels += np.asarray(noise.resize((width, height)), np.float32) / size**0.5
    buffer = io.BytesIO()
    pixels *= 255 / pixels.max()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def in_full(data: bytes) -> np.ndarray:
    """Decode every pixel, then crop and resize as the runtime does."""
    with Image.open(io.BytesIO(data)) as image:
        gray = image.convert("L")
        side = min(gray.size)
        left, top = (gray.width - side) // 2, (gray.height - side) // 2
        box = (left, top, left + side, top + side)
        return np.array(gray.resize((48, 48), Image.Resampling.BILINEAR, box=box))


def main() -> None:
    """Print a table of milliseconds a photograph."""
    parser = options(__doc__, rounds=15)
    parser.add_argument("--megapixels", type=float, default=12)
    chosen = parser.parse_args()
    data = photograph(chosen.megapixels)
    difference = np.abs(read_face(data).astype(int) - in_full(data))
    seconds = take_turns(
        {"in full": lambda: in_full(data), "read_face": lambda: read_face(data)},
        rounds=chosen.rounds,
    )
    text = f"one JPEG of {chosen.megapixels:g} megapixels, {len(data) / 1e6:.1f} MB\n\n"
    text += table(seconds, "in full")
    text += (
        f"\n\n{ratios(seconds, 'in full', 'read_face')[1]:.1f} times as fast; the pixels differ by "
        f"{difference.mean():.2f} of 255 on average, by {difference.max()} at most."
    )
    times = medians(seconds, unit=1e3)
    finish(
        chosen,
        "photos",
        text,
        lower={f"{name}, ms": value for name, value in times.items()},
        higher={"times as fast as in full": ratios(seconds, "in full", "read_face")[1]},
        draw=lambda figure: draw_bars(figure, times, "ms a photograph"),
    )


if __name__ == "__main__":
    main()
