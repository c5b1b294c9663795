"""`FaceFinder`: finds the faces of photographs and crops them as the training faces are cropped."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image

from emotion_runtime.faces.cropping import FRAMING, crop_rgb_face
from emotion_runtime.faces.detection import (
    Box,
    Detection,
    Detector,
    check_detections,
    clip_box,
    suppress_overlaps,
)
from emotion_runtime.faces.detectors import DETECTION_THRESHOLD, open_detector
from emotion_runtime.faces.tally import Tally
from emotion_runtime.faces.tiling import MAX_FACE_PIXELS, TILE_PIXELS, cut_tiles
from emotion_runtime.faces.turning import TURNS, turn_box_back, turn_size
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

MIN_FACE_PIXELS = 12  # height; smaller faces are not found in an enlarged picture either
DEFAULT_MIN_FACE_PIXELS = 40  # height, in pictures of up to 1,280 × 800 pixels

# A view is a picture as it is passed to the detector. Lengths are of the long side, in pixels.
_SINGLE_VIEW_PIXELS = 640  # up to here one view shows small and large faces
_OVERVIEW_PIXELS = 192  # the last of several views: shows faces that are too large in the others
_TURNED_VIEW_PIXELS = 480  # the view of a turned picture
_MIN_VIEW_PIXELS = 160  # smaller pictures are enlarged to this
_ENLARGED_PIXELS = 576  # smaller pictures are enlarged to this, where `_MAX_ENLARGEMENT` allows it
_MAX_ENLARGEMENT = 3.0
# Height of a face in a view. At a threshold of 0.6 the detector finds as many of the faces from
# here on as of those from 32 pixels on at a threshold of 0.8: 76 % in crowds.
_RELIABLE_HEIGHT_PIXELS = 28
_MAX_ASPECT_RATIO = 1.6  # long side over short side; longer pictures count as panoramas
_SIZE_TOLERANCE = 0.05  # relative difference of sizes up to which a picture is not resized
_REDUCING_GAP = 1.01  # of Pillow's resize: averages whole pixels first, which is fast
_MIN_BOX_FACTOR = 1.5  # reduction from which on the average of whole pixels is enough
_MIN_TURNED_CONFIDENCE = 0.8  # confidence threshold of faces in a turned picture

# What the finder and its detector counted, by name.
Counts: TypeAlias = tuple[dict[Hashable, int], dict[Hashable, int]]


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photograph.

    Attributes:
        box: Bounding box in whole pixels of the upright picture, clipped to the picture, so that
            ``pixels[y : y + height, x : x + width]`` is the face.
        confidence: Confidence of the detector, 0 to 1.
        pixels: Input of the network, uint8 (size, size).
        detected: Box of the detector, by which `pixels` was cropped; it may extend beyond the
            edges of the picture. None where it equals `box`.
        small: Whether the face is less than 24 pixels high in the decoded picture; its label is
            less reliable.
    """

    box: Box
    confidence: float
    pixels: Pixels
    detected: Box | None = None
    small: bool = False


