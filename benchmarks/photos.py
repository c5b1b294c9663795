"""Time large photographs: ``python benchmarks/photos.py [--megapixels N]``.

Compares `read_face`, which decodes a JPEG at reduced scale, with decoding in full, converting to
gray and resizing. The resulting pixels are compared too.
"""

from __future__ import annotations

import io

import click
import numpy as np
from PIL import Image

from emotion_runtime import read_face
from harness import format_table, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result


def draw_photograph(megapixels: float) -> bytes:
    """Return a JPEG with the spectrum of a photograph: noise of every size, more of the large."""
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


def read_in_full(data: bytes) -> np.ndarray:
    """Return a face, uint8 (48, 48): decoded in full, then cropped and resized."""
    with Image.open(io.BytesIO(data)) as image:
        gray = image.convert("L")
        side = min(gray.size)
        left, top = (gray.width - side) // 2, (gray.height - side) // 2
        box = (left, top, left + side, top + side)
        return np.array(gray.resize((48, 48), Image.Resampling.BILINEAR, box=box))


@benchmark_command(__doc__, rounds=15)
@click.option("--megapixels", type=float, default=12, show_default=True)
def main(options: ResultOptions, megapixels: float, rounds: int) -> None:
    """Print a table of milliseconds a photograph."""
    data = draw_photograph(megapixels)
    difference = np.abs(read_face(data).astype(int) - read_in_full(data))
    seconds = take_turns(
        {"in full": lambda: read_in_full(data), "read_face": lambda: read_face(data)},
        rounds=rounds,
    )
    text = f"one JPEG of {megapixels:g} megapixels, {len(data) / 1e6:.1f} MB\n\n"
    text += format_table(seconds, "in full")
    text += (
        f"\n\n{ratios(seconds, 'in full', 'read_face')[1]:.1f} times as fast; the pixels differ by "
        f"{difference.mean():.2f} of 255 on average, by {difference.max()} at most."
    )
    times = medians(seconds, unit=1e3)
    report_result(
        options,
        "photos",
        text,
        lower={f"{name}, ms": value for name, value in times.items()},
        higher={"times as fast as in full": ratios(seconds, "in full", "read_face")[1]},
        draw=lambda figure: draw_bars(figure, times, "ms a photograph"),
    )


if __name__ == "__main__":
    main()
