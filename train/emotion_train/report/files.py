"""The files of a report: ``metrics.json``, ``report.md``, ``splits.csv`` and pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from emotion_runtime.atomic import write_atomically
from emotion_train.data.dataset import Dataset
from emotion_train.report import plots
from emotion_train.report.content import ReportContent
from emotion_train.report.fonts import choose_fonts, use_fonts
from emotion_train.report.markdown import format_report
from emotion_train.run_folder import RunFolder


def write_report(folder: RunFolder, content: ReportContent) -> dict[str, Any]:
    """Write the report of a run.

    Args:
        folder: The run folder; the folder of the report is created.
        content: The content.

    Returns:
        The figures in ``metrics.json``.
    """
    folder.report.mkdir(parents=True, exist_ok=True)
    figures = content.to_figures()
    pictures = _draw_pictures(folder.report, content)
    _write_text(folder.metrics, json.dumps(figures, indent=2) + "\n")
    _write_text(folder.report_text, format_report(content, figures, pictures))
    return figures


def _draw_pictures(folder: Path, content: ReportContent) -> list[str]:
    """Draw the pictures; return their names in the order of the report, without suffix."""
    main, calibration = content.main, content.calibration
    classes = content.dataset.classes
    truth = main.choose_truth(by_votes=calibration.by_votes)
    title = main.split if truth is main.faces.labels else f"{main.split}, annotators' majority"
    by_votes = calibration.by_votes and main.votes is not None
    before, after = main.measure_reliability(by_votes=by_votes)
    names = ["metrics", "predictions", "coverage", "reliability", "classes"]
    paths = {name: folder / f"{name}.png" for name in names}
    with use_fonts(choose_fonts(classes)):
        if content.history and content.kept_epoch is not None:
            names[1:1] = ["loss", "accuracy"]
            plots.plot_loss(
                content.history, content.kept_epoch, folder / "loss.png", content.caption
            )
            plots.plot_accuracy(content.history, content.kept_epoch, folder / "accuracy.png")
        plots.plot_metrics(main.measure(truth), classes, title, paths["metrics"], after.error)
        plots.plot_predictions(main.faces, main.probabilities, classes, paths["predictions"])
        plots.plot_classes(content.balance, classes, paths["classes"])
        plots.plot_coverage(content.coverage, paths["coverage"])
        title = f"{main.split}, temperature {calibration.temperature:.2f} ({main.fitted_on})"
        plots.plot_reliability(before, after, title, paths["reliability"], by_votes=by_votes)
    return names


def write_splits(folder: RunFolder, dataset: Dataset) -> None:
    """Write ``splits.csv``, which lists the split of each picture, for emotion-eval --splits."""
    folder.report.mkdir(parents=True, exist_ok=True)
    splits = {
        "train": dataset.train,
        "validation": dataset.validation,
        "hold-out": dataset.holdout,
        "test": dataset.test,
    }
    with (
        write_atomically(folder.splits) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "label", "split"])
        for split, faces in splits.items():
            if faces is not None:
                for name, label in zip(faces.names, faces.labels, strict=True):
                    rows.writerow([name, dataset.classes[label], split])


def _write_text(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
