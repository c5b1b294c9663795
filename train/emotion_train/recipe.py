"""The recipe: every setting that decides what a network learns. It is saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from emotion_runtime.labels import check_labels
from emotion_train.class_weights import BALANCED, NO_WEIGHTS, parse_class_weights
from emotion_train.networks import NETWORKS

VALIDATION_PER_CLASS = 46
# Training pictures below which there is no hold-out by default. A tenth of them, 300, measures an
# accuracy of 85 % to ±4 points (95 % interval).
MIN_PICTURES_FOR_HOLDOUT = 3_000
FORMER_FIELDS = ("drop_duplicates",)  # in recipes of older versions
FORMER_COVERAGE_NAME = "answered"  # option and key of the coverage in older versions

# What to do with training pictures whose pixels equal those of another picture.
DROP_DUPLICATES = "drop"  # drop copies of held-out and test pictures, keep others once
KEEP_DUPLICATES = "keep"
DROP_HELD_OUT = "drop held-out"  # of older versions: keep copies within train
DUPLICATES = (DROP_DUPLICATES, KEEP_DUPLICATES, DROP_HELD_OUT)
EXCLUDE_ISSUES = "issues"
FREEZE_NOTHING = "none"
FREEZE_FEATURES = "features"

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")
FULL, SQRT, NO_BALANCE = "full", "sqrt", "none"
BALANCES = (FULL, SQRT, NO_BALANCE)
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SIZES = (32, 256)  # pixels
MAX_SEED = 2**32 - 1

_CHOICES = {
    "network": tuple(NETWORKS),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "balance": BALANCES,
    "precision": PRECISIONS,
    "duplicates": DUPLICATES,
}
# Fields that may be None, which means that the data decide; with a value of their type.
_OPTIONAL_FIELDS: dict[str, int | float] = {"validation_per_class": 0, "holdout": 0.0}
MAX_COUNT = 10**9  # of epochs, faces and the like
_RANGES: dict[str, tuple[float, float]] = {
    "size": SIZES,
    "epochs": (1, MAX_COUNT),
    "batch_size": (1, MAX_COUNT),
    "learning_rate": (0, 1e12),
    "warmup": (0, 1),
    "weight_decay": (0, 1e12),
    "label_smoothing": (0, 1),
    "averaging": (0, 1),
    "vote_weight": (0, 1),
    "teacher_weight": (0, 1),
    "exclude_weight": (0, 1),
    "seed": (0, MAX_SEED),
    "patience": (0, MAX_COUNT),
    "validation_per_class": (0, MAX_COUNT),
    "holdout": (0, 0.9),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of a run. The same recipe, data and machine give the same weights.

    Attributes:
        network: A name in `emotion_train.networks.NETWORKS`.
        classes: Class names in label order; ``("all",)`` for all classes; empty for the default.
        size: Side of the network's input, in pixels.
        epochs: Passes through the balanced training set.
        batch_size: Faces per step, over all processes together.
        learning_rate: Peak of the learning-rate schedule.
        optimizer: ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        schedule: ``cosine`` (after a linear warm-up) or ``constant``.
        warmup: Fraction of the steps over which the rate rises from zero, 0 to 1.
        weight_decay: Decoupled weight decay of matrices and kernels, not of biases.
        label_smoothing: Fraction of each target spread over all classes, 0 to 1.
        averaging: Decay of the exponential moving average of the weights; 0 turns it off.
        augmentation: A name in `emotion_train.training.augmentation.AUGMENTATIONS`.
        balance: Copies of rare classes: ``full`` makes every class as large as the largest,
            ``sqrt`` as large as the geometric mean of both, ``none`` makes no copies.
        class_weights: Weight of each class in the loss: ``none``, ``balanced`` or
            ``NAME=W,NAME=W``; needs ``balance`` to be ``none``.
        vote_weight: Weight of the annotators' votes in each target, 0 to 1. Above 0, pictures that
            most annotators could not use are left out.
        teacher_weight: Weight of the teacher in the resulting target, 0 to 1.
        exclude: Which training pictures of an ``audit.csv`` are excluded: ``issues`` for those that
            it marks as label issues, a score such as ``0.2`` for those below, a share such as
            ``3%`` for those with the lowest scores; empty without an audit.
        exclude_weight: Weight of these pictures in the loss, 0 to 1; 0 leaves them out.
        seed: Seeds the splits, the initial weights, the order and the augmentation.
        validation_per_class: Pictures of each class held out for validation; None to choose by
            the data, 0 where they come with a validation set.
        patience: Epochs without improvement before training stops early; 0 never stops early.
        holdout: Fraction of the remaining pictures held out to choose the epoch; None to choose by
            the data.
        duplicates: ``drop`` removes training pictures that are also held out, and repeats;
            ``keep`` removes none; ``drop held-out`` removes what older versions did.
        faces: The pictures are photographs: find and crop the largest face of each.
        freeze: Lower layers that keep their initial weights: ``none``, ``features`` (all
            convolutions) or a number of layers.
        precision: ``fp32``, ``bf16`` or ``fp16`` arithmetic where autocast allows it, or ``auto``:
            bf16 on CPUs with AMX, fp32 on others, bf16 (else fp16) on CUDA.
    """

    network: str = "baseline"
    classes: tuple[str, ...] = ()
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
    balance: str = FULL
    class_weights: str = NO_WEIGHTS
    vote_weight: float = 0.0
    teacher_weight: float = 0.0
    exclude: str = ""
    exclude_weight: float = 0.0
    seed: int = 0
    patience: int = 0
    validation_per_class: int | None = None
    holdout: float | None = None
    duplicates: str = DROP_DUPLICATES
    faces: bool = False
    freeze: str = FREEZE_NOTHING
    precision: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Return values for JSON and checkpoints."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe that `to_dict` wrote; unknown names are ignored.

        Raises:
            ValueError: A value has the wrong type or is out of range. The message is one sentence
                without a full stop.
        """
        if not isinstance(values, dict) or not isinstance(values.get("classes"), list | tuple):
            raise ValueError("the recipe names no classes")
        # Older versions had fewer choices, and no hold-out by default.
        values = {"holdout": 0.0, **values, "duplicates": read_duplicates(values)}
        kept = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        for one in fields(cls):
            if one.name in kept and one.name != "classes":
                _check_value(one.name, kept[one.name], one.default)
        classes = tuple(kept["classes"])
        if classes != ("all",):
            check_labels(classes)
        return cls(**{**kept, "classes": classes})


def _check_value(name: str, value: Any, default: Any) -> None:
    """Check a field of a recipe that was read from a file."""
    if default is None:
        if value is None:
            return
        default = _OPTIONAL_FIELDS[name]
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    is_valid = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
    if is_valid and name == "freeze":
        is_valid = is_freeze(value)
    if is_valid and name == "class_weights":
        is_valid = is_class_weights(value)
    if is_valid and name == "exclude":
        is_valid = value == "" or is_exclusion(value)
    if is_valid and name in _CHOICES:
        is_valid = value in _CHOICES[name]
    if is_valid and name in _RANGES:
        low, high = _RANGES[name]
        is_valid = low <= value <= high
    if not is_valid:
        raise ValueError(f"the recipe's {name} has a value that no run can have")


def read_duplicates(recipe: Mapping[str, Any]) -> Any:
    """Return which of `DUPLICATES` the values of a recipe choose, also in older versions.

    Raises:
        ValueError: The value of an older version is not a bool.
    """
    if "duplicates" in recipe:
        return recipe["duplicates"]
    dropped = recipe.get("drop_duplicates", False)
    if not isinstance(dropped, bool):
        raise ValueError("the recipe's drop_duplicates has a value that no run can have")
    return DROP_HELD_OUT if dropped else KEEP_DUPLICATES


def is_freeze(value: str) -> bool:
    """Return whether a text is ``none``, ``features`` or a number of layers."""
    return value in (FREEZE_NOTHING, FREEZE_FEATURES) or (
        value.isascii() and value.isdigit() and len(value) <= 3 and int(value) > 0
    )


def is_exclusion(value: str) -> bool:
    """Return whether a text is ``issues``, a score between 0 and 1, or a share such as ``3%``."""
    if value == EXCLUDE_ISSUES:
        return True
    limit = 100 if value.endswith("%") else 1
    try:
        return 0 < float(value.removesuffix("%")) < limit
    except ValueError:
        return False


def is_class_weights(value: str) -> bool:
    """Return whether a text is ``none``, ``balanced`` or ``NAME=W,…``."""
    if value in (NO_WEIGHTS, BALANCED):
        return True
    try:
        return bool(parse_class_weights(value))
    except ValueError:
        return False
