"""Count the CPUs that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from emotion_runtime.counts import MAX_THREADS

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
# Those that OpenBLAS reads.
_BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


def count_usable_cpus() -> int:
    """Return the CPUs that the scheduler, the container and the user allow, 1 to `MAX_THREADS`.

    That is the smallest of the CPU set, the CPU quota of the control groups (``docker --cpus``)
    and ``OMP_NUM_THREADS``. A fractional quota is rounded up: 0.5 becomes 1, and 1.2 becomes 2. Of
    a list in ``OMP_NUM_THREADS`` the first number counts, as OpenMP defines it; 0, a negative
    number and other text mean no limit, as in OpenMP's libraries.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and len(wanted) < 10 and int(wanted) > 0:
        cpus = min(cpus, int(wanted))
    quota = read_cpu_quota()
    return max(1, min(cpus, MAX_THREADS, MAX_THREADS if quota is None else math.ceil(quota)))


def limit_blas_threads() -> None:
    """Make numpy's OpenBLAS start no threads, unless the user has set their number.

    OpenBLAS starts a thread for each further CPU as soon as numpy is imported, and each of them
    spins for some 30 ms before it sleeps. A command that multiplies no matrices in numpy gains
    nothing from them. To be called by a command, not by a library, and before numpy is imported.
    """
    if not any(name in os.environ for name in _BLAS_VARIABLES):
        os.environ["OPENBLAS_NUM_THREADS"] = "1"


def read_cpu_quota(own: Path = _OWN_CGROUPS, root: Path = _CGROUPS) -> float | None:
    """Return the CPU quota of this process's control groups, versions 1 and 2.

    A group's quota also applies to the groups inside it, so that the smallest one counts.

    Args:
        own: The file that lists the groups of this process.
        root: Where the control groups are mounted.

    Returns:
        A number of CPUs, such as 0.5; None where no quota is set.
    """
    found = []
    for group in list_control_groups("cpu", own, root):
        found += [_read_quota_v2(group), _read_quota_v1(group)]
    return min((quota for quota in found if quota is not None), default=None)


def list_control_groups(controller: str, own: Path, root: Path) -> list[Path]:
    """Return the folders of this process's control groups and of the groups around them.

    Args:
        controller: Name of a controller of version 1, such as ``cpu``; of version 2, which has one
            hierarchy, every group is included.
        own: The file that lists the groups of this process.
        root: Where the control groups are mounted.
    """
    try:
        lines = own.read_text(errors="replace").splitlines()
    except OSError:
        lines = []  # not Linux, or no /proc
    groups = [root]  # in a container this is its own group, whatever path is listed
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts: tuple[Path, ...] = ()
        if not controllers:
            mounts = (root, root / "unified")
        elif controller in controllers.split(","):
            mounts = (root / controllers, root / controller)
        for mount in mounts:
            groups += _list_enclosing_groups(mount, path)
    return list(dict.fromkeys(groups))


def _list_enclosing_groups(mount: Path, path: str) -> list[Path]:
    """Return the folders of a group and of its parents, up to the mount point."""
    # ".." would lead to groups that a container cannot see.
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return [mount.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _read_quota_v2(group: Path) -> float | None:
    """Read ``cpu.max``, such as ``50000 100000`` or ``max 100000``."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return _compute_quota(int(quota), int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _read_quota_v1(group: Path) -> float | None:
    """Read ``cpu.cfs_quota_us``, -1 for none, and ``cpu.cfs_period_us``."""
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return _compute_quota(quota, int((group / "cpu.cfs_period_us").read_text()))
    except (OSError, ValueError):
        return None


def _compute_quota(quota: int, period: int) -> float | None:
    return quota / period if quota > 0 and period > 0 else None
