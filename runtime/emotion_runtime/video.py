"""Faces over time: a video or a camera in, a prediction for each face of each frame out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from emotion_runtime.annotation import draw_faces
from emotion_runtime.atomic import replacing
from emotion_runtime.classifier import EmotionClassifier
from emotion_runtime.faces import FaceFinder
from emotion_runtime.frames import Camera, Frame, VideoFile, VideoWriter
from emotion_runtime.pipeline import face_probabilities, of_face
from emotion_runtime.prediction import FacePrediction
from emotion_runtime.tracking import Tracker


@dataclass(frozen=True)
class VideoPrediction(FacePrediction):
    """What the network says of one face in one frame, steadied by the frames before.

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
        when = {"time": self.time, "frame": self.frame, "face": self.face}
        return super().columns() | when


def predict_frames(
    classifier: EmotionClassifier,
    finder: FaceFinder,
    frames: Iterable[Frame],
    *,
    path: str | None = None,
    largest: bool = False,
    tracker: Tracker | None = None,
) -> Iterator[tuple[Frame, list[VideoPrediction]]]:
    """Find, classify and follow the faces of each frame.

    Args:
        classifier: The model.
        finder: What finds faces.
        frames: In the order of their times.
        path: What the predictions name as their source.
        largest: Keep the largest face of each frame alone.
        tracker: Follows and steadies; None for the default one.
    """
    tracker = Tracker() if tracker is None else tracker
    for frame in frames:
        faces = finder.find(frame.pixels, classifier.contract.input.size, largest=largest)
        tracks = tracker.update(frame.time, faces, face_probabilities(classifier, faces))
        answers = []
        for face, track in zip(faces, tracks, strict=True):
            steady = classifier.interpret(track.probabilities.astype(np.float32), path)
            answers.append(
                VideoPrediction(
                    **vars(of_face(steady, face)),
                    time=round(frame.time, 6),
                    frame=frame.number,
                    face=track.number,
                )
            )
        yield frame, answers


@contextlib.contextmanager
def annotated(
    path: Path | None, source: VideoFile | Camera, labels: tuple[str, ...]
) -> Iterator[AnnotatedVideo | None]:
    """Open the video with boxes and labels, which gets its name when the block succeeds."""
    if path is None:
        yield None
        return
    with replacing(path) as temporary, VideoWriter(temporary, source.rate) as writer:
        yield AnnotatedVideo(writer, labels)


class AnnotatedVideo:
    """Draws what was said of each frame into a copy of it.

    Args:
        writer: Where frames go.
        labels: The model's.
    """

    def __init__(self, writer: VideoWriter, labels: tuple[str, ...]) -> None:
        self._writer, self._labels = writer, labels

    def add(self, frame: Frame, answers: list[VideoPrediction]) -> None:
        """Add a frame."""
        image = Image.fromarray(frame.pixels)
        draw_faces(image, answers, self._labels)
        self._writer.write(np.asarray(image))
