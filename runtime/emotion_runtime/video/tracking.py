"""Tracks faces from frame to frame, and averages the probabilities of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.faces.detection import Box, compute_iou
from emotion_runtime.faces.finder import Face

_MIN_IOU = 0.3  # intersection over union of the boxes of one face in two frames


@dataclass
class Track:
    """One face over time.

    Attributes:
        number: Number of the face, from 1; never used twice.
        box: Last bounding box.
        seen: Time of that box, in seconds.
        probabilities: Averaged probabilities, float64 (classes,); with one more column for `other`
            in files that have this output.
        found: Time of the last detection, in seconds; later boxes are predicted.
        velocity: Velocity of the box's centre, x and y, in pixels a second.
    """

    number: int
    box: Box
    seen: float
    probabilities: NDArray[np.float64]
    found: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)

    def box_at(self, time: float) -> Box:
        """Return the box at a time, in seconds, predicted with constant velocity."""
        elapsed = time - self.seen
        x, y = self.box.x + self.velocity[0] * elapsed, self.box.y + self.velocity[1] * elapsed
        return Box(x, y, self.box.width, self.box.height)


class Tracker:
    """Matches the faces of each frame with those of earlier frames, by the overlap of their boxes.

    Boxes are predicted with constant velocity, so that faces may be detected in some of the frames
    only and tracked in between, with `follow`.

    Args:
        memory: Seconds after which a face that is not detected is forgotten.
        smoothing: Time constant of the exponential moving average of the probabilities, in
            seconds: after this time, a new expression has 63 % of the weight. 0 for no average.
    """

    def __init__(self, *, memory: float = 0.5, smoothing: float = 0.3) -> None:
        self._memory, self._smoothing = memory, smoothing
        self._tracks: list[Track] = []
        self._current: list[Track] = []  # of the last frame
        self.count = 0  # faces so far

    def update(
        self, time: float, faces: list[Face], probabilities: NDArray[np.float32]
    ) -> list[Track]:
        """Match the faces of a frame with the tracks, and update these.

        Args:
            time: Time of the frame in seconds; increases from call to call.
            faces: The faces detected in the frame.
            probabilities: float32 (faces, classes), with one more column for `other` where the file
                has this output.

        Returns:
            The updated track of each face, in the order of `faces`.
        """
        self._tracks = [one for one in self._tracks if time - one.seen <= self._memory]
        pairs = sorted(
            (
                (_compute_iou(track, time, _get_unclipped_box(face)), index, track_index)
                for index, face in enumerate(faces)
                for track_index, track in enumerate(self._tracks)
            ),
            reverse=True,
        )
        matches: dict[int, Track] = {}
        used: set[int] = set()
        for iou, index, track_index in pairs:  # the best pair first
            if iou >= _MIN_IOU and index not in matches and track_index not in used:
                matches[index] = self._tracks[track_index]
                used.add(track_index)
        current = []
        for index, face in enumerate(faces):
            new, box = probabilities[index].astype(np.float64), _get_unclipped_box(face)
            if index in matches:
                track = matches[index]
                self._average(track, time, new)
                self._move(track, time, box)
            else:
                self.count += 1
                track = Track(number=self.count, box=box, seen=time, probabilities=new, found=time)
                self._tracks.append(track)
            current.append(track)
        self._current = current
        return current

    def current(self) -> list[Track]:
        """Return the tracks of the faces in the last frame."""
        return list(self._current)

    def follow(self, time: float, tracks: list[Track], probabilities: NDArray[np.float32]) -> None:
        """Update tracks in a frame that was not searched, with their predicted boxes.

        Args:
            time: Time of the frame in seconds.
            tracks: Tracks of `current`; the others are no longer followed.
            probabilities: Probabilities at ``box_at(time)``, float32 (tracks, classes).
        """
        for track, new in zip(tracks, probabilities.astype(np.float64), strict=True):
            self._average(track, time, new)
            track.box, track.seen = track.box_at(time), time
        self._current = list(tracks)

    def _average(self, track: Track, time: float, new: NDArray[np.float64]) -> None:
        """Update the averaged probabilities of a track."""
        weight = self._compute_weight(time - track.seen)
        track.probabilities = track.probabilities + weight * (new - track.probabilities)

    def _move(self, track: Track, time: float, box: Box) -> None:
        """Update a track with a detected box, and estimate the velocity of its centre."""
        elapsed, expected = time - track.found, track.box_at(time)
        if elapsed > 0:
            # Half of the error of the predicted velocity, since detected boxes are noisy.
            x = (box.x + box.width / 2 - expected.x - expected.width / 2) / elapsed / 2
            y = (box.y + box.height / 2 - expected.y - expected.height / 2) / elapsed / 2
            track.velocity = track.velocity[0] + x, track.velocity[1] + y
        track.box, track.seen, track.found = box, time, time

    def _compute_weight(self, elapsed: float) -> float:
        """Return the weight of new probabilities after `elapsed` seconds."""
        return 1.0 - math.exp(-elapsed / self._smoothing) if self._smoothing > 0 else 1.0


def _compute_iou(track: Track, time: float, box: Box) -> float:
    """Return the overlap of a box with the last or the predicted box of a track, the larger one."""
    return max(compute_iou(track.box, box), compute_iou(track.box_at(time), box))


def _get_unclipped_box(face: Face) -> Box:
    """Return the box of a face before it was clipped to the frame."""
    return face.detected or face.box
