"""Files that appear whole or not at all, and never in the place of something else.

A regular file is written under a temporary name beside it and renamed. A device, a FIFO or a
descriptor such as ``/dev/stdout`` is never renamed over: it is opened and written to. A symbolic
link stays, and the file that it points to is replaced.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_runtime.errors import OutputError

# Not fewer: what the name of a temporary file adds must fit where the name itself does not.
_MAX_STEM_BYTES = 32
_MAX_SUFFIX_BYTES = 16
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)

# What an exception at the wrong moment would leave behind; see `remove_temporary_files`.
_temporary_paths: set[str] = set()


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block succeeds.

    When the block raises, the temporary file is removed and an earlier `path` is left as it was.
    A file that is replaced keeps its mode and, where the system allows it, its owner. Where `path`
    is a device or a FIFO, the finished file is written to it instead.

    Raises:
        OutputError: The folder is missing, `path` is a folder or a socket or may not be written,
            or the block or the rename failed for want of space or permission.
    """
    target = Path(path)
    with _convert_output_errors(target):
        if is_stream(target):
            # Not beside the node: /dev is no place for files.
            import tempfile

            with tempfile.TemporaryDirectory(prefix="emotion-edge-") as folder:
                temporary = Path(folder) / f"output{_get_short_suffix(target)}"
                yield temporary
                _copy_to_stream(temporary, target)
            return
        real = Path(os.path.realpath(target))
        earlier = _check_replaceable(real)
        temporary = _create_beside(real, target, earlier)
        try:
            with _convert_output_errors(target, temporary):
                yield temporary
                _copy_owner(temporary, earlier)
                temporary.replace(real)
        finally:
            _remove_temporary(temporary)


@contextmanager
def write_new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like `write_atomically`, for a folder of results: nothing that is there is ever overwritten.

    A file of the same content is left as it is, so that a run may be repeated. Missing folders
    are made, and those that stay empty are removed again.

    Raises:
        OutputError: Another file is there, or as in `write_atomically`.
    """
    target = Path(path)
    made = _make_folders(target.parent)
    try:
        with _convert_output_errors(target):
            temporary = _create_beside(target, target, None)
            try:
                with _convert_output_errors(target, temporary):
                    yield temporary
                    _link_without_replacing(temporary, target)
            finally:
                _remove_temporary(temporary)
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def name_in_errors(output: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file that a person asked for when a write within the block fails.

    Raises:
        OutputError: The disk is full, or whatever else the system said.
    """
    try:
        yield
    except OSError as error:
        raise make_write_error(output, error) from error


