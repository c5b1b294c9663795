"""Draw the README's picture: every sample with the label that the default model predicts.

python scripts/draw_samples.py docs/samples.png

A title is red where the label is wrong. For a sample that shows none of the labels, `other` is
right.
"""

from __future__ import annotations

from pathlib import Path

import click
from matplotlib.figure import Figure

from emotion_runtime import EmotionClassifier
from emotion_runtime.prediction import OTHER

COLUMNS = 10
GREEN, RED = "#2e7d4f", "#c0392b"


@click.command(help=__doc__.splitlines()[0])
@click.argument("target", type=click.Path(path_type=Path))
def main(target: Path) -> None:
    """Write the picture as PNG."""
    classifier = EmotionClassifier()
    paths = sorted(
        (Path(__file__).parents[1] / "samples").glob("*.png"),
        key=lambda path: (get_right_label(path, classifier) == OTHER, path.name),
    )
    rows = -(-len(paths) // COLUMNS)
    figure = Figure(figsize=(1.05 * COLUMNS, 1.32 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, path in zip(grid, paths, strict=False):
        prediction = classifier.predict(path)
        is_right = prediction.label == get_right_label(path, classifier)
        axes.imshow(classifier.read(path), cmap="gray", vmin=0, vmax=255)
        axes.set_title(
            f"{prediction.label} {prediction.confidence:.0%}",
            fontsize=8,
            color=GREEN if is_right else RED,
        )
    figure.savefig(target, dpi=110, format="png")


def get_right_label(path: Path, classifier: EmotionClassifier) -> str:
    """Return the label that a sample should get; its name begins with what it shows."""
    shown = path.name.partition("_")[0]
    return shown if shown in classifier.labels else OTHER


if __name__ == "__main__":
    main()