class FaceFinder:
    """Finds the faces of photographs and crops them as FER2013 is cropped.

    Args:
        detector: Finds the faces; None for RetinaFace.
        min_face: Height in pixels of the smallest face to search for, at least 12. None for 40, or
            in large pictures for a 32nd of the long side or a 20th of the short side, whichever is
            less. Pictures are reduced as far as this height allows: twice the height takes a
            quarter of the time. Under 28, pictures are enlarged; so are pictures under 576 pixels,
            up to three times. Somewhat smaller faces may be found too.
        threshold: Confidence threshold of the detector, 0 to 1.
        framing: Side of the cropped square over the geometric mean of the box's sides.
        turned: Where no face is found, or RetinaFace has no high confidence in any, also search
            the picture turned by 90, 270 and 180 degrees, unless the file records its orientation,
            and keep the direction with the most confident face. This about doubles the time of
            pictures without a face; of 99 upright photographs, 4 were searched turned, and no
            result changed.

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
                f"open_detector(name) returns one."
            )
        if min_face is not None and not min_face >= MIN_FACE_PIXELS:
            raise ValueError(
                f"min_face is {min_face}; the detector finds faces from {MIN_FACE_PIXELS}."
            )
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; it must be from 0 to 1.")
        if not 0 < framing < math.inf:
            raise ValueError(f"framing is {framing}; it must be positive.")
        self._detector = open_detector(threshold=threshold) if detector is None else detector
        self._min_face, self._threshold, self._framing = min_face, threshold, framing
        self._turned = turned
        self._upright_confidence: float = getattr(self._detector, "upright_confidence", 0.0)
        self._tile_pixels, self._max_face_pixels = TILE_PIXELS, MAX_FACE_PIXELS
        if side := getattr(self._detector, "largest_view", None):
            self._tile_pixels, self._max_face_pixels = side, min(MAX_FACE_PIXELS, side // 3)
        # A little less than half of the overlap of two tiles, in which the detector may place the
        # centre of one face differently by some pixels.
        self._margin_pixels = self._max_face_pixels / 2 - self._max_face_pixels / 20
        self._counts = Tally()

    def find(self, picture: Picture, size: int = FACE_SIZE, *, largest: bool = False) -> list[Face]:
        """Find the faces of a picture, from left to right.

        Args:
            picture: As in `preprocessing.read_face`.
            size: Side of the crops in pixels.
            largest: Keep only the largest face.

        Raises:
            PictureError: The picture cannot be read.
            DetectorError: The detector returned something that is not a list of faces.
        """
        image, full_size = process_picture(picture, self._decode_reduced)
        detections, turn = self._detect_turned(image, full_size)
        searched = image if turn is None else image.transpose(turn)
        if largest and detections:
            self._counts.add("not the largest", len(detections) - 1)
            detections = [max(detections, key=lambda one: one.box.width * one.box.height)]
        x_scale, y_scale = full_size[0] / image.width, full_size[1] / image.height
        faces = []
        for detection in detections:
            box = _scale_box(turn_box_back(detection.box, turn, *image.size), x_scale, y_scale)
            clipped = clip_box(box, *full_size)
            if clipped is None:  # it touched the edge in the reduced picture
                self._counts.add("outside")
                continue
            pixels = crop_rgb_face(searched, detection.box, size, self._framing)
            is_small = detection.box.height < RELIABLE_FACE_PIXELS
            faces.append(Face(clipped, detection.confidence, pixels, box, is_small))
            self._counts.add("small", is_small)
        self._counts.add("faces", len(faces))
        self._count_picture(full_size, is_turned=bool(faces) and turn is not None)
        return sorted(faces, key=lambda face: (face.detected or face.box).x)

    def crop(
        self, picture: Picture, boxes: Sequence[Box], size: int = FACE_SIZE
    ) -> list[Face | None]:
        """Crop faces whose bounding boxes are known, as `find` crops them, without a search.

        Args:
            picture: As in `find`; decoded at full size.
            boxes: In pixels of the upright picture; they may extend beyond its edges.
            size: Side of the crops in pixels.

        Returns:
            A face for each box, with a confidence of 1; None for a box outside of the picture.

        Raises:
            PictureError: The picture cannot be read.
        """
        image = process_picture(picture, lambda image: to_rgb(turn_upright(image)))
        faces: list[Face | None] = []
        for box in boxes:
            clipped = clip_box(box, *image.size)
            if clipped is None:
                faces.append(None)
                continue
            pixels = crop_rgb_face(image, box, size, self._framing)
            faces.append(Face(clipped, 1.0, pixels, box, box.height < RELIABLE_FACE_PIXELS))
        return faces

    def locate(self, picture: Picture) -> tuple[Image.Image, float, list[Detection]]:
        """Decode a picture and detect its faces, without turning it.

        Returns:
            The upright RGB picture at reduced scale; that scale; the faces, in its pixels.

        Raises:
            PictureError: The picture cannot be read.
            DetectorError: The detector returned something that is not a list of faces.
        """
        image, full_size = process_picture(picture, self._decode_reduced)
        return image, max(image.size) / max(full_size), self._detect(image, full_size)

    def compute_smallest_face(self, width: int, height: int) -> int:
        """Return the height in pixels of the smallest face searched for in a picture."""
        return math.ceil(self._compute_min_face(width, height))

    def notes(self, noun: str = "picture") -> list[str]:
        """Return what was not searched for and what was left out so far, as sentences.

        Args:
            noun: Name of a picture, such as ``frame``.
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
                f"{format_count(pictures, f'large {noun}')}; --min-face {DEFAULT_MIN_FACE_PIXELS} "
                f"finds them"
            )
        if counts["turned"]:
            turned = format_count(counts["turned"], noun)
            notes.append(
                f"the faces of {turned} were found after turning by 90, 180 or 270 degrees; boxes "
                f"are of the {noun} as it is"
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
        detector_notes = getattr(self._detector, "notes", None)
        return notes + (detector_notes() if callable(detector_notes) else [])

    def take_counts(self) -> Counts:
        """Return what `notes` reports, and count from zero again.

        For worker processes, whose parent passes it to `add_counts`. Not while another thread uses
        the finder.
        """
        detector = getattr(self._detector, "counts", None)
        return self._counts.take(), detector.take() if isinstance(detector, Tally) else {}

    def add_counts(self, counts: Counts) -> None:
        """Add what `take_counts` returned in a worker process."""
        own, further = counts
        for name, number in own.items():
            self._counts.add(name, number)
        detector = getattr(self._detector, "counts", None)
        for name, number in further.items():
            detector.add(name, number)  # type: ignore[union-attr]

    def _count_picture(self, full_size: tuple[int, int], *, is_turned: bool) -> None:
        """Count a picture that was found turned, or whose small faces were not searched for."""
        smallest = self.compute_smallest_face(*full_size)
        if self._min_face is None and smallest > DEFAULT_MIN_FACE_PIXELS:
            self._counts.add(("not under", smallest))
        if is_turned:
            self._counts.add("turned")

    def _compute_min_face(self, width: int, height: int) -> float:
        """Return the height of the smallest face to search for, in pixels."""
        if self._min_face is not None:
            return self._min_face
        return max(DEFAULT_MIN_FACE_PIXELS, _compute_effective_side(width, height) / 32)

    def _choose_scales(self, width: int, height: int) -> list[float]:
        """Return the scales of the views of a picture, largest first."""
        long, short = max(width, height), min(width, height)
        side = _compute_effective_side(width, height)
        first = _RELIABLE_HEIGHT_PIXELS / self._compute_min_face(width, height)
        if first * side <= _SINGLE_VIEW_PIXELS:
            fitted = _SINGLE_VIEW_PIXELS / side
            if side <= _SINGLE_VIEW_PIXELS:
                fitted = max(1.0, _ENLARGED_PIXELS / side)
            return [max(min(_MAX_ENLARGEMENT, fitted), _MIN_VIEW_PIXELS / long, first)]
        scales = [first]
        # Faces that are too large for one view are at least 50 pixels high in the next.
        while (
            scales[-1] * side > _SINGLE_VIEW_PIXELS and scales[-1] * short > self._max_face_pixels
        ):
            scales.append(max(_OVERVIEW_PIXELS / side, scales[-1] / 8))
        return scales

    def _decode_reduced(self, image: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
        """Decode a picture at the lowest sufficient scale.

        Returns:
            The upright RGB picture, and its upright size in the file.
        """
        full_size = image.size
        scale = self._choose_scales(*full_size)[0] * (1 - _SIZE_TOLERANCE)
        min_size = math.ceil(full_size[0] * scale), math.ceil(full_size[1] * scale)
        reduce_jpeg(image, "RGB", min_size)
        decoded_size = image.size
        upright = turn_upright(image)
        if upright.size != decoded_size:
            full_size = full_size[1], full_size[0]
        return to_rgb(upright), full_size

    def _detect_turned(
        self, image: Image.Image, full_size: tuple[int, int]
    ) -> tuple[list[Detection], Image.Transpose | None]:
        """Detect faces, if necessary in the turned picture.

        Returns:
            The faces, in pixels of the turned picture, and the turn; None for no turn.
        """
        detections = self._detect(image, full_size)
        confidence = _find_max_confidence(detections)
        if not self._turned or confidence > self._upright_confidence:
            return detections, None
        turn = self._find_best_turn(image, confidence)
        if turn is None:
            return detections, None
        turned = self._detect(image.transpose(turn), turn_size(full_size, turn))
        if _find_max_confidence(turned) > confidence:
            return turned, turn
        return detections, None

    def _detect(self, image: Image.Image, full_size: tuple[int, int]) -> list[Detection]:
        """Detect the faces of `image`, whose size in the file is `full_size`; count the others."""
        detections, outside = self._detect_at_scales(
            image, full_size, self._choose_scales(*full_size)
        )
        self._counts.add("outside", outside)
        return detections

    def _find_best_turn(self, image: Image.Image, confidence: float) -> Image.Transpose | None:
        """Return the turn with the most confident face in a small view.

        Args:
            image: The picture, not turned.
            confidence: The face must have more confidence than this.

        Returns:
            A turn; None where no turn shows such a face.
        """
        scale = min(1.0, _TURNED_VIEW_PIXELS / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        view = image
        if size != image.size:
            view = _resize(image, size)
        best, confidence = None, max(_MIN_TURNED_CONFIDENCE, self._threshold, confidence)
        for turn in TURNS:
            turned = view.transpose(turn)
            detections, _ = self._detect_at_scales(turned, turned.size, [1.0])
            if _find_max_confidence(detections) > confidence:
                best, confidence = turn, _find_max_confidence(detections)
        return best

    def _detect_at_scales(
        self, image: Image.Image, full_size: tuple[int, int], scales: Sequence[float]
    ) -> tuple[list[Detection], int]:
        """Detect the faces of `image` in views at each of the scales of its full size.

        Returns:
            The faces, in pixels of `image`, and the number of boxes outside of it.
        """
        detections: list[Detection] = []
        outside = 0
        source = image
        for scale in scales:
            size = max(1, round(full_size[0] * scale)), max(1, round(full_size[1] * scale))
            if _is_near_size(source.size, size):
                size = source.size
            elif self._fits_one_tile(size):
                # The next view, which is smaller, is made of this one.
                source = _resize(source, size)
            x_scale, y_scale = image.width / size[0], image.height / size[1]
            for detection in self._detect_in_tiles(source, size):
                if detection.confidence < self._threshold:
                    continue
                if scale != scales[-1] and detection.box.height > self._max_face_pixels:
                    continue  # the next view shows the whole face
                if clip_box(detection.box, *size) is None:
                    outside += 1
                    continue
                box = _scale_box(detection.box, x_scale, y_scale)
                detections.append(Detection(box, detection.confidence))
        return suppress_overlaps(detections), outside

    def _fits_one_tile(self, size: tuple[int, int]) -> bool:
        """Return whether a view of this size is searched at once."""
        return len(list(cut_tiles(*size, self._tile_pixels, self._max_face_pixels))) == 1

    def _detect_in_tiles(self, image: Image.Image, size: tuple[int, int]) -> Iterator[Detection]:
        """Detect the faces of `image` resized to `size`, tile by tile where that is large."""
        x_scale, y_scale = image.width / size[0], image.height / size[1]
        margin = self._margin_pixels
        for left, upper, right, lower in cut_tiles(*size, self._tile_pixels, self._max_face_pixels):
            view = image
            if (left, upper, right, lower) != (0, 0, *image.size) or size != image.size:
                view = image.resize(
                    (right - left, lower - upper),
                    Image.Resampling.BILINEAR,
                    box=(
                        left * x_scale,
                        upper * y_scale,
                        min(right * x_scale, image.width),
                        min(lower * y_scale, image.height),
                    ),
                    reducing_gap=_REDUCING_GAP,
                )
            for detection in check_detections(self._detector.detect(np.asarray(view))):
                box = detection.box
                x, y = left + box.x + box.width / 2, upper + box.y + box.height / 2
                # Near an inner edge of a tile a face may be cut off; the neighbour shows it whole.
                if (
                    (left == 0 or x >= left + margin)
                    and (upper == 0 or y >= upper + margin)
                    and (right == size[0] or x <= right - margin)
                    and (lower == size[1] or y <= lower - margin)
                ):
                    moved = Box(left + box.x, upper + box.y, box.width, box.height)
                    yield Detection(moved, detection.confidence)


def _compute_effective_side(width: int, height: int) -> float:
    """Return the long side in pixels that decides about the views of a picture.

    Of a panorama it is that of a part with a photograph's shape, which is searched as closely.
    """
    return min(max(width, height), _MAX_ASPECT_RATIO * min(width, height))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture for a view."""
    # Averages of whole pixels are as good for the detector where a picture shrinks, and faster.
    shrinks = image.width > _MIN_BOX_FACTOR * size[0] and image.height > _MIN_BOX_FACTOR * size[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return image.resize(size, method, reducing_gap=_REDUCING_GAP)


def _is_near_size(size: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Return whether a picture of this size can stay as it is."""
    return all(abs(one / two - 1) <= _SIZE_TOLERANCE for one, two in zip(size, wanted, strict=True))


def _scale_box(box: Box, x_scale: float, y_scale: float) -> Box:
    """Return a box in pixels of another size."""
    return Box(box.x * x_scale, box.y * y_scale, box.width * x_scale, box.height * y_scale)


def _find_max_confidence(detections: Sequence[Detection]) -> float:
    """Return the confidence of the most confident face; 0 where there is none."""
    return max((detection.confidence for detection in detections), default=0.0)
