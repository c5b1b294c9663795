"""The options of ``emotion-train``, their groups and examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from emotion_runtime.command_line.commands import NumberRange, make_moved_option
from emotion_runtime.counts import MAX_THREADS
from emotion_train.class_weights import (
    BALANCED,
    NO_WEIGHTS,
    format_class_weights,
    parse_class_weights,
)
from emotion_train.networks import NETWORKS
from emotion_train.recipe import (
    BALANCES,
    FORMER_COVERAGE_NAME,
    MAX_SEED,
    MIN_PICTURES_FOR_HOLDOUT,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    SIZES,
    VALIDATION_PER_CLASS,
    Recipe,
    is_freeze,
)
from emotion_train.training.augmentation import AUGMENTATIONS
from emotion_train.training.planning import (
    BATCH_SIZES,
    EPOCHS,
    LIGHT_EPOCHS,
    PLANNED,
    RATE_BATCH_SIZE,
    RATES,
    STEPS_PER_EPOCH,
    STRONG_EPOCHS,
    STRONG_EPOCHS_OF_MANY,
    TOTAL_FACES,
    choose_network,
)

_OPEN_FIELDS = ("network", *PLANNED)  # fields of the recipe without a fixed default
_RATES = ", ".join(f"{rate:g} for {name}" for name, rate in RATES.items())
_NETWORKS = "; ".join(f"{name}: {text}" for name, text in NETWORKS.items())
_FRACTION = NumberRange(0.0, 1.0)

EXAMPLES = (
    ("emotion-train DATA", "class folders or a CSV, to runs/edge (on CUDA runs/baseline)"),
    ("emotion-train DATA --max-minutes 10 -o runs/small", "with a time limit"),
    ("emotion-train DATA -o runs/small --resume", "after an interruption"),
)
GROUPS = {
    "Data": (
        *("classes", "each_class", "faces", "validation", "validation_per_class", "holdout"),
        *("keep_duplicates", "exclude", "no_test", "votes"),
    ),
    "Model": ("network", "size", "start_from", "freeze", "teacher", "coverage"),
    "Output": ("output", "resume", "overwrite", "tensorboard"),
    "Training": (
        *("epochs", "max_minutes", "patience", "batch_size", "learning_rate"),
        *("find_learning_rate", "optimizer", "schedule", "warmup", "weight_decay"),
        *("label_smoothing", "averaging", "augmentation", "balance", "no_balance"),
        *("class_weights", "vote_weight", "teacher_weight", "exclude_weight", "seed"),
    ),
    "Speed": ("device", "precision", "threads"),
}


class FreezeType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The type of --freeze."""

    name = "none|features|number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the valid choice."""
        if not is_freeze(value):
            self.fail(f"{value!r} is neither none, features nor a number of layers.", param, ctx)
        return value


