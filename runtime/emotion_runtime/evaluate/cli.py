"""``emotion-eval``: evaluate a model on labelled pictures, without PyTorch."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    NumberRange,
    fail,
    handle_errors,
    model_option,
    other_threshold_option,
    quiet_option,
    raise_usage_errors,
    say,
    suggest_next,
    verbose_option,
    version_option,
    workers_option,
)
from emotion_runtime.command_line.signals import raise_on_signals
from emotion_runtime.errors import OutputError
from emotion_runtime.prediction import OTHER, UNCERTAIN, format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.drawing.fonts import Font
    from emotion_runtime.evaluate.evaluation import Evaluation
    from emotion_runtime.prediction import Prediction

_FILE = click.Path(dir_okay=False, path_type=Path)
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


_EXAMPLES = (
    ("emotion-eval DATA/test", "evaluate the released model"),
    ("emotion-eval DATA/test -m model.onnx --contact-sheet wrong.png", "draw the errors"),
    ("emotion-eval DATA/test -m model.onnx -f json -o figures.json", "for scripts"),
)
_GROUPS = {
    "Data": ("splits",),
    "Model": ("model", "min_confidence", "other_threshold"),
    "Output": (
        *("format_name", "output", "wrong", "confusion_matrix", "other_curves", "contact_sheet"),
        "font",
    ),
    "Speed": ("workers",),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--splits",
    type=_FILE,
    metavar="FILE.csv",
    help="Evaluate only the pictures that a training held out as its test set: report/splits.csv "
    "of the run. For data folders without a test folder of their own.",
)
@model_option
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="Format of the figures.",
)
@click.option(
    "-o",
    "--output",
    type=_FILE,
    help="Write the figures to this file, which is replaced if it exists; - is standard "
    "output.  [default: standard output]",
)
@click.option(
    "--wrong", type=_FILE, metavar="FILE.csv", help="List the pictures whose label is wrong."
)
@click.option(
    "--confusion-matrix", type=_FILE, metavar="FILE.png", help="Draw the confusion matrix."
)
@click.option(
    "--other-curves",
    type=_FILE,
    metavar="FILE.png",
    help='Draw the ROC curve and the risk–coverage curve of "other". For models with this output, '
    "and folders of other classes.",
)
@click.option(
    "--contact-sheet",
    type=_FILE,
    metavar="FILE.png",
    help="Draw the pictures whose label is wrong, or a sample of many.",
)
@click.option(
    "--min-confidence",
    type=NumberRange(0.0, 1.0),
    help="Confidence threshold for the coverage.  [default: the model's own]",
)
@other_threshold_option
@workers_option
@click.option(
    "--font",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The font of labels and file names in pictures (.ttf, .otf).  [default: one with Latin, "
    "Greek and Cyrillic]",
)
@version_option("emotion-eval")
@quiet_option
@verbose_option
@handle_errors()
def main(
    folder: Path,
    splits: Path | None,
    model: str | None,
    format_name: str,
    output: Path | None,
    wrong: Path | None,
    confusion_matrix: Path | None,
    other_curves: Path | None,
    contact_sheet: Path | None,
    font: Path | None,
    min_confidence: float | None,
    other_threshold: float | None,
    workers: int | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Evaluate a model on FOLDER/<class>/*, with a folder for each of its labels.

    Reports accuracy with its 95 % interval, balanced accuracy, precision, recall, F1, the
    confusion matrix, the calibration error, and the coverage of the confidence threshold. Folders
    of other names show other classes. A model with the output "other" should give their pictures
    none of its labels; the AUROC of this output is reported.
    Pictures are read as by emotion-infer, and class folders are searched recursively. Each picture
    must show one face; emotion-infer --faces --crops makes crops of photographs.

    An existing file of results is replaced, unless it is one of the pictures.

    Exit code 0: every picture was read. 1: some could not be, or the run failed. 2: wrong usage.
    130: interrupted by Ctrl-C. 143: ended by SIGTERM.
    """
    if output == Path("-"):
        output = None
    drawings = (confusion_matrix, other_curves, contact_sheet)
    _check_usage(output, wrong, drawings, font)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.drawing.fonts import Font
    from emotion_runtime.evaluate.evaluation import Evaluator
    from emotion_runtime.evaluate.folders import find_class_folders
    from emotion_runtime.evaluate.split_list import read_test_paths
    from emotion_runtime.evaluate.wrong_pictures import WrongPictures
    from emotion_runtime.results.output_guard import OutputGuard
    from emotion_runtime.results.progress import PictureTotal, report_progress

    with raise_usage_errors():
        classifier = EmotionClassifier(
            model, min_confidence=min_confidence, other_threshold=other_threshold
        )
    if other_curves is not None and classifier.other_threshold is None:
        raise click.UsageError(
            f"--other-curves needs a model with the output other; {classifier.model_path} has none."
        )
    guard = OutputGuard(
        {
            "-o": output,
            "--wrong": wrong,
            "--confusion-matrix": confusion_matrix,
            "--other-curves": other_curves,
            "--contact-sheet": contact_sheet,
        }
    )
    guard.check(classifier.model_path)
    if font is not None:
        guard.check(font)
    test_paths = None
    if splits is not None:
        guard.check(splits)
        test_paths = read_test_paths(splits)
    text_font = Font(font)
    raise_on_signals()
    source = find_class_folders(folder, classifier.labels)
    if other_curves is not None and not source.others:
        raise click.UsageError(
            f"--other-curves needs folders of other classes beside those of the labels; {folder} "
            f"has none."
        )
    pictures = WrongPictures(classifier.labels, wrong, contact_sheet, text_font)
    total: int | PictureTotal = (
        PictureTotal(map(str, (*source.folders.values(), *source.others)))
        if test_paths is None
        else len(test_paths)
    )

    def add_prediction(prediction: Prediction, label: str) -> None:
        if prediction.path is not None:
            guard.check(prediction.path)  # before anything is written
        pictures.add(prediction, label)

    def show_progress(stream: Iterator[Prediction]) -> Iterator[Prediction]:
        return report_progress(stream, "pictures", sys.stderr, total=total, quiet=quiet)

    evaluator = Evaluator(
        classifier=classifier,
        source=source,
        workers=workers,
        on_prediction=add_prediction,
        wrap_predictions=show_progress,
        selected_paths=test_paths,
        root=str(folder),
    )
    evaluation = evaluator.evaluate()
    _write_figures(evaluation, classifier.model_path.name, output, format_name)
    pictures.save()
    if confusion_matrix is not None:
        _draw_confusion(evaluation, classifier, confusion_matrix, text_font)
    if other_curves is not None:
        _draw_curves(evaluation, classifier, other_curves, text_font)
    for error in _format_errors(evaluation):
        say(error)
    if not quiet:
        font_note = text_font.describe_missing()
        training_note = None
        if splits is None:
            training_note = _warn_of_training_pictures(evaluation, classifier, folder)
        notes = (
            *_format_notes(evaluation),
            *filter(None, [training_note, font_note]),
            *evaluator.worker_notes,
        )
        for note in notes:
            say(note)
        if wrong is None and contact_sheet is None and evaluation.has_wrong_labels:
            model_arguments = () if model is None else ("-m", model)
            split_arguments = () if splits is None else ("--splits", splits)
            arguments = (folder, *split_arguments, *model_arguments)
            suggest_next("", "emotion-eval", *arguments, "--contact-sheet", "wrong.png")
    if evaluation.errors:
        sys.exit(1)


