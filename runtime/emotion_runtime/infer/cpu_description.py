"""Describe the CPU that this process runs on, for the report of a self-test.

The instruction sets come from the CPU itself, not from ``/proc/cpuinfo``: an emulator such as
qemu-user shows the file of the host.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")  # such as "Raspberry Pi 4 Model B Rev 1.4"

# Bits of AT_HWCAP and AT_HWCAP2 on 64-bit ARM that concern arithmetic, from Linux's
# arch/arm64/include/uapi/asm/hwcap.h.
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_ARM_BITS = (
    (_AT_HWCAP, 1, "asimd"),
    (_AT_HWCAP, 10, "asimdhp"),
    (_AT_HWCAP, 20, "asimddp"),
    (_AT_HWCAP, 22, "sve"),
    (_AT_HWCAP2, 1, "sve2"),
    (_AT_HWCAP2, 13, "i8mm"),
    (_AT_HWCAP2, 14, "bf16"),
    (_AT_HWCAP2, 23, "sme"),
)

# "CPU implementer" and "CPU part" of /proc/cpuinfo, from Linux's arch/arm64/include/asm/cputype.h
# and util-linux's lscpu.
_ARM_CORES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
}

# A flag of /proc/cpuinfo on x86, and numpy's name of it.
_X86_FLAGS = (("avx", "AVX"), ("avx2", "AVX2"), ("fma", "FMA3"), ("avx512f", "AVX512F"))
# The same, where numpy looks for them: newer CPUs without AVX-512 have them, Haswell has not.
_NEWER_X86_FLAGS = (("vaes", "VAES"), ("vpclmulqdq", "VPCLMULQDQ"))


def describe_cpu(cpuinfo: Path = _CPUINFO, board: Path = _BOARD) -> dict[str, Any]:
    """Return a description of the CPU, for JSON.

    Args:
        cpuinfo: The kernel's description of the CPUs.
        board: The name of the device in the device tree, which boards with an ARM chip have.

    Returns:
        ``machine``, such as ``aarch64``; ``name`` of the CPU, None where it is not known;
        ``device``, the name of the board, None where there is none; ``flags``, its instruction
        sets for arithmetic; ``count`` of the CPUs; and ``emulated``, which is true where the board
        is QEMU's, or the kernel describes another CPU than the one that this process runs on. In
        the second case the name is None.
    """
    machine = platform.machine()
    fields, device = _read_fields(cpuinfo), _read_board(board)
    features = _find_numpy_features()
    is_other = _describes_another_cpu(machine, fields, features)
    flags = _find_arm_flags(machine)
    if flags is None:
        # Names with an underscore are numpy's own groups of instruction sets.
        flags = sorted(feature.lower() for feature in features if "_" not in feature)
        # numpy does not look for these; the kernel's list is right unless there is an emulator.
        if not is_other and (listed := fields.get("flags")):
            flags += sorted(
                flag for flag in listed[0].split() if flag.startswith(("amx", "avx_vnni"))
            )
    return {
        "machine": machine,
        "name": None if is_other else _find_name(fields),
        "device": device,
        "flags": flags,
        "count": os.cpu_count(),
        "emulated": is_other or "qemu" in (device or "").lower(),
    }


def _read_fields(path: Path) -> dict[str, list[str]]:
    """Return the different values of each field, in their order; empty without the file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        values = fields.setdefault(name.strip(), []) if colon else []
        if value.strip() not in values:
            values.append(value.strip())
    return fields


def _describes_another_cpu(machine: str, fields: dict[str, list[str]], features: set[str]) -> bool:
    """Return whether the fields of ``/proc/cpuinfo`` contradict the CPU itself."""
    if machine == "aarch64":
        return "vendor_id" in fields  # a field of x86 alone
    if machine not in ("x86_64", "AMD64") or "NPY_DISABLE_CPU_FEATURES" in os.environ:
        return False
    if "CPU part" in fields:
        return True
    listed = set(fields.get("flags", [""])[0].split())
    # Without features numpy is of a version that does not list them.
    known = _list_numpy_names()
    pairs = _X86_FLAGS + tuple(pair for pair in _NEWER_X86_FLAGS if pair[1] in known)
    return bool(listed and features) and any(
        (flag in listed) != (feature in features) for flag, feature in pairs
    )


def _find_numpy_features() -> set[str]:
    """Return the instruction sets that numpy finds on this CPU, by its names."""
    return {name for name, is_there in _read_numpy_features().items() if is_there}


def _list_numpy_names() -> set[str]:
    """Return the names of all instruction sets that this version of numpy looks for."""
    return set(_read_numpy_features())


def _read_numpy_features() -> dict[str, bool]:
    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):  # numpy 2, 1
        try:
            found = importlib.import_module(name)
        except ImportError:
            continue
        features: dict[str, bool] = getattr(found, "__cpu_features__", {})
        return features
    return {}


def _find_arm_flags(machine: str) -> list[str] | None:
    """Return the instruction sets of a 64-bit ARM core on Linux; None elsewhere."""
    if machine != "aarch64" or not sys.platform.startswith("linux"):
        return None
    try:
        read = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):  # a C library without it
        return None
    read.argtypes, read.restype = [ctypes.c_ulong], ctypes.c_ulong
    return [name for vector, bit, name in _ARM_BITS if read(vector) >> bit & 1]


def _find_name(fields: dict[str, list[str]]) -> str | None:
    if "CPU part" in fields:
        # Chips with two kinds of cores list both; the implementer is the same.
        maker = fields.get("CPU implementer", ["?"])[0]
        parts = fields["CPU part"]
        return " + ".join(_ARM_CORES.get((maker, part), f"{maker}/{part}") for part in parts)
    if "model name" in fields:
        return fields["model name"][0]
    if sys.platform == "darwin":
        return _read_macos_name()
    return os.environ.get("PROCESSOR_IDENTIFIER")  # Windows


def _read_macos_name() -> str | None:
    try:
        read = ctypes.CDLL(None).sysctlbyname
        size = ctypes.c_size_t(256)
        text = ctypes.create_string_buffer(size.value)
        failed = read(b"machdep.cpu.brand_string", text, ctypes.byref(size), None, 0)
    except (OSError, AttributeError):
        return None
    return None if failed else text.value.decode("utf-8", "replace")


def _read_board(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None
