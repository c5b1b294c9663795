"""The number of CPU threads of a training."""

from __future__ import annotations

import os

import torch

from emotion_runtime.cpus import count_usable_cpus


def limit_threads(threads: int | None, device: torch.device) -> None:
    """Use one thread per CPU: more cost a third of the speed.

    Args:
        threads: The number of threads; None for the CPUs that this process may use.
        device: The device of the training.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    elif "OMP_NUM_THREADS" not in os.environ and device.type == "cpu":
        torch.set_num_threads(count_usable_cpus())
