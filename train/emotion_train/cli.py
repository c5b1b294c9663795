"""``emotion-train``: a folder of faces in, a trained checkpoint and its report out."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    handle_errors,
    make_moved_option,
    quiet_option,
    require_extra,
    say,
    show,
    suggest_next,
    verbose_option,
    version_option,
)
from emotion_runtime.command_line.signals import INTERRUPTED_EXIT_CODE, Terminated, raise_on_signals
from emotion_runtime.labels import check_labels
from emotion_train.class_weights import (
    BALANCED,
    NO_WEIGHTS,
    check_class_weights,
    parse_class_weights,
    write_class_weights,
)
from emotion_train.networks import NETWORKS
from emotion_train.recipe import (
    BALANCES,
    DROP_DUPLICATES,
    FEWEST_FOR_HOLDOUT,
    FREEZE_NOTHING,
    KEEP_DUPLICATES,
    MAX_SEED,
    NO_BALANCE,
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
    PLANNED,
    RATE_BATCH_SIZE,
    RATES,
    STEPS_PER_EPOCH,
    STRONG_EPOCHS,
    STRONG_FACES,
    TOTAL_FACES,
    choose_network,
)

if TYPE_CHECKING:
    from emotion_train.run_record import RunRecord

_DEFAULTS = Recipe()
_OPEN = ("network", *PLANNED)  # None until they are chosen
_RATES = ", ".join(f"{rate:g} for {name}" for name, rate in RATES.items())

# Options that belong to the recipe, by the name of its field.
_NETWORKS = "; ".join(f"{name}: {text}" for name, text in NETWORKS.items())
_CHANCE = click.FloatRange(0.0, 1.0)


class Freeze(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """What to freeze."""

    name = "none|features|number"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice."""
        if not is_freeze(value):
            self.fail(f"{value!r} is neither none, features nor a number of layers.", param, ctx)
        return value


class ClassWeights(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Weights of the classes in the loss."""

    name = "none|balanced|NAME=W,…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the weights, in the order of their names."""
        if value in (NO_WEIGHTS, BALANCED):
            return value
        try:
            weights = parse_class_weights(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not weights:
            self.fail("no weight is given.", param, ctx)
        return write_class_weights(weights)


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
        f"Times through the balanced training set.  [default: {EPOCHS[0]}, up to {EPOCHS[1]} for "
        f"fewer than {TOTAL_FACES // EPOCHS[0]} pictures; what fits into --max-minutes]",
    ),
    "batch_size": (
        "--batch-size",
        click.IntRange(min=1),
        f"Faces a step, over all processes.  [default: {BATCH_SIZES[0]} to {BATCH_SIZES[-1]}, so "
        f"that an epoch has {STEPS_PER_EPOCH} steps or more]",
    ),
    "learning_rate": (
        "--learning-rate",
        click.FloatRange(0, min_open=True),
        f"Highest rate.  [default: {_RATES}; more for batches larger than {RATE_BATCH_SIZE}, half "
        f"of it with --start-from]",
    ),
    "optimizer": ("--optimizer", click.Choice(OPTIMIZERS), "Optimiser."),
    "schedule": ("--schedule", click.Choice(SCHEDULES), "Course of the rate after warm-up."),
    "warmup": ("--warmup", _CHANCE, "Part of all steps over which the rate rises."),
    "weight_decay": ("--weight-decay", click.FloatRange(min=0.0), "Decoupled weight decay."),
    "label_smoothing": ("--label-smoothing", _CHANCE, "Part of each target spread evenly."),
    "averaging": (
        "--averaging",
        click.FloatRange(0.0, 1.0, max_open=True),
        "Decay of the weights' moving average; 0 turns it off.",
    ),
    "augmentation": (
        "--augmentation",
        click.Choice(tuple(AUGMENTATIONS)),
        f"Random changes of the faces.  [default: strong for {STRONG_EPOCHS} epochs or more, and "
        f"where all epochs together have {STRONG_FACES:,} faces, else standard]",
    ),
    "balance": (
        "--balance",
        click.Choice(BALANCES),
        "Copies of faces of rare classes: full makes every class as large as the largest, sqrt "
        "as large as the geometric mean of itself and the largest, none makes no copies.",
    ),
    "class_weights": (
        "--class-weights",
        ClassWeights(),
        "Weight of each class in the loss, without copies (--balance none): balanced is n / "
        "(classes × faces of the class). Weights are scaled to a mean of 1 over the training "
        "faces; a class that is not named has 1 before that.",
    ),
    "vote_weight": ("--vote-weight", _CHANCE, "Part of each target that --votes give."),
    "teacher_weight": (
        "--teacher-weight",
        _CHANCE,
        "Part of each target that --teacher gives.  [default: 0.5 with a teacher]",
    ),
    "seed": (
        "--seed",
        click.IntRange(0, MAX_SEED),
        "Draws splits, weights, order and augmentation.",
    ),
    "patience": (
        "--patience",
        click.IntRange(min=0),
        "Stop after so many epochs without a better one; 0 never stops early.",
    ),
    "validation_per_class": (
        "--validation",
        click.IntRange(min=1),
        f"Pictures of each class held out for validation.  [default: {VALIDATION_PER_CLASS}, or "
        "15 % of the smallest class where that is less; none where the data have a validation set]",
    ),
    "holdout": (
        "--holdout",
        click.FloatRange(0.0, 0.9),
        "Fraction of the rest held out as well, to choose the epoch on.  [default: 0.1, about "
        f"5,000 pictures at most; 0 where there are fewer than {FEWEST_FOR_HOLDOUT:,} training "
        "pictures or a validation set]",
    ),
    "freeze": (
        "--freeze",
        Freeze(),
        "With --start-from: keep the lower layers as they are, batch normalisation included: "
        "features are all convolutions, a number counts layers from the input on.",
    ),
    "precision": (
        "--precision",
        click.Choice(PRECISIONS),
        "Arithmetic; auto is bf16 on CPUs with AMX, fp32 on others, bf16 or fp16 on CUDA.",
    ),
}


