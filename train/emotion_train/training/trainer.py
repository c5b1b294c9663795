"""The training loop, with a checkpoint after each epoch."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from emotion_runtime.atomic import write_atomically
from emotion_runtime.evaluate.metrics import compute_wilson_interval
from emotion_train.checkpoints.checkpoint import Checkpoint
from emotion_train.checkpoints.transfer import transfer_weights
from emotion_train.class_weights import compute_class_weights
from emotion_train.data.balance import compute_balance
from emotion_train.data.dataset import Dataset
from emotion_train.data.faces import Faces
from emotion_train.data.held_out_draw import BY_NAME
from emotion_train.data.votes import SoftLabels
from emotion_train.errors import RunError
from emotion_train.evaluation import cross_entropy, measure, predict_logits
from emotion_train.networks import build_network
from emotion_train.networks.face_network import FaceNetwork, count_multiply_adds
from emotion_train.recipe import Recipe
from emotion_train.run_folder import RunFolder
from emotion_train.training.batches import AugmentedBatches, EpochBatches
from emotion_train.training.distributed import TrainingProcess, sum_over_processes
from emotion_train.training.freezing import FrozenLayers
from emotion_train.training.precision import choose_precision
from emotion_train.training.schedule import build_optimizer, build_schedule
from emotion_train.training.targets import Targets, make_label_targets
from emotion_train.training.teacher import Teacher
from emotion_train.training.time_budget import (
    MAX_MEASURED_STEPS,
    MEASURED_FACES,
    MIN_MEASURED_STEPS,
    WARM_UP_STEPS,
    Pace,
    TimeBudget,
)
from emotion_train.training.weight_average import build_average

MIN_SELECTION_FACES = 200  # for the best epoch to be more than chance
TEACHER_DIGEST_FACES = 64
_SPLIT_NAMES = {"validation": "validation", "holdout": "hold-out"}

Row = dict[str, float]


class Trainer:
    """A run of a recipe on a dataset; `train` continues it to the last epoch.

    Attributes:
        history: One row per completed epoch.
        extensions: Each change of the number of epochs so far, as in ``run.json``.
        on_epoch: Called with the row of each epoch, before its checkpoint is written.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        process: TrainingProcess,
        targets: Targets | None = None,
        initial: Checkpoint | None = None,
        teacher: Teacher | None = None,
        soft_labels: Mapping[str, SoftLabels] | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            dataset: The splits.
            recipe: The settings of the training.
            process: This process.
            targets: The target of each training face; None for its label.
            initial: The initial weights; None for random ones.
            teacher: The teacher, if there is one.
            soft_labels: The votes for ``validation`` and ``holdout``, to choose the epoch by them;
                None to choose it by labels.
            weights: The weight of each training face in the loss, float32 (n,); None for 1.
        """
        self.dataset, self.recipe, self.process = dataset, recipe, process
        self.teacher, self.soft_labels = teacher, soft_labels or {}
        self.digest = _hash_data(dataset, targets, teacher, process, weights)
        if targets is None:
            targets = make_label_targets(dataset.train, len(dataset.classes))
        self.balance = compute_balance(dataset.train, len(dataset.classes), recipe.balance, targets)
        class_weights = compute_class_weights(recipe.class_weights, dataset.classes, targets)
        self.class_weights = (
            None if class_weights is None else torch.from_numpy(class_weights).to(process.device)
        )
        self.batches = EpochBatches(
            dataset.train,
            len(dataset.classes),
            recipe.batch_size,
            recipe.seed,
            rank=process.rank,
            world_size=process.world_size,
            balance=self.balance,
        )
        self.augmented = AugmentedBatches(
            dataset.train, targets, recipe.augmentation, self.batches, process.device, weights
        )
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.network, len(dataset.classes), recipe.size)
        network.scaling.fit(torch.from_numpy(dataset.train.pixels))
        self.started_from = None if initial is None else initial.training.get("parents")
        self.transferred = (
            None if initial is None else transfer_weights(initial, network, dataset.classes)
        )
        self.frozen = FrozenLayers(network, recipe.freeze)
        # Channels last is 1.5 times as fast for small convolutions on x86, and no slower elsewhere.
        self.network: FaceNetwork = network.to(process.device).to(memory_format=torch.channels_last)
        self.multiply_adds = count_multiply_adds(self.network)
        self.average = build_average(network, recipe.averaging)
        self._build_optimizer()
        self.history: list[Row] = []
        self.extensions: list[dict[str, int]] = []
        self.on_epoch: Callable[[Row], None] = lambda _: None

    def _build_optimizer(self) -> None:
        recipe, device = self.recipe, self.process.device
        self.optimizer = build_optimizer(self.network, recipe)
        self.schedule: LambdaLR = build_schedule(
            self.optimizer, recipe, steps=recipe.epochs * len(self.batches)
        )
        self.precision = choose_precision(recipe.precision, device)
        self.scaler = torch.amp.GradScaler(
            enabled=device.type == "cuda" and self.precision is torch.float16
        )

    @property
    def best_row(self) -> Row:
        """Return the row of the epoch that is best on the selection faces.

        The criterion is accuracy, then loss; with votes, it is the cross-entropy with them.
        """
        if self.soft_labels:
            return min(self.history, key=lambda row: row["selection_loss"])
        return max(self.history, key=lambda r: (r["selection_accuracy"], -r["selection_loss"]))

    @property
    def kept_row(self) -> Row:
        """Return the row of the epoch whose weights are kept: the best, unless there are few faces.

        With fewer than `MIN_SELECTION_FACES` it is the latest epoch within the 95 % interval of the
        best. An early epoch can be the best by chance, but the last ones, at a low learning rate,
        are better on other faces (EXPERIMENTS.md). The loss on votes is less noisy.
        """
        best, faces = self.best_row, len(self.dataset.selection)
        if self.soft_labels or faces >= MIN_SELECTION_FACES:
            return best
        low, _ = compute_wilson_interval(round(best["selection_accuracy"] * faces), faces)
        return [row for row in self.history if row["selection_accuracy"] >= low][-1]

    def train(
        self,
        folder: RunFolder,
        say: Callable[[str], None],
        *,
        progress: bool,
        budget: TimeBudget | None = None,
        report: float = 0.0,
    ) -> None:
        """Train to the last epoch; write `best.pt`, `last.pt` and `history.csv` after each epoch.

        Args:
            folder: The run folder.
            say: Prints a message.
            progress: Show bars on a terminal.
            budget: The time limit; no epoch starts that would not end within it.
            report: Seconds to reserve for the report.
        """
        step_network: nn.Module = self.network
        if self.process.is_distributed:
            step_network = DistributedDataParallel(self.network)
        clock = time.perf_counter if budget is None else budget.clock
        needed = 0.0  # seconds for another epoch and the report
        for epoch in range(len(self.history), self.recipe.epochs):
            if self._should_stop(say, budget, needed):
                break
            started = clock()
            loss = self._train_epoch(step_network, epoch, progress and self.process.is_first)
            seconds = clock() - started
            self._refuse_divergence(epoch + 1, np.isfinite(loss))
            row: Row = {
                "epoch": epoch + 1,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "train_loss": loss,
                "images_per_second": self.batches.faces_per_epoch / max(seconds, 1e-9),
                "seconds": seconds,
            }
            if self.process.is_first:
                self._finish_epoch(folder, row)
                say(self._describe_epoch(row))
            else:
                self.history.append(row)
            needed = clock() - started + report

    def _should_stop(
        self, say: Callable[[str], None], budget: TimeBudget | None, needed: float
    ) -> bool:
        """Return whether to stop before the next epoch, equally in all processes; print why."""
        if not self.history or (budget is None and not self.recipe.patience):
            return False
        reason = ""
        if self.process.is_first:
            done, patience = len(self.history), self.recipe.patience
            if patience and done - self.best_row["epoch"] >= patience:
                reason = (
                    f"epoch {self.best_row['epoch']:.0f} is still the best after {patience} more "
                    f"(--patience {patience})"
                )
            elif budget is not None and budget.count_seconds_left() < needed:
                reason = (
                    f"the machine is slower than when the run was planned, and another epoch would "
                    f"not end within {budget.minutes:g} minutes; --resume trains the rest"
                )
            if reason:
                say(f"stopped after epoch {done} of {self.recipe.epochs}: {reason}")
        return bool(sum_over_processes(float(bool(reason)), self.process))

    def measure_pace(self, budget: TimeBudget) -> Pace:
        """Return the speed of training and prediction; the weights change."""
        clock, device = budget.clock, self.process.device
        self.network.train()
        self.frozen.set_eval_mode()
        batches = chain.from_iterable(repeat(self.augmented))

        def take_step() -> None:
            self.take_step(self.network, *next(batches))
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        for _ in range(WARM_UP_STEPS):
            take_step()
        started, steps = clock(), 0
        while steps < MIN_MEASURED_STEPS or (
            clock() - started < budget.measuring_seconds and steps < MAX_MEASURED_STEPS
        ):
            take_step()
            steps += 1
        step_seconds = (clock() - started) / steps
        faces = self.dataset.train.pixels[:MEASURED_FACES]
        predict_logits(self._get_averaged_network(), faces)  # to warm up
        started = clock()
        predict_logits(self._get_averaged_network(), faces)
        return Pace(step_seconds, (clock() - started) / len(faces))

    def _train_epoch(self, network: nn.Module, epoch: int, progress: bool) -> float:
        """Train for one epoch; return the mean loss."""
        self.batches.set_epoch(epoch)
        # Seed dropout at the start of each epoch, so that a resumed run repeats it.
        torch.manual_seed(self.recipe.seed + 1_000_003 * (epoch + 1) + self.process.rank)
        network.train()
        self.frozen.set_eval_mode()
        seen, summed = 0, torch.zeros((), dtype=torch.float64, device=self.process.device)
        bar = tqdm(
            self.augmented,
            desc=f"epoch {epoch + 1}/{self.recipe.epochs}",
            unit="batch",
            leave=False,
            disable=None if progress else True,
        )
        started = time.perf_counter()
        for number, batch in enumerate(bar):
            summed += self.take_step(network, *batch)
            seen += batch.total
            if number % 20 == 19 and not bar.disable:
                rate = seen / (time.perf_counter() - started)
                bar.set_postfix_str(f"loss {summed.item() / seen:.3f}, {rate:,.0f} images/s")
        return sum_over_processes(summed.item(), self.process) / self.batches.faces_per_epoch

    def take_step(
        self,
        network: nn.Module,
        pixels: Tensor,
        targets: Tensor,
        total: int,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Take one optimiser step; return the summed loss of this process's share of the batch.

        The arguments after the network are those of a `TrainingBatch`.
        """
        device = self.process.device
        pixels = pixels.to(memory_format=torch.channels_last)
        enabled = self.precision is not torch.float32
        with torch.autocast(device.type, self.precision, enabled=enabled):
            logits = network(pixels)
            if self.teacher is not None:
                targets = targets.lerp(self.teacher.predict(pixels), self.recipe.teacher_weight)
        loss = nn.functional.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            label_smoothing=self.recipe.label_smoothing,
            reduction="sum" if weights is None else "none",
        )
        if weights is not None:
            loss = (loss * weights).sum()
        # Divided by the size of the whole batch, because the shares may differ by one face.
        self.optimizer.zero_grad(set_to_none=True)
        scaled: Tensor = self.scaler.scale(loss * (self.process.world_size / total))
        scaled.backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return loss.detach().double()

    def _finish_epoch(self, folder: RunFolder, row: Row) -> None:
        """Measure the network, and write history and checkpoints; for rank 0."""
        network = self._get_averaged_network()
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
        split = "holdout" if "holdout" in held_out else "validation"
        loss = f"{split}_votes_loss" if self.soft_labels else f"{split}_loss"
        row |= {"selection_loss": row[loss], "selection_accuracy": row[f"{split}_accuracy"]}
        self.history.append(row)
        self.on_epoch(row)
        # history.csv before last.pt: after a kill in between, the epoch is repeated.
        with write_atomically(folder.history) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self.history)
        checkpoint = self.make_checkpoint()
        if self.kept_row is row:
            checkpoint.save(folder.best_checkpoint)
        replace(checkpoint, resume=self._collect_state()).save(folder.last_checkpoint)

    def _refuse_divergence(self, epoch: int, is_finite: bool | np.bool_) -> None:
        if not is_finite:
            raise RunError(
                f"the training diverged in epoch {epoch}: the learning rate "
                f"{self.recipe.learning_rate:g} is too high for this network; lower it."
            )

    def _get_averaged_network(self) -> nn.Module:
        """Return the network to measure and export: the moving average, if there is one."""
        return self.network if self.average is None else self.average.module

    def make_checkpoint(self) -> Checkpoint:
        """Return a checkpoint of the last epoch, without the state of the loop."""
        state = self._get_averaged_network().state_dict()
        weights = {name: value.cpu() for name, value in state.items()}
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
                "faces": self.dataset.train.count_by_class(len(self.dataset.classes)).tolist(),
                "held_out": {name: list(drawn) for name, drawn in self.dataset.drawn.items()},
                "chosen_by": "votes" if self.soft_labels else "labels",
                "world_size": self.process.world_size,
                "started_from": self.started_from,
                "extensions": self.extensions,
            },
            multiply_adds=self.multiply_adds,
        )

    def _collect_state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state of the run that wrote a checkpoint.

        Raises:
            RunError: The data have changed, or the checkpoint has no state to resume from.
        """
        state = checkpoint.resume
        if state is None:
            raise RunError("the checkpoint holds no state to resume from; use last.pt of a run.")
        if checkpoint.training["data_digest"] != self.digest:
            raise RunError("the training data have changed since the run started; start a new one.")
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        # The optimiser's state has the learning rate of the previous schedule.
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
                "the run is taught by votes, and was started by an older emotion-edge, which chose "
                "the epoch by labels; start a new one (--start-from RUN_DIR begins with its "
                "weights)."
            )
        self.started_from = checkpoint.training.get("started_from")

    def _describe_epoch(self, row: Row) -> str:
        """Return one epoch in one line."""
        seconds_left = (self.recipe.epochs - row["epoch"]) * row["seconds"]
        left = f"{seconds_left / 60:.0f} min" if seconds_left >= 120 else f"{seconds_left:.0f} s"
        splits = {"validation": self.dataset.validation, "holdout": self.dataset.holdout}
        figures = [
            f"{_SPLIT_NAMES[name]} {format_accuracy(row[f'{name}_accuracy'], len(faces))}"
            for name, faces in splits.items()
            if f"{name}_accuracy" in row
        ]
        if self.soft_labels:
            figures.append(f"loss on votes {row['selection_loss']:.4f}")
        held_out = "  ".join(figures)
        return (
            f"epoch {row['epoch']:3.0f}/{self.recipe.epochs}  loss {row['train_loss']:.4f}  "
            f"{held_out}  {row['images_per_second']:,.0f} images/s  {left} left"
        )


def _hash_data(
    dataset: Dataset,
    targets: Targets | None,
    teacher: Teacher | None,
    process: TrainingProcess,
    weights: NDArray[np.float32] | None,
) -> str:
    """Return a digest of the data, the targets, the weights and the predictions of the teacher."""
    digest = dataset.digest()
    if weights is not None:
        digest = hashlib.sha256(digest.encode() + weights.tobytes()).hexdigest()
    if targets is not None:
        digest = hashlib.sha256(digest.encode() + targets.tobytes()).hexdigest()
    if teacher is not None:
        pixels = torch.from_numpy(dataset.train.pixels[:TEACHER_DIGEST_FACES, None])
        predictions = teacher.digest(pixels.to(process.device))
        digest = hashlib.sha256(digest.encode() + predictions).hexdigest()
    return digest


def format_accuracy(accuracy: float, pictures: int) -> str:
    """Return an accuracy with half of its 95 % interval, such as ``85.5% ±5.9``."""
    low, high = compute_wilson_interval(round(accuracy * pictures), pictures)
    return f"{accuracy:.1%} ±{50 * (high - low):.1f}"


def _measure_votes(split: str, logits: NDArray[np.float32], votes: SoftLabels) -> Row:
    """Return the cross-entropy with the votes, and the accuracy against their majority."""
    row = {f"{split}_votes_loss": cross_entropy(logits.astype(np.float64), votes.targets)}
    is_known = votes.majority >= 0
    if is_known.any():
        is_right = logits[is_known].argmax(axis=1) == votes.majority[is_known]
        row[f"{split}_majority_accuracy"] = float(is_right.mean())
    return row
