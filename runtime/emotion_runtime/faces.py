"""From a photograph to faces that look as the training faces do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.detection import Box, Detection, Detector, distinct, open_detector
from emotion_runtime.preprocessing import (
    FACE_SIZE,
    Picture,
    Pixels,
    opened,
    reduce_jpeg,
    to_rgb,
    upright,
)

# FER2013's square against the box that RetinaFace draws around its faces, measured on 900 of its
# training faces (enlarged, their edges drawn on): side over the box's geometric mean, median 1.13,
# and centres within 0.3 % of the side of each other.
FRAMING = 1.13

_ONE_LOOK = 640  # pixels of the long side: up to there one look finds small and large faces
_OVERVIEW = 320  # of a second look that finds what is too large in the first
_LEAST = 160  # smaller pictures are enlarged to this
_SURE_HEIGHT = 32  # pixels: of 20 to 25 pixels the detector finds half, from 30 on 94 %
_TOO_LARGE = 400  # pixels, of a face in a close look: parts of it are taken for faces too


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a photograph.

    Attributes:
        box: Pixels of the upright picture, as it is on disk.
        confidence: The detector's, 0 to 1.
        pixels: What the network sees, uint8 (size, size).
    """

    box: Box
    confidence: float
    pixels: Pixels


class FaceFinder:
    """Finds the faces of photographs and crops them as FER2013 is cropped.

    Args:
        detector: What finds them; None for RetinaFace.
        min_face: Height in pixels of the smallest face to look for; None for 40, or for a
            32nd of the picture's long side where that is more. A photograph is looked at as
            small as that allows: twice the height takes a quarter of the time.
        floor: Least confidence of a face.
        framing: Side of the square over the geometric mean of the box's sides.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        *,
        min_face: int | None = None,
        floor: float = 0.8,
        framing: float = FRAMING,
    ) -> None:
        self._detector = open_detector() if detector is None else detector
        self._min_face, self._floor, self._framing = min_face, floor, framing

    def find(self, picture: Picture, size: int = FACE_SIZE, *, largest: bool = False) -> list[Face]:
        """Find faces, from left to right.

        Args:
            picture: As in `preprocessing.read_face`.
            size: Side of the crops, in pixels.
            largest: Keep the largest alone.

        Raises:
            PictureError: The picture cannot be read.
        """
        image, scale, found = self.locate(picture)
        if largest:
            found = sorted(found, key=lambda one: -one.box.width * one.box.height)[:1]
        gray = np.asarray(image.convert("L"))
        return [
            Face(
                Box(*(value / scale for value in one.box)),
                one.confidence,
                crop(gray, one.box, size, self._framing),
            )
            for one in sorted(found, key=lambda one: one.box.x)
        ]

    def locate(self, picture: Picture) -> tuple[Image.Image, float, list[Detection]]:
        """Decode a picture and find where its faces are.

        Returns:
            The picture, upright, RGB, at reduced scale; that scale; boxes in its pixels.

        Raises:
            PictureError: The picture cannot be read.
        """
        image, scale = opened(picture, self._reduced)
        return image, scale, self._detect(image, scale)

    def _scales(self, width: int, height: int) -> list[float]:
        """Choose at which scales a picture is looked at, finest first."""
        long = max(width, height)
        least = max(40.0, long / 32) if self._min_face is None else self._min_face
        close = min(1.0, _SURE_HEIGHT / least)
        if close * long > _ONE_LOOK:
            return [close, _OVERVIEW / long]
        return [max(min(1.0, _ONE_LOOK / long), _LEAST / long)]

    def _reduced(self, image: Image.Image) -> tuple[Image.Image, float]:
        """Decode no finer than needed: RGB, with its size over that on disk."""
        full = image.size
        wanted = self._scales(*full)[0]
        reduce_jpeg(image, "RGB", (math.ceil(full[0] * wanted), math.ceil(full[1] * wanted)))
        scale = max(image.size) / max(full)
        return to_rgb(upright(image)), scale

    def _detect(self, image: Image.Image, scale: float) -> list[Detection]:
        """Find faces in the pixels of `image`, which is `scale` times the picture on disk."""
        found: list[Detection] = []
        scales = self._scales(round(image.width / scale), round(image.height / scale))
        for wanted in scales:
            zoom = wanted / scale
            size = (max(1, round(image.width * zoom)), max(1, round(image.height * zoom)))
            view = image
            if size != image.size:
                view = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
            for one in self._detector.detect(np.asarray(view)):
                if one.confidence < self._floor:
                    continue
                if len(scales) > 1 and wanted == scales[0] and one.box.height > _TOO_LARGE:
                    continue  # the overview sees it whole
                x, y = size[0] / image.width, size[1] / image.height
                box = one.box
                found.append(
                    Detection(
                        Box(box.x / x, box.y / y, box.width / x, box.height / y), one.confidence
                    )
                )
        return distinct(found)


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
