"""Find out how much memory this process may still use, and how much it has used."""

from __future__ import annotations

import sys
from pathlib import Path

from emotion_runtime.cpus import list_control_groups

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
# Limit, use, and the name of the pages in `memory.stat` that the kernel can drop (version 2, 1).
_FILES_V2 = ("memory.max", "memory.current", "inactive_file")
_FILES_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def find_available_memory(
    own: Path = _OWN_CGROUPS, root: Path = _CGROUPS, meminfo: Path = _MEMINFO
) -> int | None:
    """Return the bytes of memory that new processes can use.

    That is the smallest of what the machine has free and what the memory limits of the control
    groups (``docker --memory``) leave. Cached files do not count as used where they can be dropped.

    Args:
        own: The file that lists the groups of this process.
        root: Where the control groups are mounted.
        meminfo: The file with the memory of the machine.

    Returns:
        None where it is not known, as on other systems than Linux.
    """
    groups = list_control_groups("memory", own, root)
    found = [_read_group(group, *_FILES_V2) for group in groups]
    found += [_read_group(group, *_FILES_V1) for group in groups]
    found.append(_read_machine(meminfo))
    return min((free for free in found if free is not None), default=None)


def measure_peak_memory() -> int:
    """Return the most memory that this process has used so far, in bytes; 0 where unknown."""
    # On Linux getrusage includes the process that called exec, which may have been larger.
    if kibibytes := _read_number(_STATUS, "VmHWM:"):
        return kibibytes * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _read_group(group: Path, limit: str, used: str, droppable: str) -> int | None:
    """Return what the limit of a group leaves; None where it has no limit."""
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return max(0, left + _read_number(group / "memory.stat", droppable))


def _read_machine(meminfo: Path) -> int | None:
    kibibytes = _read_number(meminfo, "MemAvailable:")
    return kibibytes * 1024 if kibibytes else None


def _read_number(path: Path, name: str) -> int:
    """Return the number after a name at the start of a line; 0 where it is missing."""
    try:
        for line in path.read_text().splitlines():
            key, value, *_ = (*line.split(), "", "")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
