"""Predictions of a finished run for the pictures that it has not learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_train.audit.cross_validation import predict_both_ways
from emotion_train.audit.pictures import AuditedPictures, join_splits
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.data.dataset import Dataset, load_recipe_dataset
from emotion_train.data.duplicates import find_copies
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import has_same_held_out, names_held_out
from emotion_train.errors import CheckpointError, RunError
from emotion_train.recipe import KEEP_DUPLICATES, Recipe
from emotion_train.run_record import find_validation_folder


@dataclass(frozen=True, eq=False)
class RunPredictions:
    """The pictures of a run's data, and its predictions.

    Attributes:
        pictures: All pictures, n of them.
        logits: float32 (n, classes).
        is_unseen: The pictures that the run has not learned from, bool (n,).
        temperature: The temperature of the run.
        notes: What was recognised, in sentences without a full stop.
    """

    pictures: AuditedPictures
    logits: NDArray[np.float32]
    is_unseen: NDArray[np.bool_]
    temperature: float
    notes: tuple[str, ...]


def predict_with_run(
    run: Path, data: Path, *, with_test: bool = True, progress: bool = False
) -> RunPredictions:
    """Return the predictions of a finished run for its validation, hold-out and test pictures.

    Args:
        run: A run folder, or a checkpoint in it.
        data: The data of the run.
        with_test: Include its test set.
        progress: Show bars on a terminal.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        DataError: The data cannot be read.
        RunError: The data are not those of the run.
    """
    checkpoint = load_checkpoint(run)
    recipe = _read_recipe(run, checkpoint)
    if not names_held_out(checkpoint.training):
        raise RunError(f"{run}: does not record which pictures were held out of its training.")
    dataset = load_recipe_dataset(
        data,
        # With every picture, so that copies are found; those to leave out are known below.
        replace(recipe, duplicates=KEEP_DUPLICATES),
        validation=find_validation_folder(run),
        progress=progress,
    )
    if not has_same_held_out(checkpoint.training, checkpoint.metrics, dataset.drawn, recipe):
        raise RunError(
            f"{run}: its held-out pictures are not those of {data}, so the run may have learned "
            f"from them; name the data that it was trained on."
        )
    splits = {
        "train": dataset.train,
        "validation": dataset.validation,
        "hold-out": dataset.holdout,
        **({"test": dataset.test} if with_test and dataset.test is not None else {}),
    }
    pictures = join_splits(data, dataset, splits, are_crops=recipe.faces)
    is_unseen = ~pictures.is_in("train") & ~_is_learned(pictures.faces, dataset, recipe)
    logits = np.zeros((len(pictures), len(pictures.classes)), np.float32)
    network = checkpoint.build().to(memory_format=torch.channels_last)
    logits[is_unseen] = predict_both_ways(network, pictures.faces.pixels[is_unseen])
    return RunPredictions(pictures, logits, is_unseen, checkpoint.temperature, dataset.notes)


def _read_recipe(run: Path, checkpoint: Checkpoint) -> Recipe:
    """Return the recipe of a checkpoint.

    Raises:
        CheckpointError: It has none.
    """
    try:
        recipe = Recipe.from_dict(checkpoint.training["recipe"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{run}: a checkpoint without the recipe of its run, which names the held-out pictures."
        ) from error
    return replace(recipe, classes=checkpoint.labels, size=checkpoint.size)


def _is_learned(faces: Faces, dataset: Dataset, recipe: Recipe) -> NDArray[np.bool_]:
    """Return which faces, bool (n,), equal a training face that the run did not leave out."""
    held_out = {"validation": dataset.validation, "holdout": dataset.holdout}
    splits = {"train": dataset.train, **held_out}
    copies = find_copies(splits, dataset.test, dataset.classes, recipe.duplicates)
    kept = np.flatnonzero(~copies.left_out["train"])
    learned = set(dataset.train.take(kept).hash_pixels())
    return np.array([one in learned for one in faces.hash_pixels()], np.bool_)
