"""Labelled faces for int8: some to take ranges from, others, held out of training, to judge on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emotion_export.errors import ParityDataError
from emotion_export.parity.comparison import ParityError
from emotion_runtime.pictures.preprocessing import Pixels
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.data.dataset import Dataset, load_recipe_dataset
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import BY_PLACE
from emotion_train.recipe import Recipe

PER_CLASS = 170
FEWEST = 20  # of a class; the range of fewer says little


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """What quantisation works with.

    Attributes:
        calibration: uint8 (n, size, size), training faces, the same number of each class.
        held_out: Validation and hold-out faces of the run; never trained nor calibrated on.
        test: The test faces, where there are some; for the card of a release alone.
        note: What makes a judgement on them doubtful, without a full stop; empty where nothing.
    """

    calibration: Pixels
    held_out: Faces
    test: Faces | None
    note: str = ""


def read_labelled_faces(
    data: Path, checkpoint: Checkpoint, validation: Path | None = None
) -> LabelledFaces:
    """Read the data that the checkpoint was trained on, in the splits of its run.

    Args:
        data: As in `load_recipe_dataset`.
        checkpoint: What was trained.
        validation: The validation set of the run, where it was not among its data.

    Raises:
        ParityDataError: A class has too few faces, or the checkpoint does not name its splits.
        DataError: The data cannot be read.
    """
    try:
        recipe = Recipe.from_dict(checkpoint.training["recipe"])
    except (KeyError, ValueError) as error:
        raise ParityDataError(
            "the checkpoint does not say how its faces were split: which of them were held out of "
            "training is not known, so that int8 cannot be judged on them."
        ) from error
    dataset = load_recipe_dataset(
        data,
        replace(recipe, classes=checkpoint.labels, size=checkpoint.size),
        validation=validation,
        draw=checkpoint.training.get("held_out_draw", BY_PLACE),
    )
    train = dataset.train
    chosen = []
    for label, name in enumerate(checkpoint.labels):
        members = np.flatnonzero(train.labels == label)
        if len(members) < FEWEST:
            raise ParityDataError(
                f"{data}: {len(members)} training faces of {name} are too few to take the ranges "
                f"of int8 from; at least {FEWEST} are needed."
            )
        spread = np.linspace(0, len(members) - 1, min(PER_CLASS, len(members)))
        chosen.append(members[np.rint(spread).astype(np.int64)])
    held_out = (dataset.validation, dataset.holdout)
    return LabelledFaces(
        train.pixels[np.concatenate(chosen)],
        Faces(
            np.concatenate([faces.pixels for faces in held_out]),
            np.concatenate([faces.labels for faces in held_out]),
            tuple(name for faces in held_out for name in faces.names),
        ),
        dataset.test,
        _compare_with_training(data, dataset, recipe, checkpoint),
    )


def known_accuracy(checkpoint: Checkpoint) -> float | None:
    """Return the accuracy on held-out faces that the training measured; None where it did not."""
    known = checkpoint.metrics.get("hold-out") or checkpoint.metrics.get("validation")
    return None if known is None else float(known["accuracy"])


def require_known_faces(accuracy: float, recorded: float | None) -> None:
    """Refuse labelled faces that the network does not know: nothing can be chosen on them.

    Args:
        accuracy: The network's on their held-out faces.
        recorded: Its accuracy on held-out faces when it was trained; None where it is not known.

    Raises:
        ParityError: It is right on far fewer of these.
    """
    if recorded is not None and accuracy < recorded - 0.05:
        raise ParityError(
            f"the calibration data are not what the network was trained on: it is right on "
            f"{accuracy:.1%} of their held-out faces, and was on {recorded:.1%} in training. "
            f"Ranges and thresholds taken from other pictures, or from noise, fit no face."
        )


def _compare_with_training(
    data: Path, dataset: Dataset, recipe: Recipe, checkpoint: Checkpoint
) -> str:
    """Return what shows that the data are others than those of the training; else nothing.

    Then faces that the network was trained on may be among those that are taken for held out. The
    digest of a run with votes or a teacher covers these too, so that the number of held-out
    pictures is all that can be compared.
    """
    plain = not recipe.vote_weight and not recipe.teacher_weight
    recorded = checkpoint.training.get("data_digest")
    changed = plain and recorded is not None and recorded != dataset.digest()
    for name, faces in (("hold-out", dataset.holdout), ("validation", dataset.validation)):
        figures = checkpoint.metrics.get(name)
        known = figures.get("pictures") if isinstance(figures, dict) else None
        changed = changed or (known is not None and known != len(faces))
    if not changed:
        return ""
    return (
        f"{data}: other pictures than the network was trained on: faces that it has learned may "
        f"be among those that the file is judged on"
    )
