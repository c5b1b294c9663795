"""The command ``emotion-infer``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

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
    show,
    show_json,
    suggest_next,
    verbose_option,
    workers_option,
)
from emotion_runtime.command_line.signals import raise_on_signals
from emotion_runtime.counts import MAX_THREADS
from emotion_runtime.infer.face_options import FaceOptions, add_face_options
from emotion_runtime.results.writers import WRITERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.drawing.fonts import Font
    from emotion_runtime.infer.job import Sink
    from emotion_runtime.model.self_test import SelfTest

_FILE = click.Path(dir_okay=False, path_type=Path)
_MAX_SUGGESTED_PATHS = 8  # of a command that is suggested
# What may be given with --report.
_REPORT_OPTIONS = ("model", "self_test", "report", "threads", "provider", "quiet", "verbose")
_EXAMPLES = (
    ("emotion-infer face.png faces/", "the expression on each face, as a table"),
    ("emotion-infer faces/ -f csv -o results.csv", "a file for a spreadsheet"),
    ("emotion-infer --faces photographs/ --annotate marked/", "find faces, draw boxes"),
)
_GROUPS = {
    "Input": ("null", "strict"),
    "Model": ("model", "min_confidence", "other_threshold", "self_test", "report", "describe"),
    "Faces in photographs and videos": (
        *("faces", "camera", "largest", "min_face", "detection_threshold", "no_turn", "detector"),
        *("detect_every", "annotate", "crops"),
    ),
    "Output": (*("format_name", "output", "resume", "sort_into", "link", "contact_sheet", "font"),),
    "Speed": ("batch_size", "workers", "threads", "provider"),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(allow_dash=True))
@model_option
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(WRITERS)),
    default="table",
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "-o",
    "--output",
    type=_FILE,
    help="Write the results to this file, completely or not at all. An existing file is replaced, "
    "a device or FIFO is written to; - is standard output.  [default: standard output]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="With -f jsonl -o FILE: write each line to FILE.partial at once, and continue an "
    "interrupted run; the model and the options must be the same. A complete FILE is left as it "
    "is.",
)
@click.option(
    "--sort-into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Copy each picture to DIR/LABEL/, under its relative path. Nothing is overwritten.",
)
@click.option("--link", is_flag=True, help="With --sort-into: create links instead of copies.")
@click.option(
    "--contact-sheet",
    type=_FILE,
    metavar="FILE.png",
    help="Draw the pictures, or with --faces the faces, with their labels; of many, a random "
    "sample.",
)
@add_face_options
@click.option(
    "-b",
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Number of pictures classified at a time.",
)
@workers_option
@click.option(
    "--threads",
    type=click.IntRange(1, MAX_THREADS),
    default=1,
    show_default=True,
    help="Threads of onnxruntime for one batch.",
)
@click.option(
    "--provider",
    metavar="NAME",
    default="CPUExecutionProvider",
    show_default=True,
    help="Execution provider of onnxruntime.",
)
@click.option(
    "--min-confidence",
    type=NumberRange(0.0, 1.0),
    help='Confidence threshold: below it the label is "uncertain".  [default: the model\'s]',
)
@other_threshold_option
@click.option("--strict", is_flag=True, help="End at the first picture that cannot be read.")
@click.option("-0", "--null", is_flag=True, help="Paths on standard input end with a null byte.")
@click.option(
    "--self-test",
    is_flag=True,
    help="Check that this machine computes the results stored in the model file.",
)
@click.option(
    "--report",
    is_flag=True,
    help="With --self-test: print its result, the CPU, versions, latency and peak memory as one "
    "line of JSON, to send to the maintainers. Nothing is sent by itself.",
)
@click.option("--describe", is_flag=True, help="Print the metadata of the model file, as JSON.")
@click.option("--version", is_flag=True, help="Print the version of the tool and of the model.")
@quiet_option
@verbose_option
@handle_errors()
def main(
    paths: tuple[str, ...],
    model: str | None,
    format_name: str,
    output: Path | None,
    resume: bool,
    sort_into: Path | None,
    link: bool,
    contact_sheet: Path | None,
    face_options: FaceOptions,
    batch_size: int,
    workers: int | None,
    threads: int,
    provider: str,
    min_confidence: float | None,
    other_threshold: float | None,
    strict: bool,
    null: bool,
    self_test: bool,
    report: bool,
    describe: bool,
    version: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Classify the expression on pictures of faces.

    PATH is a picture, a folder (searched recursively), or - to read paths from standard input,
    one per line. Pictures are converted to gray. Without --faces each picture is classified as one
    face. Results keep the order of the input; folders are sorted. An output file that exists is
    replaced, unless it is one of the inputs; in an output folder nothing is overwritten.

    Exit code 0: every picture was read. 1: some could not be read, or the run failed. 2: wrong
    usage. 130: interrupted by Ctrl-C. 143: terminated by SIGTERM.
    """
    if output == Path("-"):
        output = None
    if version:
        _print_version(model)
        return
    if report:
        _check_report(self_test)
    if not paths and not (self_test or describe or face_options.camera is not None):
        raise click.UsageError("name a picture, a folder, or - for paths on standard input.")
    if resume and (output is None or format_name != "jsonl"):
        raise click.UsageError("--resume needs -f jsonl and -o FILE.")
    if link and sort_into is None:
        raise click.UsageError("--link needs --sort-into DIR.")
    face_options.check(
        paths,
        resume=resume,
        sort=sort_into is not None,
        draw_sheet=contact_sheet is not None,
    )
    if contact_sheet is not None:
        _check_contact_sheet(contact_sheet)
    # Pillow logs what it finds odd in a damaged picture; the picture's own result reports it.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # After the checks above: onnxruntime takes most of the start-up.
    from emotion_runtime.classifier import EmotionClassifier

    with raise_usage_errors():
        classifier = EmotionClassifier(
            model,
            threads=threads,
            provider=provider,
            min_confidence=min_confidence,
            other_threshold=other_threshold,
        )
    if verbose:
        say(f"model {classifier.model_path}, labels {', '.join(classifier.labels)}")
    if describe:
        _print_description(classifier)
    if report:
        _print_report(classifier, threads, provider)
        return
    if self_test:
        _print_self_test(classifier)
    if not paths and face_options.camera is None:
        return
    font = None
    if contact_sheet is not None or face_options.annotate is not None:
        from emotion_runtime.drawing.fonts import Font

        font = Font(face_options.font)
    face_classifier = face_options.open_classifier(
        classifier, paths, threads, keep_crops=contact_sheet is not None
    )
    raise_on_signals()  # from here on outputs are written
    if face_classifier is not None and face_options.has_video(paths):
        from emotion_runtime.video.frames import Camera
        from emotion_runtime.video.job import VideoJob

        succeeded = VideoJob(
            face_classifier,
            paths if face_options.camera is None else [Camera(face_options.camera)],
            say,
            format_name=format_name,
            output=output,
            annotate=face_options.annotate,
            font=font,
            detect_every=face_options.detect_every or 1,
            strict=strict,
            quiet=quiet,
        ).run()
    else:
        from emotion_runtime.infer.job import Job
        from emotion_runtime.results.output_guard import OutputGuard

        guard = OutputGuard({"-o": output, "--contact-sheet": contact_sheet})
        guard.check(classifier.model_path)
        for path in face_options.list_files():
            guard.check(path)
        job = Job(
            classifier,
            paths,
            say,
            format_name=format_name,
            output=output,
            batch_size=batch_size,
            workers=workers,
            # Each process would hold its own copy of the model in the memory of a device.
            can_start_processes=provider == "CPUExecutionProvider",
            resume=resume,
            strict=strict,
            null=null,
            quiet=quiet,
            sinks=_open_sinks(
                paths, face_options, classifier.labels, sort_into, link, contact_sheet, font
            ),
            guard=guard,
            settings={"provider": provider, **face_options.collect_settings()},
        )
        if face_classifier is None:
            from emotion_runtime.infer.photograph_hint import PhotographHint

            job.hint = PhotographHint()
        else:
            from emotion_runtime.faces.classifier import PHOTOGRAPH_BATCH_SIZE

            job.classifier, job.notes = face_classifier, face_classifier.finder.notes
            job.batch_size = min(batch_size, PHOTOGRAPH_BATCH_SIZE)
        succeeded = job.run()
    if font is not None and (note := font.describe_missing()):
        say(note)
    if not quiet:
        thresholds = {"--min-confidence": min_confidence, "--other-threshold": other_threshold}
        _suggest_next(paths, model, thresholds, face_options, sort_into, output)
    if not succeeded:
        sys.exit(1)


