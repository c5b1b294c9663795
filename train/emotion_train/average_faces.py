"""Average faces: what an expression looks like, and no person's picture.

Faces of one class that look alike are found by k-means on their principal components; the ones
nearest each centre are aligned to it and averaged, and the contrast that averaging takes away is
restored. They stand in for data where no data may travel: in `samples/`, in checkpoints, and as
the golden inputs of a model file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as shifted
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from emotion_train.faces import Faces

FEWEST = 24  # faces in each average
_COMPONENTS = 40
_REACH = 2  # pixels a face is moved to fit its centre


def average_faces(
    faces: Faces, label: int, count: int, *, per_average: int = FEWEST, seed: int = 0
) -> NDArray[np.uint8]:
    """Make up to `count` average faces of one class.

    Args:
        faces: Labelled faces.
        label: The class.
        count: Averages wanted; fewer are made where the class has too few faces.
        per_average: Faces in each average, at least `FEWEST`.
        seed: Seeds k-means.

    Returns:
        uint8, shape (k, 48, 48), k ≤ `count`; empty where the class has under `FEWEST` faces.
    """
    if per_average < FEWEST:
        raise ValueError(f"an average of {per_average} faces could show a person; use {FEWEST}")
    pixels = faces.pixels[faces.labels == label].astype(np.float32)
    count = min(count, len(pixels) // per_average)
    if count == 0:
        return np.empty((0, *faces.pixels.shape[1:]), np.uint8)
    flat = _normalised(pixels).reshape(len(pixels), -1)
    features = PCA(min(_COMPONENTS, *flat.shape), random_state=seed).fit_transform(flat)
    clusters = KMeans(count, n_init=3, random_state=seed).fit(features)
    averages = []
    for centre in clusters.cluster_centers_:
        nearest = np.argsort(np.square(features - centre).sum(axis=1))[:per_average]
        averages.append(_average(pixels[nearest]))
    return np.stack(averages)


def _normalised(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take light and contrast out, face by face, so that expression decides what is alike."""
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    std = pixels.std(axis=(1, 2), keepdims=True)
    return (pixels - mean) / np.maximum(std, 1.0)  # type: ignore[no-any-return]


def _average(group: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Average a group, (n, 48, 48), each moved by whole pixels to fit the mean of all."""
    group = _normalised(group)
    template = group.mean(axis=0)
    moves = [(y, x) for y in range(-_REACH, _REACH + 1) for x in range(-_REACH, _REACH + 1)]
    aligned = []
    for face in group:
        candidates = [shifted(face, move, order=0, mode="nearest") for move in moves]
        aligned.append(max(candidates, key=lambda c: float((c * template).sum())))
    return _stretched(np.mean(aligned, axis=0))


def _stretched(face: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Spread the middle 98 % of the values over the whole range."""
    low, high = np.percentile(face, (1, 99))
    scaled = (face - low) / max(float(high - low), 1e-6) * 255.0
    stretched: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return stretched
