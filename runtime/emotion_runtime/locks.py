"""Locks of the operating system on files; a lock ends with its process, also when it is killed."""

from __future__ import annotations

import errno
import os
import sys


def lock_exclusively(handle: int) -> None:
    """Lock an open file without waiting, until it is closed or the process ends.

    Raises:
        OSError: Another process has it (see `is_held`), or the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        # A byte far beyond the end, so that lines can be read and written.
        os.lseek(handle, 1 << 60, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(error: OSError) -> bool:
    """Return whether `lock_exclusively` failed because another process has the lock."""
    return error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
