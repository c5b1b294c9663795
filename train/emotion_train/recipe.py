"""Everything that decides what is learned, in one record that travels with the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

DEFAULT_CLASSES = ("happy", "sad", "surprise")
VALIDATION_PER_CLASS = 46

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Recipe:
    """The choices of a run; the same recipe on the same data and machine gives the same weights.

    Attributes:
        network: A name in `emotion_train.networks.NETWORKS`.
        classes: Class names in label order, or ``("all",)``.
        size: Side of the network's input, in pixels.
        epochs: Times through the balanced training set.
        batch_size: Faces a step, over all processes together.
        learning_rate: The highest rate of the schedule.
        optimizer: ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        schedule: ``cosine`` (after a linear warm-up) or ``constant``.
        warmup: Part of all steps over which the rate rises from zero, 0 to 1.
        weight_decay: Decoupled decay of matrices and kernels, not of biases.
        label_smoothing: Part of each target spread over all classes, 0 to 1.
        averaging: Decay of the exponential moving average of the weights; 0 turns it off.
        augmentation: A name in `emotion_train.augmentation.AUGMENTATIONS`.
        vote_weight: Part of each target that annotators' votes give, 0 to 1; pictures that most
            of them could not use are left out.
        teacher_weight: Part of what then is the target that a teacher gives, 0 to 1.
        seed: Draws the splits, the first weights, the order and the augmentation.
        validation_per_class: Pictures of each class held out for validation.
        holdout: Fraction of the rest held out to choose the epoch on.
        drop_duplicates: Remove from train what also stands in another split.
        precision: ``fp32``, ``bf16`` or ``fp16`` arithmetic where autocast allows it, or ``auto``:
            fp32 on the CPU, bf16 (else fp16) on CUDA.
    """

    network: str = "baseline"
    classes: tuple[str, ...] = DEFAULT_CLASSES
    size: int = 48
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    averaging: float = 0.999
    augmentation: str = "strong"
    vote_weight: float = 0.0
    teacher_weight: float = 0.0
    seed: int = 0
    validation_per_class: int = VALIDATION_PER_CLASS
    holdout: float = 0.0
    drop_duplicates: bool = False
    precision: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Undo `to_dict`; names unknown to this version are left out."""
        known = {f.name for f in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "classes": tuple(kept["classes"])})
