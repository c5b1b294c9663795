"""Defaults that depend on the number of training pictures and the time limit.

The rules were chosen on faces held out of FER2013's training set, see EXPERIMENTS.md. ``--help``
loads this file, so it imports neither torch nor numpy.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from emotion_train.recipe import Recipe

# The fields that `plan_recipe` chooses where the user does not. The network is chosen before.
PLANNED = ("epochs", "batch_size", "learning_rate", "augmentation")

BATCH_SIZES = (16, 32, 64, 128)
STEPS_PER_EPOCH = 60  # at least, where a batch size of the list allows it
EPOCHS = (60, 200)  # with many pictures, with few
TOTAL_FACES = 24_000  # in all epochs together, which few pictures reach by more epochs
RATES = {"baseline": 1e-3, "edge": 3e-3, "wide": 2e-3}  # for batches of 64
RATE_BATCH_SIZE = 64
STARTED_RATE_SHARE = 0.5
LIGHT_EPOCHS = 20  # shorter runs get light augmentation
STRONG_EPOCHS = 100  # runs of this length get strong augmentation,
STRONG_EPOCHS_OF_MANY, MANY_FACES = 40, 300_000  # and these, with so many faces in all epochs


@dataclass(frozen=True)
class Workload:
    """The amount of training data of a run.

    Attributes:
        pictures: Number of training pictures.
        epoch_faces: Faces per epoch: the pictures and their balancing copies.
        started: The initial weights come from another run or a released network.
    """

    pictures: int
    epoch_faces: int
    started: bool = False


def choose_network(device: str) -> str:
    """Return the default network: ``edge``, and on CUDA ``baseline``."""
    return "baseline" if device == "cuda" else "edge"


def plan_recipe(
    recipe: Recipe,
    workload: Workload,
    choose: Collection[str] = PLANNED,
    epochs: int | None = None,
) -> Recipe:
    """Return a recipe with some fields chosen for a workload.

    Args:
        recipe: The recipe with the values from the user.
        workload: The amount of training data.
        choose: Names of the fields to choose, from `PLANNED`.
        epochs: Epochs that fit into the time limit; None without a limit.
    """
    if "epochs" in choose:
        recipe = replace(recipe, epochs=epochs or choose_epochs(workload.epoch_faces))
    if "batch_size" in choose:
        recipe = replace(recipe, batch_size=choose_batch_size(workload.epoch_faces))
    if "learning_rate" in choose:
        rate = choose_learning_rate(recipe.network, recipe.batch_size, started=workload.started)
        recipe = replace(recipe, learning_rate=rate)
    if "augmentation" in choose:
        name = choose_augmentation(recipe.epochs, workload.epoch_faces)
        recipe = replace(recipe, augmentation=name)
    return recipe


def choose_epochs(epoch_faces: int) -> int:
    """Return the number of epochs without a time limit."""
    fewest, most = EPOCHS
    return min(most, max(fewest, math.ceil(TOTAL_FACES / epoch_faces)))


def choose_batch_size(epoch_faces: int) -> int:
    """Return the largest batch size that leaves enough steps in an epoch."""
    enough = [size for size in BATCH_SIZES if size * STEPS_PER_EPOCH <= epoch_faces]
    return max(enough, default=BATCH_SIZES[0])


def choose_learning_rate(network: str, batch_size: int, *, started: bool = False) -> float:
    """Return the peak of the learning-rate schedule.

    It grows with the square root of the batch size, the rule for Adam (Malladi et al., "On the SDEs
    and Scaling Rules for Adaptive Gradient Algorithms", 2022). With initial weights from another
    run it is halved.
    """
    rate = RATES[network] * math.sqrt(batch_size / RATE_BATCH_SIZE)
    return float(f"{rate * (STARTED_RATE_SHARE if started else 1):.1e}")


def choose_augmentation(epochs: int, epoch_faces: int) -> str:
    """Return the augmentation: the more often a face is seen, the stronger."""
    if epochs < LIGHT_EPOCHS:
        return "light"
    many = epochs >= STRONG_EPOCHS_OF_MANY and epochs * epoch_faces >= MANY_FACES
    return "strong" if many or epochs >= STRONG_EPOCHS else "standard"


def describe_plan(recipe: Recipe, workload: Workload, choose: Collection[str]) -> str:
    """Return a sentence without a full stop about the choices, as options of the command."""
    options = " ".join(
        f"--{name.replace('_', '-')} {getattr(recipe, name)}" for name in PLANNED if name in choose
    )
    started = " and weights that have learned" if workload.started else ""
    return f"chosen for {workload.pictures:,} training pictures{started}: {options}"
