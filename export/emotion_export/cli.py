"""``emotion-export``: a checkpoint in, a proven ONNX file out, or nothing."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emotion_runtime.commands import (
    CONTEXT,
    Command,
    fail,
    guarded,
    quiet_option,
    require,
    say,
    show,
    verbose_option,
    version_option,
)
from emotion_runtime.signals import raise_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotion_export.labelled_faces import LabelledFaces
    from emotion_export.parity_faces import ParityFaces
    from emotion_train.checkpoint import Checkpoint

_RUNS = Path("runs")  # where emotion-train writes when not told otherwise


@click.command(cls=Command, context_settings=CONTEXT)
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
    help="The data of the training, for int8: its ranges come from training faces, its loss is "
    "judged on those held out.  [default: the run's own]",
)
@click.option(
    "--allow-label-agreement",
    type=click.FloatRange(0, 1),
    metavar="PART",
    help="Loosen the gate of fp16 (0.999) or int8 (0.99); the file records it, as with the next.",
)
@click.option(
    "--allow-accuracy-loss",
    type=click.FloatRange(0, 1),
    default=0.003,
    show_default=True,
    help="What int8 may lose of accuracy on held-out faces; a larger loss that may be chance is "
    "no reason to refuse it.",
)
@click.option(
    "--allow-recall-loss",
    type=click.FloatRange(0, 1),
    default=0.005,
    show_default=True,
    help="What int8 may lose of a class's recall, likewise.",
)
@click.option(
    "--opset",
    type=click.IntRange(min=7),
    default=18,
    show_default=True,
    help="ONNX operator set; the lowest IR version that serves it is written.",
)
@click.option("--simplify/--no-simplify", default=True, show_default=True, help="Run onnxsim.")
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing: repeat the proof of a MODEL.onnx that is there, on this machine.",
)
@click.option(
    "--page",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write no model: write a static web page that runs a MODEL that is there, a file or a "
    "released model's name. Needs no PyTorch.",
)
@click.option(
    "--onnxruntime-web",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR|FILE.tgz",
    help="With --page: its npm package, where npm shall not fetch it.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace MODEL.onnx and the files beside it, or DIR; without, what is there is refused.",
)
@version_option("emotion-export")
@quiet_option
@verbose_option
@guarded(extra="export")
def main(
    model: Path,
    checkpoint: Path | None,
    parity_data: Path | None,
    parity_faces: int,
    precision: str,
    format_name: str,
    calibration: Path | None,
    allow_label_agreement: float | None,
    allow_accuracy_loss: float,
    allow_recall_loss: float,
    opset: int,
    simplify: bool,
    check: bool,
    page: Path | None,
    onnxruntime_web: Path | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Turn a checkpoint into MODEL.onnx, proven against PyTorch on real faces.

    Scaling, temperature and softmax go into the graph, labels and figures into its metadata.
    The answers of onnxruntime must equal those of PyTorch (logits within 1e-4, every label) at
    batch 1, 7 and 64, with graph optimisation off and on, before and after simplification. Then
    MODEL.onnx and MODEL.parity.json are written; else neither, and the exit code is 1.

    fp16 must keep 99.9 % of the labels. int8 must keep 99 % and weigh less than a third; it is
    refused where faces held out of training show that it loses more than 0.3 points of accuracy
    or 0.5 of a class's recall (McNemar's exact test). On few faces a flip or two may be chance:
    the file then is written, and records what is not certain. Whether it is faster on this
    machine is measured and said.
    """
    tell = (lambda _: None) if quiet else say
    if page is not None:
        from emotion_export.web_page import write_page

        raise_on_signals()
        write_page(str(model), page, runtime=onnxruntime_web, overwrite=overwrite, say=tell)
        show(f"{page}: serve it, for example by: python -m http.server --directory {page}")
        return
    if model.suffix != ".onnx":
        raise click.UsageError(f"{model}: a model file's name ends in .onnx.")
    if precision == "fp32" and (calibration or allow_label_agreement is not None):
        raise click.UsageError("--calibration and --allow-… are for --precision fp16 or int8.")
    require("export")
    from emotion_export.export import (
        COMPARISONS_PER_GRAPH,
        Plan,
        check_target,
        export_checkpoint,
    )
    from emotion_export.precision import Loss
    from emotion_train.checkpoint import load_checkpoint

    raise_on_signals()
    if check:
        if not model.is_file():
            raise click.UsageError(f"{model}: no such file to check.")
    else:
        check_target(model, overwrite=overwrite, ort=format_name == "ort")
    source = checkpoint or _newest_run()
    if checkpoint is None:
        tell(f"checkpoint: {source}")
    trained = load_checkpoint(source)
    faces = _parity_faces(parity_data, source, trained, parity_faces, tell)
    tell(f"proving on {len(faces.pixels):,} faces ({faces.source})")
    if faces.unreadable:
        tell(f"skipped: {faces.unreadable:,} pictures could not be read")
    if faces.real and len(faces.pixels) < min(parity_faces, 1000):
        tell("warning: fewer than 1,000 faces; a rare label flip may go unseen.")
    if check:
        _check(model, trained, faces, tell, quiet=quiet)
        return
    plan = Plan(
        precision=precision,
        opset=opset,
        simplified=simplify,
        label_agreement=allow_label_agreement,
        loss=Loss(allow_accuracy_loss, allow_recall_loss),
        ort=format_name == "ort",
    )
    labelled = _labelled_faces(calibration, source, trained, tell) if precision == "int8" else None
    steps = COMPARISONS_PER_GRAPH * (1 + simplify + (precision != "fp32")) + 1
    with _proving(f"{model}: not written; ", steps, quiet=quiet) as on_step:
        done = export_checkpoint(trained, model, faces, plan, labelled, say=tell, on_step=on_step)
    if verbose:
        for comparison in done.comparisons:
            say(str(comparison))
    agreed = min(one.label_agreement for one in done.comparisons)
    labels = "every label agrees" if agreed == 1 else f"{agreed:.2%} of the labels agree"
    show(
        f"{done.path}: proven in {len(done.comparisons)} ways on {len(faces.pixels):,} faces; "
        f"largest logit difference {done.max_logit_difference:.1e}, {labels}"
    )


