"""``emotion-infer``: pictures in, expressions out."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

import click

from emotion_runtime.commands import (
    CONTEXT,
    fail,
    guarded,
    quiet_option,
    say,
    verbose_option,
)
from emotion_runtime.errors import OutputError, SourceError

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.prediction import Prediction

FORMATS = ("table", "csv", "json", "jsonl")


@click.command(context_settings=CONTEXT)
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(allow_dash=True))
@click.option(
    "-m",
    "--model",
    metavar="FILE|NAME",
    help="A file that emotion-export wrote, or a released model's name.  [default: the release]",
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How results are written.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Write results to this file, whole or not at all.  [default: standard output]",
)
@click.option(
    "-b",
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Pictures classified at a time.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the network.  [default: the CPUs this process may use]",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0.0, 1.0),
    help='Below it the label is "uncertain".  [default: the model\'s own floor]',
)
@click.option(
    "--self-test", is_flag=True, help="Prove the model on this machine by its golden inputs."
)
@click.option("--describe", is_flag=True, help="Print what the model file says of itself (JSON).")
@click.option("--version", is_flag=True, help="Print the version of the tool and of the model.")
@quiet_option
@verbose_option
@guarded()
def main(
    paths: tuple[str, ...],
    model: str | None,
    format_name: str,
    output: str | None,
    batch_size: int,
    threads: int | None,
    min_confidence: float | None,
    self_test: bool,
    describe: bool,
    version: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Classify the expression on pictures of faces.

    PATH is a picture, a folder (gone through recursively), or - to read paths from standard
    input, one a line. Results keep the order of the input; folders are sorted.

    Exit code 0: every picture was read. 1: some could not be, or the run failed. 2: wrong usage.
    """
    if version:
        _print_version(model)
        return
    if not paths and not (self_test or describe):
        raise click.UsageError("name a picture, a folder, or - for paths on standard input.")
    # Pillow logs what it finds odd in a damaged picture; the picture's own answer says it.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # After the checks above: onnxruntime takes most of the start-up.
    from emotion_runtime.classifier import EmotionClassifier

    classifier = EmotionClassifier(model, threads=threads, min_confidence=min_confidence)
    if verbose:
        say(f"model {classifier.model_path}, labels {', '.join(classifier.labels)}")
    if describe:
        import json

        click.echo(json.dumps(classifier.contract.describe(), indent=2, ensure_ascii=False))
    if self_test:
        _print_self_test(classifier)
    if paths and not _classify(classifier, paths, format_name, output, batch_size, quiet):
        sys.exit(1)


def _print_version(model: str | None) -> None:
    from emotion_runtime import __version__
    from emotion_runtime.classifier import resolve_model
    from emotion_runtime.digest import sha256_of

    path = resolve_model(model)
    click.echo(f"emotion-infer {__version__}, model {path.stem} (sha256 {sha256_of(path)[:16]})")


def _print_self_test(classifier: EmotionClassifier) -> None:
    test = classifier.self_test()
    figures = (
        f"{test.inputs} golden inputs, largest logit difference {test.max_difference:.2g} "
        f"(allowed {test.tolerance:.2g}), {test.label_flips} labels differ"
    )
    if not test.passed:
        fail(f"{classifier.model_path}: self-test failed on this machine: {figures}.")
    click.echo(f"self-test passed: {figures}")


def _classify(
    classifier: EmotionClassifier,
    paths: tuple[str, ...],
    format_name: str,
    output: str | None,
    batch_size: int,
    quiet: bool,
) -> bool:
    """Write a result for each picture; say whether all went well."""
    from emotion_runtime.sources import find_pictures
    from emotion_runtime.writers import WRITERS

    failures: list[str] = []

    def note_failure(error: SourceError) -> None:
        failures.append(str(error))
        say(f"error: {error}")

    counts: Counter[str] = Counter()
    unreadable = 0
    predictions = classifier.predict_many(
        find_pictures(_expanded(paths), on_error=note_failure), batch_size=batch_size
    )
    try:
        with (
            _opened(output) as stream,
            WRITERS[format_name](stream, classifier.labels) as writer,
        ):
            for prediction in _with_progress(predictions, quiet):
                writer.write(prediction)
                if prediction.label is None:
                    unreadable += 1
                else:
                    counts[prediction.label] += 1
    except BrokenPipeError:
        _abandon_stdout()  # the reader has seen enough (``| head``)
        return True
    if not quiet:
        parts = [f"{label} {counts[label]:,}" for label in (*classifier.labels, "uncertain")]
        if not counts["uncertain"]:
            parts.pop()
        total = counts.total() + unreadable
        summary = f"{total:,} picture{'s' if total != 1 else ''}: {', '.join(parts)}"
        say(summary + (f"; {unreadable:,} could not be read" if unreadable else ""))
    return not failures and not unreadable


def _expanded(paths: tuple[str, ...]) -> Iterator[str]:
    """Replace ``-`` by the paths on standard input; bytes that are no UTF-8 stay intact."""
    for path in paths:
        if path != "-":
            yield path
            continue
        for line in sys.stdin.buffer:
            if name := line.rstrip(b"\r\n"):
                yield os.fsdecode(name)


@contextlib.contextmanager
def _opened(output: str | None) -> Iterator[TextIO]:
    """Open where results go, as UTF-8 whatever the locale."""
    if output is None:
        # newline="" leaves line ends to the writers, on Windows too.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
        try:
            yield sys.stdout
            sys.stdout.flush()  # here, where a closed pipe is expected
        except BrokenPipeError:
            raise
        except OSError as error:
            _abandon_stdout()
            raise OutputError(f"standard output: cannot be written ({error.strerror}).") from error
        return
    from emotion_runtime.atomic import replacing

    with replacing(output) as path:
        try:
            with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
                yield stream
        except OSError as error:
            raise OutputError(f"{output}: cannot be written ({error.strerror}).") from error


def _abandon_stdout() -> None:
    """Send what is still buffered nowhere; Python would complain again at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _with_progress(predictions: Iterable[Prediction], quiet: bool) -> Iterator[Prediction]:
    """Count along on a terminal, where results do not scroll by already."""
    show = not quiet and sys.stderr.isatty() and not sys.stdout.isatty()
    if not show:
        yield from predictions
        return
    import time

    started = shown = time.monotonic()
    number = 0
    for number, prediction in enumerate(predictions, start=1):
        yield prediction
        now = time.monotonic()
        if now - shown >= 0.5:
            shown = now
            rate = number / (now - started)
            click.echo(f"\r{number:,} pictures, {rate:,.0f} a second", err=True, nl=False)
    if number:
        click.echo("\r" + " " * 50 + "\r", err=True, nl=False)
