"""``emotion-verify``: repeat the parity check of a model file on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from emotion_export.options import parity_data_option, parity_faces_option
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
from emotion_runtime.command_line.signals import raise_on_signals

_EXAMPLES = (
    ("emotion-verify model.onnx", "its checkpoint is found in runs/"),
    ("emotion-verify model.onnx -c runs/baseline", "a checkpoint elsewhere"),
    ("emotion-verify model.onnx --parity-data faces/", "on other faces"),
)
_GROUPS = {"Checkpoint and data": ("checkpoint", "parity_data", "parity_faces")}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("model", metavar="MODEL.onnx|NAME")
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR|FILE.pt",
    help="The run folder or checkpoint that the file was exported from.  [default: found in runs/ "
    "or among the released checkpoints, by the weights that the file records]",
)
@parity_data_option
@parity_faces_option
@version_option("emotion-verify")
@quiet_option
@verbose_option
@handle_errors(extra="export")
def main(
    model: str,
    checkpoint: Path | None,
    parity_data: Path | None,
    parity_faces: int,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compare MODEL.onnx with the checkpoint that it was exported from.

    The parity check of emotion-export is repeated on this machine. Nothing is written.
    MODEL.onnx can also be the name of a released model. A checkpoint whose weights are not those
    that the file records is refused.

    Exit code 0: the file computes what its checkpoint computes. 1: it does not, or the check
    could not be made. 2: wrong usage.
    """
    require_extra("export")
    from emotion_export.checkpoint_search import (
        find_checkpoint,
        find_test_folder,
        load_named_checkpoint,
    )
    from emotion_export.export import COMPARISONS_PER_GRAPH
    from emotion_export.parity.check import verify_against_checkpoint
    from emotion_export.parity_progress import (
        READING_STEPS,
        describe_comparisons,
        read_faces_for_check,
        show_progress,
    )
    from emotion_runtime.classifier import EmotionClassifier

    raise_on_signals()
    log = (lambda _: None) if quiet else say
    classifier = EmotionClassifier(model)
    path, contract = classifier.model_path, classifier.contract
    if path.suffix != ".onnx":
        raise click.UsageError(f"{path}: a model file's name ends in .onnx.")
    if checkpoint is None:
        source, trained = find_checkpoint(path, contract, log)
        log(f"checkpoint: {source}")
    else:
        source, trained = checkpoint, load_named_checkpoint(path, contract, checkpoint, log)
    steps = READING_STEPS + COMPARISONS_PER_GRAPH + 1
    with show_progress("verify", f"{path}: ", steps, quiet=quiet) as progress:
        faces = read_faces_for_check(parity_data, source, trained, parity_faces, progress.log)
        progress.advance(READING_STEPS)
        comparisons = verify_against_checkpoint(path, trained, faces, progress.advance)
    if verbose:
        for comparison in comparisons:
            say(str(comparison))
    show(f"{path}: verified against {source}: {describe_comparisons(comparisons, faces)}")
    if not quiet:
        pictures = find_test_folder(source)
        suggest_next(
            "", "emotion-infer", *(["--self-test"] if pictures is None else [pictures]), "-m", path
        )


if __name__ == "__main__":
    from emotion_export.__main__ import run_verify

    run_verify()
