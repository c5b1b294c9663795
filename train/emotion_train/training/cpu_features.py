"""Detection of CPU instructions for bf16 and fp16."""

from __future__ import annotations

import platform
from pathlib import Path

# By architecture and precision: flags of /proc/cpuinfo, any of which is sufficient.
_FLAGS = {
    ("x86_64", "bf16"): ("avx512_bf16", "amx_bf16", "avx_ne_convert"),
    ("x86_64", "fp16"): ("avx512_fp16", "amx_fp16"),
    ("aarch64", "bf16"): ("bf16",),
    ("aarch64", "fp16"): ("asimdhp",),
}


def has_matrix_unit(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU has instructions for bf16 matrices (Intel AMX).

    With them, bf16 training is 1.4 to 2 times as fast as fp32. AVX512_BF16 alone is no faster than
    fp32.

    Args:
        cpuinfo: The kernel's list of CPU features; without the file, False.
    """
    return platform.machine() == "x86_64" and "amx_bf16" in _read_flags(cpuinfo)


def is_emulated(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU is known to lack instructions for a precision.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``.
        cpuinfo: The kernel's list of CPU features; without the file, False.
    """
    wanted = _FLAGS.get((platform.machine(), precision))
    if wanted is None:
        return False
    flags = _read_flags(cpuinfo)
    return bool(flags) and not flags.intersection(wanted)


def _read_flags(cpuinfo: Path) -> set[str]:
    """Return the flags of the CPU; none if the file cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.partition(":")[0].strip() in ("flags", "Features")
        for flag in line.partition(":")[2].split()
    }
