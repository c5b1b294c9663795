"""Pictures that are a poor source of labels: without a face, dark, blurred, of a wrong size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from emotion_runtime.errors import PictureError
from emotion_runtime.faces.detection import Detector
from emotion_runtime.faces.detectors import open_detector
from emotion_runtime.pictures.preprocessing import FACE_SIZE, process_picture
from emotion_train.audit.pictures import AuditedPictures

NO_FACE, DARK, LIGHT, BLURRED, SIZE = "no face", "dark", "light", "blurred", "size"
QUALITY_ISSUES = (NO_FACE, DARK, LIGHT, BLURRED, SIZE)

# Gray values, 0 to 255. The shares are those of the library cleanvision.
DARK_LIMIT = 0.32 * 255  # of the 99th percentile
LIGHT_LIMIT = 0.95 * 255  # of the 5th percentile
# Chosen by eye among FER2013's training faces, of which one in a thousand is below.
SHARPNESS_LIMIT = 0.1
MAX_ASPECT_RATIO = 1.5  # beyond, the central square leaves out a third of the picture

MIN_FACE_CONFIDENCE = 0.3
# A crop that is filled by its face is searched as it is, enlarged, and with a border around it.
_VIEWS = ((0, 192), (0.5, 288))  # border as a share of the side, side in pixels


def find_quality_issues(
    pictures: AuditedPictures, *, threads: int = 1, progress: bool = False
) -> dict[str, NDArray[np.bool_]]:
    """Return which pictures have each of `QUALITY_ISSUES`, bool (n,).

    Args:
        pictures: The pictures, n of them.
        threads: Threads of the detector.
        progress: Show a bar on a terminal.
    """
    pixels = pictures.faces.pixels
    found = {
        DARK: np.array([is_dark(one) for one in pixels], np.bool_),
        LIGHT: np.array([is_light(one) for one in pixels], np.bool_),
        BLURRED: np.array([is_blurred(one) for one in pixels], np.bool_),
        SIZE: np.zeros(len(pixels), np.bool_),
        NO_FACE: np.zeros(len(pixels), np.bool_),
    }
    if pictures.are_crops_of_photographs:
        return found  # the detector has found the face of each
    found[SIZE] = np.array(
        [has_wrong_size(file, pixels.shape[1]) for file in pictures.files], np.bool_
    )
    detector = open_detector(threads=threads, threshold=MIN_FACE_CONFIDENCE)
    bar = tqdm(
        pixels,
        desc="looking for faces",
        unit=" pictures",
        leave=False,
        disable=None if progress else True,
    )
    found[NO_FACE] = np.array([not shows_face(one, detector) for one in bar], np.bool_)
    return found


def is_dark(pixels: NDArray[np.uint8]) -> bool:
    """Return whether almost all of a picture is dark, by its 99th percentile."""
    return bool(np.percentile(pixels, 99) < DARK_LIMIT)


def is_light(pixels: NDArray[np.uint8]) -> bool:
    """Return whether almost all of a picture is light, by its 5th percentile."""
    return bool(np.percentile(pixels, 5) > LIGHT_LIMIT)


def is_blurred(pixels: NDArray[np.uint8]) -> bool:
    """Return whether a picture lacks fine detail; one of a single gray value is not blurred."""
    return 0 < measure_sharpness(pixels) < SHARPNESS_LIMIT


def measure_sharpness(pixels: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian over the variance of a picture; 0 for one gray value.

    The variance of the Laplacian is a measure of focus (Pech-Pacheco et al., "Diatom autofocusing
    in brightfield microscopy", 2000). Divided by the variance, it does not depend on the contrast.

    Args:
        pixels: uint8 (size, size); reduced to 48 pixels first, so that the size does not matter.
    """
    if len(pixels) > FACE_SIZE:
        reduced = Image.fromarray(pixels).resize((FACE_SIZE,) * 2, Image.Resampling.BILINEAR)
        pixels = np.asarray(reduced)
    gray = pixels.astype(np.float64)
    inner = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * inner
    variance = float(gray.var())
    return float(laplacian.var()) / variance if variance else 0.0


def has_wrong_size(file: Path | None, size: int) -> bool:
    """Return whether a picture is smaller than the network's input, or far from square.

    Args:
        file: The picture's file; None, which is never wrong, for pixels in a CSV.
        size: Side of the network's input, in pixels.
    """
    if file is None:
        return False
    try:
        sides: Sequence[int] = process_picture(str(file), lambda image: image.size)
    except PictureError:
        return False  # reported as unreadable
    return min(sides) < size or max(sides) > MAX_ASPECT_RATIO * min(sides)


def shows_face(pixels: NDArray[np.uint8], detector: Detector) -> bool:
    """Return whether the detector finds a face in a crop that its face may fill.

    Args:
        pixels: uint8 (size, size), gray.
        detector: The detector; its threshold decides.
    """
    for border, side in _VIEWS:
        padded = np.pad(pixels, round(border * len(pixels)), mode="edge")
        view = Image.fromarray(padded).resize((side, side), Image.Resampling.BILINEAR)
        if detector.detect(np.asarray(view.convert("RGB"))):
            return True
    return False
