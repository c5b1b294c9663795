"""Out-of-fold predictions: one short training for each fold, which can be interrupted."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from emotion_runtime.atomic import write_atomically
from emotion_runtime.prediction import format_count
from emotion_train.audit.folds import EVERY_FOLD
from emotion_train.audit.pictures import AuditedPictures
from emotion_train.data.balance import compute_balance
from emotion_train.data.dataset import Dataset
from emotion_train.data.duplicates import Audit
from emotion_train.data.faces import Faces
from emotion_train.evaluation import predict_logits
from emotion_train.networks.face_network import FaceNetwork
from emotion_train.recipe import Recipe
from emotion_train.resuming import restore_trainer
from emotion_train.run_folder import RunFolder
from emotion_train.training.distributed import TrainingProcess
from emotion_train.training.planning import (
    TOTAL_FACES,
    Workload,
    plan_recipe,
)
from emotion_train.training.trainer import Row, Trainer

EPOCHS = (40, 200)  # with many pictures, with few


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The trainings of an audit.

    Attributes:
        pictures: The pictures, n of them.
        folds: The fold of each picture, int64 (n,).
        recipe: The recipe of each training.
        folder: Where checkpoints and predictions are kept.
        process: This process.
        say: Prints a message.
        progress: Show a bar on a terminal.
    """

    pictures: AuditedPictures
    folds: NDArray[np.int64]
    recipe: Recipe
    folder: Path
    process: TrainingProcess
    say: Callable[[str], None]
    progress: bool = True

    def predict(self) -> NDArray[np.float32]:
        """Train on all folds but one, for each fold; return logits, float32 (n, classes).

        A finished fold is read from its file. Logits of pictures in `EVERY_FOLD` are the mean over
        all networks.

        Raises:
            RunError: A training diverged, or a checkpoint does not fit.
        """
        numbers = range(int(self.folds.max()) + 1)
        logits = np.zeros((len(self.pictures), len(self.pictures.classes)), np.float32)
        bar = tqdm(
            total=len(numbers) * self.recipe.epochs,
            desc="training",
            unit=" epochs",
            leave=False,
            disable=None if self.progress else True,
        )
        with bar:
            for number in numbers:
                bar.set_description(f"fold {number + 1}/{len(numbers)}")
                members = np.flatnonzero((self.folds == number) | (self.folds == EVERY_FOLD))
                part = self._load(number, len(members))
                if part is None:
                    part = self._train(number, members, len(numbers), bar)
                else:
                    self.say(f"fold {number + 1} of {len(numbers)}: read from the earlier run")
                    bar.update(self.recipe.epochs)
                is_own = self.folds[members] == number
                logits[members[is_own]] = part[is_own]
                logits[members[~is_own]] += part[~is_own] / len(numbers)
        return logits

    def _train(
        self, number: int, members: NDArray[np.int64], folds: int, bar: Any
    ) -> NDArray[np.float32]:
        """Train a network without a fold; keep and return its logits of some pictures."""
        folder = RunFolder(self.folder / f"fold-{number + 1}")
        trainer = Trainer(self._make_dataset(number), self.recipe, self.process)
        if folder.last_checkpoint.exists():
            restore_trainer(trainer, folder.last_checkpoint, (), lambda _: None)
            self.say(
                f"fold {number + 1} of {folds}: continued after epoch {len(trainer.history)} of "
                f"{self.recipe.epochs}"
            )
        bar.update(len(trainer.history))

        def count_epoch(_: Row) -> None:
            bar.update()

        trainer.on_epoch = count_epoch
        folder.path.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        trainer.train(folder, lambda _: None, progress=False)
        network = trainer.make_checkpoint().build().to(self.process.device)
        logits = predict_both_ways(network, self.pictures.faces.pixels[members])
        with write_atomically(self._get_path(number)) as path, path.open("wb") as file:
            np.savez(file, logits=logits)
        shutil.rmtree(folder.path, ignore_errors=True)
        is_own = self.folds[members] == number
        labels = self.pictures.faces.labels[members]
        accuracy = float((logits.argmax(axis=1) == labels)[is_own].mean())
        self.say(
            f"fold {number + 1} of {folds}: {accuracy:.1%} of its "
            f"{format_count(int(is_own.sum()), 'label')} equal the suggestion; "
            f"{_format_minutes(time.perf_counter() - started)}"
        )
        return logits

    def _make_dataset(self, number: int) -> Dataset:
        """Return the pictures of the other folds as the training set, each only once."""
        return Dataset(
            classes=self.pictures.classes,
            train=take_others(self.pictures.faces, self.folds, number),
            validation=self.pictures.faces.take(np.flatnonzero(self.folds == number)),
            holdout=self.pictures.faces.take(np.empty(0, np.int64)),
            test=None,
            audit=Audit(0, 0, 0, 0),
        )

    def _get_path(self, number: int) -> Path:
        return self.folder / f"fold-{number + 1}.npz"

    def _load(self, number: int, count: int) -> NDArray[np.float32] | None:
        """Return the logits of a finished fold; None where there are none, or damaged ones."""
        path, shape = self._get_path(number), (count, len(self.pictures.classes))
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as values:
                logits: NDArray[np.float32] = values["logits"]
            if logits.shape == shape and logits.dtype == np.float32 and np.isfinite(logits).all():
                return logits
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
        self.say(f"{path}: damaged; this fold is trained again")
        return None


def plan_folds(
    pictures: AuditedPictures, folds: NDArray[np.int64], recipe: Recipe, choose: Collection[str]
) -> tuple[Recipe, str]:
    """Return the recipe of the trainings of an audit, and a phrase that describes it.

    They are shorter than that of a network to keep: after few epochs a network has not yet learned
    wrong labels by heart, and its predictions of other pictures are almost as good.

    Args:
        pictures: The pictures.
        folds: The fold of each, from `assign_folds`.
        recipe: The recipe with the values from the user.
        choose: Names of the fields to choose.
    """
    train = take_others(pictures.faces, folds, 0)
    balance = compute_balance(train, len(pictures.classes), recipe.balance)
    epoch_faces = int(balance.total.sum())
    fewest, most = EPOCHS
    epochs = min(most, max(fewest, -(-TOTAL_FACES // epoch_faces)))
    workload = Workload(len(train), epoch_faces)
    planned = plan_recipe(recipe, workload, choose, epochs)
    return planned, (
        f"each on about {format_count(len(train), 'picture')}: "
        f"{format_count(planned.epochs, 'epoch')}, batch size {planned.batch_size}, learning rate "
        f"{planned.learning_rate:g}, {planned.augmentation} augmentation"
    )


def _format_minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 60 else f"{seconds / 60:.1f} minutes"


def take_others(faces: Faces, folds: NDArray[np.int64], number: int) -> Faces:
    """Return the faces of all folds but one, identical ones of a class only once."""
    hashes = faces.hash_pixels()
    kept: dict[tuple[bytes, int], int] = {}
    for index in np.flatnonzero((folds != number) & (folds != EVERY_FOLD)):
        kept.setdefault((hashes[index], int(faces.labels[index])), int(index))
    return faces.take(np.array(sorted(kept.values()), np.int64))


def predict_both_ways(network: FaceNetwork, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean logits of faces and of their mirror images, float32 (n, classes)."""
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    mean: NDArray[np.float32] = (
        predict_logits(network, pixels) + predict_logits(network, mirrored)
    ) / np.float32(2)
    return mean
