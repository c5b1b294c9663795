"""One run of ``emotion-infer --faces`` over videos or a camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.command_line.signals import Terminated
from emotion_runtime.drawing.fonts import Font
from emotion_runtime.errors import VideoError
from emotion_runtime.faces.finder import FaceFinder
from emotion_runtime.prediction import OTHER, UNCERTAIN, format_count
from emotion_runtime.results.output import abandon_stdout, opened_output
from emotion_runtime.results.output_guard import check_video_outputs
from emotion_runtime.results.progress import counting
from emotion_runtime.results.writers import WRITERS, Writer
from emotion_runtime.video.frames import Camera, VideoFile
from emotion_runtime.video.prediction import VideoPrediction, annotated, predict_frames
from emotion_runtime.video.tracking import Tracker


@dataclass
class VideoJob:
    """What to watch, and where the answers go.

    Attributes:
        classifier: The model.
        finder: What finds faces.
        sources: Video files, or one camera.
        say: Takes messages for a person.
        format_name: A name in `emotion_runtime.results.writers.WRITERS`.
        output: The file to write; None for standard output.
        annotate: The video with boxes and labels to write; of several videos, a folder.
        font: Draws the labels; None for the font that ships.
        largest: Keep the largest face of each frame alone.
        detect_every: Faces are looked for in the first of so many frames, and followed in the rest.
        strict: The first video that cannot be read ends the run.
        quiet: No progress, no summary.
    """

    classifier: EmotionClassifier
    finder: FaceFinder
    sources: Sequence[str | Camera]
    say: Callable[[str], None]
    format_name: str = "table"
    output: Path | None = None
    annotate: Path | None = None
    font: Font | None = None
    largest: bool = False
    detect_every: int = 1
    strict: bool = False
    quiet: bool = False
    _failed: bool = field(default=False, init=False)

    def run(self) -> bool:
        """Write a result for each face of each frame; say whether all went well.

        Raises:
            OutputError: A result cannot be written.
            VideoError: A video cannot be read, and `strict` is set; or OpenCV is missing.
        """
        check_video_outputs(self.sources, self.output, self.annotate)
        try:
            with opened_output(self.output) as stream:
                labels = self.classifier.labels
                has_other = self.classifier.other_threshold is not None
                open_writer = WRITERS[self.format_name]
                with open_writer(stream, labels, VideoPrediction, with_other=has_other) as writer:
                    for source in self.sources:
                        self._watch(source, writer, stream)
        except BrokenPipeError:
            abandon_stdout()  # the reader has seen enough (``| head``)
        if not self.quiet:
            for note in self.finder.notes("frame"):
                self.say(note)
        return not self._failed

    def _watch(self, source: str | Camera, writer: Writer, stream: TextIO) -> None:
        try:
            frames = VideoFile(source) if isinstance(source, str) else source
            self._write(frames, writer, stream)
        except VideoError as error:
            if self.strict:
                raise
            self._failed = True
            self.say(f"error: {error}")

    def _write(self, frames: VideoFile | Camera, writer: Writer, stream: TextIO) -> None:
        live = isinstance(frames, Camera)
        tracker, counts = Tracker(), Counter[str]()
        seen, last = 0, 0.0
        target = None
        if self.annotate is not None:
            several = len(self.sources) > 1
            target = self.annotate / Path(frames.name).name if several else self.annotate
            if several:
                self.annotate.mkdir(parents=True, exist_ok=True)
        found = predict_frames(
            self.classifier,
            self.finder,
            counting(frames, "frames", stream, total=frames.length, quiet=self.quiet),
            path=frames.name,
            largest=self.largest,
            tracker=tracker,
            detect_every=self.detect_every,
        )
        problem = None
        with annotated(target, frames, self.classifier.labels, self.font) as video:
            try:
                for frame, answers in found:
                    for answer in answers:
                        writer.write(answer)
                        counts[answer.outcome] += 1
                    if live:
                        stream.flush()  # somebody may be reacting to it
                    if video is not None:
                        video.add(frame, answers)
                    seen, last = seen + 1, frame.time
            except (KeyboardInterrupt, Terminated):
                if not live:
                    raise  # a file ends by itself; a camera ends so
            except VideoError as error:
                if not seen or self.strict:
                    raise
                problem = error  # what was there until then is kept
        if not self.quiet:
            self.say(self._summary(frames, seen, last, tracker.count, counts))
            for note in frames.notes:
                self.say(note)
            if self.detect_every > 1:
                self.say(
                    f"{frames.name}: faces were searched for in {_every(self.detect_every)} frame "
                    f"and followed in between; there detection_confidence is empty"
                )
            for note in [] if video is None else video.notes():
                self.say(f"{target}: {note}")
        if problem is not None:
            raise problem

    def _summary(
        self, frames: VideoFile | Camera, seen: int, last: float, faces: int, counts: Counter[str]
    ) -> str:
        total = counts.total()
        names = [*self.classifier.labels]
        names += [] if self.classifier.other_threshold is None else [OTHER]
        names += [UNCERTAIN] if counts[UNCERTAIN] else []
        parts = ", ".join(f"{name} {counts[name] / max(1, total):.0%}" for name in names)
        found = format_count(faces, "face")
        text = f"{frames.name}: {format_count(seen, 'frame')} in {last:.1f} s, {found}"
        if isinstance(frames, Camera) and frames.dropped:
            text += f", {format_count(frames.dropped, 'frame')} dropped"
        return f"{text}: {parts}" if total else text


def _every(number: int) -> str:
    """Return such as ``every 3rd``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"every {number}{ending or 'th'}"