class ClassWeightsType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The type of --class-weights."""

    name = "none|balanced|NAME=W,…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the weights, sorted by name."""
        if value in (NO_WEIGHTS, BALANCED):
            return value
        try:
            weights = parse_class_weights(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not weights:
            self.fail("no weight is given.", param, ctx)
        return format_class_weights(weights)


# Options of the recipe, by the name of the field: flag, type and help text.
_RECIPE_OPTIONS: dict[str, tuple[str, Any, str]] = {
    "network": (
        "--network",
        click.Choice(tuple(NETWORKS)),
        f"Network to train ({_NETWORKS}).  [default: {choose_network('cpu')}; on CUDA "
        f"{choose_network('cuda')}; with --start-from, its network]",
    ),
    "size": (
        "--size",
        click.IntRange(*SIZES),
        "Side of the network's input in pixels; pictures are resized to it.",
    ),
    "epochs": (
        "--epochs",
        click.IntRange(min=1),
        f"Passes through the balanced training set.  [default: {EPOCHS[0]}, up to {EPOCHS[1]} for "
        f"fewer than {TOTAL_FACES // EPOCHS[0]} pictures; what fits into --max-minutes]",
    ),
    "batch_size": (
        "--batch-size",
        click.IntRange(min=1),
        f"Faces per step, over all processes.  [default: {BATCH_SIZES[0]} to {BATCH_SIZES[-1]}, so "
        f"that an epoch has {STEPS_PER_EPOCH} steps or more]",
    ),
    "learning_rate": (
        "--learning-rate",
        NumberRange(0, min_open=True),
        f"Peak of the learning-rate schedule.  [default: {_RATES}, for batches of "
        f"{RATE_BATCH_SIZE}; it grows with the square root of the batch size, and is halved with "
        f"--start-from]",
    ),
    "optimizer": ("--optimizer", click.Choice(OPTIMIZERS), "Optimiser."),
    "schedule": ("--schedule", click.Choice(SCHEDULES), "Learning-rate schedule after warm-up."),
    "warmup": ("--warmup", _FRACTION, "Fraction of the steps over which the rate rises."),
    "weight_decay": ("--weight-decay", NumberRange(min=0.0), "Decoupled weight decay."),
    "label_smoothing": ("--label-smoothing", _FRACTION, "Fraction of each target spread evenly."),
    "averaging": (
        "--averaging",
        NumberRange(0.0, 1.0, max_open=True),
        "Decay of the moving average of the weights; 0 turns it off.",
    ),
    "augmentation": (
        "--augmentation",
        click.Choice(tuple(AUGMENTATIONS)),
        f"Random changes of the faces.  [default: light for fewer than {LIGHT_EPOCHS} epochs, "
        f"strong from {STRONG_EPOCHS} on, with many pictures from {STRONG_EPOCHS_OF_MANY} on, else "
        f"standard]",
    ),
    "balance": (
        "--balance",
        click.Choice(BALANCES),
        "Oversampling of rare classes: full makes every class as large as the largest, sqrt as "
        "large as the geometric mean of itself and the largest, none makes no copies.",
    ),
    "class_weights": (
        "--class-weights",
        ClassWeightsType(),
        "Weight of each class in the loss, without copies (--balance none): balanced is n / "
        "(classes × faces of the class). Weights are scaled to a mean of 1 over the training "
        "faces; a class that is not named has 1 before that.",
    ),
    "vote_weight": ("--vote-weight", _FRACTION, "Weight of --votes in each target."),
    "teacher_weight": (
        "--teacher-weight",
        _FRACTION,
        "Weight of --teacher in each target.  [default: 0.5 with a teacher]",
    ),
    "exclude_weight": (
        "--exclude-weight",
        NumberRange(0.0, 1.0, max_open=True),
        "Weight in the loss of the pictures that --exclude names; 0 leaves them out.",
    ),
    "seed": (
        "--seed",
        click.IntRange(0, MAX_SEED),
        "Seed of splits, initial weights, order and augmentation.",
    ),
    "patience": (
        "--patience",
        click.IntRange(min=0),
        "Stop after this many epochs without improvement; 0 never stops early.",
    ),
    "validation_per_class": (
        "--validation",
        click.IntRange(min=1),
        f"Pictures of each class held out for validation.  [default: {VALIDATION_PER_CLASS}, or "
        "15 % of the smallest class where that is less; none where the data have a validation set]",
    ),
    "holdout": (
        "--holdout",
        NumberRange(0.0, 0.9),
        "Fraction of the remaining pictures held out to choose the epoch.  [default: 0.1, about "
        f"5,000 pictures at most; 0 with a validation set, or fewer than "
        f"{MIN_PICTURES_FOR_HOLDOUT:,} training pictures]",
    ),
    "freeze": (
        "--freeze",
        FreezeType(),
        "With --start-from: keep the weights of the lower layers, batch normalisation included. "
        "features are all convolutions; a number counts layers from the input on.",
    ),
    "precision": (
        "--precision",
        click.Choice(PRECISIONS),
        "Arithmetic; auto is bf16 on CPUs with AMX, fp32 on others, bf16 or fp16 on CUDA.",
    ),
}


RECIPE_FIELDS = tuple(_RECIPE_OPTIONS)


def _make_recipe_options() -> list[Any]:
    defaults, options = Recipe(), []
    for field, (flag, kind, text) in _RECIPE_OPTIONS.items():
        default = None if field in _OPEN_FIELDS else getattr(defaults, field)
        show_default = default is not None and "[default:" not in text
        options.append(
            click.option(
                flag, field, type=kind, default=default, show_default=show_default, help=text
            )
        )
    return options


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="RUN_DIR",
        help="Folder of the run; it must be empty without --resume or --overwrite.  [default: "
        "runs/NETWORK]",
    ),
    click.option(
        "--classes",
        metavar="A,B,C|all",
        help="Class names in label order, or all.  [default: all that the data have; happy, sad "
        "and surprise where these are FER2013's seven]",
    ),
    click.option(
        "--class",
        "each_class",
        multiple=True,
        metavar="NAME",
        help="One class, for names with commas; repeat the option for each class, in label order.",
    ),
    click.option(
        "--val",
        "validation",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="A folder DIR/<class>/* to use as the validation set.",
    ),
    click.option(
        "--faces",
        is_flag=True,
        help="The pictures are photographs: find and crop the largest face of each, as "
        "emotion-infer --faces does.",
    ),
    *_make_recipe_options(),
    click.option("--no-balance", is_flag=True, help="The same as --balance none."),
    click.option(
        "--keep-duplicates",
        is_flag=True,
        help="Keep pictures whose pixels are all equal. By default, copies of held-out and test "
        "pictures are left out of train, and other copies in train count once.",
    ),
    click.option("--drop-duplicates", is_flag=True, hidden=True),
    click.option(
        "--exclude",
        metavar="AUDIT.csv[:SCORE]",
        help="Train without the pictures that emotion-audit marks as label issues; with :0.2, "
        "without those of a lower score, with :3%, without the 3 % of the lowest scores. Held-out "
        "and test pictures stay.",
    ),
    click.option(
        "--max-minutes",
        type=NumberRange(0, min_open=True),
        metavar="N",
        help="End within N minutes, including the report. The number of epochs depends on the "
        "speed, which is measured at the start.",
    ),
    click.option(
        "--device",
        type=click.Choice(("auto", "cpu", "cuda")),
        default="auto",
        show_default=True,
        help="Where to train.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1, MAX_THREADS),
        help="Number of CPU threads.  [default: the CPUs that this process may use]",
    ),
    click.option(
        "--no-test",
        is_flag=True,
        help="Do not measure on the test set, for trials. Copies of its pictures still leave "
        "train.",
    ),
    click.option(
        "--votes",
        type=click.Path(path_type=Path),
        help="CSV of annotators' votes (FER+), to report the accuracy where they agree. With "
        "--vote-weight they are soft labels, and choose the epoch, the temperature and the "
        "threshold.",
    ),
    click.option(
        "--teacher",
        multiple=True,
        metavar="RUN_DIR|FILE|NAME",
        help="Knowledge distillation: a run, checkpoint, exported model or released model (such as "
        "baseline) whose predictions become part of the targets; of several, their mean.",
    ),
    click.option(
        "--start-from",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="NAME|RUN_DIR|FILE.pt",
        help="Initial weights, also from a run on other classes: a released network (edge, "
        "baseline) or a run. Its network becomes the default of --network. Several runs with a "
        "common start are averaged.",
    ),
    click.option(
        "--coverage",
        type=NumberRange(0.5, 1.0),
        default=1.0,
        show_default=True,
        help="Fraction of the held-out faces that must get a label. It determines the confidence "
        "threshold, below which the label is uncertain; 1 means no threshold.",
    ),
    make_moved_option(f"--{FORMER_COVERAGE_NAME}", "--coverage", type=float),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue the run in RUN_DIR after its last epoch. With another --epochs, the "
        "learning-rate schedule is that of the new number.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the run in RUN_DIR."),
    click.option(
        "--tensorboard",
        is_flag=True,
        help="Write the figures of each epoch for TensorBoard to RUN_DIR/tensorboard (extra: "
        "tensorboard). A resumed run continues them.",
    ),
    click.option(
        "--find-learning-rate",
        is_flag=True,
        help="Suggest a learning rate instead of training: raise it step by step until the loss "
        "diverges. The curve goes to RUN_DIR as learning_rate.png and learning_rate.csv.  [default "
        "of RUN_DIR: runs/NETWORK-learning-rate]",
    ),
)


def add_options(command: Any) -> Any:
    """Add all options to a command, except the common ones such as --quiet."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