def make_write_error(output: str | os.PathLike[str], error: OSError) -> OutputError:
    """Return the error for a file that cannot be written."""
    return OutputError(
        f"{os.fspath(output)}: cannot be written ({error.strerror or error or 'unknown reason'})."
    )


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` is written to directly: a device, a FIFO, or an open descriptor.

    Raises:
        OutputError: It is a folder or a socket, or its name is too long for the file system.
    """
    if parse_descriptor(path) is not None:
        return True
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise make_write_error(path, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{os.fspath(path)}: is a folder; name a file.")
    if stat.S_ISSOCK(mode):
        raise OutputError(
            f"{os.fspath(path)}: is a socket, which cannot be written to; name a file."
        )
    return not stat.S_ISREG(mode)


def parse_descriptor(path: str | os.PathLike[str]) -> int | None:
    """Return the number of an open descriptor that has a path, such as 1 for ``/dev/stdout``."""
    if os.name != "posix":
        return None
    name = os.fspath(path)
    if name in ("/dev/stdout", "/dev/stderr"):
        return 1 if name == "/dev/stdout" else 2
    folder, _, number = name.rpartition("/")
    descriptors = folder in ("/dev/fd", "/proc/self/fd") and number.isdecimal()
    return int(number) if descriptors else None


def open_stream(path: str | os.PathLike[str]) -> int:
    """Open a device or a FIFO for writing and return the descriptor; nothing is created.

    A FIFO waits for its reader, as a shell's ``>`` does.

    Raises:
        OSError: It cannot be opened.
    """
    number = parse_descriptor(path)
    if number is not None:
        return os.dup(number)
    return os.open(path, os.O_WRONLY | _BINARY)


def remove_temporary_files() -> None:
    """Remove what an interruption left behind: a command calls this before it ends."""
    for name in tuple(_temporary_paths):
        _remove_temporary(Path(name))


@contextmanager
def _convert_output_errors(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn system errors that concern the output into a sentence with the name of the output."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # An error with the name of another file, such as one that is read, speaks for itself.
        names = {None, str(target), os.path.realpath(target)}
        if temporary is not None:
            names.add(str(temporary))
        if error.filename not in names:
            raise
        raise make_write_error(target, error) from error


def _check_replaceable(path: Path) -> os.stat_result | None:
    """Return the status of a regular file that may be replaced; None where there is none.

    Raises:
        OSError: The file may not be written: a rename would replace it all the same.
    """
    try:
        # Without blocking, for the case that it has just become a FIFO.
        handle = os.open(path, os.O_WRONLY | _NOFOLLOW | _NONBLOCK | _BINARY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def _create_beside(real: Path, target: Path, earlier: os.stat_result | None) -> Path:
    """Create an empty file beside `real`, under a name that fits wherever a name fits."""
    import secrets

    # Never readable to more people than the file that it will replace.
    mode = 0o666 if earlier is None else stat.S_IMODE(earlier.st_mode) & 0o777
    stem = os.fsencode(target.name)[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    while True:
        name = f".{stem}.{secrets.token_hex(4)}{_get_short_suffix(target)}"
        temporary = real.parent / name
        _temporary_paths.add(str(temporary))
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NOFOLLOW | _BINARY
            os.close(os.open(temporary, flags, mode))
        except FileExistsError:
            _temporary_paths.discard(str(temporary))
            continue
        except BaseException as error:
            _temporary_paths.discard(str(temporary))
            if isinstance(error, OSError):
                raise make_write_error(target, error) from error
            _remove_temporary(temporary)
            raise
        if earlier is not None:
            temporary.chmod(mode)  # the umask may have taken some away
        return temporary


def _get_short_suffix(path: Path) -> str:
    """Return the suffix, which says the format to Pillow and others, unless it is none."""
    return path.suffix if len(os.fsencode(path.suffix)) <= _MAX_SUFFIX_BYTES else ""


def _copy_owner(temporary: Path, earlier: os.stat_result | None) -> None:
    """Give the new file the owner and the mode of the file that it replaces."""
    if earlier is None:
        return
    now = temporary.stat()
    if hasattr(os, "chown") and (now.st_uid, now.st_gid) != (earlier.st_uid, earlier.st_gid):
        # Only root may give a file away: another user's file becomes that of who wrote it last.
        with contextlib.suppress(OSError):
            os.chown(temporary, earlier.st_uid, earlier.st_gid)
    temporary.chmod(stat.S_IMODE(earlier.st_mode) & 0o777)


def _link_without_replacing(temporary: Path, target: Path) -> None:
    """Give a file its name unless another file has it."""
    try:
        try:
            os.link(temporary, target, follow_symlinks=False)
        except FileExistsError:
            raise
        except (NotImplementedError, OSError) as error:  # a file system without hard links
            if os.path.lexists(target):
                raise FileExistsError from error
            temporary.rename(target)
    except FileExistsError as error:
        import filecmp

        if target.is_file() and filecmp.cmp(temporary, target, shallow=False):
            return
        raise make_exists_error(target) from error


def make_exists_error(target: str | os.PathLike[str]) -> OutputError:
    """Return the error for a name in a folder of results that another file has."""
    return OutputError(
        f"{os.fspath(target)}: exists and is another file already; choose an empty folder."
    )


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; return the new ones, the topmost first."""
    missing = []
    for one in (folder, *folder.parents):
        try:
            one.stat()
            break
        except FileNotFoundError:
            missing.append(one)
        except OSError as error:
            raise make_write_error(one, error) from error
    missing.reverse()
    with name_in_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_temporary(temporary: Path) -> None:
    """Remove a temporary file, if it is still there."""
    with contextlib.suppress(OSError):
        temporary.unlink()
    _temporary_paths.discard(str(temporary))


def _copy_to_stream(temporary: Path, target: Path) -> None:
    import shutil

    with temporary.open("rb") as source, os.fdopen(open_stream(target), "wb") as stream:
        shutil.copyfileobj(source, stream)