def _recipe_options(command: Any) -> Any:
    for field, (flag, kind, text) in reversed(_RECIPE_OPTIONS.items()):
        default = None if field in _OPEN else getattr(_DEFAULTS, field)
        shown = default is not None and "[default:" not in text
        option = click.option(
            flag, field, type=kind, default=default, show_default=shown, help=text
        )
        command = option(command)
    return command


_EXAMPLES = (
    ("emotion-train DATA", "class folders or a CSV, to runs/edge (on CUDA runs/baseline)"),
    ("emotion-train DATA --max-minutes 10 -o runs/small", "what can be learned in ten minutes"),
    ("emotion-train DATA -o runs/small --resume", "after an interruption"),
)
_GROUPS = {
    "Data": (
        *("classes", "each_class", "faces", "validation", "validation_per_class", "holdout"),
        *("keep_duplicates", "no_test", "votes"),
    ),
    "Model": ("network", "size", "start_from", "freeze", "teacher", "coverage"),
    "Output": ("output", "resume", "overwrite", "tensorboard"),
    "Training": (
        *("epochs", "max_minutes", "patience", "batch_size", "learning_rate"),
        *("find_learning_rate", "optimizer", "schedule", "warmup", "weight_decay"),
        *("label_smoothing", "averaging", "augmentation", "balance", "no_balance"),
        *("class_weights", "vote_weight", "teacher_weight", "seed"),
    ),
    "Speed": ("device", "precision", "threads"),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR",
    help="Folder of the run; one that holds something is refused without --resume or "
    "--overwrite.  [default: runs/NETWORK]",
)
@click.option(
    "--classes",
    metavar="A,B,C|all",
    help="Class names in label order, or all.  [default: all that the data have; happy, sad and "
    "surprise where these are FER2013's seven]",
)
@click.option(
    "--class",
    "each_class",
    multiple=True,
    metavar="NAME",
    help="One class, in any script, with commas or spaces in its name; repeat it for each, in "
    "label order.",
)
@click.option(
    "--val",
    "validation",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder DIR/<class>/* to use as the validation set.",
)
@click.option(
    "--faces",
    is_flag=True,
    help="The pictures are photographs: find the largest face of each and train on it, cropped as "
    "emotion-infer --faces does.",
)
@_recipe_options
@click.option("--no-balance", is_flag=True, help="The same as --balance none.")
@click.option(
    "--keep-duplicates",
    is_flag=True,
    help="Keep pictures that are equal in every pixel. By default, copies of held-out and test "
    "pictures are left out of train, and other copies within train count once.",
)
@click.option("--drop-duplicates", is_flag=True, hidden=True)
@click.option(
    "--max-minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="End within N minutes, report included: the speed is measured at the start, and decides "
    "the number of epochs.",
)
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Where to train.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the CPU's arithmetic.  [default: the CPUs that this process may use]",
)
@click.option(
    "--no-test",
    is_flag=True,
    help="A trial: leave the test set unmeasured (copies of it still leave train).",
)
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    help="CSV of annotators' votes (FER+): the report adds the accuracy where they agree. With "
    "--vote-weight they also teach, and choose the epoch, the temperature and the threshold.",
)
@click.option(
    "--teacher",
    multiple=True,
    metavar="RUN_DIR|FILE|NAME",
    help="A run, checkpoint, exported model or released model (such as baseline) whose answers to "
    "the augmented faces join the targets (distillation); of several, their mean.",
)
@click.option(
    "--start-from",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="NAME|RUN_DIR|FILE.pt",
    help="Weights to start with, also for other classes: a released network (edge, baseline), or a "
    "run; its network becomes the default of --network. Of several that began alike, the mean of "
    "their weights.",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0.5, 1.0),
    default=1.0,
    show_default=True,
    help="Part of the held-out faces that must get a label. It sets the model's confidence "
    "threshold, below which the label is uncertain; 1 sets none.",
)
@make_moved_option("--answered", "--coverage", type=float)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in RUN_DIR after its last epoch; with another --epochs, by the "
    "learning-rate schedule of that many epochs.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN_DIR.")
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write the figures of each epoch to RUN_DIR/tensorboard as well, for TensorBoard (extra: "
    "tensorboard). A resumed run goes on with it.",
)
@click.option(
    "--find-learning-rate",
    is_flag=True,
    help="Train no run: raise the learning rate step by step until the loss diverges, and suggest "
    "one. Its curve goes to RUN_DIR as learning_rate.png and learning_rate.csv.  [default of "
    "RUN_DIR: runs/NETWORK-learning-rate]",
)
@version_option("emotion-train")
@quiet_option
@verbose_option
@click.pass_context
@handle_errors(extra="train")
def main(
    context: click.Context,
    /,
    data: Path,
    output: Path | None,
    classes: str | None,
    each_class: tuple[str, ...],
    validation: Path | None,
    faces: bool,
    no_balance: bool,
    keep_duplicates: bool,
    drop_duplicates: bool,
    max_minutes: float | None,
    device: str,
    threads: int | None,
    no_test: bool,
    votes: Path | None,
    teacher: tuple[str, ...],
    start_from: tuple[Path, ...],
    coverage: float,
    resume: bool,
    overwrite: bool,
    tensorboard: bool,
    find_learning_rate: bool,
    quiet: bool,
    verbose: bool,
    **choices: Any,
) -> None:
    """Train a network on faces and report how good it is.

    DATA is a folder DATA/{train,val,test}/<class>/*, of which train is required; or a folder
    DATA/<class>/*, which is split by file name; or a CSV with the columns path, label and perhaps
    split; or FER2013's CSV. Sub-folders of a class are read too. Colour is discarded: the network
    sees gray pictures.

    RUN_DIR gets best.pt, last.pt, history.csv and report/. An interrupted run goes on with
    --resume and reaches what it would have reached. Under torchrun, several processes train
    together.
    """
    begun = time.monotonic()
    if resume and overwrite:
        raise click.UsageError("--resume goes on with a run, --overwrite replaces it: choose one.")
    if find_learning_rate and (resume or tensorboard):
        raise click.UsageError(
            f"--find-learning-rate trains no run: leave {'--resume' if resume else '--tensorboard'}"
            f" out."
        )
    if max_minutes is not None and choices["epochs"] is not None:
        raise click.UsageError(
            "--epochs and --max-minutes both fix how long to train: use one of them."
        )
    names = _classes(classes, each_class)
    _choose_balance(context, choices, names, no_balance=no_balance)
    if teacher and not _given(context, "teacher_weight"):
        choices["teacher_weight"] = 0.5
    for source, weight, flag in (
        (votes, "vote_weight", "--votes"),
        (teacher, "teacher_weight", "--teacher"),
    ):
        if choices[weight] and not source and not resume:
            raise click.UsageError(f"--{weight.replace('_', '-')} needs {flag}.")
    if choices["freeze"] != FREEZE_NOTHING and not start_from and not resume:
        raise click.UsageError("--freeze needs --start-from: fresh weights are not worth keeping.")
    require_extra("train")
    if tensorboard:
        require_extra("tensorboard", "--tensorboard")
    inputs: list[Path | str] = [data, *start_from, *teacher]
    inputs += [path for path in (votes, validation) if path is not None]
    if overwrite and output is not None:
        refuse_inputs_within(output, inputs)
    if start_from and not (resume and output):
        _start_defaults(context, start_from, choices)
    from emotion_train.run import Run, prepare_folder, prepare_search_folder
    from emotion_train.run_record import RUN
    from emotion_train.training.distributed import choose_device, joined, restarts
    from emotion_train.training.time_budget import TimeBudget

    if choices["network"] is None:
        choices["network"] = choose_network(choose_device(device))
    choose = [name for name in PLANNED if choices[name] is None]
    given = {name: value for name, value in choices.items() if value is not None}
    if drop_duplicates:
        if keep_duplicates:
            raise click.UsageError(
                "--keep-duplicates keeps what --drop-duplicates leaves out: choose one."
            )
        if not quiet:
            say(
                "--drop-duplicates: copies of held-out and test pictures leave train by default now"
            )
    duplicates = KEEP_DUPLICATES if keep_duplicates else DROP_DUPLICATES
    recipe = Recipe(classes=names, faces=faces, duplicates=duplicates, **given)
    options: dict[str, Any] = {
        "votes": votes,
        "teachers": teacher,
        "start_from": start_from,
        "validation": validation,
        "coverage": coverage,
        "with_test": not no_test,
    }
    folder = output or Path("runs") / recipe.network
    if find_learning_rate and output is None:
        folder = folder.with_name(f"{recipe.network}-learning-rate")
    if overwrite:
        refuse_inputs_within(folder, inputs)
    raise_on_signals()
    if find_learning_rate:
        unused = [f"--{name.replace('_', '-')}" for name in _NOT_IN_SEARCH if _given(context, name)]
        if unused and not quiet:
            say(f"not used by --find-learning-rate: {', '.join(unused)}")
    elif restarts() and (folder / RUN).exists():  # the same command again: it must not begin anew
        resume, overwrite = True, False
    try:
        with joined(device) as place:
            if "batch_size" not in choose and recipe.batch_size < place.world_size:
                raise click.UsageError(
                    f"--batch-size {recipe.batch_size} is smaller than the "
                    f"{place.world_size} processes that share it."
                )
            if find_learning_rate and place.is_distributed:
                raise click.UsageError("--find-learning-rate runs in one process, not in several.")
            budget = None
            if max_minutes is not None and not find_learning_rate:
                budget = TimeBudget(max_minutes, begun=begun)
            stored = None
            if find_learning_rate:
                prepare_search_folder(folder, overwrite=overwrite)
            elif place.is_first or resume:
                stored = prepare_folder(folder, resume=resume, overwrite=overwrite)
            if stored is not None:
                if _given(context, "epochs"):
                    stored = _extended(stored, recipe.epochs, folder)
                _refuse_changes(context, recipe, stored.recipe)
                recipe = stored.recipe
                options = _resumed(context, options, stored, say if place.is_first else None)
                choose, budget = [], None  # the run keeps its plan
                _refuse_other_minutes(max_minutes, stored)
            run = Run(
                data=data,
                folder=folder,
                place=place,
                say=(lambda _: None) if quiet else say,
                show=(lambda _: None) if quiet else show,
                threads=threads,
                budget=budget,
                progress=not quiet,
                tensorboard=tensorboard,
                **options,
            )
            if find_learning_rate:
                rate = run.find_learning_rate(recipe, choose).suggestion
                if not quiet:
                    suggest_next(
                        "", "emotion-train", *_repeated(context), "--learning-rate", f"{rate:g}"
                    )
                return
            run.train(recipe, choose=choose, resume=stored, overwrite=overwrite)
            if place.is_first and not quiet:
                suggest_next("", "emotion-export", "model.onnx", "--checkpoint", folder)
    except (KeyboardInterrupt, Terminated) as error:
        ended, code = "interrupted", INTERRUPTED_EXIT_CODE
        if isinstance(error, Terminated):
            ended, code = "terminated", 128 + error.number
        if (folder / RUN).exists():
            command = shlex.join(["emotion-train", str(data), "-o", str(folder), "--resume"])
            say(f"{ended}; go on with: {command}")
        else:
            say(f"{ended} before the training began; nothing was saved.")
        context.exit(code)


def refuse_inputs_within(folder: Path, inputs: Iterable[Path | str]) -> None:
    """Refuse to replace a run that the new one learns from, or that lies with its data."""
    for source in map(Path, inputs):
        if source.exists() and source.resolve().is_relative_to(folder.resolve()):
            raise click.UsageError(
                f"{source} is read by this run, and {folder} is replaced by it: name another -o."
            )


def _classes(listed: str | None, each: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that the user named; none for the default of the data."""
    if listed is not None and each:
        raise click.UsageError("--classes and --class both name the classes: use one of them.")
    if listed is None and not each:
        return ()
    names = each
    if listed is not None:
        names = tuple(name.strip() for name in listed.split(",") if name.strip())
        if not names:
            raise click.UsageError("--classes names no class.")
        if names == ("all",):
            return names
    flag = "--class" if each else "--classes"
    try:
        check_labels(names)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}.") from error
    if len(names) == 1:
        raise click.UsageError(f"{flag} names one class; there must be two to tell apart.")
    return names


def _choose_balance(
    context: click.Context,
    choices: dict[str, Any],
    classes: tuple[str, ...],
    *,
    no_balance: bool,
) -> None:
    """Refuse choices about class balance that exclude each other; set ``none`` where implied."""
    given = _given(context, "balance")
    if no_balance:
        if given and choices["balance"] != NO_BALANCE:
            raise click.UsageError(
                f"--no-balance is --balance none, and --balance {choices['balance']} makes "
                f"copies: choose one."
            )
        choices["balance"] = NO_BALANCE
    weights = choices["class_weights"]
    if weights == NO_WEIGHTS:
        return
    if given and choices["balance"] != NO_BALANCE:
        raise click.UsageError(
            f"--class-weights would weight the classes a second time, after the copies of "
            f"--balance {choices['balance']}; use --balance none with it."
        )
    choices["balance"] = NO_BALANCE
    if classes and classes != ("all",):
        try:
            check_class_weights(weights, classes)
        except ValueError as error:
            raise click.UsageError(f"--class-weights: {error}.") from error


def _start_defaults(
    context: click.Context, start_from: tuple[Path, ...], choices: dict[str, Any]
) -> None:
    """Take network and size from the weights to start with, where the user named none.

    Raises:
        click.UsageError: The user named another network or size than that of the weights.
    """
    from emotion_train.checkpoints.transfer import blend, load_start

    start = blend([load_start(str(one)) for one in start_from])
    for field, value in (("network", start.network), ("size", start.size)):
        if _given(context, field) and choices[field] != value:
            raise click.UsageError(
                f"--start-from {start_from[0]} is of the {field} {value}, and --{field} names "
                f"{choices[field]}: leave --{field} out, or start from fresh weights."
            )
        choices[field] = value


# What a run depends on, and the search for its learning rate does not.
_NOT_IN_SEARCH = (
    "max_minutes",
    "patience",
    "learning_rate",
    "epochs",
    "schedule",
    "warmup",
    "averaging",
    "coverage",
    "no_test",
)
_NOT_REPEATED = (
    "output",
    "overwrite",
    "find_learning_rate",
    "learning_rate",
    "quiet",
    "verbose",
)


def _repeated(context: click.Context) -> list[str]:
    """Return the arguments of this command again, without those of the search."""
    arguments = [str(context.params["data"])]
    for option in context.command.params:
        name = option.name
        if name is None or name in _NOT_REPEATED or not isinstance(option, click.Option):
            continue
        if _given(context, name):
            value = context.params[name]
            for one in value if option.multiple else (value,):
                arguments += [option.opts[-1], *([] if option.is_flag else [str(one)])]
    return arguments


def _extended(stored: RunRecord, epochs: int, folder: Path) -> RunRecord:
    """Return the record of a run that goes on to another number of epochs than it was begun with.

    Raises:
        click.UsageError: More epochs are done already.
    """
    if epochs == stored.recipe.epochs:
        return stored
    from dataclasses import replace

    from emotion_train.checkpoints.checkpoint import LAST, load_checkpoint
    from emotion_train.run_record import Extension

    last = folder / LAST
    done = load_checkpoint(last).training.get("epoch") if last.exists() else 0
    if not isinstance(done, int):
        return stored  # a damaged file, which is refused where it is read
    if epochs < done:
        raise click.UsageError(
            f"the run has done {done} epochs already: --epochs {epochs} cannot end it earlier; "
            f"name {done} or more."
        )
    change = Extension(done, stored.recipe.epochs, epochs)
    return replace(
        stored,
        recipe=replace(stored.recipe, epochs=epochs),
        extensions=(*stored.extensions, change),
    )


# Further options that set a field of the recipe.
_ALSO_GIVES = {"classes": ("each_class",), "balance": ("no_balance",)}


def _refuse_changes(context: click.Context, asked: Recipe, stored: Recipe) -> None:
    """A resumed run keeps its recipe; an option that asks for another one is wrong usage."""
    for field, value in stored.to_dict().items():
        wanted = asked.to_dict()[field]
        given = any(_given(context, name) for name in (field, *_ALSO_GIVES.get(field, ())))
        if field == "duplicates":
            if _given(context, "drop_duplicates") and value != KEEP_DUPLICATES:
                continue
            given = _given(context, "keep_duplicates") or _given(context, "drop_duplicates")
        if wanted == ["all"]:
            continue  # the run knows which these are; other pictures are refused later on
        if given and wanted != value:
            raise click.UsageError(
                f"the run to resume has {field} {value}, not {wanted}; begin a new run instead "
                f"(--start-from RUN_DIR begins with its weights)."
            )


def _resumed(
    context: click.Context,
    options: dict[str, Any],
    stored: RunRecord,
    tell: Callable[[str], None] | None,
) -> dict[str, Any]:
    """Return the options that the run was begun with; one that asks for another is wrong usage."""
    from emotion_train.run_record import describe_source, differing

    then = stored.options
    if then is None:
        if tell is not None:
            tell(
                "warning: run.json is of an older emotion-edge, which did not record --votes, "
                "--teacher, --start-from, --coverage and --no-test; they are taken from this "
                "command, and must be those of the first"
            )
        return options
    sources = {
        "votes": ("--votes", [then.votes] if then.votes else []),
        "teachers": ("--teacher", list(then.teachers)),
        "start_from": ("--start-from", list(then.start_from)),
    }
    for name, (flag, before) in sources.items():
        given = options[name]
        named = list(given) if isinstance(given, tuple) else [given] if given else []
        if named and differing(
            [describe_source(str(one), start=name == "start_from") for one in named], before
        ):
            shown = ", ".join(one.name for one in before) or "none"
            raise click.UsageError(
                f"the run to resume has another {flag} ({shown}); leave {flag} out to go on."
            )
    if options["validation"] is not None and then.validation is None:
        raise click.UsageError("the run to resume was begun without --val; leave it out to go on.")
    if _given(context, "coverage") and options["coverage"] != then.coverage:
        raise click.UsageError(
            f"the run to resume has --coverage {then.coverage:g}; leave it out to go on."
        )
    if not options["with_test"] and then.with_test:
        raise click.UsageError(
            "the run to resume was begun without --no-test; leave it out to go on."
        )
    return {
        "votes": options["votes"] or (Path(then.votes.name) if then.votes else None),
        "teachers": options["teachers"] or tuple(one.name for one in then.teachers),
        "start_from": options["start_from"] or tuple(Path(one.name) for one in then.start_from),
        "validation": options["validation"] or (Path(then.validation) if then.validation else None),
        "coverage": then.coverage,
        "with_test": then.with_test,
    }


def _refuse_other_minutes(minutes: float | None, stored: RunRecord) -> None:
    """A resumed run keeps the epochs that were planned for it."""
    then = None if stored.options is None else stored.options.max_minutes
    if minutes not in (None, then):
        raise click.UsageError(
            f"the run to resume has {stored.recipe.epochs} epochs, and goes on to the last of "
            f"them; leave --max-minutes out."
        )


def _given(context: click.Context, parameter: str) -> bool:
    """Say whether the user named a parameter."""
    return context.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
