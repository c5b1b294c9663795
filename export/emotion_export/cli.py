"""``emotion-export``: a checkpoint in, a proven ONNX file out, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emotion_runtime.commands import (
    CONTEXT,
    fail,
    guarded,
    quiet_option,
    say,
    verbose_option,
    version_option,
)

if TYPE_CHECKING:
    from emotion_export.parity_faces import ParityFaces
    from emotion_train.checkpoint import Checkpoint

_RUNS = Path("runs")  # where emotion-train writes when not told otherwise


@click.command(context_settings=CONTEXT)
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.onnx")
@click.option(
    "-c",
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR|FILE.pt",
    help="A run folder or a checkpoint.  [default: the newest run in runs/]",
)
@click.option(
    "--parity-data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Faces to prove the file on: a folder or the CSV.  [default: the run's training data, "
    "else the average faces in the checkpoint]",
)
@click.option(
    "--parity-faces",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="How many of them.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=7),
    default=18,
    show_default=True,
    help="ONNX operator set; the lowest IR version that serves it is written.",
)
@click.option("--simplify/--no-simplify", default=True, show_default=True, help="Run onnxsim.")
@click.option("--overwrite", is_flag=True, help="Replace MODEL.onnx and its parity.json.")
@version_option("emotion-export")
@quiet_option
@verbose_option
@guarded(extra="export")
def main(
    model: Path,
    checkpoint: Path | None,
    parity_data: Path | None,
    parity_faces: int,
    opset: int,
    simplify: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Turn a checkpoint into MODEL.onnx, proven against PyTorch on real faces.

    Scaling, temperature and softmax go into the graph, labels and figures into its metadata.
    The answers of onnxruntime must equal those of PyTorch (logits within 1e-4, every label) at
    batch 1, 7 and 64, with graph optimisation off and on, before and after simplification. Then
    MODEL.onnx and MODEL.parity.json are written; else neither, and the exit code is 1.
    """
    if model.suffix != ".onnx":
        raise click.UsageError(f"{model}: a model file's name ends in .onnx.")
    tell = (lambda _: None) if quiet else say
    from tqdm import tqdm

    from emotion_export.errors import ParityError
    from emotion_export.export import COMPARISONS_PER_GRAPH, check_target, export_checkpoint
    from emotion_train.checkpoint import load_checkpoint

    check_target(model, overwrite=overwrite)
    source = checkpoint or _newest_run()
    if checkpoint is None:
        tell(f"checkpoint: {source}")
    trained = load_checkpoint(source)
    faces = _parity_faces(parity_data, source, trained, parity_faces)
    tell(f"proving on {len(faces.pixels):,} faces ({faces.source})")
    if faces.real and len(faces.pixels) < min(parity_faces, 1000):
        tell("warning: fewer than 1,000 faces; a rare label flip may go unseen.")
    steps = COMPARISONS_PER_GRAPH * (2 if simplify else 1) + 1
    try:
        with tqdm(total=steps, desc="parity", leave=False, disable=quiet or None) as bar:
            done = export_checkpoint(
                trained,
                model,
                faces,
                opset=opset,
                simplified=simplify,
                say=tell,
                on_step=bar.update,
            )
    except ParityError as error:
        for comparison in error.comparisons:
            say(str(comparison))
        fail(f"{model}: not written; {error}")
    if verbose:
        for comparison in done.comparisons:
            say(str(comparison))
    click.echo(
        f"{done.path}: proven in {len(done.comparisons)} ways on {len(faces.pixels):,} faces; "
        f"largest logit difference {done.max_logit_difference:.1e}, every label agrees"
    )


def _newest_run() -> Path:
    """Find the checkpoint that was written last, as the default."""
    found = sorted(_RUNS.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise click.UsageError(
            f"no run in {_RUNS}/; name one with --checkpoint, or make one with emotion-train."
        )
    return found[-1].parent


def _parity_faces(
    data: Path | None, source: Path, checkpoint: Checkpoint, wanted: int
) -> ParityFaces:
    """Take the faces named, else the run's own training data, else the average faces."""
    from emotion_export.parity_faces import average_parity_faces, read_parity_faces

    if data is not None:
        return read_parity_faces(data, wanted)
    run = (source if source.is_dir() else source.parent) / "run.json"
    try:
        trained_on = Path(json.loads(run.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return average_parity_faces(checkpoint)
    if not trained_on.exists():
        return average_parity_faces(checkpoint)
    return read_parity_faces(trained_on, wanted)
