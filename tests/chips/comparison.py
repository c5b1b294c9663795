"""Compare the results of a chip with those of this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Largest difference of a probability. In an int8 file a value at the boundary between two steps of
# 255 can round to the other one, because the layers before it add floats in another order.
MAX_DIFFERENCE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.02}


@dataclass(frozen=True)
class ChipResults:
    """The results that `worker` wrote on one chip."""

    versions: dict[str, str]
    unreadable: dict[str, str]
    models: dict[str, dict[str, Any]]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def load(cls, results: Path, arrays: Path) -> ChipResults:
        text: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
        with np.load(arrays) as saved:
            loaded = {name: saved[name] for name in saved.files}
        return cls(text["versions"], text["pictures"], text["models"], loaded)


@dataclass
class Comparison:
    """The differences between two chips.

    Attributes:
        pictures: Number of pictures that were decoded and resized to the same bytes.
        faces: Number of faces, of all models together, that got the same label.
        differences: Precision → largest difference of a probability.
        failures: One sentence for each difference that is not allowed.
        versions: The versions on the chip, and those of this machine where they differ.
    """

    pictures: int = 0
    faces: int = 0
    differences: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    versions: str = ""

    def describe(self) -> str:
        figures = ", ".join(f"{name} {value:.2g}" for name, value in self.differences.items())
        return (
            f"{self.pictures} pictures with the same pixels; {self.faces} faces with the same "
            f"label; largest difference of a probability: {figures}"
        )


def compare(native: ChipResults, chip: ChipResults) -> Comparison:
    """Compare all results of a chip with those of this machine."""
    comparison = Comparison()
    comparison.versions = ", ".join(
        f"{name} {version}"
        + (f" (here {native.versions[name]})" if native.versions[name] != version else "")
        for name, version in chip.versions.items()
    )
    _compare_pictures(native, chip, comparison)
    for name, results in chip.models.items():
        _compare_model(name, native, chip, results, comparison)
    return comparison


def _compare_pictures(native: ChipResults, chip: ChipResults, comparison: Comparison) -> None:
    names = [name for name in native.arrays if name.startswith("picture:")]
    if chip.unreadable != native.unreadable:
        different = dict(set(chip.unreadable.items()) ^ set(native.unreadable.items()))
        comparison.failures.append(f"other pictures cannot be read: {different}")
    for name in names:
        if name not in chip.arrays:
            continue  # it is among the unreadable ones
        difference = int(np.abs(native.arrays[name].astype(int) - chip.arrays[name]).max())
        if difference:
            comparison.failures.append(f"{name} differs by up to {difference} of 255")
        else:
            comparison.pictures += 1


def _compare_model(
    name: str,
    native: ChipResults,
    chip: ChipResults,
    results: dict[str, Any],
    comparison: Comparison,
) -> None:
    comparison.failures += [f"{name}: self-test: {text}" for text in results["failures"]]
    expected = native.models[name]["labels"]
    flips = sum(a != b for a, b in zip(expected, results["labels"], strict=True))
    if flips:
        comparison.failures.append(f"{name}: {flips} of {len(expected)} faces get another label")
    comparison.faces += len(expected) - flips
    differences = [
        np.abs(native.arrays[key] - chip.arrays[key]).max()
        for key in (f"probabilities:{name}", f"other:{name}")
        if key in native.arrays
    ]
    difference = float(np.max(differences))  # unlike max(), NaN if one is
    precision = results["precision"]
    comparison.differences[precision] = max(difference, comparison.differences.get(precision, 0.0))
    if not difference <= MAX_DIFFERENCE[precision]:  # true for NaN too
        comparison.failures.append(
            f"{name}: a probability differs by {difference:.2g} "
            f"(allowed {MAX_DIFFERENCE[precision]:g})"
        )
