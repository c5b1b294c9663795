"""Draw the README's picture: every sample with what the released model says of it.

python scripts/draw_samples.py docs/samples.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from emotion_runtime import EmotionClassifier

COLUMNS = 10
GREEN, RED = "#2e7d4f", "#c0392b"


def main(target: Path) -> None:
    """Write the picture, PNG."""
    classifier = EmotionClassifier()
    paths = sorted((Path(__file__).parents[1] / "samples").glob("*.png"))
    rows = -(-len(paths) // COLUMNS)
    figure = Figure(figsize=(1.05 * COLUMNS, 1.32 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, path in zip(grid, paths, strict=False):
        answer = classifier.predict(path)
        right = path.name.startswith(f"{answer.label}_")
        axes.imshow(classifier.read(path), cmap="gray", vmin=0, vmax=255)
        axes.set_title(
            f"{answer.label} {answer.confidence:.0%}", fontsize=8, color=GREEN if right else RED
        )
    figure.savefig(target, dpi=110, format="png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
