"""The curve of a learning-rate search: ``learning_rate.csv`` and ``learning_rate.png``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion_runtime.atomic import write_atomically
from emotion_train.report.plots import BLUE, GREEN, legend_below, plain, save

RATE_CSV = "learning_rate.csv"
RATE_PICTURE = "learning_rate.png"


def write_rate_curve(
    folder: Path,
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    marks: Mapping[str, float],
) -> None:
    """Write the loss at each learning rate as a CSV and as a picture.

    Args:
        folder: Where to; it is made.
        rates: float64, shape (steps,): the learning rate of each step, rising.
        losses: float64, shape (steps,), in nats.
        smoothed: float64, shape (steps,): the losses in a moving average.
        marks: Rates to mark in the picture, by name; the first is emphasised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with write_atomically(folder / RATE_CSV) as path, path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", "learning_rate", "loss", "smoothed_loss"])
        for step, row in enumerate(zip(rates, losses, smoothed, strict=True), 1):
            rows.writerow([step, *(f"{value:.6g}" for value in row)])
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.8", linewidth=1, label="loss of each step")
    axes.plot(rates, smoothed, color=BLUE, label="moving average")
    styles = [(GREEN, "-"), *[("gray", style) for style in ("--", ":", "-.")]]
    for (name, rate), (colour, style) in zip(marks.items(), styles, strict=False):
        axes.axvline(rate, linestyle=style, color=colour, label=f"{name}: {rate:.2g}")
    low, high = smoothed.min(), smoothed[: len(smoothed) // 2].max()
    axes.set_ylim(low - 0.15 * (high - low), high + 0.5 * (high - low))  # divergence leaves it
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="loss (nats)", title="Learning-rate range test")
    legend_below(figure, axes)
    plain(axes)
    save(figure, folder / RATE_PICTURE)
