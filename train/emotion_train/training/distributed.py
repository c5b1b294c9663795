"""Distributed training with ``torchrun``, and training in a single process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from emotion_train.errors import RunError


@dataclass(frozen=True)
class TrainingProcess:
    """One of the processes that train together; only rank 0 writes files and messages.

    Attributes:
        rank: Index of this process.
        world_size: Number of processes.
        device: The device on which this process trains.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Return whether this process writes files and messages."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Return whether there are other processes."""
        return self.world_size > 1


def choose_device(device: str = "auto") -> str:
    """Return ``cuda`` or ``cpu``; ``auto`` is CUDA if there is a device.

    Raises:
        RunError: ``cuda`` is required, but not available.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise RunError("no CUDA device was found here; train with --device cpu.")
    return "cuda" if device == "cuda" or (device == "auto" and has_cuda) else "cpu"


@contextmanager
def join_processes(device: str = "auto") -> Iterator[TrainingProcess]:
    """Join the processes that ``torchrun`` started (gloo on CPUs, nccl on GPUs), if there are any.

    Args:
        device: As in `choose_device`.

    Raises:
        RunError: ``cuda`` is required, but not available, or WORLD_SIZE is no number.
    """
    is_cuda = choose_device(device) == "cuda"
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal():
        raise RunError(
            f"the environment variable WORLD_SIZE is {text!r}, not a number of processes; unset "
            f"it, or start with torchrun."
        )
    world_size = int(text)
    local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if is_cuda else None
    if local is not None:
        torch.cuda.set_device(local)
    chosen = local or torch.device("cpu")
    if world_size == 1:
        yield TrainingProcess(device=chosen)
        return
    store, rank, _ = next(iter(rendezvous("env://")))
    # A separate prefix after each restart, so that no process finds the address of a dead one.
    store = dist.PrefixStore(f"try-{count_restarts()}", store)  # type: ignore[attr-defined]
    dist.init_process_group(
        "nccl" if is_cuda else "gloo", store=store, rank=rank, world_size=world_size
    )
    try:
        yield TrainingProcess(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def count_restarts() -> int:
    """Return how often ``torchrun --max-restarts`` has restarted the processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def sum_over_processes(value: float, process: TrainingProcess) -> float:
    """Return the sum of a number over all processes."""
    if not process.is_distributed:
        return value
    total = torch.tensor([value], dtype=torch.float64, device=process.device)
    dist.all_reduce(total)
    return float(total.item())
