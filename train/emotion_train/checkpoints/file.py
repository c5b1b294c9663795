"""The file format of a checkpoint: a zip written by `torch.save`, checked before torch opens it.

A checkpoint may come from an untrusted source. torch's ``weights_only`` reader runs no code in it.
The checks here limit memory and time: entries must be uncompressed, the pickle small, and its
objects tensors, numbers, text, lists or dictionaries.
"""

from __future__ import annotations

import pickletools
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from emotion_train.errors import CheckpointError

MAX_FILE_BYTES = 1 << 30
MAX_STRUCTURE_BYTES = (
    4 << 20
)  # of the zip's directory, and of the pickle that describes the tensors

_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    *(
        f"torch {kind}Storage"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Bool")
    ),
}
_OPERATIONS = frozenset(
    [
        "PROTO",
        "MARK",
        "STOP",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "EMPTY_LIST",
        "EMPTY_DICT",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "APPEND",
        "APPENDS",
        "SETITEM",
        "SETITEMS",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
        "LONG_BINGET",
        "GLOBAL",
        "REDUCE",
        "BUILD",
        "BINPERSID",
    ]
)
# Records of a zip: end of central directory, and its locator and record for 64 bits.
_END = struct.Struct("<4s4H2LH")
_LOCATOR, _END64 = struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")


def read_values(path: Path) -> Any:
    """Load the values of a checkpoint file, without running code in it.

    Memory stays within a few times the size of the file, which may be at most `MAX_FILE_BYTES`.

    Raises:
        CheckpointError: The file is missing, no regular file, too large, no checkpoint, or
            contains other Python objects than a checkpoint may.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path}: not a regular file, so not a checkpoint.")
        if status.st_size > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path}: {status.st_size / 2**30:.1f} GiB; a checkpoint has at most "
                f"{MAX_FILE_BYTES / 2**30:.0f} GiB."
            )
        with path.open("rb") as file:
            _check_structure(path, _read_structure(path, file, status.st_size))
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickle protocols
                return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint.") from error
    except OSError as error:
        reason = error.strerror or "an input/output error"
        raise CheckpointError(f"{path}: cannot be read ({reason}).") from error
    except Exception as error:  # torch, zipfile and pickle raise many types for damaged files
        raise CheckpointError(f"{path}: not a checkpoint, or damaged.") from error


def _read_structure(path: Path, file: BinaryIO, size: int) -> bytes:
    """Return the pickle in the zip, after checks of all sizes in the zip."""
    _check_directory(path, file, size)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError(f"{path}: holds compressed data, which no checkpoint does.")
        names = [entry.filename.lower() for entry in entries]  # as torch, which ignores case
        pickles = [entry for entry in entries if entry.filename.lower().endswith("data.pkl")]
        whole = sum(entry.file_size for entry in entries) <= size
        if not whole or len(set(names)) < len(names) or len(pickles) != 1:
            raise CheckpointError(f"{path}: not a checkpoint, or damaged.")
        if pickles[0].file_size > MAX_STRUCTURE_BYTES:
            raise CheckpointError(
                f"{path}: holds {pickles[0].file_size / 2**20:.0f} MiB beside its tensors; a "
                f"checkpoint has at most {MAX_STRUCTURE_BYTES >> 20}."
            )
        if archive.testzip() is not None:  # torch ignores the checksums
            raise CheckpointError(f"{path}: damaged: a checksum in it does not hold.")
        return archive.read(pickles[0])


def _check_directory(path: Path, file: BinaryIO, size: int) -> None:
    """Check that the zip's directory is small and where every reader expects it."""
    damaged = CheckpointError(f"{path}: not a checkpoint, or damaged.")
    tail = _END.size + _LOCATOR.size + _END64.size
    file.seek(max(0, size - tail))
    data = file.read(tail)
    if len(data) < _END.size or not data[-_END.size :].startswith(b"PK\5\6"):
        raise damaged
    end = _END.unpack(data[-_END.size :])
    length, offset, position = end[5], end[6], size - _END.size
    before = data[: -_END.size]
    if len(data) == tail and before[_END64.size :].startswith(b"PK\6\7"):
        end64 = _END64.unpack(before[: _END64.size])
        length, offset, position = end64[8], end64[9], size - tail
        if end64[0] != b"PK\6\6":
            raise damaged
    # No gap and no comment: zipfile and torch then read the same directory.
    if offset + length != position or end[7] != 0:
        raise damaged
    if length > MAX_STRUCTURE_BYTES:
        raise CheckpointError(f"{path}: holds far more entries than a checkpoint.")


def _check_structure(path: Path, data: bytes) -> None:
    """Raise an error for a pickle of other objects than tensors and plain values."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in _OPERATIONS or (
            operation.name == "GLOBAL" and argument not in _GLOBALS
        ):
            raise CheckpointError(
                f"{path}: holds Python objects that could run code; refused, nothing was run."
            )
