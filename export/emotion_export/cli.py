"""``emotion-export``: export a checkpoint to an ONNX file that passed the parity check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emotion_export import defaults
from emotion_export.options import parity_data_option, parity_faces_option
from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    NumberRange,
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
from emotion_runtime.command_line.signals import raise_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotion_export.int8.labelled_faces import LabelledFaces
    from emotion_train.checkpoints.checkpoint import Checkpoint
    from emotion_train.data.votes import Votes

_EXAMPLES = (
    ("emotion-export model.onnx", "the newest run in runs/"),
    ("emotion-export model.onnx -c runs/baseline", "a named run"),
    ("emotion-export three.onnx --labels happy,sad,surprise", 'the other classes become "other"'),
)
_GROUPS = {
    "Checkpoint and data": ("checkpoint", "parity_data", "parity_faces", "calibration"),
    "Labels": ("labels", "label", "other_coverage", "votes"),
    "Output": ("precision", "format_name", "opset", "simplify", "overwrite"),
    "Limits": ("allow_label_agreement", "allow_accuracy_loss", "allow_recall_loss"),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.onnx")
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR|FILE.pt",
    help="A run folder or a checkpoint.  [default: the newest run in runs/]",
)
@parity_data_option
@parity_faces_option
@click.option(
    "-p",
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Number format of weights and activations. Inputs and outputs do not change.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["onnx", "ort"]),
    default="onnx",
    show_default=True,
    help="ort: also write MODEL.ort, and MODEL.required_operators.config for a reduced build of "
    "onnxruntime.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="The training data, for int8 and --labels. Training faces calibrate the ranges of int8; "
    "losses and thresholds are measured on held-out faces.  [default: the data of the run]",
)
@click.option(
    "--labels",
    metavar="A,B,C",
    help="Keep these labels of a network with more classes. The file gets the output "
    '"other": the probability that a face shows none of them.  [default: all classes]',
)
@click.option(
    "--label",
    multiple=True,
    metavar="NAME",
    help="A label to keep, for names with a comma. Repeat it for each label.",
)
@click.option(
    "--other-coverage",
    type=NumberRange(0.5, 1.0),
    metavar="SHARE",
    help='With --labels: share of the held-out faces of these labels that must not become "other"; '
    f'sets the threshold of "other".  [default: {defaults.OTHER_COVERAGE:g}]',
)
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="With --labels: CSV of the annotators' votes, as in emotion-train. The strict majority is "
    "the true class.  [default: the votes of the training, else the labels of the data]",
)
@click.option(
    "--allow-label-agreement",
    type=NumberRange(0, 1),
    metavar="SHARE",
    help="Share of clear labels that must agree with PyTorch, instead of 0.999 for fp16 or 0.99 "
    "for int8. The file records this limit and the next two.",
)
@click.option(
    "--allow-accuracy-loss",
    type=NumberRange(0, 1),
    default=defaults.ACCURACY_LOSS,
    show_default=True,
    help="Accuracy that int8 may lose on held-out faces. A larger loss is accepted if it is not "
    "significant.",
)
@click.option(
    "--allow-recall-loss",
    type=NumberRange(0, 1),
    default=defaults.RECALL_LOSS,
    show_default=True,
    help="Recall that int8 may lose in each class, with the same test.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=7),
    default=defaults.OPSET,
    show_default=True,
    help="ONNX operator set. The file has the lowest IR version for it.",
)
@click.option(
    "--simplify/--no-simplify",
    default=True,
    show_default=True,
    help="Simplify the graph with onnxsim.",
)
@make_moved_option("--check", "emotion-verify MODEL.onnx", is_flag=True)
@make_moved_option("--page", "emotion-page MODEL.onnx -o DIR", metavar="DIR")
@make_moved_option("--onnxruntime-web", "emotion-page --onnxruntime-web", metavar="DIR")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace MODEL.onnx and the files beside it. The default is to refuse.",
)
@version_option("emotion-export")
@quiet_option
@verbose_option
@handle_errors(extra="export")
def main(
    model: Path,
    checkpoint: Path | None,
    parity_data: Path | None,
    parity_faces: int,
    precision: str,
    format_name: str,
    calibration: Path | None,
    labels: str | None,
    label: tuple[str, ...],
    other_coverage: float | None,
    votes: Path | None,
    allow_label_agreement: float | None,
    allow_accuracy_loss: float,
    allow_recall_loss: float,
    opset: int,
    simplify: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Export a checkpoint to MODEL.onnx if it passes the parity check with PyTorch.

    The graph includes scaling, temperature and softmax; the metadata hold the labels and metrics.
    onnxruntime and PyTorch must give the same labels, and logits within 1e-4, with graph
    optimisation off and on: on all faces at batch size 64, and on 128 faces at batch sizes 1 and
    7. The graph is compared before simplification, and again if that changes it. If all
    comparisons pass, MODEL.onnx and MODEL.parity.json are written. If not, neither is, and the
    exit code is 1.

    With --labels the file keeps some of the network's classes. The others become the output
    "other", whose threshold is chosen on the held-out faces of the run.

    fp16 must keep 99.9 % of the clear labels: those with a probability at least 0.1 above the
    next one. int8 must keep 99 % of them and be smaller than a third of fp32. int8 is refused if
    held-out faces, clear or not, show a loss of more than 0.3 points of accuracy or 0.5 points of
    a class's recall (McNemar's exact test). If they are too few to tell, the file is written and
    records that. The speed on this machine is measured and shown.

    emotion-verify repeats the parity check of a file; emotion-page makes a web page from it.
    """
    log = (lambda _: None) if quiet else say
    if model.suffix != ".onnx":
        raise click.UsageError(f"{model}: a model file's name ends in .onnx.")
    kept = _parse_labels(labels, label)
    if precision == "fp32" and allow_label_agreement is not None:
        raise click.UsageError("--allow-label-agreement is for --precision fp16 or int8.")
    if calibration and precision == "fp32" and not kept:
        raise click.UsageError("--calibration is for --precision int8 or --labels.")
    if not kept and (other_coverage is not None or votes is not None):
        raise click.UsageError("--other-coverage and --votes need --labels.")
    require_extra("export")
    from emotion_export.checkpoint_search import find_newest_run, list_evaluation_arguments
    from emotion_export.export import Plan, check_target, export_checkpoint
    from emotion_export.int8.precision import AllowedLoss
    from emotion_export.label_subset.subset import keep_labels
    from emotion_export.parity_progress import (
        READING_STEPS,
        describe_comparisons,
        read_faces_for_check,
        show_progress,
    )
    from emotion_train.checkpoints.checkpoint import load_checkpoint

    raise_on_signals()
    check_target(model, overwrite=overwrite, ort=format_name == "ort", other=bool(kept))
    source = checkpoint or find_newest_run()
    if checkpoint is None:
        log(f"checkpoint: {source}")
    trained = load_checkpoint(source)
    plan = Plan(
        precision=precision,
        opset=opset,
        simplified=simplify,
        label_agreement=allow_label_agreement,
        loss=AllowedLoss(accuracy=allow_accuracy_loss, recall=allow_recall_loss),
        ort=format_name == "ort",
        labels=kept,
        other_coverage=defaults.OTHER_COVERAGE if other_coverage is None else other_coverage,
    )
    if kept:
        keep_labels(trained.labels, kept)  # before faces are read
    needs_labelled = precision == "int8" or bool(kept)
    steps = plan.steps + READING_STEPS * (1 + needs_labelled)
    with show_progress("export", f"{model}: not written; ", steps, quiet=quiet) as progress:
        log = progress.log
        faces = read_faces_for_check(parity_data, source, trained, parity_faces, log)
        progress.advance(READING_STEPS)
        labelled = None
        if needs_labelled:
            labelled = _read_labelled_faces(calibration, source, trained, kept, log)
            progress.advance(READING_STEPS)
        done = export_checkpoint(
            trained,
            model,
            faces,
            plan,
            labelled,
            votes=_read_votes(votes, source, trained, log) if kept else None,
            log=log,
            on_step=progress.advance,
        )
    if verbose:
        for comparison in done.comparisons:
            say(str(comparison))
    show(f"{done.path}: {describe_comparisons(done.comparisons, faces)}")
    if not quiet:
        arguments = list_evaluation_arguments(source)
        if arguments is None:
            suggest_next("", "emotion-verify", model, "--checkpoint", source)
        else:
            suggest_next("", "emotion-eval", *arguments, "-m", model)


