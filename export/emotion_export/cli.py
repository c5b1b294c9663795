"""``emotion-export``: a checkpoint in, an ONNX file that was compared with PyTorch out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emotion_export.options import parity_data_option, parity_faces_option
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
from emotion_runtime.command_line.signals import raise_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotion_export.int8.labelled_faces import LabelledFaces
    from emotion_train.checkpoints.checkpoint import Checkpoint
    from emotion_train.data.votes import Votes

_EXAMPLES = (
    ("emotion-export model.onnx", "of the newest run in runs/"),
    ("emotion-export model.onnx -c runs/baseline", "of a run"),
    ("emotion-export three.onnx --labels happy,sad,surprise", 'all other classes are "other"'),
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
    help="Bits of weights and activations; inputs and outputs stay as they are.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["onnx", "ort"]),
    default="onnx",
    show_default=True,
    help="ort: write MODEL.ort too, and MODEL.required_operators.config for a reduced build of "
    "onnxruntime.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="The data of the training, for int8 and --labels: ranges are calibrated on training "
    "faces, and losses and thresholds are measured on those held out.  [default: the run's own]",
)
@click.option(
    "--labels",
    metavar="A,B,C",
    help="Keep these labels of a network that knows more classes. The file gets the output "
    '"other": the probability that a face shows none of them.  [default: all classes]',
)
@click.option(
    "--label",
    multiple=True,
    metavar="NAME",
    help="One of the labels to keep; repeat it. For names with a comma.",
)
@click.option(
    "--other-coverage",
    type=click.FloatRange(0.5, 1.0),
    metavar="SHARE",
    help="With --labels: share of the held-out faces of these labels that must be named; the "
    "others' threshold is chosen so.  [default: 0.95]",
)
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="With --labels: CSV of annotators' votes, as in emotion-train; a face shows what a strict "
    "majority names.  [default: those the run was taught by, else the labels of the data]",
)
@click.option(
    "--allow-label-agreement",
    type=click.FloatRange(0, 1),
    metavar="PART",
    help="Part of the labels that must agree with PyTorch, instead of 0.999 for fp16 or 0.99 for "
    "int8. The file records it, as it records the next two.",
)
@click.option(
    "--allow-accuracy-loss",
    type=click.FloatRange(0, 1),
    default=0.003,
    show_default=True,
    help="Accuracy that int8 may lose on held-out faces; a larger loss is accepted where it may "
    "be chance.",
)
@click.option(
    "--allow-recall-loss",
    type=click.FloatRange(0, 1),
    default=0.005,
    show_default=True,
    help="Recall that int8 may lose in each class, likewise.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=7),
    default=18,
    show_default=True,
    help="ONNX operator set; the lowest IR version that serves it is written.",
)
@click.option("--simplify/--no-simplify", default=True, show_default=True, help="Run onnxsim.")
@make_moved_option("--check", "emotion-verify MODEL.onnx", is_flag=True)
@make_moved_option("--page", "emotion-page MODEL.onnx -o DIR", metavar="DIR")
@make_moved_option("--onnxruntime-web", "emotion-page --onnxruntime-web", metavar="DIR")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace MODEL.onnx and the files beside it; without, files that exist are refused.",
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
    """Export a checkpoint to MODEL.onnx, once it computes what PyTorch computes.

    Scaling, temperature and softmax go into the graph, labels and figures into its metadata.
    The results of onnxruntime must equal those of PyTorch (logits within 1e-4, every label) at
    batch 1, 7 and 64, with graph optimisation off and on, before and after simplification. Then
    MODEL.onnx and MODEL.parity.json are written; else neither, and the exit code is 1.

    With --labels the file names a part of the classes that the network knows. The other classes
    become the output "other", whose threshold is chosen on the held-out faces of the run.

    fp16 must keep 99.9 % of the labels. int8 must keep 99 % and weigh less than a third; it is
    refused where faces held out of training show that it loses more than 0.3 points of accuracy
    or 0.5 of a class's recall (McNemar's exact test). On few faces a changed label or two may be
    chance: the file then is written, and records what is not certain. Whether it is faster on
    this machine is measured and shown.

    emotion-verify repeats the comparison for a file, emotion-page makes a web page of it.
    """
    tell = (lambda _: None) if quiet else say
    if model.suffix != ".onnx":
        raise click.UsageError(f"{model}: a model file's name ends in .onnx.")
    kept = _kept_labels(labels, label)
    if precision == "fp32" and allow_label_agreement is not None:
        raise click.UsageError("--allow-… is for --precision fp16 or int8.")
    if calibration and precision == "fp32" and not kept:
        raise click.UsageError("--calibration is for --precision int8 or --labels.")
    if not kept and (other_coverage is not None or votes is not None):
        raise click.UsageError("--other-coverage and --votes need --labels.")
    require_extra("export")
    from emotion_export.checkpoint_search import find_test_folder, newest_run
    from emotion_export.export import Plan, check_target, export_checkpoint
    from emotion_export.int8.precision import Loss
    from emotion_export.label_subset.subset import keep_labels
    from emotion_export.label_subset.threshold import DEFAULT_COVERAGE
    from emotion_export.parity_progress import (
        READING_STEPS,
        choose_parity_faces,
        describe_comparisons,
        showing_progress,
    )
    from emotion_train.checkpoints.checkpoint import load_checkpoint

    raise_on_signals()
    check_target(model, overwrite=overwrite, ort=format_name == "ort", other=bool(kept))
    source = checkpoint or newest_run()
    if checkpoint is None:
        tell(f"checkpoint: {source}")
    trained = load_checkpoint(source)
    plan = Plan(
        precision=precision,
        opset=opset,
        simplified=simplify,
        label_agreement=allow_label_agreement,
        loss=Loss(allow_accuracy_loss, allow_recall_loss),
        ort=format_name == "ort",
        labels=kept,
        other_coverage=DEFAULT_COVERAGE if other_coverage is None else other_coverage,
    )
    if kept:
        keep_labels(trained.labels, kept)  # before faces are read
    needs_labelled = precision == "int8" or bool(kept)
    steps = plan.steps + READING_STEPS * (1 + needs_labelled)
    with showing_progress("export", f"{model}: not written; ", steps, quiet=quiet) as progress:
        tell = progress.tell
        faces = choose_parity_faces(parity_data, source, trained, parity_faces, tell)
        progress.advance(READING_STEPS)
        labelled = None
        if needs_labelled:
            labelled = _labelled_faces(calibration, source, trained, kept, tell)
            progress.advance(READING_STEPS)
        cast = _votes(votes, source, trained, tell) if kept else None
        done = export_checkpoint(
            trained, model, faces, plan, labelled, votes=cast, say=tell, on_step=progress.advance
        )
    if verbose:
        for comparison in done.comparisons:
            say(str(comparison))
    show(f"{done.path}: {describe_comparisons(done.comparisons, faces)}")
    if not quiet:
        test = find_test_folder(source)
        if test is None:
            suggest_next("", "emotion-verify", model, "--checkpoint", source)
        else:
            suggest_next("", "emotion-eval", test, "-m", model)


def _kept_labels(labels: str | None, label: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels to keep; none for all.

    Raises:
        click.UsageError: They are named in both ways, or none is named.
    """
    if labels is None:
        return label
    if label:
        raise click.UsageError("name the labels with --labels or with --label, not with both.")
    kept = tuple(name.strip() for name in labels.split(","))
    if not all(kept):
        raise click.UsageError(f"--labels {labels!r}: a name is missing.")
    return kept


