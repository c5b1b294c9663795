"""Read a model file once, within a limit of size, and refuse files of other kinds."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from emotion_runtime.errors import ModelFileError
from emotion_runtime.model.onnx_graph import check_onnx

MAX_MODEL_BYTES = 512 * 2**20

_PART_BYTES = 16 * 2**20
_HEAD_BYTES = 4096  # enough to recognise the kind of a file


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file, after the checks of `onnx_graph` or `ort_graph`.

    onnxruntime opens these bytes and not the path, so that the file cannot change in between and
    no other file is read.

    Raises:
        ModelFileError: The file cannot be read, is larger than `MAX_MODEL_BYTES`, or is not a
            model that this toolkit runs. The message names its kind where that is known.
    """
    try:
        file = open(path, "rb", opener=_open_without_blocking)  # noqa: SIM115  closed below
    except (OSError, ValueError) as error:
        if Path(path).is_dir():
            raise ModelFileError(_describe_folder(path)) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(f"{path}: cannot be opened ({reason}).") from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: not a regular file; a model is opened from one.")
        try:
            data = file.read(_HEAD_BYTES)
            if problem := _describe_other_format(data, path):
                raise ModelFileError(f"{path}: {problem}.")
            if status.st_size > MAX_MODEL_BYTES:
                raise ModelFileError(_describe_too_large(path))
            # In parts: `read` reserves as much memory as it is told to read.
            while len(data) <= MAX_MODEL_BYTES and (part := file.read(_PART_BYTES)):
                data += part
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(data) > MAX_MODEL_BYTES:
        raise ModelFileError(_describe_too_large(path))
    try:
        if is_ort(data):
            from emotion_runtime.model.ort_graph import check_ort

            check_ort(data)
        else:
            check_onnx(data)
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}.") from error
    return data


def is_ort(data: bytes) -> bool:
    """Return whether the bytes begin as a file in onnxruntime's own format."""
    return data[4:8] == b"ORTM"


def _describe_other_format(head: bytes, path: Path) -> str | None:
    """Return what a file is that is often mistaken for a model; None where it may be one."""
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the model itself; run git lfs pull"
    if head.startswith(b"PK\x03\x04"):
        if b"data.pkl" in head or Path(path).suffix in (".pt", ".pth"):
            return _describe_checkpoint(path)
        return "a zip archive, not a model file"
    if head.startswith(b"\x80") and Path(path).suffix in (".pt", ".pth"):
        return _describe_checkpoint(path)
    if _is_text(head):
        return "a text file, not a model file"
    return None


def _is_text(head: bytes) -> bool:
    """Return whether the first bytes are text; a protobuf begins with control characters."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if len(head) - error.start > 3:  # more than a truncated last character
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\n\r" for character in text)


def _describe_checkpoint(path: Path) -> str:
    return (
        f"a PyTorch checkpoint, not a model file; export it first with "
        f"emotion-export model.onnx --checkpoint {path}"
    )


def _describe_folder(path: Path) -> str:
    if (Path(path) / "best.pt").is_file():
        return (
            f"{path}: the folder of a training run, not a model file; export it first with "
            f"emotion-export model.onnx --checkpoint {path}."
        )
    return f"{path}: a folder, not a model file."


def _describe_too_large(path: Path) -> str:
    return f"{path}: larger than {MAX_MODEL_BYTES // 2**20} MiB, the largest model that is opened."


def _open_without_blocking(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
