"""One run of ``emotion-infer``: from the paths a user named to results and a summary."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from emotion_runtime.atomic import naming
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.errors import EmotionEdgeError, PictureError
from emotion_runtime.output import abandon_stdout, opened_output
from emotion_runtime.prediction import (
    NO_FACE,
    UNCERTAIN,
    UNREADABLE,
    FacePrediction,
    Prediction,
    counted,
)
from emotion_runtime.preprocessing import photograph_size
from emotion_runtime.progress import counting
from emotion_runtime.sources import expand, find_pictures
from emotion_runtime.writers import WRITERS

if TYPE_CHECKING:
    from emotion_runtime.faces import FaceFinder

_PHOTOGRAPHS = 8  # most of a batch: each keeps a worker busy for some hundredths of a second
_LOOKED_AT = 8  # pictures whose shape is looked at for the hint


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
        format_name: A name in `emotion_runtime.writers.WRITERS`.
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

    def __post_init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._hint = ""
        self._failures = 0
        self._passed_over = 0
        self._repeats = 0

    def run(self) -> bool:
        """Write a result for each picture; say whether all went well.

        Raises:
            OutputError: A result cannot be written.
            PictureError: A picture cannot be read, and `strict` was asked for.
        """
        pictures = find_pictures(
            expand(self.paths, sys.stdin.buffer, null=self.null),
            on_error=self._note_failure,
            on_other=self._note_other,
            on_repeat=self._note_repeat,
        )
        try:
            with self._opened() as (stream, skip):
                predictions, kind = self._predictions(skip(pictures))
                with WRITERS[self.format_name](stream, self.classifier.labels, kind) as writer:
                    what = "pictures" if self.finder is None else "faces"
                    for prediction in counting(predictions, what, stream, quiet=self.quiet):
                        if self.strict and prediction.error is not None:
                            raise PictureError(prediction.error)
                        writer.write(prediction)
                        for sink in self.sinks:
                            sink.add(prediction)
                        self._counts[prediction.outcome] += 1
            for sink in self.sinks:
                sink.save()
        except BrokenPipeError:
            abandon_stdout()  # the reader has seen enough (``| head``)
            return True
        if not self.quiet:
            self.say(self._summary())
            if self._hint:
                self.say(self._hint)
            for note in [] if self.finder is None else self.finder.notes():
                self.say(note)
        return not self._failures and not self._counts[UNREADABLE]

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
            if not self._hint and (size := photograph_size(picture)):
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
        names = [*self.classifier.labels, *([UNCERTAIN] if self._counts[UNCERTAIN] else [])]
        labels = ", ".join(f"{name} {self._counts[name]:,}" for name in names)
        if self.finder is None:
            text = f"{counted(total, 'picture')}: {labels}"
        else:
            faces = total - self._counts[NO_FACE] - self._counts[UNREADABLE]
            text = f"{counted(faces, 'face')}: {labels}"
            if self._counts[NO_FACE]:
                text += f"; {counted(self._counts[NO_FACE], 'picture')} without a face"
        if self._counts[UNREADABLE]:
            text += f"; {self._counts[UNREADABLE]:,} could not be read"
        if self._passed_over:
            text += f"; {self._passed_over:,} other files passed over"
        if self._repeats:
            text += f"; {counted(self._repeats, 'link')} to folders visited already"
        return text

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[TextIO, Callable[[Iterator[str]], Iterator[str]]]]:
        """Open where results go, with what leaves out the pictures that have theirs already."""
        if self.output is not None and self.resume:
            from emotion_runtime.resumption import ResumableOutput

            resumable = ResumableOutput(self.output, grouped=self.finder is not None)
            if resumable.done and not self.quiet:
                self.say(f"going on after {resumable.done:,} pictures")
            with naming(self.output), resumable.open() as stream:
                yield stream, resumable.skip_done
            resumable.finish()
        else:
            with opened_output(self.output) as stream:
                yield stream, _all


def _all(paths: Iterator[str]) -> Iterator[str]:
    """Leave nothing out."""
    return paths
