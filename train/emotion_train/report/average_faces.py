"""Average faces, which show an expression without showing a person.

k-means on principal components finds similar faces of a class. The faces nearest to each cluster
centre are aligned and averaged, and the contrast lost by averaging is restored. Average faces
replace training data where these may not be published: in `samples/`, in checkpoints, and as the
golden inputs of a model file.
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
_CLUSTERS_PER_AVERAGE = 3  # only the sharpest averages are kept
_MAX_SHIFT_PIXELS = 3  # to align a face with the others
_ALIGNMENT_ROUNDS = 3
_MAX_CORRELATION = 0.9  # of two faces in an average; above, they may be one photograph

Images = NDArray[np.float32]


def make_average_faces(
    faces: Faces, label: int, count: int, *, per_average: int = MIN_FACES_PER_AVERAGE, seed: int = 0
) -> NDArray[np.uint8]:
    """Return up to `count` average faces of one class, the sharpest first.

    Args:
        faces: Labelled faces.
        label: The class.
        count: Maximum number of averages; a class with few faces gets fewer.
        per_average: Faces in each average, at least `MIN_FACES_PER_AVERAGE`; copies count once.
        seed: Seeds k-means.

    Returns:
        uint8, shape (k, size, size), k ≤ `count`; empty if the class has too few faces.
    """
    if per_average < MIN_FACES_PER_AVERAGE:
        raise ValueError(
            f"an average of {per_average} faces could show a person; use at least "
            f"{MIN_FACES_PER_AVERAGE}"
        )
    pixels = faces.pixels[faces.labels == label].astype(np.float32)
    clusters = min(_CLUSTERS_PER_AVERAGE * count, len(pixels) // per_average)
    if clusters == 0:
        return np.empty((0, *faces.pixels.shape[1:]), np.uint8)
    shapes = _remove_light(pixels)
    flat = shapes.reshape(len(shapes), -1)
    features = PCA(min(_COMPONENTS, *flat.shape), random_state=seed).fit_transform(flat)
    kmeans = KMeans(clusters, n_init=3, random_state=seed).fit(features)
    averages: list[tuple[float, NDArray[np.uint8]]] = []
    for centre in kmeans.cluster_centers_:
        nearest = np.argsort(np.square(features - centre).sum(axis=1))
        members = _choose_distinct(flat, nearest, per_average)
        if len(members) == per_average:
            averages.append(_average_group(pixels[members], shapes[members]))
    averages.sort(key=lambda pair: -pair[0])
    kept = [average for _, average in averages[:count]]
    return np.stack(kept) if kept else np.empty((0, *faces.pixels.shape[1:]), np.uint8)


def _remove_light(pixels: Images) -> Images:
    """Remove lighting, contrast and corners, so that similarity depends on the expression."""
    local = pixels - gaussian_filter(pixels, (0, 8, 8))
    axis = np.linspace(-1.0, 1.0, pixels.shape[1], dtype=np.float32)
    oval = np.exp(-1.5 * (axis[:, np.newaxis] ** 4 + axis[np.newaxis] ** 4))
    shapes: Images = _standardise(local) * oval
    return shapes


def _standardise(images: Images) -> Images:
    """Scale each image to a mean of 0 and a standard deviation of 1."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    std = images.std(axis=(1, 2), keepdims=True)
    standard: Images = (images - mean) / np.maximum(std, 1.0)
    return standard


def _choose_distinct(flat: Images, order: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Return the first `wanted` faces of `order` of which no two may be the same photograph."""
    chosen: list[int] = []
    unit: list[NDArray[np.float32]] = []
    for index in order[: 4 * wanted]:
        direction = flat[index] / max(float(np.linalg.norm(flat[index])), 1e-6)
        if all(float(direction @ other) < _MAX_CORRELATION for other in unit):
            chosen.append(int(index))
            unit.append(direction)
            if len(chosen) == wanted:
                break
    return np.array(chosen, np.int64)


def _average_group(group: Images, shapes: Images) -> tuple[float, NDArray[np.uint8]]:
    """Average faces, each shifted and mirrored to fit the average so far.

    Returns:
        The mean correlation of the faces with their average, and the average.
    """
    group = _standardise(group)
    best_moves = np.zeros(len(group), np.int64)
    moved_shapes, moved_faces = _list_moves(shapes), _list_moves(group)
    rows = np.arange(len(group))
    for _ in range(_ALIGNMENT_ROUNDS):
        template = moved_shapes[rows, best_moves].mean(axis=0)
        best_moves = np.einsum("nmyx,yx->nm", moved_shapes, template).argmax(axis=1)
    fitted = moved_shapes[rows, best_moves]
    template = fitted.mean(axis=0)
    norms = np.linalg.norm(fitted, axis=(1, 2)) * np.linalg.norm(template)
    fit = (np.einsum("nyx,yx->n", fitted, template) / np.maximum(norms, 1e-6)).mean()
    return float(fit), _stretch_contrast(moved_faces[rows, best_moves].mean(axis=0))


def _list_moves(images: Images) -> Images:
    """Return each image (n, h, w) with all shifts, also mirrored: (n, m, h, w)."""
    height, width = images.shape[1:]
    padded = np.pad(
        images,
        ((0, 0), (_MAX_SHIFT_PIXELS, _MAX_SHIFT_PIXELS), (_MAX_SHIFT_PIXELS, _MAX_SHIFT_PIXELS)),
        mode="edge",
    )
    steps = sorted(
        range(2 * _MAX_SHIFT_PIXELS + 1), key=lambda step: abs(step - _MAX_SHIFT_PIXELS)
    )  # unmoved first
    moved = [padded[:, y : y + height, x : x + width] for y, x in product(steps, steps)]
    return np.stack([*moved, *(image[:, :, ::-1] for image in moved)], axis=1)


def _stretch_contrast(face: Images) -> NDArray[np.uint8]:
    """Stretch the middle 98 % of the values over the whole range."""
    low, high = np.percentile(face, (1, 99))
    scaled = (face - low) / max(float(high - low), 1e-6) * 255.0
    stretched: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return stretched
