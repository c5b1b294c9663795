"""Predictions for the faces in the frames of a video or a camera, and annotated copies."""

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
from emotion_runtime.faces.classifier import FaceClassifier, add_face
from emotion_runtime.prediction import FacePrediction, Prediction, format_count
from emotion_runtime.video.frames import Camera, Frame, VideoFile, VideoWriter
from emotion_runtime.video.tracking import Track, Tracker

_MAX_PAUSE_SECONDS = 60.0  # longer pauses between frames are left out of a copy


@dataclass(frozen=True)
class VideoPrediction(FacePrediction):
    """The result of one face in one frame, averaged over the frames before.

    In a frame that was not searched (``--detect-every``), the box is predicted and
    `detection_confidence` is None.

    Attributes:
        time: Seconds since the first frame.
        frame: Number of the frame, from 0.
        face: Number of the face in the video, from 1.
    """

    COLUMNS = (*FacePrediction.COLUMNS, "time", "frame", "face")

    time: float = 0.0
    frame: int = 0
    face: int = 0

    def columns(self) -> dict[str, object]:
        """Return the values of `COLUMNS`."""
        return super().columns() | self._get_position()

    def to_dict(self, *, with_other: bool | None = None) -> dict[str, Any]:
        """Return the fields in the order of a JSON line."""
        return super().to_dict(with_other=with_other) | self._get_position()

    def _get_position(self) -> dict[str, Any]:
        return {"time": self.time, "frame": self.frame, "face": self.face}


def predict_frames(
    classifier: FaceClassifier,
    frames: Iterable[Frame],
    *,
    path: str | None = None,
    tracker: Tracker | None = None,
    detect_every: int = 1,
) -> Iterator[tuple[Frame, list[VideoPrediction]]]:
    """Find, classify and track the faces of each frame.

    Args:
        classifier: Finds and classifies the faces.
        frames: Frames in the order of their times.
        path: Path of the video, for the predictions.
        tracker: Tracks the faces and averages their probabilities; None for the default tracker.
        detect_every: Search for faces in one frame of this many, and track them in the others.
    """
    tracker = Tracker() if tracker is None else tracker
    for index, frame in enumerate(frames):
        is_searched = index % detect_every == 0
        if is_searched:
            faces = classifier.find(frame.pixels)
            outputs = classifier.compute(faces)
            tracks = tracker.update(frame.time, faces, outputs.with_other())
        else:
            expected = tracker.current()
            boxes = [track.box_at(frame.time) for track in expected]
            crops = classifier.crop(frame.pixels, boxes)
            pairs = [(track, face) for track, face in zip(expected, crops, strict=True) if face]
            tracks, faces = [track for track, _ in pairs], [face for _, face in pairs]
            tracker.follow(frame.time, tracks, classifier.compute(faces).with_other())
        predictions = []
        for face, track in zip(faces, tracks, strict=True):
            prediction = add_face(_interpret(classifier.classifier, track, path), face)
            if not is_searched:
                prediction = replace(prediction, detection_confidence=None)
            predictions.append(
                VideoPrediction(
                    **vars(prediction),
                    time=round(frame.time, 6),
                    frame=frame.number,
                    face=track.number,
                )
            )
        yield frame, predictions


def _interpret(classifier: EmotionClassifier, track: Track, path: str | None) -> Prediction:
    """Return the prediction for the averaged probabilities of a face."""
    averages = track.probabilities.astype(np.float32)
    # `other` is averaged as one more column.
    other = None if classifier.other_threshold is None else float(averages[-1])
    return classifier.interpret(averages[: len(classifier.labels)], path, other=other)


@contextlib.contextmanager
def open_annotated_video(
    path: Path | None,
    source: VideoFile | Camera,
    labels: tuple[str, ...],
    font: Font | None = None,
) -> Iterator[AnnotatedVideo | None]:
    """Open an annotated copy of a video, which is renamed to `path` when the block succeeds."""
    if path is None:
        yield None
        return
    with (
        write_atomically(path) as temporary,
        VideoWriter(temporary, source.copy_rate, path) as writer,
    ):
        yield AnnotatedVideo(writer, labels, font)


class AnnotatedVideo:
    """Draws the predictions of each frame into a copy of the video.

    The copy has a constant frame rate. To keep the times, frames are repeated where the source is
    slower, and left out where it is faster.

    Args:
        writer: Writes the frames.
        labels: The labels of the model.
        font: Draws the labels; None for the shipped font.
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

    def add(self, frame: Frame, predictions: list[VideoPrediction]) -> None:
        """Add a frame.

        Raises:
            OutputError: The video cannot be written.
        """
        if self._last is not None:
            # Frames until this one begins; a time stamp may be late by most of a frame.
            rate = self._writer.rate
            due = int((frame.time - self.left_out) * rate + 0.1) - self._writer.written
            if due > _MAX_PAUSE_SECONDS * rate:
                self.left_out += due / rate
                due = 0
            if due < -1:  # the copy is ahead by more than a frame
                self.too_fast += 1
                return
            for _ in range(due):
                self._writer.write(self._last)
                self.repeated += 1
        image = Image.fromarray(frame.pixels)
        draw_faces(image, predictions, self._labels, self._font)
        self._last = np.asarray(image)
        self._writer.write(self._last)

    def notes(self) -> list[str]:
        """Return how the copy differs from the source, as sentences."""
        frames = format_count(self._writer.written, "frame")
        text = f"{frames} without sound"
        if self.repeated:
            text += f", {self.repeated:,} of them repeated to keep the times"
        if self.too_fast:
            text += f", {format_count(self.too_fast, 'frame')} left out that came too fast for it"
        if self.left_out:
            text += f", pauses of {self.left_out:,.0f} s left out"
        return [text, *self._writer.notes]