def _votes(
    path: Path | None, source: Path, checkpoint: Checkpoint, tell: Callable[[str], None]
) -> Votes | None:
    """Read the votes named, else those that the run was taught by."""
    from emotion_train.data.votes import Votes
    from emotion_train.run_record import find_votes

    if path is None:
        recipe = checkpoint.training.get("recipe")
        if not isinstance(recipe, dict) or not recipe.get("vote_weight"):
            return None
        path = find_votes(source)
        if path is None:
            tell(
                "warning: the run was taught by votes, whose file is not known: what held-out "
                "faces show is taken from the labels of the data; name it with --votes"
            )
            return None
        tell(f"votes: {path}")
    return Votes(path, checkpoint.labels)


def _labelled_faces(
    data: Path | None,
    source: Path,
    checkpoint: Checkpoint,
    kept: tuple[str, ...],
    tell: Callable[[str], None],
) -> LabelledFaces:
    """Read the training data named, else the run's own."""
    from emotion_export.checkpoint_search import find_training_data
    from emotion_export.errors import ParityDataError
    from emotion_export.int8.labelled_faces import read_labelled_faces
    from emotion_train.run_record import find_validation_folder

    data = data or find_training_data(source, tell)
    if data is None:
        if kept:
            raise ParityDataError(
                "the threshold of the output other is chosen on the held-out faces of the run; "
                "name its training data with --calibration DATA."
            )
        raise ParityDataError(
            "int8 takes its ranges from real faces; name the training data with --calibration "
            "DATA. Random pixels would give ranges that fit no face."
        )
    return read_labelled_faces(data, checkpoint, find_validation_folder(source))
