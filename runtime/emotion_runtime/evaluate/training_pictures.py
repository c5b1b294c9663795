"""Recognise a folder that may hold the pictures that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotion_runtime.prediction import format_count


def describe_training_pictures(
    training: Mapping[str, Any], counts: Mapping[str, int], folder: str
) -> str | None:
    """Return a warning where a folder has at least as many pictures as the training of a model.

    A model file records how many pictures of each class it was trained on, and not which.

    Args:
        training: ``training`` of the model file, which may hold anything.
        counts: Number of evaluated pictures of each label.
        folder: Name of the folder, for the message.

    Returns:
        A sentence without a full stop; None where the folder has fewer pictures of a label than
        the training, or the file does not record their number.
    """
    recipe, faces = training.get("recipe"), training.get("faces")
    classes = recipe.get("classes") if isinstance(recipe, dict) else None
    if not (isinstance(classes, list) and isinstance(faces, list) and len(classes) == len(faces)):
        return None
    trained = {
        name: count
        for name, count in zip(classes, faces, strict=True)
        if isinstance(name, str) and isinstance(count, int)
    }
    if not counts or any(count < trained.get(name, count + 1) for name, count in counts.items()):
        return None
    learned = sum(trained[name] for name in counts)
    pictures = format_count(learned, "picture")
    return (
        f"the model was trained on {pictures} of these labels, which may be among the "
        f"{sum(counts.values()):,} in {folder}: figures on training pictures are too good; "
        f"--splits RUN_DIR/report/splits.csv evaluates only the test set"
    )
