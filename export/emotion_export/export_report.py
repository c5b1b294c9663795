"""The report of an export for a person: ``MODEL.export.md``, with a histogram beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emotion_export.parity.comparison import Reference
from emotion_runtime.atomic import write_atomically
from emotion_runtime.model.outputs import Outputs
from emotion_runtime.prediction import OTHER

_TEMPLATE = Path(__file__).with_name("export_report.md.jinja")
_MAX_FLIPS_SHOWN = 20

# Title, and the figure of the held-out faces: its group, its name and its format.
_OTHER_ROWS = (
    ("faces of the labels", "other", "pictures", ","),
    ("accuracy of the labels, without other", "other", "accuracy", ".2%"),
    ("get one of the labels", "other", "coverage", ".2%"),
    ("get the right label", "other", "named_correctly", ".2%"),
    ("faces of other classes", "other", "other_pictures", ","),
    ("get other", "other", "others_unnamed", ".2%"),
    ("AUROC of other", "other", "auroc", ".4f"),
    ("faces without a strict majority, left out", "other", "left_out", ","),
    ("accuracy of every class", "every_class", "accuracy", ".2%"),
    ("macro F1 of every class", "every_class", "macro_f1", ".2%"),
)


class _Flip(NamedTuple):
    """A face whose label changed, and how close PyTorch's decision was."""

    face: str
    before: str
    after: str
    margin: float


def write_export_report(
    path: Path,
    report: dict[str, Any],
    reference: Reference,
    outputs: Outputs,
    pictures: Sequence[str] = (),
) -> None:
    """Write the report of a model file and its histogram.

    Args:
        path: The model file; ``.export.md`` and ``.export.png`` are written beside it.
        report: The parity report.
        reference: The outputs of PyTorch.
        outputs: Those of the file for the same faces.
        pictures: The files of the faces, if there are any. Only their names are written.

    Raises:
        OutputError: A file cannot be written.
    """
    names = [Path(name).name for name in pictures] or [
        f"face {index}" for index in range(len(outputs.logits))
    ]
    histogram = path.with_suffix(".export.png")
    differences = np.abs(outputs.logits.astype(np.float64) - reference.logits).max(axis=1)
    _draw_histogram(histogram, differences)
    held_out = report.get("other", {}).get("metrics", {}).get("held-out")
    worst = int(differences.argmax())
    text = _render(
        model=path.name,
        stem=path.stem,
        report=report,
        histogram=histogram.name,
        largest_difference=float(differences[worst]),
        worst_face=names[worst],
        flips=_find_flips(reference, outputs, report["labels"], names),
        max_flips=_MAX_FLIPS_SHOWN,
        held_out=held_out,
        truths=[by for by in ("", "_by_labels") if held_out and f"other{by}" in held_out],
        other_rows=_OTHER_ROWS,
        costs=report.get(report["precision"], {}),
    )
    with write_atomically(path.with_suffix(".export.md")) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _render(**values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "cell": lambda value, form: "–" if value is None else format(value, form),
        "count": lambda value: f"{value:,}",
        "percent": lambda value: f"{value:.2%}",
        "scientific": lambda value: f"{value:.1e}",
    }
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(values)


def _find_flips(
    reference: Reference, outputs: Outputs, labels: Sequence[str], names: Sequence[str]
) -> list[_Flip]:
    """Return the faces whose label changed, those with the largest margin first."""
    before, after = reference.labels, outputs.decide(reference.other_threshold)
    all_labels = [*labels, OTHER]
    flips = [
        _Flip(
            face=names[index],
            before=all_labels[before[index]],
            after=all_labels[after[index]],
            margin=_compute_margin(reference, index, int(before[index]), int(after[index])),
        )
        for index in map(int, np.flatnonzero(before != after))
    ]
    return sorted(flips, key=lambda flip: flip.margin, reverse=True)


def _compute_margin(reference: Reference, index: int, before: int, after: int) -> float:
    """Return the difference of two logits, or the distance of `other` from its threshold."""
    other, threshold = reference.other, reference.other_threshold
    if (
        other is not None
        and threshold is not None
        and len(reference.logits[index]) in (before, after)
    ):
        return abs(float(other[index]) - threshold)
    return float(reference.logits[index, before] - reference.logits[index, after])


def _draw_histogram(path: Path, differences: NDArray[np.float64]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    # The differences span decades, so the axis is logarithmic. Zeros are drawn at its left end.
    positive = differences[differences > 0]
    lowest = float(positive.min()) if len(positive) else 1e-9
    shown = np.maximum(differences, lowest)
    highest = max(float(shown.max()), 10 * lowest)
    axes.hist(shown, bins=np.geomspace(lowest, highest, 41).tolist(), color="#4477aa")
    axes.set_xscale("log")
    zeros = int((differences == 0).sum())
    axes.set_xlabel(
        "largest logit difference of a face"
        + (f" ({zeros:,} without a difference at the left end)" if zeros else "")
    )
    axes.set_ylabel("faces")
    axes.set_title(f"{len(differences):,} faces: model file and PyTorch")
    axes.spines[["top", "right"]].set_visible(False)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=150)
