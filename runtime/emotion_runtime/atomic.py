"""Write files atomically: an output is complete or absent, and only regular files are replaced.

A regular file is written under a temporary name in the same folder and then renamed. A device, a
FIFO or a descriptor such as ``/dev/stdout`` is opened and written to instead. A symbolic link
stays, and the file that it points to is replaced.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emotion_runtime.errors import OutputError

# Of the target's name, in the name of its temporary file: that name must fit into the file
# system's limit even where the target's own name is as long as the limit.
_MAX_STEM_BYTES = 32
_MAX_SUFFIX_BYTES = 16
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)

# Temporary files that exist now; see `remove_temporary_files`.
_temporary_paths: set[str] = set()


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block succeeds.

    When the block raises, the temporary file is removed and an existing `path` stays unchanged.
    The new file keeps the mode of the file that it replaces and, where the system allows it, the
    owner. Where `path` is a device or a FIFO, the finished file is copied into it.

    Raises:
        OutputError: The folder is missing, `path` is a folder or a socket or may not be written,
            or the block or the rename failed for lack of space or permission.
    """
    target = Path(path)
    with _convert_output_errors(target):
        if is_stream(target):
            # In a folder for temporary files: /dev is no place for them.
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
    """Yield a temporary path as `write_atomically` does, but never overwrite a file.

    For files in a folder of results. An existing file of the same content is kept, so that a run
    can be repeated. Missing folders are created, and removed again if the block raises.

    Raises:
        OutputError: `path` exists with other content, or as in `write_atomically`.
    """
    target = Path(path)
    made = make_folders(target.parent)
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
    """Convert system errors of the block to an `OutputError` that names the output.

    Raises:
        OutputError: A write failed; the message has the system's reason.
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
    """Return the descriptor that a path refers to, such as 1 for ``/dev/stdout``; else None."""
    if os.name != "posix":
        return None
    name = os.fspath(path)
    if name in ("/dev/stdout", "/dev/stderr"):
        return 1 if name == "/dev/stdout" else 2
    folder, _, number = name.rpartition("/")
    descriptors = folder in ("/dev/fd", "/proc/self/fd") and number.isdecimal()
    return int(number) if descriptors else None


def open_stream(path: str | os.PathLike[str]) -> int:
    """Open an existing device or FIFO for writing and return the descriptor.

    Opening a FIFO waits for its reader, as a shell's ``>`` does.

    Raises:
        OSError: It cannot be opened.
    """
    number = parse_descriptor(path)
    if number is not None:
        return os.dup(number)
    return os.open(path, os.O_WRONLY | _BINARY)


def remove_temporary_files() -> None:
    """Remove the temporary files that an interruption left behind, before a command ends."""
    for name in tuple(_temporary_paths):
        _remove_temporary(Path(name))


@contextmanager
def _convert_output_errors(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Convert system errors about the output to an `OutputError` that names it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # An error about another file, such as one that is read, already names that file.
        names = {None, str(target), os.path.realpath(target)}
        if temporary is not None:
            names.add(str(temporary))
        if error.filename not in names:
            raise
        raise make_write_error(target, error) from error


def _check_replaceable(path: Path) -> os.stat_result | None:
    """Return the status of the file that will be replaced; None where there is none.

    Raises:
        OSError: The file is read-only. A rename would replace it nevertheless.
    """
    try:
        # Non-blocking: the path may have become a FIFO in the meantime.
        handle = os.open(path, os.O_WRONLY | _NOFOLLOW | _NONBLOCK | _BINARY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def _create_beside(real: Path, target: Path, earlier: os.stat_result | None) -> Path:
    """Create an empty temporary file in the folder of `real`."""
    import secrets

    # Never readable by more people than the file that it will replace.
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
            temporary.chmod(mode)  # the umask may have removed permissions
        return temporary


def _get_short_suffix(path: Path) -> str:
    """Return the suffix, by which Pillow chooses the format; empty where it is too long."""
    return path.suffix if len(os.fsencode(path.suffix)) <= _MAX_SUFFIX_BYTES else ""


def _copy_owner(temporary: Path, earlier: os.stat_result | None) -> None:
    """Set owner and mode of the new file to those of the file that it replaces."""
    if earlier is None:
        return
    now = temporary.stat()
    if hasattr(os, "chown") and (now.st_uid, now.st_gid) != (earlier.st_uid, earlier.st_gid):
        # Only root may change the owner; for other users the new file is their own.
        with contextlib.suppress(OSError):
            os.chown(temporary, earlier.st_uid, earlier.st_gid)
    temporary.chmod(stat.S_IMODE(earlier.st_mode) & 0o777)


def _link_without_replacing(temporary: Path, target: Path) -> None:
    """Rename a temporary file to `target`, unless another file has that name."""
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
    """Return the error for a file of a folder of results that exists with other content."""
    return OutputError(
        f"{os.fspath(target)}: exists and is another file already; choose an empty folder."
    )


def make_folders(folder: Path) -> list[Path]:
    """Create a folder and its missing parents; return the new ones, outermost first.

    Raises:
        OutputError: A folder cannot be created.
    """
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
