"""A lock on a folder of results, so that two processes do not write it at the same time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_runtime.atomic import make_folders, make_write_error
from emotion_runtime.locks import is_held, lock_exclusively
from emotion_train.errors import RunError

LOCK_FILE = ".lock"
# Do not follow a symbolic link; do not wait for a FIFO.
_OPEN_FLAGS: int = (
    os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
)


@contextmanager
def lock_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Keep other processes from writing a folder until the block ends.

    A missing folder is created, and removed again where the block leaves it empty. On a file system
    without locks the block runs without one.

    Args:
        folder: The folder.
        refusal: The message where another process has the lock.

    Raises:
        RunError: Another process has the lock.
        OutputError: The folder cannot be written.
    """
    made = make_folders(folder)
    path = folder / LOCK_FILE
    try:
        try:
            handle = _open_locked(path, refusal)
        except OSError as error:
            raise make_write_error(path, error) from error
        try:
            yield
        finally:
            _remove(path, handle)
    finally:
        for one in reversed(made):
            with contextlib.suppress(OSError):  # not empty
                one.rmdir()


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing but perhaps the lock that a killed process left."""
    return all(one.name == LOCK_FILE for one in folder.iterdir())


def _open_locked(path: Path, refusal: str) -> int:
    """Return the open lock file."""
    while True:
        handle = os.open(path, _OPEN_FLAGS, 0o666)
        try:
            lock_exclusively(handle)
        except OSError as error:
            if not is_held(error):
                return handle  # a file system without locks
            os.close(handle)
            raise RunError(refusal) from error
        # The process that had the lock may have removed the file in between.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.lstat(path)):
                return handle
        os.close(handle)


def _remove(path: Path, handle: int) -> None:
    """Remove the lock file and release the lock."""
    is_ours = os.fstat(handle).st_size == 0
    if os.name == "nt":  # where an open file cannot be removed
        os.close(handle)
    if is_ours:
        with contextlib.suppress(OSError):
            path.unlink()
    if os.name != "nt":
        os.close(handle)
