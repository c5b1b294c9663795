"""Everything that decides what is learned, in one record that travels with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from emotion_runtime.labels import check_labels
from emotion_train.class_weights import BALANCED, NO_WEIGHTS, parse_class_weights
from emotion_train.networks import NETWORKS

VALIDATION_PER_CLASS = 46
# Training pictures; of fewer, there is no hold-out by default: a tenth of them, 300, tells an
# accuracy of 85 % to no less than 4 points (95 % interval).
FEWEST_FOR_HOLDOUT = 3_000
FORMER_FIELDS = ("drop_duplicates",)  # of recipes that older versions wrote

# What happens to training pictures that are equal to others in every pixel.
DROP_DUPLICATES = "drop"  # copies of held-out and test pictures leave train, others count once
KEEP_DUPLICATES = "keep"
DROP_HELD_OUT = "drop held-out"  # of older versions: copies within train stay
DUPLICATES = (DROP_DUPLICATES, KEEP_DUPLICATES, DROP_HELD_OUT)
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
# Fields that may be None, for what suits the data: a value of the type that they have else.
_CHOSEN_KINDS: dict[str, int | float] = {"validation_per_class": 0, "holdout": 0.0}
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
    "seed": (0, MAX_SEED),
    "patience": (0, MAX_COUNT),
    "validation_per_class": (0, MAX_COUNT),
    "holdout": (0, 0.9),
}


@dataclass(frozen=True)
class Recipe:
    """The choices of a run; the same recipe on the same data and machine gives the same weights.

    Attributes:
        network: A name in `emotion_train.networks.NETWORKS`.
        classes: Class names in label order, or ``("all",)``; empty for the default of the data.
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
        augmentation: A name in `emotion_train.training.augmentation.AUGMENTATIONS`.
        balance: Copies of rare classes: ``full`` makes every class as large as the largest,
            ``sqrt`` goes half of the way (the geometric mean), ``none`` makes no copies.
        class_weights: Weight of each class in the loss: ``none``, ``balanced`` or
            ``NAME=W,NAME=W``; without copies alone.
        vote_weight: Part of each target that annotators' votes give, 0 to 1; pictures that most
            of them could not use are left out.
        teacher_weight: Part of what then is the target that a teacher gives, 0 to 1.
        seed: Draws the splits, the first weights, the order and the augmentation.
        validation_per_class: Pictures of each class held out for validation; None for what suits
            the data, 0 where they have a validation set of their own.
        patience: Epochs without a better one after which the training stops; 0 for no such stop.
        holdout: Fraction of the rest held out to choose the epoch on; None for what suits the data.
        duplicates: ``drop`` for no training picture that is also held out, and none twice;
            ``keep`` for all; ``drop held-out`` for what older versions dropped.
        faces: The pictures are photographs: the largest face of each is found and cropped.
        freeze: Lower layers that keep the weights that the run starts from: ``none``,
            ``features`` (all convolutions) or a number of layers.
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
    seed: int = 0
    patience: int = 0
    validation_per_class: int | None = None
    holdout: float | None = None
    duplicates: str = DROP_DUPLICATES
    faces: bool = False
    freeze: str = FREEZE_NOTHING
    precision: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and checkpoints."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Undo `to_dict`; names unknown to this version are left out.

        Raises:
            ValueError: A value has not the type or the range of its field; the message is one
                sentence without a full stop.
        """
        if not isinstance(values, dict) or not isinstance(values.get("classes"), list | tuple):
            raise ValueError("the recipe names no classes")
        # Older versions knew fewer choices, and chose nothing by the data.
        values = {"holdout": 0.0, **values, "duplicates": duplicates_of(values)}
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
        default = _CHOSEN_KINDS[name]
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    right = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
    if right and name == "freeze":
        right = is_freeze(value)
    if right and name == "class_weights":
        right = is_class_weights(value)
    if right and name in _CHOICES:
        right = value in _CHOICES[name]
    if right and name in _RANGES:
        low, high = _RANGES[name]
        right = low <= value <= high
    if not right:
        raise ValueError(f"the recipe's {name} has a value that no run can have")


def duplicates_of(recipe: Mapping[str, Any]) -> Any:
    """Return the choice of `DUPLICATES` in the values of a recipe, perhaps of an older version.

    Raises:
        ValueError: An older version's choice is neither yes nor no.
    """
    if "duplicates" in recipe:
        return recipe["duplicates"]
    dropped = recipe.get("drop_duplicates", False)
    if not isinstance(dropped, bool):
        raise ValueError("the recipe's drop_duplicates has a value that no run can have")
    return DROP_HELD_OUT if dropped else KEEP_DUPLICATES


def is_freeze(value: str) -> bool:
    """Return whether a text says what to freeze: ``none``, ``features`` or a number of layers."""
    return value in (FREEZE_NOTHING, FREEZE_FEATURES) or (
        value.isascii() and value.isdigit() and len(value) <= 3 and int(value) > 0
    )


def is_class_weights(value: str) -> bool:
    """Return whether a text gives class weights: ``none``, ``balanced`` or ``NAME=W,…``."""
    if value in (NO_WEIGHTS, BALANCED):
        return True
    try:
        return bool(parse_class_weights(value))
    except ValueError:
        return False
