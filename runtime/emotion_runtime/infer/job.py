"""One run of ``emotion-infer``: from the paths a user named to results and a summary."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from emotion_runtime import __version__
from emotion_runtime.atomic import name_in_errors
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.errors import EmotionEdgeError, OutputError, PictureError, SourceError
from emotion_runtime.pictures.preprocessing import find_photograph_size
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
from emotion_runtime.results.output import abandon_stdout, opened_output
from emotion_runtime.results.output_guard import OutputGuard
from emotion_runtime.results.progress import PictureTotal, counting
from emotion_runtime.results.writers import WRITERS

if TYPE_CHECKING:
    from emotion_runtime.faces.finder import FaceFinder

_PHOTOGRAPHS = 8  # most of a batch: each keeps a worker busy for some hundredths of a second
_LOOKED_AT = 8  # pictures whose shape is looked at for the hint
_SINK_MESSAGES = 10  # most pictures named that could not be sorted or annotated
# What the next picture would meet too.
_HOPELESS = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Sink(Protocol):
    """What else is done with each prediction."""

    def add(self, prediction: Prediction) -> None:
        """Take one prediction."""

    def save(self) -> None:
        """Finish what was begun."""


@dataclass
class Job:
    """What to classify, and where the answers go.

    Attributes:
        classifier: The model.
        paths: Files, folders, patterns, and ``-`` for paths on standard input.
        say: Takes messages for a person.
        format_name: A name in `emotion_runtime.results.writers.WRITERS`.
        output: The file to write; None for standard output.
        batch_size: Pictures classified at a time.
        workers: Threads that read and infer; None for the CPUs that this process may use.
        resume: Go on with an interrupted `output` of JSON lines.
        strict: The first picture that cannot be read ends the run.
        null: Paths on standard input end with a null byte.
        quiet: No progress, no summary.
        finder: What finds the faces within each picture; None takes each picture for a face.
        largest: With a finder: keep the largest face of each picture alone.
        keep_crops: With a finder: give the sinks what the network saw of each face.
        sinks: What else is done with each prediction.
        guard: Compares each picture with the outputs, which must be other files.
        settings: With `resume`: what the results depend on beside the model, by name.
    """

    classifier: EmotionClassifier
    paths: tuple[str, ...]
    say: Callable[[str], None]
    format_name: str = "table"
    output: Path | None = None
    batch_size: int = 32
    workers: int | None = None
    resume: bool = False
    strict: bool = False
    null: bool = False
    quiet: bool = False
    finder: FaceFinder | None = None
    largest: bool = False
    keep_crops: bool = False
    sinks: list[Sink] = field(default_factory=list)
    guard: OutputGuard | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._hint = ""
        self._failures = 0
        self._passed_over = 0
        self._repeats = 0
        self._sink_failures = 0
        self._complete = False
        self._kept = 0

    def run(self) -> bool:
        """Write a result for each picture; say whether all went well.

        Raises:
            OutputError: A result cannot be written, or an output is one of the pictures.
            PictureError: A picture cannot be read, and `strict` is set.
            SourceError: Standard input cannot be read.
        """
        pictures = find_pictures(
            _expanded(self.paths, null=self.null),
            on_error=self._note_failure,
            on_other=self._note_other,
            on_repeat=self._note_repeat,
        )
        if self.guard is not None:
            if "-" in self.paths:
                self.guard.check_standard_input()
            pictures = self.guard.checked(pictures)
        try:
            with self._opened() as (stream, skip):
                predictions, kind = self._predictions(skip(pictures))
                with WRITERS[self.format_name](
                    stream,
                    self.classifier.labels,
                    kind,
                    with_other=self.classifier.other_threshold is not None,
                ) as writer:
                    for prediction in self._shown(predictions, stream):
                        if self.strict and prediction.error is not None:
                            raise PictureError(prediction.error)
                        writer.write(prediction)
                        self._take(prediction)
            for sink in self.sinks:
                self._guarded(sink.save)
        except BrokenPipeError:
            abandon_stdout()  # the reader has seen enough (``| head``)
            return True
        if self._sink_failures > _SINK_MESSAGES:
            self.say(
                f"error: {self._sink_failures - _SINK_MESSAGES:,} more outputs could not be written"
            )
        if not self.quiet:
            if self._complete:
                self.say(f"{self.output}: complete already, nothing was classified")
            self.say(self._summary())
            if self._hint:
                self.say(self._hint)
            for note in [] if self.finder is None else self.finder.notes():
                self.say(note)
        return not (self._failures or self._sink_failures or self._counts[UNREADABLE])

    def _take(self, prediction: Prediction) -> None:
        """Count a result, of this run or one that an interrupted run left, and pass it on."""
        self._counts[prediction.outcome] += 1
        for sink in self.sinks:
            self._guarded(sink.add, prediction)

    def _guarded(self, action: Callable[..., None], *arguments: Prediction) -> None:
        """Let one picture that cannot be sorted or annotated not end the run."""
        try:
            action(*arguments)
        except OutputError as error:
            if getattr(error.__cause__, "errno", None) in _HOPELESS:
                raise
            self._sink_failures += 1
            if self._sink_failures <= _SINK_MESSAGES:
                self.say(f"error: {error}")

    def _shown(self, predictions: Iterator[Prediction], stream: TextIO) -> Iterator[Prediction]:
        """Show on a terminal how far the run is."""
        return counting(
            predictions,
            "pictures",
            stream,
            total=PictureTotal(self.paths),
            done=lambda: self._kept,
            name=lambda prediction: prediction.path,
            quiet=self.quiet,
        )

    def _predictions(
        self, pictures: Iterator[str]
    ) -> tuple[Iterator[Prediction], type[Prediction]]:
        """Start the work; say which kind of answers it gives."""
        if self.finder is None:
            answers = self.classifier.predict_many(
                self._looked_at(pictures), batch_size=self.batch_size, workers=self.workers
            )
            return answers, Prediction
        faces = self.classifier.predict_faces_many(
            pictures,
            finder=self.finder,
            largest=self.largest,
            batch_size=min(self.batch_size, _PHOTOGRAPHS),
            workers=self.workers,
            keep_crops=self.keep_crops,
        )
        return faces, FacePrediction

    def _looked_at(self, pictures: Iterator[str]) -> Iterator[str]:
        """See whether the first pictures are face crops at all; a photograph gets a hint."""
        for picture in islice(pictures, _LOOKED_AT):
            if not self._hint and (size := find_photograph_size(picture)):
                self._hint = (
                    f"hint: {picture} is {size[0]}×{size[1]} pixels; where pictures are whole "
                    f"photographs, --faces finds the faces in them"
                )
            yield picture
        yield from pictures

    def _note_failure(self, error: EmotionEdgeError) -> None:
        self._failures += 1
        self.say(f"error: {error}")

    def _note_other(self, _path: str) -> None:
        self._passed_over += 1

    def _note_repeat(self, _path: str) -> None:
        self._repeats += 1

    def _summary(self) -> str:
        total = self._counts.total()
        names = [*self.classifier.labels]
        names += [] if self.classifier.other_threshold is None else [OTHER]
        names += [UNCERTAIN] if self._counts[UNCERTAIN] else []
        labels = ", ".join(f"{name} {self._counts[name]:,}" for name in names)
        if self.finder is None:
            text = f"{format_count(total, 'picture')}: {labels}"
        else:
            faces = total - self._counts[NO_FACE] - self._counts[UNREADABLE]
            text = f"{format_count(faces, 'face')}: {labels}"
            if self._counts[NO_FACE]:
                text += f"; {format_count(self._counts[NO_FACE], 'picture')} without a face"
        if self._counts[UNREADABLE]:
            text += f"; {self._counts[UNREADABLE]:,} could not be read"
        if self._sink_failures:
            text += f"; {format_count(self._sink_failures, 'output')} could not be written"
        if self._passed_over:
            text += f"; {format_count(self._passed_over, 'other file')} passed over"
        if self._repeats:
            text += f"; {format_count(self._repeats, 'link')} to folders visited already"
        return text

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[TextIO, Callable[[Iterator[str]], Iterator[str]]]]:
        """Open where results go, with what leaves out the pictures that have theirs already."""
        if self.output is None or not self.resume:
            with opened_output(self.output) as stream:
                yield stream, _all
            return
        from emotion_runtime.results.resumption import ResumableOutput

        kind = Prediction if self.finder is None else FacePrediction
        resumable = ResumableOutput(self.output, self._settings(), kind)
        self._complete = resumable.complete
        self._kept = resumable.done

        def skip(pictures: Iterator[str]) -> Iterator[str]:
            yield from resumable.skip_done(pictures, self._take)
            # Told at the end: who goes through the pictures has passed over those that are kept.
            if resumable.changed:
                self.say(
                    f"warning: {format_count(resumable.changed, 'picture')} changed after the "
                    f"results of the earlier run were written (such as {resumable.first_changed}): "
                    f"these results are of the earlier content; remove the file of results to "
                    f"begin anew"
                )

        try:
            if resumable.complete:
                with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                    yield nowhere, skip
                return
            if resumable.done and not self.quiet:
                self.say(f"going on after {resumable.done:,} pictures")
            with name_in_errors(self.output), resumable.open() as stream:
                yield stream, skip
            resumable.finish()
        finally:
            resumable.close()

    def _settings(self) -> dict[str, Any]:
        """Return what the results depend on, as it is kept with a resumable output."""
        from emotion_runtime.pictures.limits import PIXEL_LIMIT_VARIABLE

        return {
            "emotion-edge": __version__,
            # Of the bytes that were opened: the file may be another one by now.
            "model_sha256": self.classifier.model_sha256,
            "labels": list(self.classifier.labels),
            "min_confidence": self.classifier.min_confidence,
            "other_threshold": self.classifier.other_threshold,
            "max_pixels": os.environ.get(PIXEL_LIMIT_VARIABLE),
            **self.settings,
        }


def _expanded(paths: tuple[str, ...], *, null: bool) -> Iterator[str]:
    """Expand `paths`; what the system says of a bad standard input becomes a sentence."""
    stream = None if sys.stdin is None else sys.stdin.buffer
    if stream is None and "-" in paths:
        raise SourceError("standard input: cannot be read (it is closed).")
    try:
        yield from expand_paths(paths, stream or io.BytesIO(), null=null)
    except OSError as error:
        raise SourceError(f"standard input: cannot be read ({error.strerror}).") from error


def _all(paths: Iterator[str]) -> Iterator[str]:
    """Leave nothing out."""
    return paths
