"""The lines that a run prints before its first epoch, each a sentence without a full stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from emotion_runtime.prediction import format_count
from emotion_train.data.balance import ClassBalance
from emotion_train.data.dataset import Dataset
from emotion_train.data.table import format_data_table
from emotion_train.networks.face_network import count_parameters
from emotion_train.report.tables import format_class_table
from emotion_train.training.cpu_features import is_emulated
from emotion_train.training.precision import PRECISION_NAMES
from emotion_train.training.trainer import Trainer

_MAX_SKIPPED_SHOWN = 10


def list_data_notes(dataset: Dataset, warnings: Sequence[str]) -> list[str]:
    """Return how the data were read and split, what was left out, and the warnings."""
    notes = [*dataset.notes]
    notes += [f"skipped: {line}" for line in dataset.skipped[:_MAX_SKIPPED_SHOWN]]
    if (more := len(dataset.skipped) - _MAX_SKIPPED_SHOWN) > 0:
        notes.append(f"skipped: {more:,} more")
    notes += [f"passed over: {line}" for line in dataset.passed_over]
    return notes + [f"warning: {line}" for line in warnings]


def format_data_tables(dataset: Dataset, balance: ClassBalance) -> list[str]:
    """Return the tables of pictures found and used, and the counts of identical pictures."""
    tables = [
        format_data_table(dataset) + "\n",
        format_class_table(dataset, balance),
        str(dataset.audit),
    ]
    if dataset.skipped:
        tables.append(f"skipped: {format_count(len(dataset.skipped), 'picture')} could not be used")
    return tables


def describe_trainer(trainer: Trainer, start_from: Sequence[Path]) -> list[str]:
    """Return the size of the network, the class weights, and where the weights come from."""
    lines = [
        f"network {trainer.recipe.network}: {_describe_parameters(trainer)}, "
        f"{trainer.multiply_adds / 1e6:.2f} M multiply-adds a face, "
        f"{PRECISION_NAMES[trainer.precision]} arithmetic"
    ]
    if trainer.class_weights is not None:
        weights = zip(trainer.dataset.classes, trainer.class_weights.tolist(), strict=True)
        lines.append(
            "no copies of rare classes; class weights of the loss: "
            + ", ".join(f"{name} {weight:.3g}" for name, weight in weights)
        )
    if trainer.transferred is not None:
        lines.append(f"start from {', '.join(map(str, start_from))}: {trainer.transferred}")
    return lines


def find_emulation_warning(precision: torch.dtype, device: torch.device) -> str | None:
    """Return a warning if a CPU has no instructions for a precision."""
    name = PRECISION_NAMES[precision]
    if device.type != "cpu" or not is_emulated(name):
        return None
    return (
        f"warning: this CPU has no {name} arithmetic: --precision {name} is emulated, which is "
        f"slower than fp32"
    )


def _describe_parameters(trainer: Trainer) -> str:
    """Return the number of parameters of a network, and of those that are trained."""
    total = sum(one.numel() for one in trainer.network.parameters())
    frozen = trainer.frozen
    if not frozen.count:
        return f"{total:,} parameters"
    trained = count_parameters(trainer.network)
    return (
        f"{total:,} parameters, {trained:,} of them trained (the first {frozen.count} of "
        f"{frozen.total} layers are frozen)"
    )