def _check_report(self_test: bool) -> None:
    """Refuse ``--report`` without ``--self-test``, and with what does not concern the report."""
    if not self_test:
        raise click.UsageError("--report needs --self-test.")
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        given = source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        # For click PATHs are also given where there is none.
        given = given and context.params.get(parameter.name or "") != ()
        if given and parameter.name not in _REPORT_OPTIONS:
            name = "PATH" if isinstance(parameter, click.Argument) else parameter.opts[-1]
            raise click.UsageError(
                f"--report prints one line about this device, and nothing else; leave out {name}."
            )


def _check_contact_sheet(path: Path) -> None:
    """Refuse a contact sheet of another format, or in a folder that does not exist."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise click.UsageError(f"{path}: name the contact sheet .png, .jpg or .webp.")
    if not path.parent.is_dir():
        fail(f"{path.parent}: no such folder.")


def _open_sinks(
    paths: tuple[str, ...],
    face_options: FaceOptions,
    labels: tuple[str, ...],
    sort_into: Path | None,
    link: bool,
    contact_sheet: Path | None,
    font: Font | None,
) -> list[Sink]:
    """Return the outputs that receive every prediction beside the writer of the results."""
    sinks: list[Sink] = []
    if sort_into is not None:
        from emotion_runtime.results.sorting import SortedFolders

        sinks.append(SortedFolders(sort_into, paths, link=link))
    if contact_sheet is not None:
        from emotion_runtime.results.contact_sheet import ContactSheet

        sinks.append(ContactSheet(contact_sheet, font=font))
    if face_options.annotate is not None:
        from emotion_runtime.results.annotated_copies import AnnotatedCopies

        sinks.append(AnnotatedCopies(face_options.annotate, paths, labels, font))
    if face_options.crops is not None:
        from emotion_runtime.results.face_crops import FaceCrops

        sinks.append(FaceCrops(face_options.crops, paths))
    return sinks


def _suggest_next(
    paths: tuple[str, ...],
    model: str | None,
    thresholds: Mapping[str, float | None],
    face_options: FaceOptions,
    sort_into: Path | None,
    output: Path | None,
) -> None:
    """Show where pictures were written, and the command that is likely to be the next."""
    named: tuple[str, ...] = () if model is None else ("-m", model)
    for option, value in thresholds.items():
        if value is not None:
            named += (option, repr(value))
    if sort_into is not None and sort_into.is_dir():
        done = f"sorted pictures are in {sort_into}; move those that are wrong"
        suggest_next(done, "emotion-eval", sort_into, *named)
    elif face_options.crops is not None and face_options.crops.is_dir():
        target = face_options.crops.with_name(f"{face_options.crops.name}-sorted")
        done = f"face crops are in {face_options.crops}"
        suggest_next(done, "emotion-infer", face_options.crops, "--sort-into", target, *named)
    elif face_options.annotate is not None and face_options.annotate.exists():
        following: tuple[str, ...] = ()
        if output is None and "-" not in paths and 0 < len(paths) <= _MAX_SUGGESTED_PATHS:
            following = ("emotion-infer", "--faces", *paths, *named, "-f", "csv", "-o", "faces.csv")
        what = "annotated copies are in" if face_options.annotate.is_dir() else "annotated video:"
        suggest_next(f"{what} {face_options.annotate}", *following)


def _print_version(model: str | None) -> None:
    from emotion_runtime import __version__
    from emotion_runtime.classifier import resolve_model
    from emotion_runtime.digest import compute_sha256

    path = resolve_model(model)
    # The first line is that of every command.
    show(f"emotion-infer {__version__}\nmodel {path.stem} (sha256 {compute_sha256(path)[:16]})")


def _print_description(classifier: EmotionClassifier) -> None:
    from emotion_runtime.results.json_text import to_json

    show_json(to_json(classifier.contract.describe(), indent=2))


def _print_report(classifier: EmotionClassifier, threads: int, provider: str) -> None:
    from emotion_runtime.infer.device_report import make_report
    from emotion_runtime.results.json_text import to_json

    test = classifier.self_test()
    show_json(to_json(make_report(classifier, test, threads=threads, provider=provider)))
    if not test.passed:
        _fail_self_test(classifier, test)


def _fail_self_test(classifier: EmotionClassifier, test: SelfTest) -> NoReturn:
    reasons = "; ".join(test.failures())
    fail(f"{classifier.model_path}: self-test failed on this machine: {reasons}.")


def _print_self_test(classifier: EmotionClassifier) -> None:
    test = classifier.self_test()
    if not test.passed:
        _fail_self_test(classifier, test)
    figures = (
        f"{test.inputs} golden inputs, largest logit difference {test.max_difference:.2g} "
        f"(allowed {test.tolerance:.2g}), every label the same"
    )
    if test.other_difference is not None:
        figures += f", other within {test.other_difference:.2g}"
    if test.mean_tolerance is not None:
        figures += (
            f"; mean difference {test.mean_difference:.2g} (allowed {test.mean_tolerance:.2g})"
        )
    if test.graph_changed is not None:
        figures += "; operators and weights as exported"
    if test.pixel_difference is not None:
        figures += f"; a picture is read as in training (pixels within {test.pixel_difference})"
    show(f"self-test passed: {figures}")
