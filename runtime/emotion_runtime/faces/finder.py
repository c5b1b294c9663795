"""From a photograph to faces that look as the training faces do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.faces.detection import Box, Detection, Detector, checked, clipped, distinct
from emotion_runtime.faces.detectors import open_detector
from emotion_runtime.faces.tally import Tally
from emotion_runtime.pictures.preprocessing import (
    FACE_SIZE,
    Picture,
    Pixels,
    process_picture,
    reduce_jpeg,
    to_rgb,
    turn_upright,
)
from emotion_runtime.prediction import format_count

# FER2013's square against the box that RetinaFace draws around its faces, measured on 900 of its
# training faces (enlarged, their edges drawn on): side over the box's geometric mean, median 1.13,
# and centres within 0.3 % of the side of each other.
FRAMING = 1.13

_ONE_LOOK = 640  # pixels of the long side: up to there one look finds small and large faces
_OVERVIEW = 320  # of the last look, that finds what is too large in the others
_LEAST = 160  # smaller pictures are enlarged to this
_SURE_HEIGHT = 32  # pixels: of 20 to 25 the detector finds half, from 30 on 94 % (crowds: 85 %)
_TOO_LARGE = 400  # pixels, of a face in a close look: parts of it are taken for faces too
_INNER_EDGE = _TOO_LARGE / 2 - 20  # pixels; two neighbours may differ by some about a face's centre
_TILE = 2048  # pixels of the side of a square that is looked at in one piece: 160 MB of memory

LEAST_FACE = 12  # pixels: smaller faces are not found in an enlarged picture either
DEFAULT_LEAST_FACE = 40  # pixels, of pictures of up to 1,280 × 800
RELIABLE_FACE = 24  # pixels: labels of smaller faces are wrong more often


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photograph.

    Attributes:
        box: Whole pixels of the upright picture, as it is on disk; inside of the picture, so that
            ``pixels[y : y + height, x : x + width]`` is the face.
        confidence: The detector's, 0 to 1.
        pixels: What the network sees, uint8 (size, size).
        detected: The detector's own box, which may reach over the picture's edges and is what
            `pixels` was cut by; None where it is the same as `box`.
    """

    box: Box
    confidence: float
    pixels: Pixels
    detected: Box | None = None


