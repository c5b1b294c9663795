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
    """

    number: int
    box: Box
    seen: float
    probabilities: NDArray[np.float64]


class Tracker:
    """Joins each frame's faces to those of the frames before, by the overlap of their boxes.

    Args:
        memory: Seconds after which a face that is not seen is forgotten.
        smoothing: Time constant of the exponential average over probabilities, in seconds:
            after that long, a new expression has 63 % of the weight. 0 turns it off.
    """

    def __init__(self, *, memory: float = 0.5, smoothing: float = 0.3) -> None:
        self._memory, self._smoothing = memory, smoothing
        self._tracks: list[Track] = []
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
                (overlap(track.box, face.box), place, at)
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
                share = self._share(time - track.seen)
                track.probabilities = track.probabilities + share * (new - track.probabilities)
                track.box, track.seen = face.box, time
            else:
                self.count += 1
                track = Track(self.count, face.box, time, new)
                self._tracks.append(track)
            result.append(track)
        return result

    def _share(self, elapsed: float) -> float:
        """Return the weight of what is new after `elapsed` seconds."""
        return 1.0 - math.exp(-elapsed / self._smoothing) if self._smoothing > 0 else 1.0
