"""Faces over time: a video or a camera in, a prediction for each face of each frame out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.atomic import write_atomically
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.drawing.boxes import draw_faces
from emotion_runtime.drawing.fonts import Font
from emotion_runtime.faces.classification import face_outputs, of_face
from emotion_runtime.faces.finder import FaceFinder
from emotion_runtime.prediction import FacePrediction, format_count
from emotion_runtime.video.frames import Camera, Frame, VideoFile, VideoWriter
from emotion_runtime.video.tracking import Tracker

_LONGEST_PAUSE = 60.0  # seconds: a longer one is not repeated frame by frame


@dataclass(frozen=True)
class VideoPrediction(FacePrediction):
    """What the network says of one face in one frame, steadied by the frames before.

    In a frame that was not searched (``--detect-every``), the box is where the face is expected,
    and `detection_confidence` is None.

    Attributes:
        time: Seconds since the first frame.
        frame: Its number, from 0 on.
        face: Which face of the video it is, from 1 on.
    """

    COLUMNS = (*FacePrediction.COLUMNS, "time", "frame", "face")

    time: float = 0.0
    frame: int = 0
    face: int = 0

    def columns(self) -> dict[str, object]:
        """Return the box, the detector's confidence, and when."""
        return super().columns() | self._when()

    def to_dict(self, *, with_other: bool | None = None) -> dict[str, Any]:
        """Return the fields in the order of a JSON line."""
        return super().to_dict(with_other=with_other) | self._when()

    def _when(self) -> dict[str, Any]:
        return {"time": self.time, "frame": self.frame, "face": self.face}


def predict_frames(
    classifier: EmotionClassifier,
    finder: FaceFinder,
    frames: Iterable[Frame],
    *,
    path: str | None = None,
    largest: bool = False,
    tracker: Tracker | None = None,
    detect_every: int = 1,
) -> Iterator[tuple[Frame, list[VideoPrediction]]]:
    """Find, classify and follow the faces of each frame.

    Args:
        classifier: The model.
        finder: What finds faces.
        frames: In the order of their times.
        path: What the predictions name as their source.
        largest: Keep the largest face of each frame alone.
        tracker: Follows and steadies; None for the default one.
        detect_every: Faces are looked for in the first of so many frames, and followed in the
            others.
    """
    tracker = Tracker() if tracker is None else tracker
    size = classifier.contract.input.size
    for place, frame in enumerate(frames):
        if place % detect_every == 0:
            faces = finder.find(frame.pixels, size, largest=largest)
            tracks = tracker.update(frame.time, faces, face_outputs(classifier, faces).with_other())
        else:
            expected = tracker.current()
            cut = finder.cut(frame.pixels, [one.box_at(frame.time) for one in expected], size)
            both = [pair for pair in zip(expected, cut, strict=True) if pair[1] is not None]
            tracks, faces = [track for track, _ in both], [face for _, face in both if face]
            tracker.follow(frame.time, tracks, face_outputs(classifier, faces).with_other())
        answers = []
        for face, track in zip(faces, tracks, strict=True):
            shares = track.probabilities.astype(np.float32)
            # `other` is smoothed as one column more.
            other = None if classifier.other_threshold is None else float(shares[-1])
            steady = classifier.interpret(shares[: len(classifier.labels)], path, other=other)
            found = of_face(steady, face)
            if place % detect_every:
                found = replace(found, detection_confidence=None)
            answers.append(
                VideoPrediction(
                    **vars(found),
                    time=round(frame.time, 6),
                    frame=frame.number,
                    face=track.number,
                )
            )
        yield frame, answers


@contextlib.contextmanager
def annotated(
    path: Path | None,
    source: VideoFile | Camera,
    labels: tuple[str, ...],
    font: Font | None = None,
) -> Iterator[AnnotatedVideo | None]:
    """Open the video with boxes and labels, which gets its name when the block succeeds."""
    if path is None:
        yield None
        return
    with (
        write_atomically(path) as temporary,
        VideoWriter(temporary, source.copy_rate, path) as writer,
    ):
        yield AnnotatedVideo(writer, labels, font)


class AnnotatedVideo:
    """Draws what was said of each frame into a copy of it.

    The copy has as many frames in each second. Where those of the source come more slowly, they
    are repeated, and where they come faster, some are left out, so that the copy keeps the times.

    Args:
        writer: Where frames go.
        labels: The model's.
        font: Draws the labels; None for the font that ships.
    """

    def __init__(
        self, writer: VideoWriter, labels: tuple[str, ...], font: Font | None = None
    ) -> None:
        self._writer, self._labels = writer, labels
        self._font = Font() if font is None else font
        self._last: NDArray[np.uint8] | None = None
        self.repeated = 0  # frames
        self.left_out = 0.0  # seconds
        self.too_fast = 0  # frames

    def add(self, frame: Frame, answers: list[VideoPrediction]) -> None:
        """Add a frame.

        Raises:
            OutputError: The video cannot be written.
        """
        if self._last is not None:
            # Until the frame before ends; a time stamp may be late by most of a frame.
            rate = self._writer.rate
            due = int((frame.time - self.left_out) * rate + 0.1) - self._writer.written
            if due > _LONGEST_PAUSE * rate:
                self.left_out += due / rate
                due = 0
            if due < -1:  # the copy is ahead by more than a frame
                self.too_fast += 1
                return
            for _ in range(due):
                self._writer.write(self._last)
                self.repeated += 1
        image = Image.fromarray(frame.pixels)
        draw_faces(image, answers, self._labels, self._font)
        self._last = np.asarray(image)
        self._writer.write(self._last)

    def notes(self) -> list[str]:
        """Say how the copy differs from the source."""
        frames = format_count(self._writer.written, "frame")
        text = f"{frames} without sound"
        if self.repeated:
            text += f", {self.repeated:,} of them repeated to keep the times"
        if self.too_fast:
            text += f", {format_count(self.too_fast, 'frame')} left out that came too fast for it"
        if self.left_out:
            text += f", pauses of {self.left_out:,.0f} s left out"
        return [text, *self._writer.notes]
