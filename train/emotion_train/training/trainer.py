"""The loop: epochs over augmented batches, an average of the weights, a checkpoint after each."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from emotion_runtime.atomic import write_atomically
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_train.checkpoints.checkpoint import BEST, LAST, Checkpoint
from emotion_train.checkpoints.transfer import transfer
from emotion_train.class_weights import class_weights
from emotion_train.data.balance import balance_table
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import BY_NAME
from emotion_train.data.votes import SoftLabels
from emotion_train.errors import RunError
from emotion_train.evaluation import cross_entropy, measure, predict_logits
from emotion_train.networks import build_network
from emotion_train.networks.face_network import FaceNetwork, multiply_adds
from emotion_train.recipe import Recipe
from emotion_train.training.batches import AugmentedBatches, EpochBatches
from emotion_train.training.cpu_features import has_matrix_unit
from emotion_train.training.distributed import Place, sum_over_processes
from emotion_train.training.freezing import Frozen
from emotion_train.training.schedule import build_optimizer, build_schedule
from emotion_train.training.targets import Targets, label_targets
from emotion_train.training.teacher import Teacher
from emotion_train.training.time_budget import (
    FEWEST_STEPS,
    MOST_STEPS,
    PREDICTED_FACES,
    WARM_UP_STEPS,
    Pace,
    TimeBudget,
)

HISTORY = "history.csv"
FEW_SELECTION_FACES = 200
_SPLIT_NAMES = {"validation": "validation", "holdout": "hold-out"}

Row = dict[str, float]


class Trainer:
    """One run of a recipe on a dataset; `train` goes from wherever it stands to the last epoch.

    Attributes:
        history: One row for each epoch that is done.
        extensions: Each change of the number of epochs so far, as in ``run.json``.
        follow: Is given the row of each epoch, before the epoch counts as done.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        place: Place,
        targets: Targets | None = None,
        initial: Checkpoint | None = None,
        teacher: Teacher | None = None,
        soft_labels: Mapping[str, SoftLabels] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            dataset: The splits.
            recipe: What is learned, and how.
            place: This process among all.
            targets: What each training face is taught to be; None for its label.
            initial: Whose weights the run starts with; None for fresh ones.
            teacher: What joins the targets.
            soft_labels: The votes on ``validation`` and ``holdout``, where a run that is taught by
                votes chooses its epoch by them; None where it chooses by labels.
        """
        self.soft_labels = soft_labels or {}
        self.digest = dataset.digest()
        if targets is None:
            targets = label_targets(dataset.train, len(dataset.classes))
        else:
            self.digest = hashlib.sha256(self.digest.encode() + targets.tobytes()).hexdigest()
        self.teacher = teacher
        if teacher is not None:
            asked = torch.from_numpy(dataset.train.pixels[:64, None]).to(place.device)
            self.digest = hashlib.sha256(self.digest.encode() + teacher.digest(asked)).hexdigest()
        self.dataset, self.recipe, self.place = dataset, recipe, place
        self.balance = balance_table(dataset.train, len(dataset.classes), recipe.balance, targets)
        weights = class_weights(recipe.class_weights, dataset.classes, targets)
        self.class_weights = None if weights is None else torch.from_numpy(weights).to(place.device)
        self.batches = EpochBatches(
            dataset.train,
            len(dataset.classes),
            recipe.batch_size,
            recipe.seed,
            rank=place.rank,
            world_size=place.world_size,
            table=self.balance,
        )
        self.augmented = AugmentedBatches(
            dataset.train, targets, recipe.augmentation, self.batches, place.device
        )
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.network, len(dataset.classes), recipe.size)
        network.scaling.fit(torch.from_numpy(dataset.train.pixels))
        self.started_from = None if initial is None else initial.training.get("parents")
        self.transferred = None if initial is None else transfer(initial, network, dataset.classes)
        self.frozen = Frozen(network, recipe.freeze)
        # Channels last is 1.5 times as fast for small convolutions on x86, and no slower elsewhere.
        self.network: FaceNetwork = network.to(place.device).to(memory_format=torch.channels_last)
        self.multiply_adds = multiply_adds(self.network)
        self.average = _averaged(network, recipe.averaging)
        self.optimizer = build_optimizer(network, recipe)
        self.schedule: LambdaLR = build_schedule(
            self.optimizer, recipe, steps=recipe.epochs * len(self.batches)
        )
        self.precision = _precision(recipe.precision, place.device)
        self.scaler = torch.amp.GradScaler(
            enabled=place.device.type == "cuda" and self.precision is torch.float16
        )
        self.history: list[Row] = []
        self.extensions: list[dict[str, int]] = []
        self.follow: Callable[[Row], None] = lambda _: None

    @property
    def best(self) -> Row:
        """The epoch that is best on the selection faces.

        By accuracy, then by loss; where the run is taught by votes, by their cross-entropy.
        """
        if self.soft_labels:
            return min(self.history, key=lambda row: row["selection_loss"])
        return max(self.history, key=lambda r: (r["selection_accuracy"], -r["selection_loss"]))

    @property
    def kept(self) -> Row:
        """The epoch whose weights are kept: the best, unless so few faces cannot tell.

        With fewer than `FEW_SELECTION_FACES` it is the latest inside the 95 % interval of the best:
        an early epoch is easily the best of many by chance, and the last ones, at a low rate, are
        better on other faces (EXPERIMENTS.md). The loss on votes is less a matter of chance.
        """
        best, faces = self.best, len(self.dataset.selection())
        if self.soft_labels or faces >= FEW_SELECTION_FACES:
            return best
        low, _ = compute_wilson_interval(round(best["selection_accuracy"] * faces), faces)
        return [row for row in self.history if row["selection_accuracy"] >= low][-1]

    def train(
        self,
        run_dir: Path,
        say: Callable[[str], None],
        *,
        progress: bool,
        budget: TimeBudget | None = None,
        report: float = 0.0,
    ) -> None:
        """Train to the last epoch; `best.pt`, `last.pt` and `history.csv` follow each epoch.

        Args:
            run_dir: The run folder.
            say: Takes messages for a person.
            progress: Show bars on a terminal.
            budget: The minutes of the run; no epoch begins that would not end inside it.
            report: Seconds to leave for the report.
        """
        step_network: nn.Module = self.network
        if self.place.is_distributed:
            step_network = DistributedDataParallel(self.network)
        clock = time.perf_counter if budget is None else budget.clock
        needed = 0.0  # seconds of another epoch and the report
        for epoch in range(len(self.history), self.recipe.epochs):
            if self._stops_early(say, budget, needed):
                break
            started = clock()
            loss = self._train_epoch(step_network, epoch, progress and self.place.is_first)
            seconds = clock() - started
            self._refuse_divergence(epoch + 1, np.isfinite(loss))
            row: Row = {
                "epoch": epoch + 1,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "train_loss": loss,
                "images_per_second": self.batches.faces_per_epoch / max(seconds, 1e-9),
                "seconds": seconds,
            }
            if self.place.is_first:
                self._finish_epoch(run_dir, row)
                say(self._line(row))
            else:
                self.history.append(row)
            needed = clock() - started + report

    def _stops_early(
        self, say: Callable[[str], None], budget: TimeBudget | None, needed: float
    ) -> bool:
        """Return whether no further epoch is to begin, in all processes alike; say why."""
        if not self.history or (budget is None and not self.recipe.patience):
            return False
        reason = ""
        if self.place.is_first:
            done, patience = len(self.history), self.recipe.patience
            if patience and done - self.best["epoch"] >= patience:
                reason = (
                    f"epoch {self.best['epoch']:.0f} is still the best after {patience} more "
                    f"(--patience {patience})"
                )
            elif budget is not None and budget.left() < needed:
                reason = (
                    f"the machine is slower than when the run was planned, and another epoch would "
                    f"not end within {budget.minutes:g} minutes; --resume trains the rest"
                )
            if reason:
                say(f"stopped after epoch {done} of {self.recipe.epochs}: {reason}")
        return bool(sum_over_processes(float(bool(reason)), self.place))

    def measure_pace(self, budget: TimeBudget) -> Pace:
        """Return how fast this machine trains and predicts; the weights are changed by it."""
        clock, device = budget.clock, self.place.device
        self.network.train()
        self.frozen.hold()
        endless = chain.from_iterable(repeat(self.augmented))

        def step() -> None:
            self.take_step(self.network, *next(endless))
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        for _ in range(WARM_UP_STEPS):
            step()
        begun, steps = clock(), 0
        while steps < FEWEST_STEPS or (
            clock() - begun < budget.measuring_seconds and steps < MOST_STEPS
        ):
            step()
            steps += 1
        step_seconds = (clock() - begun) / steps
        faces = self.dataset.train.pixels[:PREDICTED_FACES]
        predict_logits(self._evaluated(), faces)
        begun = clock()
        predict_logits(self._evaluated(), faces)
        return Pace(step_seconds, (clock() - begun) / len(faces))

    def _train_epoch(self, network: nn.Module, epoch: int, progress: bool) -> float:
        """Go once through the balanced training set; return the mean loss."""
        self.batches.set_epoch(epoch)
        # Dropout and the like start each epoch from a known state, so that a resumed run repeats.
        torch.manual_seed(self.recipe.seed + 1_000_003 * (epoch + 1) + self.place.rank)
        network.train()
        self.frozen.hold()
        seen, summed = 0, torch.zeros((), dtype=torch.float64, device=self.place.device)
        bar = tqdm(
            self.augmented,
            desc=f"epoch {epoch + 1}/{self.recipe.epochs}",
            unit="batch",
            leave=False,
            disable=None if progress else True,
        )
        started = time.perf_counter()
        for number, (pixels, targets, total) in enumerate(bar):
            summed += self.take_step(network, pixels, targets, total)
            seen += total
            if number % 20 == 19 and not bar.disable:
                rate = seen / (time.perf_counter() - started)
                bar.set_postfix_str(f"loss {summed.item() / seen:.3f}, {rate:,.0f} images/s")
        return sum_over_processes(summed.item(), self.place) / self.batches.faces_per_epoch

    def take_step(self, network: nn.Module, pixels: Tensor, targets: Tensor, total: int) -> Tensor:
        """Take one step; return the summed loss of this process's share."""
        device = self.place.device
        pixels = pixels.to(memory_format=torch.channels_last)
        enabled = self.precision is not torch.float32
        with torch.autocast(device.type, self.precision, enabled=enabled):
            logits = network(pixels)
            if self.teacher is not None:
                targets = targets.lerp(self.teacher.answer(pixels), self.recipe.teacher_weight)
        loss = nn.functional.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            label_smoothing=self.recipe.label_smoothing,
            reduction="sum",
        )
        # Summed and divided by the whole batch: right also where the shares differ by one face.
        self.optimizer.zero_grad(set_to_none=True)
        scaled: Tensor = self.scaler.scale(loss * (self.place.world_size / total))
        scaled.backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return loss.detach().double()

    def _finish_epoch(self, run_dir: Path, row: Row) -> None:
        """Measure, record and save; rank 0 alone."""
        network = self._evaluated()
        held_out: dict[str, Faces] = {"validation": self.dataset.validation}
        if len(self.dataset.holdout):
            held_out["holdout"] = self.dataset.holdout
        for name, faces in held_out.items():
            logits = predict_logits(network, faces.pixels)
            self._refuse_divergence(int(row["epoch"]), np.isfinite(logits).all())
            metrics = measure(logits, faces.labels)
            row |= {f"{name}_loss": metrics.cross_entropy, f"{name}_accuracy": metrics.accuracy}
            if name in self.soft_labels:
                row |= _measure_votes(name, logits, self.soft_labels[name])
        chosen = "holdout" if "holdout" in held_out else "validation"
        loss = f"{chosen}_votes_loss" if self.soft_labels else f"{chosen}_loss"
        row |= {"selection_loss": row[loss], "selection_accuracy": row[f"{chosen}_accuracy"]}
        self.history.append(row)
        self.follow(row)
        # history.csv before last.pt: a kill in between repeats the epoch, and nothing is missing.
        with write_atomically(run_dir / HISTORY) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self.history)
        checkpoint = self.checkpoint()
        if self.kept is row:
            checkpoint.save(run_dir / BEST)
        Checkpoint(**{**checkpoint.__dict__, "resume": self._state()}).save(run_dir / LAST)

    def _refuse_divergence(self, epoch: int, finite: bool | np.bool_) -> None:
        if not finite:
            raise RunError(
                f"the training diverged in epoch {epoch}: the learning rate "
                f"{self.recipe.learning_rate:g} is too high for this network; lower it."
            )

    def _evaluated(self) -> nn.Module:
        """Return the network that is measured and released: the average, where there is one."""
        return self.network if self.average is None else self.average.module

    def checkpoint(self) -> Checkpoint:
        """Return what has been learned so far, without the state of the loop."""
        weights = {name: value.cpu() for name, value in self._evaluated().state_dict().items()}
        return Checkpoint(
            network=self.recipe.network,
            labels=self.dataset.classes,
            size=self.recipe.size,
            weights=weights,
            training={
                "recipe": self.recipe.to_dict(),
                "seed": self.recipe.seed,
                "epochs": self.recipe.epochs,
                "epoch": int(self.history[-1]["epoch"]),
                "data_digest": self.digest,
                "held_out_draw": BY_NAME,
                "faces": self.dataset.train.counts(len(self.dataset.classes)).tolist(),
                "held_out": {name: list(one) for name, one in self.dataset.drawn.items()},
                "chosen_by": "votes" if self.soft_labels else "labels",
                "world_size": self.place.world_size,
                "started_from": self.started_from,
                "extensions": self.extensions,
            },
            multiply_adds=self.multiply_adds,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the run that wrote `checkpoint` stood.

        Raises:
            RunError: The checkpoint is of other data, or holds no state to go on from.
        """
        state = checkpoint.resume
        if state is None:
            raise RunError("the checkpoint holds no state to resume from; use last.pt of a run.")
        if checkpoint.training["data_digest"] != self.digest:
            raise RunError(
                "the training data have changed since the run was begun; begin a new one."
            )
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # The optimiser's state holds the rate of the schedule that the run had before.
        schedule = self.schedule
        for group, base, factor in zip(
            self.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(schedule.last_epoch)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.history = list(state["history"])
        if self.soft_labels and any("validation_votes_loss" not in row for row in self.history):
            raise RunError(
                "the run is taught by votes, and was begun by an older emotion-edge, which chose "
                "the epoch by labels; begin a new one (--start-from RUN_DIR begins with its "
                "weights)."
            )
        self.started_from = checkpoint.training.get("started_from")

    def _line(self, row: Row) -> str:
        """Say one epoch in one line."""
        left = (self.recipe.epochs - row["epoch"]) * row["seconds"] / 60
        parts = {"validation": self.dataset.validation, "holdout": self.dataset.holdout}
        told = [
            f"{_SPLIT_NAMES[name]} {format_accuracy(row[f'{name}_accuracy'], len(faces))}"
            for name, faces in parts.items()
            if f"{name}_accuracy" in row
        ]
        if self.soft_labels:
            told.append(f"loss on votes {row['selection_loss']:.4f}")
        held_out = "  ".join(told)
        return (
            f"epoch {row['epoch']:3.0f}/{self.recipe.epochs}  loss {row['train_loss']:.4f}  "
            f"{held_out}  {row['images_per_second']:,.0f} images/s  {left:.0f} min left"
        )


def format_accuracy(accuracy: float, pictures: int) -> str:
    """Return an accuracy with half of its 95 % interval, such as ``85.5% ±5.9``."""
    low, high = compute_wilson_interval(round(accuracy * pictures), pictures)
    return f"{accuracy:.1%} ±{50 * (high - low):.1f}"


def _measure_votes(split: str, logits: NDArray[np.float32], votes: SoftLabels) -> Row:
    """Return the cross-entropy with the votes, and the accuracy where a majority names a class."""
    row = {f"{split}_votes_loss": cross_entropy(logits.astype(np.float64), votes.targets)}
    known = votes.majority >= 0
    if known.any():
        right = logits[known].argmax(axis=1) == votes.majority[known]
        row[f"{split}_majority_accuracy"] = float(right.mean())
    return row


def _averaged(network: nn.Module, decay: float) -> AveragedModel | None:
    """Follow the weights by an exponential moving average that starts short and grows to `decay`.

    The ramp (1 + n) / (10 + n) is that of TensorFlow's ExponentialMovingAverage: without it a
    short run would be judged on what it knew at its start.
    """
    if not decay:
        return None

    def ramped(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        if not average.is_floating_point():
            return value  # batch normalisation's counter
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(value, average, now)

    return AveragedModel(network, avg_fn=ramped, use_buffers=True)


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        if device.type != "cuda":
            return torch.bfloat16 if has_matrix_unit() else torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