def _parse_labels(labels: str | None, label: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels to keep; empty for all.

    Raises:
        click.UsageError: Both options are given, or a name is empty.
    """
    if labels is None:
        return label
    if label:
        raise click.UsageError("give the labels with --labels or with --label, not with both.")
    kept = tuple(name.strip() for name in labels.split(","))
    if not all(kept):
        raise click.UsageError(f"--labels {labels!r}: a name is empty.")
    return kept


def _read_votes(
    path: Path | None, source: Path, checkpoint: Checkpoint, log: Callable[[str], None]
) -> Votes | None:
    """Return the votes in `path`, else those of the training; None if it used none."""
    from emotion_train.data.votes import Votes
    from emotion_train.run_record import find_votes

    if path is None:
        recipe = checkpoint.training.get("recipe")
        if not isinstance(recipe, dict) or not recipe.get("vote_weight"):
            return None
        path = find_votes(source)
        if path is None:
            log(
                "warning: the run was trained with votes, but their file is not known; the true "
                "classes of held-out faces are the labels of the data; give the file with --votes"
            )
            return None
        log(f"votes: {path}")
    return Votes(path, checkpoint.labels)


def _read_labelled_faces(
    data: Path | None,
    source: Path,
    checkpoint: Checkpoint,
    kept: tuple[str, ...],
    log: Callable[[str], None],
) -> LabelledFaces:
    """Return the labelled faces of `data`, else of the training data of the run."""
    from emotion_export.checkpoint_search import find_training_data
    from emotion_export.errors import ParityDataError
    from emotion_export.int8.labelled_faces import read_labelled_faces
    from emotion_train.run_record import find_validation_folder

    data = data or find_training_data(source, log)
    if data is None:
        if kept:
            raise ParityDataError(
                "the threshold of the output other is chosen on the held-out faces of the run; "
                "give its training data with --calibration DATA."
            )
        raise ParityDataError(
            "int8 is calibrated on real faces; give the training data with --calibration DATA."
        )
    return read_labelled_faces(data, checkpoint, find_validation_folder(source))
