"""One run of ``emotion-infer`` over pictures: from the given paths to results and a summary."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from emotion_runtime import __version__
from emotion_runtime.atomic import name_in_errors
from emotion_runtime.errors import EmotionEdgeError, OutputError, PictureError, SourceError
from emotion_runtime.infer.blocks import Block, BlockFunction
from emotion_runtime.infer.photograph_hint import PhotographHint
from emotion_runtime.pictures.decoder_messages import silence_messages
from emotion_runtime.pictures.sources import expand_paths, find_pictures
from emotion_runtime.prediction import (
    NO_FACE,
    OTHER,
    UNCERTAIN,
    UNREADABLE,
    FacePrediction,
    Prediction,
    format_count,
)
from emotion_runtime.processes import map_adaptively
from emotion_runtime.results.output import abandon_stdout, open_output
from emotion_runtime.results.output_guard import OutputGuard
from emotion_runtime.results.progress import PictureTotal, report_progress
from emotion_runtime.results.writers import WRITERS

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.faces.classifier import FaceClassifier

_MAX_SINK_MESSAGES = 10  # errors of sinks that are shown; the others are counted
# Errors that the next picture would meet too.
_FATAL_ERRNOS = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Sink(Protocol):
    """Receives every prediction, beside the writer of the results."""

    def add(self, prediction: Prediction) -> None:
        """Receive one prediction."""

    def save(self) -> None:
        """Complete the output after the last prediction."""


@dataclass
class Job:
    """One run: the pictures to classify and the outputs to write.

    Attributes:
        classifier: Classifies whole pictures, or the faces in them.
        paths: Files, folders, patterns, and ``-`` for paths on standard input.
        say: Shows a message to the user.
        format_name: A name in `emotion_runtime.results.writers.WRITERS`.
        output: The file to write; None for standard output.
        batch_size: Number of pictures classified at a time.
        workers: Number of threads, or in a long run of worker processes; None for the number of
            CPUs that this process may use.
        can_start_processes: Whether a long run may start worker processes.
        resume: Continue an interrupted `output` of JSON lines.
        strict: End the run at the first picture that cannot be read.
        null: Paths on standard input end with a null byte.
        quiet: Show neither progress nor a summary.
        hint: Suggests ``--faces`` for photographs; None for no hint.
        notes: Returns further sentences for the end of the summary.
        sinks: Receive every prediction too.
        guard: Refuses pictures that are also outputs.
        settings: With `resume`: what the results depend on besides the model, by name.
    """

    classifier: EmotionClassifier | FaceClassifier
    paths: tuple[str, ...]
    say: Callable[[str], None]
    format_name: str = "table"
    output: Path | None = None
    batch_size: int = 32
    workers: int | None = None
    can_start_processes: bool = True
    resume: bool = False
    strict: bool = False
    null: bool = False
    quiet: bool = False
    hint: PhotographHint | None = None
    notes: Callable[[], list[str]] = list
    sinks: list[Sink] = field(default_factory=list)
    guard: OutputGuard | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._failed_folders = 0
        self._ignored_files = 0
        self._repeated_links = 0
        self._sink_failures = 0
        self._is_complete = False
        self._resumed_pictures = 0
        self._worker_notes: list[str] = []

    def run(self) -> bool:
        """Write a result for each picture, and return whether everything succeeded.

        Raises:
            OutputError: A result cannot be written, or an output is one of the pictures.
            PictureError: A picture cannot be read, and `strict` is set.
            SourceError: Standard input cannot be read.
        """
        pictures = find_pictures(
            _expand_paths(self.paths, null=self.null),
            on_error=self._note_failure,
            on_other=self._note_ignored,
            on_repeat=self._note_repeat,
        )
        if self.guard is not None:
            if "-" in self.paths:
                self.guard.check_standard_input()
            pictures = self.guard.check_all(pictures)
        try:
            with self._open_output() as (stream, skip_done):
                self._write_results(skip_done(pictures), stream)
            for sink in self.sinks:
                self._run_sink(sink.save)
        except BrokenPipeError:
            abandon_stdout()  # the reader, such as ``head``, has stopped reading
            return True
        self._show_summary()
        return not (self._failed_folders or self._sink_failures or self._counts[UNREADABLE])

    def _write_results(self, pictures: Iterator[str], stream: TextIO) -> None:
        """Classify the pictures and write their results.

        Raises:
            PictureError: A picture cannot be read, and `strict` is set.
        """
        if self.hint is not None:
            pictures = self.hint.inspect(pictures)
        blocks = map_adaptively(
            BlockFunction(
                self.classifier,
                self.format_name,
                keep_predictions=bool(self.sinks),
                strict=self.strict,
            ),
            pictures,
            batch_size=self.batch_size,
            workers=self.workers,
            can_look_ahead="-" not in self.paths,
            can_start=self.can_start_processes,
            initialise=silence_messages,
            notes=self._worker_notes,
        )
        with WRITERS[self.format_name](
            stream,
            self.classifier.labels,
            self.classifier.prediction_type,
            with_other=self.classifier.other_threshold is not None,
        ) as writer:
            for block in self._show_progress(blocks, stream):
                writer.write_text(block.text)
                self._counts.update(block.counts)
                for prediction in block.predictions:
                    writer.write(prediction)
                    self._receive(prediction)
                if block.error is not None:
                    raise PictureError(block.error)

    def _receive(self, prediction: Prediction) -> None:
        """Count a result, of this run or of the interrupted one, and pass it to the sinks."""
        self._counts[prediction.outcome] += 1
        for sink in self.sinks:
            self._run_sink(sink.add, prediction)

    def _run_sink(self, action: Callable[..., None], *arguments: Prediction) -> None:
        """Call a sink; an error that concerns one picture does not end the run."""
        try:
            action(*arguments)
        except OutputError as error:
            if getattr(error.__cause__, "errno", None) in _FATAL_ERRNOS:
                raise
            self._sink_failures += 1
            if self._sink_failures <= _MAX_SINK_MESSAGES:
                self.say(f"error: {error}")

    def _show_progress(self, blocks: Iterator[Block], stream: TextIO) -> Iterator[Block]:
        """Yield the results, and show the progress of the run on a terminal."""
        return report_progress(
            blocks,
            "pictures",
            stream,
            total=PictureTotal(self.paths),
            done=lambda: self._resumed_pictures,
            count=lambda block: block.pictures,
            quiet=self.quiet,
        )

    def _note_failure(self, error: EmotionEdgeError) -> None:
        self._failed_folders += 1
        self.say(f"error: {error}")

    def _note_ignored(self, _path: str) -> None:
        self._ignored_files += 1

    def _note_repeat(self, _path: str) -> None:
        self._repeated_links += 1

    def _show_summary(self) -> None:
        """Show what the run did."""
        if self._sink_failures > _MAX_SINK_MESSAGES:
            hidden = self._sink_failures - _MAX_SINK_MESSAGES
            self.say(f"error: {hidden:,} more outputs could not be written")
        if self.quiet:
            return
        if self._is_complete:
            self.say(f"{self.output}: complete already, nothing was classified")
        self.say(self._format_summary())
        hints = () if self.hint is None else self.hint.notes()
        for note in (*hints, *self.notes(), *self._worker_notes):
            self.say(note)

    def _format_summary(self) -> str:
        names = [*self.classifier.labels]
        names += [] if self.classifier.other_threshold is None else [OTHER]
        names += [UNCERTAIN] if self._counts[UNCERTAIN] else []
        labels = ", ".join(f"{name} {self._counts[name]:,}" for name in names)
        count, noun = self._counts.total(), "picture"
        if self.classifier.prediction_type is FacePrediction:
            count, noun = count - self._counts[NO_FACE] - self._counts[UNREADABLE], "face"
        text = f"{format_count(count, noun)}: {labels}"
        if self._counts[NO_FACE]:
            text += f"; {format_count(self._counts[NO_FACE], 'picture')} without a face"
        if self._counts[UNREADABLE]:
            text += f"; {self._counts[UNREADABLE]:,} could not be read"
        if self._sink_failures:
            text += f"; {format_count(self._sink_failures, 'output')} could not be written"
        if self._ignored_files:
            text += f"; {format_count(self._ignored_files, 'other file')} passed over"
        if self._repeated_links:
            text += f"; {format_count(self._repeated_links, 'link')} to folders visited already"
        return text

    @contextlib.contextmanager
    def _open_output(self) -> Iterator[tuple[TextIO, Callable[[Iterator[str]], Iterator[str]]]]:
        """Open the file of results, and yield it with a filter for the pictures to classify."""
        if self.output is None or not self.resume:
            with open_output(self.output) as stream:
                yield stream, _keep_all
            return
        from emotion_runtime.results.resumption import ResumableOutput

        resumable = ResumableOutput(
            self.output, self._collect_settings(), self.classifier.prediction_type
        )
        self._is_complete = resumable.complete
        self._resumed_pictures = resumable.done

        def skip_done(pictures: Iterator[str]) -> Iterator[str]:
            yield from resumable.skip_done(pictures, self._receive)
            # At the end, when all pictures that have a result have been compared.
            if resumable.changed:
                self.say(
                    f"warning: {format_count(resumable.changed, 'picture')} changed after the "
                    f"results of the earlier run were written (such as {resumable.first_changed}): "
                    f"these results are of the earlier content; remove the file of results to "
                    f"start again"
                )

        try:
            if resumable.complete:
                with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                    yield nowhere, skip_done
                return
            if resumable.done and not self.quiet:
                self.say(f"continuing after {format_count(resumable.done, 'picture')}")
            with name_in_errors(self.output), resumable.open() as stream:
                yield stream, skip_done
            resumable.finish()
        finally:
            resumable.close()

    def _collect_settings(self) -> dict[str, Any]:
        """Return what the results depend on, to be recorded with a resumable output."""
        from emotion_runtime.pictures.limits import PIXEL_LIMIT_VARIABLE

        return {
            "emotion-edge": __version__,
            # Of the bytes that were opened: the file may have been replaced since.
            "model_sha256": self.classifier.model_sha256,
            "labels": list(self.classifier.labels),
            "min_confidence": self.classifier.min_confidence,
            "other_threshold": self.classifier.other_threshold,
            "max_pixels": os.environ.get(PIXEL_LIMIT_VARIABLE),
            **self.settings,
        }


def _expand_paths(paths: tuple[str, ...], *, null: bool) -> Iterator[str]:
    """Expand `paths`.

    Raises:
        SourceError: Standard input is named and cannot be read.
    """
    stream = None if sys.stdin is None else sys.stdin.buffer
    if stream is None and "-" in paths:
        raise SourceError("standard input: cannot be read (it is closed).")
    try:
        yield from expand_paths(paths, stream or io.BytesIO(), null=null)
    except OSError as error:
        raise SourceError(f"standard input: cannot be read ({error.strerror}).") from error


def _keep_all(paths: Iterator[str]) -> Iterator[str]:
    """Return all pictures."""
    return paths
