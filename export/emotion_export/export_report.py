"""What an export found, for a person: ``MODEL.export.md`` with a histogram beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_export.parity.comparison import Reference
from emotion_runtime.atomic import write_atomically
from emotion_runtime.model.outputs import Outputs
from emotion_runtime.prediction import OTHER

_FLIPS_SHOWN = 20


def write_export_report(
    path: Path,
    report: dict[str, Any],
    expected: Reference,
    found: Outputs,
    pictures: Sequence[str] = (),
) -> None:
    """Write the report of a model file and its picture.

    Args:
        path: The model file; ``.export.md`` and ``.export.png`` go beside it.
        report: What ``.parity.json`` holds.
        expected: The outputs of PyTorch.
        found: Those of the file on the same faces.
        pictures: The files of the faces, where there are some; only their names are written.
    """
    names = [Path(name).name for name in pictures] or [str(i) for i in range(len(found.logits))]
    picture = path.with_suffix(".export.png")
    differences = np.abs(found.logits.astype(np.float64) - expected.logits).max(axis=1)
    _draw_histogram(picture, differences)
    lines = [
        f"# {path.name}",
        "",
        f"The network `{report['network']}` in {report['precision']}, {report['bytes']:,} bytes, "
        f"opset {report['opset']}, IR version {report['ir_version']}, sha256 `{report['sha256']}`. "
        f"Labels: {', '.join(report['labels'])}.",
        "",
        "## Stages",
        "",
        "| stage | operators | which |",
        "| --- | ---: | --- |",
    ]
    for stage, operators in report["operators"].items():
        which = ", ".join(f"{count} {name}" for name, count in operators.items())
        lines.append(f"| {stage} | {sum(operators.values())} | {which} |")
    faces = report["faces"]
    kind = "real faces" if faces["real"] else "faces that are no real ones"
    lines += [
        "",
        "## Parity with PyTorch",
        "",
        f"On {faces['count']:,} {kind} ({faces['source']}).",
        "",
        "| graph | optimisation | batch | largest logit difference | mean | labels the same |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one['stage']} | {one['optimisation']} | {one['batch_size']} | "
        f"{one['max_logit_difference']:.1e} | {one['mean_logit_difference']:.1e} | "
        f"{one['label_agreement']:.2%} |"
        for one in report["comparisons"]
    ]
    worst = int(differences.argmax())
    lines += [
        "",
        f"![Largest logit difference of each face]({picture.name})",
        "",
        f"The largest difference, {differences[worst]:.1e}, is that of {names[worst]}.",
        "",
        *_flips(expected, found, report["labels"], names),
    ]
    lines += _other(report)
    lines += ["## Gates", "", *_gates(report)]
    versions = ", ".join(f"{name} {version}" for name, version in report["tool_versions"].items())
    lines += ["", f"Tools: {versions}.", ""]
    with write_atomically(path.with_suffix(".export.md")) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def _other(report: dict[str, Any]) -> list[str]:
    """Lay out what the output `other` does on the held-out faces."""
    figures = report.get("other", {}).get("metrics", {}).get("held-out")
    if figures is None:
        return []
    columns = [by for by in ("", "_by_labels") if f"other{by}" in figures]
    lines = [
        "## Other",
        "",
        f"The output `other` adds up the probabilities of {', '.join(report['other']['classes'])}. "
        f"On held-out faces, by what they show:",
        "",
        "| | " + " | ".join(f"by the {figures['other' + by]['truth']}" for by in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    rows = {
        "faces of the labels": ("other", "pictures", ","),
        "accuracy of the labels, without other": ("other", "accuracy", ".2%"),
        "named": ("other", "coverage", ".2%"),
        "named correctly": ("other", "named_correctly", ".2%"),
        "faces of other classes": ("other", "other_pictures", ","),
        "labelled other": ("other", "others_unnamed", ".2%"),
        "AUROC of other": ("other", "auroc", ".4f"),
        "faces without a strict majority, left out": ("other", "left_out", ","),
        "accuracy of every class": ("every_class", "accuracy", ".2%"),
        "macro F1 of every class": ("every_class", "macro_f1", ".2%"),
    }
    for title, (group, name, form) in rows.items():
        values = [figures[group + by][name] for by in columns]
        lines.append(f"| {title} | " + " | ".join(_cell(one, form) for one in values) + " |")
    for name in report["other"]["classes"]:
        values = [figures["other" + by]["other_classes"][name] for by in columns]
        cells = [f"{_cell(one['named'], '.1%')} of {one['pictures']:,}" for one in values]
        lines.append(f"| {name}, still named | " + " | ".join(cells) + " |")
    fold = figures["other"]["out_of_fold"]
    stem = Path(report["model"]).stem
    return [
        *lines,
        "",
        f"The threshold, {report['other']['threshold']:.2f}, was chosen on these faces. Chosen on "
        f"four fifths of them and measured on the rest, {_cell(fold['coverage'], '.2%')} of the "
        f"faces of the labels are named and {_cell(fold['others_unnamed'], '.2%')} of the others "
        f"are other.",
        "",
        f"![ROC curve and risk–coverage curve of other]({stem}.other.png)",
        "",
        f"![Confusion matrix with other]({stem}.confusion.png)",
        "",
    ]


def _cell(value: float | None, form: str) -> str:
    """Return a figure as text; a dash where it is not defined."""
    return "–" if value is None else format(value, form)


def _gates(report: dict[str, Any]) -> list[str]:
    """List what was required and what was reached."""
    gate, fewer_bits = report["gate"], report.get(report["precision"], {})
    allowed = gate["logit_difference"]
    difference = "any logit difference" if allowed is None else f"logits within {allowed:.0e}"
    lines = [f"- against PyTorch: {gate['label_agreement']:.2%} of the labels, {difference}"]
    here = gate["label_agreement_on_these_faces"]
    if round(here, 4) < gate["label_agreement"]:
        lines.append(
            f"- on {report['faces']['count']:,} faces {here:.2%} of the labels suffice: "
            f"fewer would be no chance"
        )
    if "method" in fewer_bits:
        lines += [f"- {text}" for text in fewer_bits["gates"]]
        in_float = ", ".join(fewer_bits["in_float"]) or "none"
        lines += [
            f"- judged on {fewer_bits['faces']:,} held-out faces",
            f"- ranges by {fewer_bits['method']}, layers left in float: {in_float}",
        ]
    if "loosened" in fewer_bits:
        wider = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in fewer_bits["loosened"].items())
        lines.append(f"- **loosened by hand**: {wider}")
    if "times_as_fast_as_fp32" in fewer_bits:
        ratio = fewer_bits["times_as_fast_as_fp32"]
        lines.append(f"- {ratio:.2f} times as fast as fp32 here (batch 1, one thread): no gate")
    return lines


def _flips(expected: Reference, found: Outputs, labels: list[str], names: list[str]) -> list[str]:
    """List the faces whose label changed, and by how little PyTorch had preferred the other."""
    before, after = expected.labels, found.decide(expected.other_threshold)
    changed = np.flatnonzero(before != after)
    if not len(changed):
        return ["No label changed.", ""]
    logits, threshold = expected.logits, expected.other_threshold
    margins = {}
    for index in map(int, changed):
        was, now = int(before[index]), int(after[index])
        if expected.other is not None and threshold is not None and len(labels) in (was, now):
            margins[index] = abs(float(expected.other[index]) - threshold)
        else:
            margins[index] = float(logits[index, was] - logits[index, now])
    labels = [*labels, OTHER]
    lines = [
        "| face | label | becomes | margin of its logits, or of other from its threshold |",
        "| --- | --- | --- | ---: |",
    ]
    for index in sorted(margins, key=margins.__getitem__, reverse=True)[:_FLIPS_SHOWN]:
        was, now = labels[before[index]], labels[after[index]]
        lines.append(f"| {names[index]} | {was} | {now} | {margins[index]:.3f} |")
    more = len(changed) - _FLIPS_SHOWN
    return [*lines, *([f"\nand {more} more with smaller margins"] if more > 0 else []), ""]


def _draw_histogram(path: Path, differences: NDArray[np.float64]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    # The differences span decades; a zero is shown at the left end.
    positive = differences[differences > 0]
    lowest = float(positive.min()) if len(positive) else 1e-9
    shown = np.maximum(differences, lowest)
    highest = max(float(shown.max()), 10 * lowest)
    axes.hist(shown, bins=np.geomspace(lowest, highest, 41).tolist(), color="#4477aa")
    axes.set_xscale("log")
    zeros = int((differences == 0).sum())
    axes.set_xlabel(
        "largest logit difference of a face"
        + (f" (none for {zeros:,}, at the left end)" if zeros else "")
    )
    axes.set_ylabel("faces")
    axes.set_title(f"{len(differences):,} faces: file against PyTorch")
    axes.spines[["top", "right"]].set_visible(False)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=150)
