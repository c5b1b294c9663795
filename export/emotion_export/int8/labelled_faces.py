"""Labelled faces for int8: training faces for calibration, held-out faces for evaluation."""

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
from emotion_train.data.held_out_draw import names_held_out
from emotion_train.recipe import Recipe

CALIBRATION_FACES_PER_CLASS = 170
MIN_FACES_PER_CLASS = 20  # fewer are too few for calibration
_MAX_ACCURACY_DROP = 0.05  # below the accuracy in training


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """Faces to calibrate and evaluate int8 on.

    Attributes:
        calibration: uint8 (n, size, size), training faces, up to
            `CALIBRATION_FACES_PER_CLASS` of each class.
        held_out: Validation and hold-out faces of the run, never used for training or calibration.
        test: The test faces, only for the card of a release; None if there are none.
        note: A reason to doubt figures on these faces, without a full stop; empty if there is none.
    """

    calibration: Pixels
    held_out: Faces
    test: Faces | None
    note: str = ""


def read_labelled_faces(
    data: Path, checkpoint: Checkpoint, validation: Path | None = None
) -> LabelledFaces:
    """Read the training data of a checkpoint, in the splits of its run.

    Args:
        data: As in `load_recipe_dataset`.
        checkpoint: The checkpoint.
        validation: The validation set of the run, if it was separate from its data.

    Raises:
        ParityDataError: A class has too few faces, or the checkpoint does not record its splits.
        DataError: The data cannot be read.
    """
    unknown = ParityDataError(
        "the checkpoint does not record how its faces were split, so the held-out faces are not "
        "known, and neither int8 nor a threshold can be evaluated on them; train again."
    )
    try:
        recipe = Recipe.from_dict(checkpoint.training["recipe"])
    except (KeyError, ValueError) as error:
        raise unknown from error
    if not names_held_out(checkpoint.training):
        raise unknown
    dataset = load_recipe_dataset(
        data,
        replace(recipe, classes=checkpoint.labels, size=checkpoint.size),
        validation=validation,
    )
    train = dataset.train
    chosen = []
    for label, name in enumerate(checkpoint.labels):
        members = np.flatnonzero(train.labels == label)
        if len(members) < MIN_FACES_PER_CLASS:
            raise ParityDataError(
                f"{data}: {len(members)} training faces of {name} are too few to calibrate int8; "
                f"at least {MIN_FACES_PER_CLASS} are needed."
            )
        spread = np.linspace(0, len(members) - 1, min(CALIBRATION_FACES_PER_CLASS, len(members)))
        chosen.append(members[np.rint(spread).astype(np.int64)])
    held_out = (dataset.validation, dataset.holdout)
    return LabelledFaces(
        calibration=train.pixels[np.concatenate(chosen)],
        held_out=Faces(
            np.concatenate([faces.pixels for faces in held_out]),
            np.concatenate([faces.labels for faces in held_out]),
            tuple(name for faces in held_out for name in faces.names),
        ),
        test=dataset.test,
        note=_compare_with_training(data, dataset, recipe, checkpoint),
    )


def get_recorded_accuracy(checkpoint: Checkpoint) -> float | None:
    """Return the accuracy on held-out faces in training; None if it was not measured."""
    known = checkpoint.metrics.get("hold-out") or checkpoint.metrics.get("validation")
    return None if known is None else float(known["accuracy"])


def require_known_faces(accuracy: float, recorded: float | None) -> None:
    """Require that the labelled faces are like those of the training.

    Args:
        accuracy: Accuracy of the network on their held-out faces.
        recorded: Its accuracy on held-out faces in training; None if it is not known.

    Raises:
        ParityError: The accuracy is more than 5 points lower.
    """
    if recorded is not None and accuracy < recorded - _MAX_ACCURACY_DROP:
        raise ParityError(
            f"the calibration data are not the training data of the network: its accuracy on their "
            f"held-out faces is {accuracy:.1%}, and was {recorded:.1%} in training. Ranges and "
            f"thresholds from other pictures would not fit."
        )


def _compare_with_training(
    data: Path, dataset: Dataset, recipe: Recipe, checkpoint: Checkpoint
) -> str:
    """Return a note if the data differ from those of the training; else an empty string.

    With other data, faces of the training may be among the held-out ones. The recorded digest of a
    run with votes or a teacher covers these as well, so only the numbers of held-out pictures are
    compared for such a run.
    """
    comparable = not recipe.vote_weight and not recipe.teacher_weight
    recorded = checkpoint.training.get("data_digest")
    changed = comparable and recorded is not None and recorded != dataset.digest()
    for name, faces in (("hold-out", dataset.holdout), ("validation", dataset.validation)):
        figures = checkpoint.metrics.get(name)
        known = figures.get("pictures") if isinstance(figures, dict) else None
        changed = changed or (known is not None and known != len(faces))
    if not changed:
        return ""
    return (
        f"{data}: not the pictures that the network was trained on; the file may be evaluated on "
        f"faces of the training"
    )