def _check_usage(
    output: Path | None, wrong: Path | None, drawings: Sequence[Path | None], font: Path | None
) -> None:
    """Refuse options that do not fit together, and outputs in folders that do not exist."""
    if wrong == Path("-"):
        raise click.UsageError("--wrong takes a file: the figures go to standard output.")
    if font is not None and not any(drawings):
        raise click.UsageError(
            "--font needs --confusion-matrix, --other-curves or --contact-sheet."
        )
    for picture in drawings:
        if picture is not None and picture.suffix.lower() not in _PICTURE_SUFFIXES:
            raise click.UsageError(f"{picture}: name the picture .png, .jpg or .webp.")
    for file in (output, wrong, *drawings):
        if file is not None and not file.parent.is_dir():
            fail(f"{file.parent}: no such folder.")


def _write_figures(
    evaluation: Evaluation, model_name: str, output: Path | None, format_name: str
) -> None:
    from emotion_runtime.evaluate.table import format_evaluation
    from emotion_runtime.results.json_text import to_json
    from emotion_runtime.results.output import open_output

    with open_output(output) as stream:
        if format_name == "json":
            figures = {"model": model_name, **evaluation.to_dict()}
            stream.write(to_json(figures, indent=2) + "\n")
        else:
            stream.write(format_evaluation(evaluation))


