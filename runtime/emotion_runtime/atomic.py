"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_runtime.errors import OutputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block succeeds.

    When the block raises, the temporary file is removed and an earlier `path` is left as it was.

    Raises:
        OutputError: The folder is missing or cannot be written.
    """
    import tempfile  # a thousandth of a second that only runs with an output need

    target = Path(path)
    try:
        # mkstemp makes the file at once, so that two runs never share a name.
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix
        )
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}).") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp files are private (0600); a result is as readable as any other file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Read the process's umask, which POSIX only lets one read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def naming(output: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file that a person asked for when a write within the block fails.

    Raises:
        OutputError: The disk is full, or whatever else the system said.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{os.fspath(output)}: cannot be written ({reason}).") from error
