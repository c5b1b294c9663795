"""The command ``emotion-audit``."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    handle_errors,
    quiet_option,
    require_extra,
    say,
    show,
    suggest_next,
    verbose_option,
    version_option,
)
from emotion_runtime.command_line.signals import INTERRUPTED_EXIT_CODE, Terminated, raise_on_signals
from emotion_runtime.counts import MAX_THREADS
from emotion_train.command_line.choices import is_given, parse_classes, refuse_inputs_within
from emotion_train.networks import NETWORKS
from emotion_train.recipe import MAX_SEED, NO_BALANCE, Recipe
from emotion_train.training.planning import PLANNED

if TYPE_CHECKING:
    from emotion_train.audit.job import AuditFolder, AuditJob

FOLDS = 5
MAX_FOLDS = 20
_NETWORK = "edge"
_DEFAULT_OUTPUT = Path("runs") / "audit"
# Options that --from takes from the run.
_OF_THE_RUN = ("classes", "each_class", "faces", "folds", "network", "epochs", "seed", "resume")
# Options that fix the trainings, which --resume takes from the audit.
_OF_THE_AUDIT = ("classes", "each_class", "faces", "no_test", "folds", "network", "epochs", "seed")
_EXAMPLES = (
    ("emotion-audit DATA", "rate the labels, to runs/audit"),
    ("emotion-audit DATA --from runs/edge", "at once, the pictures that a run held out"),
    ("emotion-audit DATA --resume", "after an interruption"),
)
_GROUPS = {
    "Data": ("classes", "each_class", "faces", "no_test", "votes"),
    "Networks": ("run", "folds", "network", "epochs", "seed"),
    "Output": ("output", "font", "resume", "overwrite"),
    "Speed": ("device", "threads"),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=_DEFAULT_OUTPUT,
    show_default=True,
    metavar="AUDIT_DIR",
    help="Folder of the audit; it must be empty without --resume or --overwrite.",
)
@click.option(
    "--classes",
    metavar="A,B,C|all",
    help="Class names, or all.  [default: as in emotion-train]",
)
@click.option(
    "--class",
    "each_class",
    multiple=True,
    metavar="NAME",
    help="One class, for names with commas; repeat the option for each class.",
)
@click.option(
    "--faces",
    is_flag=True,
    help="The pictures are photographs: find and crop the largest face of each.",
)
@click.option("--no-test", is_flag=True, help="Leave the test set out of the audit.")
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    help="CSV of annotators' votes (FER+), to compare the ranking with. The networks do not "
    "learn from them.",
)
@click.option(
    "--from",
    "run",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR",
    help="Train nothing: use a finished run, and rate the validation, hold-out and test pictures "
    "of its DATA.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, MAX_FOLDS),
    default=FOLDS,
    show_default=True,
    help="Number of trainings; each predicts the pictures that it was trained without.",
)
@click.option(
    "--network",
    type=click.Choice(tuple(NETWORKS)),
    default=_NETWORK,
    show_default=True,
    help="Network to train.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs of each training.  [default: 20, more for few pictures]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    default=0,
    show_default=True,
    help="Seed of initial weights, order and augmentation.",
)
@click.option(
    "--font",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The font of labels and file names in the contact sheets (.ttf, .otf).  [default: one "
    "with Latin, Greek and Cyrillic]",
)
@click.option("--resume", is_flag=True, help="Continue the audit in AUDIT_DIR.")
@click.option("--overwrite", is_flag=True, help="Replace the audit in AUDIT_DIR.")
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Where to train.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, MAX_THREADS),
    help="Number of CPU threads.  [default: the CPUs that this process may use]",
)
@version_option("emotion-audit")
@quiet_option
@verbose_option
@click.pass_context
@handle_errors(extra="train")
def main(context: click.Context, /, **values: Any) -> None:
    """Find the pictures whose label is probably wrong.

    DATA is read as by emotion-train. Networks are trained on parts of the data, and rate the label
    of each picture that they have not learned from: the probability of that label is its score
    (confident learning, by the library cleanlab).

    AUDIT_DIR gets audit.csv, a row for each picture with score and suggested label; index.html
    and contact sheets of the most suspicious pictures; copies.csv, the identical and nearly
    identical pictures; and audit.json with all figures. Pictures without a face, too dark, too
    light, blurred or of a wrong size are listed too. No picture is changed, moved or deleted.
    """
    classes = parse_classes(values["classes"], values["each_class"])
    _check_conflicts(context, values)
    require_extra("train")
    if values["overwrite"]:
        inputs = [
            values[name] for name in ("data", "votes", "run", "font") if values[name] is not None
        ]
        refuse_inputs_within(values["output"], inputs)
    raise_on_signals()
    from emotion_train.audit.job import AuditFolder

    folder = AuditFolder(values["output"])
    earlier = folder.read_record()
    try:
        _audit(context, values, classes, folder)
    except (KeyboardInterrupt, Terminated) as error:
        reason, code = "interrupted", INTERRUPTED_EXIT_CODE
        if isinstance(error, Terminated):
            reason, code = "terminated", 128 + error.number
        if values["run"] is not None:
            say(f"{reason}.")
        elif values["resume"] or folder.read_record() != earlier:
            command = ["emotion-audit", str(values["data"]), "-o", str(folder.path), "--resume"]
            for name in ("votes", "font"):
                if values[name] is not None:
                    command += [f"--{name}", str(values[name])]
            say(f"{reason}; continue with: {shlex.join(command)}")
        else:
            say(f"{reason} before the trainings began; nothing was saved.")
        context.exit(code)


def _check_conflicts(context: click.Context, values: dict[str, Any]) -> None:
    """Raise an error for options that exclude each other.

    Raises:
        click.UsageError: As above.
    """
    if values["resume"] and values["overwrite"]:
        raise click.UsageError("--resume continues an audit, --overwrite replaces it: choose one.")
    if values["run"] is not None:
        given = [name for name in _OF_THE_RUN if is_given(context, name)]
        if given:
            raise click.UsageError(
                f"--from takes classes and network from the run, and trains nothing: leave "
                f"{_get_flag(context, given[0])} out."
            )
    if os.environ.get("WORLD_SIZE", "1") != "1":  # of torchrun
        raise click.UsageError("emotion-audit runs in one process, not in several.")


def _get_flag(context: click.Context, name: str) -> str:
    """Return the option of a parameter."""
    return next(one.opts[-1] for one in context.command.params if one.name == name)


def _audit(
    context: click.Context, values: dict[str, Any], classes: tuple[str, ...], folder: AuditFolder
) -> None:
    """Run the audit with the checked options."""
    from emotion_train.audit.label_quality import MIN_KAPPA

    resume = values["resume"]
    if not resume:
        folder.check_new(overwrite=values["overwrite"])
    following: list[str | Path] = []
    if values["run"] is not None:
        # It rates no training pictures, so there are none to exclude.
        _make_job(values, folder, with_test=not values["no_test"]).use_run(values["run"])
    else:
        recipe, folds, choose, with_test = _choose_recipe(context, values, classes, folder)
        job = _make_job(values, folder, with_test=with_test)
        figures = job.cross_validate(recipe, folds, choose, resume=resume)
        if figures["issues"] and figures["kappa"] >= MIN_KAPPA:
            following = ["emotion-train", values["data"], *_format_data_options(values)]
            following += ["--exclude", folder.table]
    if not values["quiet"]:
        suggest_next(f"look at {folder.page} and {folder.sheets}", *following)


def _format_data_options(values: dict[str, Any]) -> list[str]:
    """Return the options with which emotion-train reads the same pictures."""
    options = [] if values["classes"] is None else ["--classes", values["classes"]]
    for name in values["each_class"]:
        options += ["--class", name]
    return [*options, "--faces"] if values["faces"] else options


def _choose_recipe(
    context: click.Context, values: dict[str, Any], classes: tuple[str, ...], folder: AuditFolder
) -> tuple[Recipe, int, list[str], bool]:
    """Return recipe, number of folds, what the data decide, and whether the test set is audited.

    What the data decide are names of fields of the recipe.

    Raises:
        click.UsageError: An option differs from that of the audit to resume.
    """
    recipe = Recipe(
        network=values["network"],
        classes=classes,
        faces=values["faces"],
        seed=values["seed"],
        balance=NO_BALANCE,
    )
    if values["epochs"] is not None:
        recipe = replace(recipe, epochs=values["epochs"])
    choose = [name for name in PLANNED if name != "epochs" or values["epochs"] is None]
    if not values["resume"]:
        return recipe, values["folds"], choose, not values["no_test"]
    from emotion_train.audit.job import read_audit_recipe

    stored, folds, with_test = read_audit_recipe(folder)
    wanted = {
        "classes": (classes in ((), ("all",)) or classes == stored.classes),
        "each_class": (not classes or classes == stored.classes),
        "faces": recipe.faces == stored.faces,
        "no_test": values["no_test"] != with_test,
        "folds": values["folds"] == folds,
        "network": recipe.network == stored.network,
        "epochs": recipe.epochs == stored.epochs,
        "seed": recipe.seed == stored.seed,
    }
    for name in _OF_THE_AUDIT:
        if is_given(context, name) and not wanted[name]:
            flag = _get_flag(context, name)
            then = "without" if name in ("faces", "no_test") else "with another"
            raise click.UsageError(
                f"the audit to resume was started {then} {flag}; leave {flag} out to "
                f"continue, or start a new one."
            )
    return stored, folds, [], with_test


def _make_job(values: dict[str, Any], folder: AuditFolder, *, with_test: bool) -> AuditJob:
    import torch

    from emotion_runtime.cpus import count_usable_cpus
    from emotion_train.audit.job import AuditJob
    from emotion_train.training.cpu_threads import limit_threads
    from emotion_train.training.distributed import TrainingProcess, choose_device

    is_quiet = values["quiet"]
    process = TrainingProcess(device=torch.device(choose_device(values["device"])))
    limit_threads(values["threads"], process.device)
    return AuditJob(
        data=values["data"],
        folder=folder,
        process=process,
        say=_ignore if is_quiet else say,
        show=_ignore if is_quiet else show,
        votes=values["votes"],
        with_test=with_test,
        font=values["font"],
        threads=values["threads"] or count_usable_cpus(),
        progress=not is_quiet,
    )


def _ignore(_: str) -> None:
    """Print nothing."""
