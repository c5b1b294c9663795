"""One process or many: what ``torchrun`` started, seen from inside one of its processes."""

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
    """This process among all that train together; rank 0 alone writes and speaks."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Say whether this process writes files and progress."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Say whether gradients are exchanged."""
        return self.world_size > 1


def choose_device(device: str = "auto") -> str:
    """Return ``cuda`` or ``cpu``: what ``auto`` means here.

    Raises:
        RunError: ``cuda`` is required and there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise RunError("no CUDA device was found here; train with --device cpu.")
    return "cuda" if device == "cuda" or (device == "auto" and found) else "cpu"


@contextmanager
def join_processes(device: str = "auto") -> Iterator[TrainingProcess]:
    """Join the processes that ``torchrun`` started (gloo on CPUs, nccl on GPUs), or stand alone.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``.

    Raises:
        RunError: ``cuda`` is required and there is none.
    """
    cuda = choose_device(device) == "cuda"
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else None
    if local is not None:
        torch.cuda.set_device(local)
    here = local or torch.device("cpu")
    if world_size == 1:
        yield TrainingProcess(0, 1, here)
        return
    store, rank, _ = next(iter(rendezvous("env://")))
    # A name space of its own for each try: a process must not find the address of a dead one.
    store = dist.PrefixStore(f"try-{count_restarts()}", store)  # type: ignore[attr-defined]
    dist.init_process_group(
        "nccl" if cuda else "gloo", store=store, rank=rank, world_size=world_size
    )
    try:
        yield TrainingProcess(dist.get_rank(), dist.get_world_size(), here)
    finally:
        dist.destroy_process_group()


def count_restarts() -> int:
    """Say how often ``torchrun --max-restarts`` has begun anew after a process died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def sum_over_processes(value: float, process: TrainingProcess) -> float:
    """Add a number up over all processes."""
    if not process.is_distributed:
        return value
    total = torch.tensor([value], dtype=torch.float64, device=process.device)
    dist.all_reduce(total)
    return float(total.item())
