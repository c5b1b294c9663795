"""From a photograph to faces that look as the training faces do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.faces.detection import Box, Detection, Detector, checked, clipped, distinct
from emotion_runtime.faces.detectors import DETECTION_THRESHOLD, open_detector
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
from emotion_runtime.prediction import RELIABLE_FACE_PIXELS, format_count

# FER2013's square against the box that RetinaFace draws around its faces, measured on 900 of its
# training faces (enlarged, their edges drawn on): side over the box's geometric mean, median 1.13,
# and centres within 0.3 % of the side of each other.
FRAMING = 1.13

_ONE_LOOK = 640  # pixels of the long side: up to there one look finds small and large faces
_OVERVIEW = 192  # of the last look, that finds what is too large in the others
_TURNED_LOOK = 480  # of a look at a turned picture
_LEAST = 160  # smaller pictures are enlarged to this
_ENLARGED = 576  # pixels of the long side that smaller pictures are enlarged to, and
_MAX_ENLARGEMENT = 3.0  # by at most this factor
# Pixels, of a face in a look. At a threshold of 0.6 the detector finds of faces from here on what
# it finds from 32 pixels on at 0.8: 76 % in crowds.
_SURE_HEIGHT = 28
_LONGEST_PART = 1.6  # long side over short side of a picture that is looked at by its long side
_NEAR = 0.05  # part of its size that a picture may differ from a look and is not resized for it
_REDUCING_GAP = 1.01  # Pillow's: averages whole pixels first, which is fast
_MIN_BOX_FACTOR = 1.5  # by which a picture shrinks at least where whole pixels are averaged
_TOO_LARGE = 400  # pixels, of a face in a close look: parts of it are taken for faces too
_TILE = 2048  # pixels of the side of a square that is looked at in one piece: 160 MB of memory
_LEAST_TURNED = 0.8  # least confidence of a face in a turned picture

_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180)

LEAST_FACE = 12  # pixels: smaller faces are not found in an enlarged picture either
DEFAULT_LEAST_FACE = 40  # pixels, of pictures of up to 1,280 × 800


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
        small: It is under `RELIABLE_FACE_PIXELS` high in the pixels that it was cut out of.
    """

    box: Box
    confidence: float
    pixels: Pixels
    detected: Box | None = None
    small: bool = False


