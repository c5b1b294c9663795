"""The curve of a learning-rate range test, as a CSV and a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion_runtime.atomic import write_atomically
from emotion_train.report.plots import (
    BLUE,
    GREEN,
    add_legend_below,
    save_figure,
    simplify_frame,
)
from emotion_train.run_folder import RunFolder


def write_rate_curve(
    folder: RunFolder,
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    marks: Mapping[str, float],
) -> None:
    """Write the loss at each learning rate as a CSV and a picture.

    Args:
        folder: The run folder; it is created.
        rates: float64, shape (steps,), the rising learning rate of each step.
        losses: float64, shape (steps,), in nats.
        smoothed: float64, shape (steps,), the moving average of the losses.
        marks: Rates to mark in the picture, by name; the first is emphasised.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with write_atomically(folder.rate_table) as path, path.open("w", newline="") as file:
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
    axes.set_ylim(low - 0.15 * (high - low), high + 0.5 * (high - low))  # cuts off the divergence
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="loss (nats)", title="Learning-rate range test")
    add_legend_below(figure, axes)
    simplify_frame(axes)
    save_figure(figure, folder.rate_picture)
