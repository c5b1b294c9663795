"""How many CPUs this process may really use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus() -> int:
    """Count them: not the machine's, but what the container, the scheduler and the user leave.

    The smallest of the CPU set, the CPU quota of the control group (``docker --cpus``), and
    ``OMP_NUM_THREADS``; at least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal():
        cpus = min(cpus, int(wanted))
    return max(1, min(cpus, _quota() or cpus))


def _quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Read the quota of a control group (version 2), in whole CPUs; None without one."""
    try:
        quota, period = file.read_text().split()
        return round(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None