class FaceFinder:
    """Finds the faces of photographs and crops them as FER2013 is cropped.

    Args:
        detector: What finds them; None for RetinaFace.
        min_face: Height in pixels of the smallest face to look for, from 12 on; None for 40, or in
            large pictures for a 32nd of the long side or a 20th of the short side, whichever is
            less. A photograph is looked at as small as that allows: twice the height takes a
            quarter of the time. Under 28, pictures are enlarged; so are pictures under 576 pixels,
            up to three times. Faces somewhat smaller may be found too.
        threshold: Least confidence of a face, 0 to 1.
        framing: Side of the square over the geometric mean of the box's sides.
        turned: Where nothing is found, or RetinaFace is sure of no face, look at the picture turned
            by 90, 270 and 180 degrees too, for pictures whose orientation is not noted in the
            file, and take the direction with the surest face. A picture without a face takes
            about twice as long so; of 99 upright photographs, 4 were turned, and none changed.

    Raises:
        TypeError: `detector` has no method ``detect``.
        ValueError: Another argument is out of range.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        *,
        min_face: int | None = None,
        threshold: float = DETECTION_THRESHOLD,
        framing: float = FRAMING,
        turned: bool = True,
    ) -> None:
        if detector is not None and not callable(getattr(detector, "detect", None)):
            raise TypeError(
                f"the detector is a {type(detector).__name__}, which has no method detect(); "
                f"open_detector(name) gives one by its name."
            )
        if min_face is not None and not min_face >= LEAST_FACE:
            raise ValueError(f"min_face is {min_face}; the detector finds faces from {LEAST_FACE}.")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; it must be from 0 to 1.")
        if not 0 < framing < math.inf:
            raise ValueError(f"framing is {framing}; it must be positive.")
        self._detector = open_detector(threshold=threshold) if detector is None else detector
        self._min_face, self._threshold, self._framing = min_face, threshold, framing
        self._turned = turned
        self._upright: float = getattr(self._detector, "upright_confidence", 0.0)
        self._tile, self._too_large = _TILE, _TOO_LARGE
        if side := getattr(self._detector, "largest_view", None):
            self._tile, self._too_large = side, min(_TOO_LARGE, side // 3)
        # Two neighbours may differ by some pixels about a face's centre.
        self._inner_edge = self._too_large / 2 - self._too_large / 20
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
        turn: Image.Transpose | None = None
        found = self._detect(image, full)
        seen = image
        if self._turned and _surest(found) <= self._upright:
            best = self._best_turn(image, _surest(found))
            if best is not None:
                again = self._detect(image.transpose(best), _turned_size(full, best))
                if _surest(again) > _surest(found):
                    found, turn, seen = again, best, image.transpose(best)
        if largest and found:
            self._counts.add("not the largest", len(found) - 1)
            found = sorted(found, key=lambda one: -one.box.width * one.box.height)[:1]
        x, y = full[0] / image.width, full[1] / image.height
        faces = []
        for one in found:
            box = _turned_back(one.box, turn, *image.size)
            whole = Box(box.x * x, box.y * y, box.width * x, box.height * y)
            inside = clipped(whole, *full)
            if inside is None:  # in the reduced picture it still touched the edge
                self._counts.add("outside")
                continue
            pixels = _crop_gray(seen, one.box, size, self._framing)
            small = one.box.height < RELIABLE_FACE_PIXELS
            faces.append(Face(inside, one.confidence, pixels, whole, small))
            self._counts.add("small", small)
        if self._min_face is None and (least := self.smallest_face(*full)) > DEFAULT_LEAST_FACE:
            self._counts.add(("not under", least))
        self._counts.add("faces", len(faces))
        if faces and turn is not None:
            self._counts.add("turned")
        return sorted(faces, key=lambda face: (face.detected or face.box).x)

    def cut(
        self, picture: Picture, boxes: Sequence[Box], size: int = FACE_SIZE
    ) -> list[Face | None]:
        """Cut faces whose boxes are known out of a picture, as `find` does; nothing is looked for.

        Args:
            picture: As in `find`; decoded in full.
            boxes: In pixels of the upright picture; they may reach over its edges.
            size: Side of the crops, in pixels.

        Returns:
            A face for each box, with a confidence of 1; None for a box outside of the picture.

        Raises:
            PictureError: The picture cannot be read.
        """
        image = process_picture(picture, lambda image: to_rgb(turn_upright(image)))
        faces: list[Face | None] = []
        for box in boxes:
            inside = clipped(box, *image.size)
            if inside is None:
                faces.append(None)
                continue
            pixels = _crop_gray(image, box, size, self._framing)
            faces.append(Face(inside, 1.0, pixels, box, box.height < RELIABLE_FACE_PIXELS))
        return faces

    def locate(self, picture: Picture) -> tuple[Image.Image, float, list[Detection]]:
        """Decode a picture and find where its faces are.

        Returns:
            The picture, upright, RGB, at reduced scale; that scale; boxes in its pixels. It is not
            turned, other than by `find`.

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
        if counts["turned"]:
            notes.append(
                f"the faces of {format_count(counts['turned'], noun)} were found after turning by "
                f"90, 180 or 270 degrees; boxes are of the {noun} as it is"
            )
        if counts["small"]:
            notes.append(
                f"{counts['small']:,} of {format_count(counts['faces'], 'face')} are under "
                f"{RELIABLE_FACE_PIXELS} pixels high in the {noun} as it was decoded: their labels "
                f"are less reliable"
            )
        if counts["not the largest"]:
            others = format_count(counts["not the largest"], "smaller face")
            notes.append(f"{others} left out (only the largest of each {noun} is kept)")
        if outside := counts["outside"]:
            boxes = "1 box" if outside == 1 else f"{outside:,} boxes"
            notes.append(f"{boxes} of the detector left out: outside of the {noun}")
        own = getattr(self._detector, "notes", None)
        return notes + (own() if callable(own) else [])

    def _least(self, width: int, height: int) -> float:
        """Return the height of the smallest face that is looked for, in pixels."""
        if self._min_face is not None:
            return self._min_face
        return max(DEFAULT_LEAST_FACE, _part(width, height) / 32)

    def _scales(self, width: int, height: int) -> list[float]:
        """Choose at which scales a picture is looked at, finest first."""
        long, short = max(width, height), min(width, height)
        part = _part(width, height)
        close = _SURE_HEIGHT / self._least(width, height)
        if close * part <= _ONE_LOOK:
            fitted = _ONE_LOOK / part if part > _ONE_LOOK else max(1.0, _ENLARGED / part)
            return [max(min(_MAX_ENLARGEMENT, fitted), _LEAST / long, close)]
        scales = [close]
        # What is too large in one look is 50 pixels high or more in the next.
        while scales[-1] * part > _ONE_LOOK and scales[-1] * short > self._too_large:
            scales.append(max(_OVERVIEW / part, scales[-1] / 8))
        return scales

    def _reduced(self, image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        """Decode no finer than needed: RGB, upright, with its upright size on disk."""
        full = image.size
        wanted = self._scales(*full)[0] * (1 - _NEAR)
        reduce_jpeg(image, "RGB", (math.ceil(full[0] * wanted), math.ceil(full[1] * wanted)))
        lying = image.size
        turned = turn_upright(image)
        if turned.size != lying:
            full = full[1], full[0]
        return to_rgb(turned), full

    def _detect(self, image: Image.Image, full: tuple[int, int]) -> list[Detection]:
        """Find faces in the pixels of `image`, whose size on disk is `full`."""
        found, outside = self._look_at_scales(image, full, self._scales(*full))
        self._counts.add("outside", outside)
        return found

    def _best_turn(self, image: Image.Image, surest: float) -> Image.Transpose | None:
        """Return the turn that shows a face surer than `surest` in a look at few pixels."""
        scale = min(1.0, _TURNED_LOOK / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image
        if size != image.size:
            small = _resized(image, size)
        best, surest = None, max(_LEAST_TURNED, self._threshold, surest)
        for turn in _TURNS:
            turned = small.transpose(turn)
            found, _ = self._look_at_scales(turned, turned.size, [1.0])
            if _surest(found) > surest:
                best, surest = turn, _surest(found)
        return best

    def _look_at_scales(
        self, image: Image.Image, full: tuple[int, int], scales: Sequence[float]
    ) -> tuple[list[Detection], int]:
        """Find faces in the pixels of `image` resized to each of the scales of its full size.

        Returns:
            The faces, in pixels of `image`, and the number of boxes that lay outside of it.
        """
        found: list[Detection] = []
        outside = 0
        source = image
        for wanted in scales:
            size = max(1, round(full[0] * wanted)), max(1, round(full[1] * wanted))
            if _near(source.size, size):
                size = source.size
            elif self._fits(size):
                # The next look, at fewer pixels, begins with these.
                source = _resized(source, size)
            x, y = image.width / size[0], image.height / size[1]
            for one in self._look(source, size):
                if one.confidence < self._threshold:
                    continue
                if wanted != scales[-1] and one.box.height > self._too_large:
                    continue  # the next look sees it whole
                if clipped(one.box, *size) is None:
                    outside += 1
                    continue
                found.append(Detection(_scaled(one.box, x, y), one.confidence))
        return distinct(found), outside

    def _fits(self, size: tuple[int, int]) -> bool:
        """Return whether a picture is looked at in one piece."""
        return len(list(_tiles(*size, self._tile, self._too_large))) == 1

    def _look(self, image: Image.Image, size: tuple[int, int]) -> Iterator[Detection]:
        """Find faces in `image` resized to `size`, part by part where that is large."""
        x, y = image.width / size[0], image.height / size[1]
        edge = self._inner_edge
        for left, upper, right, lower in _tiles(*size, self._tile, self._too_large):
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
                    reducing_gap=_REDUCING_GAP,
                )
            for one in checked(self._detector.detect(np.asarray(view))):
                box = one.box
                across, down = left + box.x + box.width / 2, upper + box.y + box.height / 2
                # A face near the inner edge of a tile may be cut; the neighbour sees it whole.
                if (
                    (left == 0 or across >= left + edge)
                    and (upper == 0 or down >= upper + edge)
                    and (right == size[0] or across <= right - edge)
                    and (lower == size[1] or down <= lower - edge)
                ):
                    moved = Box(left + box.x, upper + box.y, box.width, box.height)
                    yield Detection(moved, one.confidence)


def _part(width: int, height: int) -> float:
    """Return the long side in pixels of the part of a picture that has a photograph's shape.

    A panorama is looked at as closely as a part of it would be: its area is what it costs.
    """
    return min(max(width, height), _LONGEST_PART * min(width, height))


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize all of a picture for a look at it."""
    # Averages of whole pixels: as good for the detector where it shrinks, and faster.
    shrinks = image.width > _MIN_BOX_FACTOR * size[0] and image.height > _MIN_BOX_FACTOR * size[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return image.resize(size, method, reducing_gap=_REDUCING_GAP)


def _near(size: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Return whether a picture of one size need not be resized to another."""
    return all(abs(one / two - 1) <= _NEAR for one, two in zip(size, wanted, strict=True))


def _scaled(box: Box, x: float, y: float) -> Box:
    """Return a box in pixels of another size."""
    return Box(box.x * x, box.y * y, box.width * x, box.height * y)


def _surest(detections: Sequence[Detection]) -> float:
    """Return the confidence of the surest one; 0 where there is none."""
    return max((one.confidence for one in detections), default=0.0)


def _turned_size(size: tuple[int, int], turn: Image.Transpose) -> tuple[int, int]:
    """Return width and height after a turn."""
    return size if turn == Image.Transpose.ROTATE_180 else (size[1], size[0])


def _turned_back(box: Box, turn: Image.Transpose | None, width: int, height: int) -> Box:
    """Return a box of a turned picture in pixels of the picture before it was turned.

    Args:
        box: In pixels of the turned picture.
        turn: What was done to the picture, anticlockwise; None for nothing.
        width: Of the picture before, in pixels.
        height: Of the picture before, in pixels.
    """
    x, y, across, down = box
    if turn == Image.Transpose.ROTATE_90:  # a point (x, y) came to (y, width - x)
        return Box(width - y - down, x, down, across)
    if turn == Image.Transpose.ROTATE_270:  # a point (x, y) came to (height - y, x)
        return Box(y, height - x - across, down, across)
    if turn == Image.Transpose.ROTATE_180:
        return Box(width - x - across, height - y - down, across, down)
    return box


def _tiles(
    width: int, height: int, side: int = _TILE, shared: int = _TOO_LARGE
) -> Iterator[tuple[int, int, int, int]]:
    """Cut a picture into parts that overlap: left, upper, right, lower.

    Args:
        width: In pixels.
        height: In pixels.
        side: Of the square that is looked at in one piece, in pixels.
        shared: Pixels by which two parts overlap.
    """
    rows, columns = _spans(height, side, shared), _spans(width, side, shared)
    if side == _TILE:  # else the sides themselves are bounded
        # A piece of a long and narrow picture has no more pixels than the square has.
        rows = _spans(height, side * side // min(width, side), shared)
        columns = _spans(width, side * side // min(height, side), shared)
    for upper, lower in rows:
        for left, right in columns:
            yield left, upper, right, lower


def _spans(length: int, most: int, shared: int) -> list[tuple[int, int]]:
    """Cut a length into equal spans of at most `most`, each of which overlaps the next."""
    if length <= most:
        return [(0, length)]
    number = math.ceil((length - shared) / (most - shared))
    each = math.ceil((length + (number - 1) * shared) / number)
    starts = [round(place * (length - each) / (number - 1)) for place in range(number)]
    return [(start, start + each) for start in starts]


def _crop_gray(image: Image.Image, box: Box, size: int, framing: float) -> Pixels:
    """Cut the square around a face out of an RGB picture: gray is made of that part alone."""
    side = max(1.0, framing * math.sqrt(box.width * box.height))
    left, top = box.x + (box.width - side) / 2, box.y + (box.height - side) / 2
    # All pixels that `crop` takes, and at least one.
    x = min(max(0, math.floor(left) - 1), image.width - 1)
    y = min(max(0, math.floor(top) - 1), image.height - 1)
    right = min(max(x + 1, math.ceil(left + side) + 1), image.width)
    lower = min(max(y + 1, math.ceil(top + side) + 1), image.height)
    gray = np.asarray(image.crop((x, y, right, lower)).convert("L"))
    return crop(gray, Box(box.x - x, box.y - y, box.width, box.height), size, framing)


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