@contextmanager
def _proving(refusal: str, steps: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar of the comparisons; where they do not hold, show them and end the command."""
    from tqdm import tqdm

    from emotion_export.errors import ParityError

    try:
        with tqdm(total=steps, desc="parity", leave=False, disable=quiet or None) as bar:
            yield bar.update
    except ParityError as error:
        for comparison in error.comparisons:
            say(str(comparison))
        fail(f"{refusal}{error}")


def _check(
    model: Path,
    checkpoint: Checkpoint,
    faces: ParityFaces,
    tell: Callable[[str], None],
    *,
    quiet: bool,
) -> None:
    """Repeat the proof of a file, and say what came of it."""
    from emotion_export.check import check_file
    from emotion_export.export import COMPARISONS_PER_GRAPH

    with _proving(f"{model}: ", COMPARISONS_PER_GRAPH + 1, quiet=quiet) as on_step:
        comparisons = check_file(model, checkpoint, faces, on_step)
    for comparison in comparisons:
        tell(str(comparison))
    show(f"{model}: still proven, in {len(comparisons)} ways on {len(faces.pixels):,} faces")


def _newest_run() -> Path:
    """Find the checkpoint that was written last, as the default."""
    found = sorted(_RUNS.glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise click.UsageError(
            f"no run in {_RUNS}/; name one with --checkpoint, or make one with emotion-train."
        )
    return found[-1].parent


def _parity_faces(
    data: Path | None,
    source: Path,
    checkpoint: Checkpoint,
    wanted: int,
    tell: Callable[[str], None],
) -> ParityFaces:
    """Take the faces named, else the run's own training data, else the average faces."""
    from emotion_export.parity_faces import average_parity_faces, read_parity_faces

    if data is not None:
        return read_parity_faces(data, wanted, size=checkpoint.size)
    trained_on = _training_data(source, tell)
    if trained_on is None:
        return average_parity_faces(checkpoint)
    return read_parity_faces(trained_on, wanted, size=checkpoint.size)


def _labelled_faces(
    data: Path | None, source: Path, checkpoint: Checkpoint, tell: Callable[[str], None]
) -> LabelledFaces:
    """Take the training data named, else the run's own."""
    from emotion_export.errors import ParityDataError
    from emotion_export.labelled_faces import read_labelled_faces

    data = data or _training_data(source, tell)
    if data is None:
        raise ParityDataError(
            "int8 takes its ranges from real faces; name the training data with --calibration "
            "DATA. Random pixels would give ranges that fit no face."
        )
    return read_labelled_faces(data, checkpoint)


def _training_data(source: Path, tell: Callable[[str], None]) -> Path | None:
    """Return where a run's data were, if they still are there; tell where they are not."""
    from emotion_train.errors import RunError
    from emotion_train.run_record import RUN, read_run_json

    folder = source if source.is_dir() else source.parent
    if not (folder / RUN).exists():
        return None
    try:
        data = Path(read_run_json(folder)["data"])
    except (RunError, KeyError, TypeError):
        tell(f"{folder / RUN}: damaged; it does not say where the training data are")
        return None
    if not data.exists():
        tell(f"{folder / RUN}: the training data are no longer at {data}")
        return None
    return data