def _warn_of_training_pictures(
    evaluation: Evaluation, classifier: EmotionClassifier, folder: Path
) -> str | None:
    from emotion_runtime.evaluate.training_pictures import describe_training_pictures

    counts = dict(
        zip(evaluation.labels, map(int, evaluation.metrics.support.tolist()), strict=True)
    )
    text = describe_training_pictures(classifier.contract.training, counts, str(folder))
    return None if text is None else f"warning: {text}"


def _draw_confusion(
    evaluation: Evaluation, classifier: EmotionClassifier, path: Path, font: Font
) -> None:
    from emotion_runtime.atomic import write_atomically
    from emotion_runtime.evaluate.confusion_matrix import draw_confusion_matrix

    metrics = evaluation.metrics
    confusion, labels, threshold = metrics.confusion, evaluation.labels, ""
    if evaluation.confusion is not None:
        confusion, labels = evaluation.confusion, (*labels, OTHER)
        threshold = f" at an other threshold of {evaluation.other_threshold:.2f}"
        threshold += ", at any confidence" if evaluation.min_confidence else ""
    count = format_count(int(confusion.sum()), "picture")
    accuracy = f"accuracy {confusion.trace() / confusion.sum():.1%} on {count}"
    title = f"{classifier.model_path.stem}: {accuracy}{threshold}"
    image = draw_confusion_matrix(confusion, labels, title, font)
    with write_atomically(path) as temporary:
        image.save(temporary)


def _draw_curves(
    evaluation: Evaluation, classifier: EmotionClassifier, path: Path, font: Font
) -> None:
    from emotion_runtime.atomic import write_atomically
    from emotion_runtime.evaluate.curves import draw_curves

    open_set, threshold = evaluation.open_set, evaluation.other_threshold
    if open_set is None or threshold is None or not len(open_set.others):
        raise OutputError(f"{path}: not drawn: no picture of another class could be read.")
    known, others = len(open_set.known), len(open_set.others)
    title = f"{classifier.model_path.stem}: {known:,} faces of the labels, {others:,} others"
    image = draw_curves(open_set, threshold, title, font)
    with write_atomically(path) as temporary:
        image.save(temporary)


def _format_errors(evaluation: Evaluation) -> Iterator[str]:
    """Yield the errors of pictures that could not be evaluated, which are printed with -q too."""
    for error in evaluation.errors[:10]:
        yield f"not evaluated: {error}"
    if len(evaluation.errors) > 10:
        yield f"not evaluated: {len(evaluation.errors) - 10:,} more"


def _format_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield sentences about what the figures do not cover."""
    if evaluation.missing:
        them = "it" if len(evaluation.missing) == 1 else "them"
        yield f"no pictures of {', '.join(evaluation.missing)}: the accuracy does not cover {them}"
    if UNCERTAIN in evaluation.others:
        count, _ = evaluation.others[UNCERTAIN]
        yield (
            f"{format_count(count, 'picture')} of the folder {UNCERTAIN}: what they show is not "
            f"known, so that all figures leave them out"
        )
    if evaluation.outside_split:
        yield f"{format_count(evaluation.outside_split, 'picture')} left out: not in the test set"
    if evaluation.not_found:
        yield (
            f"warning: {format_count(evaluation.not_found, 'picture')} of the test set not found "
            f"here; the figures do not cover them"
        )
    if evaluation.passed_over:
        yield (
            f"{evaluation.passed_over:,} files or folders passed over: no pictures, hidden, in no "
            f"class folder, or links to folders that are read already"
        )
    never = [evaluation.labels[label] for label in evaluation.metrics.never_predicted]
    if never:
        yield f"warning: the model never predicts {', '.join(never)} on these pictures"


if __name__ == "__main__":
    from emotion_runtime.evaluate.__main__ import run

    run()
