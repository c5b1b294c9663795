"""Average faces: what an expression looks like, and no person's picture.

Faces of one class that look alike are found by k-means on their principal components; the ones
nearest each centre are aligned and averaged, and the contrast that averaging takes away is
restored. They stand in for data where no data may travel: in `samples/`, in checkpoints, and as
the golden inputs of a model file.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from emotion_train.data.faces import Faces

MIN_FACES_PER_AVERAGE = 24  # faces in each average
_COMPONENTS = 40
_SPARE = 3  # clusters made for each average kept: loose ones blur
_REACH = 3  # pixels a face is moved to fit the others
_ROUNDS = 3  # of aligning to the average so far
_SAME = 0.9  # correlation from which two faces may be one photograph

Images = NDArray[np.float32]


def make_average_faces(
    faces: Faces, label: int, count: int, *, per_average: int = MIN_FACES_PER_AVERAGE, seed: int = 0
) -> NDArray[np.uint8]:
    """Make up to `count` average faces of one class, the sharpest first.

    Args:
        faces: Labelled faces.
        label: The class.
        count: Averages wanted; fewer are made where the class has too few faces.
        per_average: Faces in each average, at least `MIN_FACES_PER_AVERAGE`; copies of one photograph count once.
        seed: Seeds k-means.

    Returns:
        uint8, shape (k, size, size), k ≤ `count`; empty where the class has under `MIN_FACES_PER_AVERAGE` faces.
    """
    if per_average < MIN_FACES_PER_AVERAGE:
        raise ValueError(
            f"an average of {per_average} faces could show a person; use {MIN_FACES_PER_AVERAGE}"
        )
    pixels = faces.pixels[faces.labels == label].astype(np.float32)
    clusters = min(_SPARE * count, len(pixels) // per_average)
    if clusters == 0:
        return np.empty((0, *faces.pixels.shape[1:]), np.uint8)
    shapes = _unlit(pixels)
    flat = shapes.reshape(len(shapes), -1)
    features = PCA(min(_COMPONENTS, *flat.shape), random_state=seed).fit_transform(flat)
    found = KMeans(clusters, n_init=3, random_state=seed).fit(features)
    made: list[tuple[float, NDArray[np.uint8]]] = []
    for centre in found.cluster_centers_:
        nearest = np.argsort(np.square(features - centre).sum(axis=1))
        members = _distinct(flat, nearest, per_average)
        if len(members) == per_average:
            made.append(_average(pixels[members], shapes[members]))
    made.sort(key=lambda one: -one[0])
    kept = [average for _, average in made[:count]]
    return np.stack(kept) if kept else np.empty((0, *faces.pixels.shape[1:]), np.uint8)


def _unlit(pixels: Images) -> Images:
    """Take light, contrast and the corners out, so that the expression decides what is alike."""
    local = pixels - gaussian_filter(pixels, (0, 8, 8))
    axis = np.linspace(-1.0, 1.0, pixels.shape[1], dtype=np.float32)
    oval = np.exp(-1.5 * (axis[:, np.newaxis] ** 4 + axis[np.newaxis] ** 4))
    unlit: Images = _standardised(local) * oval
    return unlit


def _standardised(images: Images) -> Images:
    """Bring each image to mean 0 and deviation 1."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    std = images.std(axis=(1, 2), keepdims=True)
    standard: Images = (images - mean) / np.maximum(std, 1.0)
    return standard


def _distinct(flat: Images, order: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Take the first `wanted` of `order` of which no two are copies of one photograph."""
    chosen: list[int] = []
    unit: list[NDArray[np.float32]] = []
    for index in order[: 4 * wanted]:
        direction = flat[index] / max(float(np.linalg.norm(flat[index])), 1e-6)
        if all(float(direction @ other) < _SAME for other in unit):
            chosen.append(int(index))
            unit.append(direction)
            if len(chosen) == wanted:
                break
    return np.array(chosen, np.int64)


def _average(group: Images, shapes: Images) -> tuple[float, NDArray[np.uint8]]:
    """Average faces, each mirrored and moved to fit the average so far.

    Returns:
        How well the faces fit their average (mean correlation), and the average.
    """
    group = _standardised(group)
    places = np.zeros(len(group), np.int64)
    moved_shapes, moved_faces = _moves(shapes), _moves(group)
    rows = np.arange(len(group))
    for _ in range(_ROUNDS):
        template = moved_shapes[rows, places].mean(axis=0)
        places = np.einsum("nmyx,yx->nm", moved_shapes, template).argmax(axis=1)
    fitted = moved_shapes[rows, places]
    template = fitted.mean(axis=0)
    norms = np.linalg.norm(fitted, axis=(1, 2)) * np.linalg.norm(template)
    fit = (np.einsum("nyx,yx->n", fitted, template) / np.maximum(norms, 1e-6)).mean()
    return float(fit), _stretched(moved_faces[rows, places].mean(axis=0))


def _moves(images: Images) -> Images:
    """Give each image (n, h, w) at every place it may be moved to, mirrored too: (n, m, h, w)."""
    height, width = images.shape[1:]
    padded = np.pad(images, ((0, 0), (_REACH, _REACH), (_REACH, _REACH)), mode="edge")
    steps = sorted(range(2 * _REACH + 1), key=lambda step: abs(step - _REACH))  # unmoved first
    moved = [padded[:, y : y + height, x : x + width] for y, x in product(steps, steps)]
    return np.stack([*moved, *(image[:, :, ::-1] for image in moved)], axis=1)


def _stretched(face: Images) -> NDArray[np.uint8]:
    """Spread the middle 98 % of the values over the whole range."""
    low, high = np.percentile(face, (1, 99))
    scaled = (face - low) / max(float(high - low), 1e-6) * 255.0
    stretched: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return stretched
