"""One run of ``emotion-infer --faces`` over videos or a camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from emotion_runtime.command_line.signals import Terminated
from emotion_runtime.drawing.fonts import Font
from emotion_runtime.errors import VideoError
from emotion_runtime.faces.classifier import FaceClassifier
from emotion_runtime.prediction import OTHER, UNCERTAIN, format_count
from emotion_runtime.results.output import abandon_stdout, open_output
from emotion_runtime.results.output_guard import check_video_outputs
from emotion_runtime.results.progress import report_progress
from emotion_runtime.results.writers import WRITERS, Writer
from emotion_runtime.video.frames import Camera, VideoFile
from emotion_runtime.video.prediction import VideoPrediction, open_annotated_video, predict_frames
from emotion_runtime.video.tracking import Tracker


@dataclass
class VideoJob:
    """One run: the videos to read and the outputs to write.

    Attributes:
        classifier: Finds and classifies the faces.
        sources: Video files, or one camera.
        say: Shows a message to the user.
        format_name: A name in `emotion_runtime.results.writers.WRITERS`.
        output: The file to write; None for standard output.
        annotate: The annotated video to write; for several videos, a folder.
        font: Draws the labels; None for the shipped font.
        detect_every: Search for faces in one frame of this many, and track them in the others.
        strict: End the run at the first video that cannot be read.
        quiet: Show neither progress nor a summary.
    """

    classifier: FaceClassifier
    sources: Sequence[str | Camera]
    say: Callable[[str], None]
    format_name: str = "table"
    output: Path | None = None
    annotate: Path | None = None
    font: Font | None = None
    detect_every: int = 1
    strict: bool = False
    quiet: bool = False
    _failed: bool = field(default=False, init=False)

    def run(self) -> bool:
        """Write a result for each face of each frame, and return whether everything succeeded.

        Raises:
            OutputError: A result cannot be written.
            VideoError: A video cannot be read, and `strict` is set; or OpenCV is missing.
        """
        check_video_outputs(self.sources, self.output, self.annotate)
        try:
            with open_output(self.output) as stream:
                labels = self.classifier.labels
                has_other = self.classifier.other_threshold is not None
                open_writer = WRITERS[self.format_name]
                with open_writer(stream, labels, VideoPrediction, with_other=has_other) as writer:
                    for source in self.sources:
                        self._process(source, writer, stream)
        except BrokenPipeError:
            abandon_stdout()  # the reader, such as ``head``, has stopped reading
        if not self.quiet:
            for note in self.classifier.finder.notes("frame"):
                self.say(note)
        return not self._failed

    def _process(self, source: str | Camera, writer: Writer, stream: TextIO) -> None:
        """Process one video; one that cannot be read does not end the run, unless `strict`."""
        try:
            frames = VideoFile(source) if isinstance(source, str) else source
            self._write_results(frames, writer, stream)
        except VideoError as error:
            if self.strict:
                raise
            self._failed = True
            self.say(f"error: {error}")

    def _write_results(self, frames: VideoFile | Camera, writer: Writer, stream: TextIO) -> None:
        """Write the results of one video, its annotated copy, and its summary."""
        is_live = isinstance(frames, Camera)
        tracker, counts = Tracker(), Counter[str]()
        count, last = 0, 0.0
        target = self._prepare_target(frames.name)
        results = predict_frames(
            self.classifier,
            report_progress(frames, "frames", stream, total=frames.length, quiet=self.quiet),
            path=frames.name,
            tracker=tracker,
            detect_every=self.detect_every,
        )
        problem = None
        with open_annotated_video(target, frames, self.classifier.labels, self.font) as video:
            try:
                for frame, predictions in results:
                    for prediction in predictions:
                        writer.write(prediction)
                        counts[prediction.outcome] += 1
                    if is_live:
                        stream.flush()  # a reader may react to it at once
                    if video is not None:
                        video.add(frame, predictions)
                    count, last = count + 1, frame.time
            except (KeyboardInterrupt, Terminated):
                if not is_live:
                    raise  # this is how a camera ends, not how a file ends
            except VideoError as error:
                if not count or self.strict:
                    raise
                problem = error  # the results until then are kept
        if not self.quiet:
            self.say(self._format_summary(frames, count, last, tracker.count, counts))
            for note in frames.notes:
                self.say(note)
            if self.detect_every > 1:
                self.say(
                    f"{frames.name}: faces were searched for in {_format_every(self.detect_every)} "
                    f"frame and tracked in between; there detection_confidence is empty"
                )
            for note in [] if video is None else video.notes():
                self.say(f"{target}: {note}")
        if problem is not None:
            raise problem

    def _prepare_target(self, name: str) -> Path | None:
        """Return the path of the annotated copy of a video, and create its folder."""
        if self.annotate is None or len(self.sources) == 1:
            return self.annotate
        self.annotate.mkdir(parents=True, exist_ok=True)
        return self.annotate / Path(name).name

    def _format_summary(
        self, frames: VideoFile | Camera, count: int, last: float, faces: int, counts: Counter[str]
    ) -> str:
        total = counts.total()
        names = [*self.classifier.labels]
        names += [] if self.classifier.other_threshold is None else [OTHER]
        names += [UNCERTAIN] if counts[UNCERTAIN] else []
        parts = ", ".join(f"{name} {counts[name] / max(1, total):.0%}" for name in names)
        found = format_count(faces, "face")
        text = f"{frames.name}: {format_count(count, 'frame')} in {last:.1f} s, {found}"
        if isinstance(frames, Camera) and frames.dropped:
            text += f", {format_count(frames.dropped, 'frame')} dropped"
        return f"{text}: {parts}" if total else text


def _format_every(number: int) -> str:
    """Return an ordinal such as ``every 3rd``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"every {number}{ending or 'th'}"