class FaceFinder:
    """Finds the faces of photographs and crops them as FER2013 is cropped.

    Args:
        detector: What finds them; None for RetinaFace.
        min_face: Height in pixels of the smallest face to look for, from 12 on; None for 40 (32 in
            a picture more than twice as long as wide), or in large pictures for a 32nd of the
            long side or a 20th of the short side, whichever is less. A photograph is looked at as
            small as that allows: twice the height takes a quarter of the time. Under 32, pictures
            are enlarged; so are pictures under 160 pixels always. Faces somewhat smaller may be
            found too.
        floor: Least confidence of a face, 0 to 1.
        framing: Side of the square over the geometric mean of the box's sides.

    Raises:
        TypeError: `detector` has no method ``detect``.
        ValueError: Another argument is out of range.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        *,
        min_face: int | None = None,
        floor: float = 0.8,
        framing: float = FRAMING,
    ) -> None:
        if detector is not None and not callable(getattr(detector, "detect", None)):
            raise TypeError(
                f"the detector is a {type(detector).__name__}, which has no method detect(); "
                f"open_detector(name) gives one by its name."
            )
        if min_face is not None and not min_face >= LEAST_FACE:
            raise ValueError(f"min_face is {min_face}; the detector finds faces from {LEAST_FACE}.")
        if not 0 <= floor <= 1:
            raise ValueError(f"floor is {floor}; it must be from 0 to 1.")
        if not 0 < framing < math.inf:
            raise ValueError(f"framing is {framing}; it must be positive.")
        self._detector = open_detector() if detector is None else detector
        self._min_face, self._floor, self._framing = min_face, floor, framing
        self._counts = Tally()

    def find(self, picture: Picture, size: int = FACE_SIZE, *, largest: bool = False) -> list[Face]:
        """Find faces, from left to right.

        Args:
            picture: As in `preprocessing.read_face`.
            size: Side of the crops, in pixels.
            largest: Keep the largest alone.

        Raises:
            PictureError: The picture cannot be read.
            DetectorError: The detector gave something that is no list of faces.
        """
        image, full = process_picture(picture, self._reduced)
        found = self._detect(image, full)
        if largest and found:
            self._counts.add("not the largest", len(found) - 1)
            found = sorted(found, key=lambda one: -one.box.width * one.box.height)[:1]
        gray = np.asarray(image.convert("L"))
        x, y = full[0] / image.width, full[1] / image.height
        faces = []
        for one in sorted(found, key=lambda one: one.box.x):
            whole = Box(one.box.x * x, one.box.y * y, one.box.width * x, one.box.height * y)
            inside = clipped(whole, *full)
            if inside is None:  # in the reduced picture it still touched the edge
                self._counts.add("outside")
                continue
            pixels = crop(gray, one.box, size, self._framing)
            faces.append(Face(inside, one.confidence, pixels, whole))
            self._counts.add("small", whole.height < RELIABLE_FACE)
        self._counts.add("faces", len(faces))
        return faces

    def locate(self, picture: Picture) -> tuple[Image.Image, float, list[Detection]]:
        """Decode a picture and find where its faces are.

        Returns:
            The picture, upright, RGB, at reduced scale; that scale; boxes in its pixels.

        Raises:
            PictureError: The picture cannot be read.
            DetectorError: The detector gave something that is no list of faces.
        """
        image, full = process_picture(picture, self._reduced)
        return image, max(image.size) / max(full), self._detect(image, full)

    def smallest_face(self, width: int, height: int) -> int:
        """Return the height in pixels from which faces of a picture of this size are looked for."""
        return math.ceil(self._least(width, height))

    def notes(self, noun: str = "picture") -> list[str]:
        """Say, in sentences, what was not looked for and what was left out so far.

        Args:
            noun: What a picture is called, such as ``frame``.
        """
        counts = self._counts.total()
        notes = []
        limits = {name[1]: count for name, count in counts.items() if isinstance(name, tuple)}
        if limits:
            pictures = sum(limits.values())
            least, most = min(limits), max(limits)
            span = f"{least} pixels"
            if most > least:
                span = f"{least} to {most} pixels (by the size of the {noun})"
            notes.append(
                f"faces under {span} were not searched for in "
                f"{format_count(pictures, f'large {noun}')}; --min-face {DEFAULT_LEAST_FACE} "
                f"finds them"
            )
        if counts["small"]:
            notes.append(
                f"{counts['small']:,} of {format_count(counts['faces'], 'face')} are under "
                f"{RELIABLE_FACE} pixels high: their labels are less reliable"
            )
        if counts["not the largest"]:
            others = format_count(counts["not the largest"], "smaller face")
            notes.append(f"{others} left out (only the largest of each {noun} is kept)")
        if counts["outside"]:
            notes.append(
                f"{format_count(counts['outside'], 'box')} of the detector left out: outside of "
                f"the {noun}"
            )
        own = getattr(self._detector, "notes", None)
        return notes + (own() if callable(own) else [])

    def _least(self, width: int, height: int) -> float:
        """Return the height of the smallest face that is looked for, in pixels."""
        if self._min_face is not None:
            return self._min_face
        long, short = max(width, height), min(width, height)
        # A panorama is looked at as closely as a part of it would be.
        least = _SURE_HEIGHT if long > 2 * short else DEFAULT_LEAST_FACE
        return max(least, min(long / 32, short / 20))

    def _scales(self, width: int, height: int) -> list[float]:
        """Choose at which scales a picture is looked at, finest first."""
        long, short = max(width, height), min(width, height)
        close = _SURE_HEIGHT / self._least(width, height)
        if close * long <= _ONE_LOOK:
            return [max(min(1.0, _ONE_LOOK / long), _LEAST / long, close)]
        scales = [close]
        # What is too large in one look is 50 pixels high or more in the next.
        while scales[-1] * long > _ONE_LOOK and scales[-1] * short > _TOO_LARGE:
            scales.append(max(_OVERVIEW / long, scales[-1] / 8))
        return scales

    def _reduced(self, image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        """Decode no finer than needed: RGB, upright, with its upright size on disk."""
        full = image.size
        wanted = self._scales(*full)[0]
        reduce_jpeg(image, "RGB", (math.ceil(full[0] * wanted), math.ceil(full[1] * wanted)))
        lying = image.size
        turned = turn_upright(image)
        if turned.size != lying:
            full = full[1], full[0]
        return to_rgb(turned), full

    def _detect(self, image: Image.Image, full: tuple[int, int]) -> list[Detection]:
        """Find faces in the pixels of `image`, whose size on disk is `full`."""
        found: list[Detection] = []
        scales = self._scales(*full)
        if self._min_face is None and (least := self.smallest_face(*full)) > DEFAULT_LEAST_FACE:
            self._counts.add(("not under", least))
        for wanted in scales:
            size = max(1, round(full[0] * wanted)), max(1, round(full[1] * wanted))
            x, y = size[0] / image.width, size[1] / image.height
            for one in self._look(image, size):
                box = one.box
                if one.confidence < self._floor:
                    continue
                if wanted != scales[-1] and box.height > _TOO_LARGE:
                    continue  # the next look sees it whole
                if clipped(box, *size) is None:
                    self._counts.add("outside")
                    continue
                box = Box(box.x / x, box.y / y, box.width / x, box.height / y)
                found.append(Detection(box, one.confidence))
        return distinct(found)

    def _look(self, image: Image.Image, size: tuple[int, int]) -> Iterator[Detection]:
        """Find faces in `image` resized to `size`, part by part where that is large."""
        x, y = image.width / size[0], image.height / size[1]
        for left, upper, right, lower in _tiles(*size):
            view = image
            if (left, upper, right, lower) != (0, 0, *image.size) or size != image.size:
                view = image.resize(
                    (right - left, lower - upper),
                    Image.Resampling.BILINEAR,
                    box=(
                        left * x,
                        upper * y,
                        min(right * x, image.width),
                        min(lower * y, image.height),
                    ),
                    reducing_gap=2.0,
                )
            for one in checked(self._detector.detect(np.asarray(view))):
                box = one.box
                across, down = left + box.x + box.width / 2, upper + box.y + box.height / 2
                # A face near the inner edge of a tile may be cut; the neighbour sees it whole.
                if (
                    (left == 0 or across >= left + _INNER_EDGE)
                    and (upper == 0 or down >= upper + _INNER_EDGE)
                    and (right == size[0] or across <= right - _INNER_EDGE)
                    and (lower == size[1] or down <= lower - _INNER_EDGE)
                ):
                    moved = Box(left + box.x, upper + box.y, box.width, box.height)
                    yield Detection(moved, one.confidence)


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a picture into parts that overlap by `_TOO_LARGE`: left, upper, right, lower."""
    # A piece of a long and narrow picture has no more pixels than the square has.
    rows = _spans(height, _TILE * _TILE // min(width, _TILE))
    columns = _spans(width, _TILE * _TILE // min(height, _TILE))
    for upper, lower in rows:
        for left, right in columns:
            yield left, upper, right, lower


def _spans(length: int, most: int) -> list[tuple[int, int]]:
    """Cut a length into equal spans of at most `most`, each of which overlaps the next."""
    if length <= most:
        return [(0, length)]
    number = math.ceil((length - _TOO_LARGE) / (most - _TOO_LARGE))
    each = math.ceil((length + (number - 1) * _TOO_LARGE) / number)
    starts = [round(place * (length - each) / (number - 1)) for place in range(number)]
    return [(start, start + each) for start in starts]


def crop(gray: Pixels, box: Box, size: int, framing: float = FRAMING) -> Pixels:
    """Cut the square around a face, and resize it as training faces are.

    Args:
        gray: uint8, shape (height, width).
        box: The face, in pixels of `gray`.
        size: Side of the result, in pixels.
        framing: Side of the square over the geometric mean of the box's sides.

    Returns:
        uint8, shape (size, size). Where the square reaches over the edge, the edge goes on.
    """
    side = max(1.0, framing * math.sqrt(box.width * box.height))
    left, top = box.x + (box.width - side) / 2, box.y + (box.height - side) / 2
    # Whole pixels around the square; those outside of the picture repeat the nearest one inside.
    rows = np.arange(math.floor(top), math.ceil(top + side)).clip(0, gray.shape[0] - 1)
    columns = np.arange(math.floor(left), math.ceil(left + side)).clip(0, gray.shape[1] - 1)
    around: NDArray[np.uint8] = gray[np.ix_(rows, columns)]
    x, y = left - math.floor(left), top - math.floor(top)
    # No further than the pixels that are there: sums of fractions may be off in the last digit.
    right, bottom = min(x + side, len(columns)), min(y + side, len(rows))
    face = Image.fromarray(around).resize(
        (size, size), Image.Resampling.BILINEAR, box=(x, y, right, bottom)
    )
    return np.array(face)
