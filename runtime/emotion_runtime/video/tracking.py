"""Follows faces from frame to frame, and steadies what is said of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.faces.detection import Box, overlap
from emotion_runtime.faces.finder import Face

_SAME = 0.3  # overlap of two boxes, one frame apart, that are one face


@dataclass
class Track:
    """One face over time.

    Attributes:
        number: Its name, from 1 on; never given again.
        box: Where it was last.
        seen: When that was, in seconds.
        probabilities: Of every class, float64 (classes,), smoothed; with a column more for
            `other` in files that have it.
        found: When it was found last, in seconds; later boxes are predicted.
        velocity: Of the box's centre, in pixels a second: x and y.
    """

    number: int
    box: Box
    seen: float
    probabilities: NDArray[np.float64]
    found: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)

    def box_at(self, time: float) -> Box:
        """Return where the face is, if it has moved on at constant velocity."""
        elapsed = time - self.seen
        x, y = self.box.x + self.velocity[0] * elapsed, self.box.y + self.velocity[1] * elapsed
        return Box(x, y, self.box.width, self.box.height)


class Tracker:
    """Joins each frame's faces to those of the frames before, by the overlap of their boxes.

    A face is expected where constant velocity takes it, so that faces may also be found in some
    of the frames alone and followed in between, by `follow`.

    Args:
        memory: Seconds after which a face that is not seen is forgotten.
        smoothing: Time constant of the exponential average over probabilities, in seconds:
            after that long, a new expression has 63 % of the weight. 0 turns it off.
    """

    def __init__(self, *, memory: float = 0.5, smoothing: float = 0.3) -> None:
        self._memory, self._smoothing = memory, smoothing
        self._tracks: list[Track] = []
        self._current: list[Track] = []  # of the last frame in which faces were looked for
        self.count = 0  # of faces so far

    def update(
        self, time: float, faces: list[Face], probabilities: NDArray[np.float32]
    ) -> list[Track]:
        """Take one frame.

        Args:
            time: Seconds since the beginning; grows from call to call.
            faces: What was found in it.
            probabilities: Of every class, float32 (faces, classes), and of `other` where the file
                has it.

        Returns:
            One track for each face, in their order, brought up to date.
        """
        self._tracks = [one for one in self._tracks if time - one.seen <= self._memory]
        pairs = sorted(
            (
                (_agreement(track, time, _whole(face)), place, at)
                for place, face in enumerate(faces)
                for at, track in enumerate(self._tracks)
            ),
            reverse=True,
        )
        taken: dict[int, Track] = {}
        used: set[int] = set()
        for shared, place, at in pairs:  # the best pair first
            if shared >= _SAME and place not in taken and at not in used:
                taken[place] = self._tracks[at]
                used.add(at)
        result = []
        for place, face in enumerate(faces):
            new = probabilities[place].astype(np.float64)
            if place in taken:
                track = taken[place]
                self._average(track, time, new)
                self._move(track, time, _whole(face))
            else:
                self.count += 1
                track = Track(self.count, _whole(face), time, new, time)
                self._tracks.append(track)
            result.append(track)
        self._current = result
        return result

    def current(self) -> list[Track]:
        """Return the faces of the last frame in which faces were looked for."""
        return list(self._current)

    def follow(self, time: float, tracks: list[Track], probabilities: NDArray[np.float32]) -> None:
        """Move faces on to where constant velocity takes them, in a frame that was not searched.

        Args:
            time: Of the frame, in seconds.
            tracks: Of `current`; others are no longer followed.
            probabilities: What was classified at ``box_at(time)``, float32 (tracks, classes).
        """
        for track, new in zip(tracks, probabilities.astype(np.float64), strict=True):
            self._average(track, time, new)
            track.box, track.seen = track.box_at(time), time
        self._current = list(tracks)

    def _average(self, track: Track, time: float, new: NDArray[np.float64]) -> None:
        """Bring the probabilities of a track up to date."""
        share = self._share(time - track.seen)
        track.probabilities = track.probabilities + share * (new - track.probabilities)

    def _move(self, track: Track, time: float, box: Box) -> None:
        """Take a box that was found, and learn the velocity of its centre."""
        elapsed, expected = time - track.found, track.box_at(time)
        if elapsed > 0:
            # Half of what the velocity was off by: boxes tremble.
            x = (box.x + box.width / 2 - expected.x - expected.width / 2) / elapsed / 2
            y = (box.y + box.height / 2 - expected.y - expected.height / 2) / elapsed / 2
            track.velocity = track.velocity[0] + x, track.velocity[1] + y
        track.box, track.seen, track.found = box, time, time

    def _share(self, elapsed: float) -> float:
        """Return the weight of what is new after `elapsed` seconds."""
        return 1.0 - math.exp(-elapsed / self._smoothing) if self._smoothing > 0 else 1.0


def _agreement(track: Track, time: float, box: Box) -> float:
    """Return the overlap of a box with where a face was, or is expected, whichever is more."""
    return max(overlap(track.box, box), overlap(track.box_at(time), box))


def _whole(face: Face) -> Box:
    """Return the box before it was clipped to the frame."""
    return face.detected or face.box
