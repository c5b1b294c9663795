"""Stream the paths of the pictures in files, folders and lists of paths, in order."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from emotion_runtime.errors import SourceError

# Of the pictures in a folder; a file that the user names may have any suffix. Pillow's own list
# would load all of its decoders at start-up.
PICTURE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".avif",
        ".heic",
        ".heif",
        ".hif",
        ".tif",
        ".tiff",
        ".pgm",
        ".ppm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".tga",
        ".pcx",
    ]
)


def is_picture_name(name: str) -> bool:
    """Return whether a file in a folder is a picture by its suffix, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES


def find_pictures(
    paths: Iterable[str],
    *,
    on_error: Callable[[SourceError], None] | None = None,
    on_empty: Callable[[SourceError], None] | None = None,
    on_other: Callable[[str], None] = lambda _: None,
    on_repeat: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Yield the paths of the pictures in `paths`; folders are searched recursively and sorted.

    A path that is not a folder is yielded unchanged, even where it does not exist: reading it
    gives the error later. Within each of `paths`, a folder is visited once, even if links lead to
    it several times.

    Args:
        paths: Files and folders.
        on_error: Called for a folder that has no picture or cannot be listed; None raises.
        on_empty: Called instead of `on_error` for a folder among `paths` without a picture.
        on_other: Called for each file or folder that is skipped: it is hidden, or not a picture by
            its name.
        on_repeat: Called for each link to a folder that was visited already, or to a parent.

    Raises:
        SourceError: A folder contains no picture, or cannot be listed.
    """

    def refuse(error: SourceError) -> None:
        if on_error is None:
            raise error
        on_error(error)

    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        empty = True
        for found in _FolderWalker(refuse, on_other, on_repeat).walk(path):
            empty = False
            yield found
        if empty:
            (on_empty or refuse)(SourceError(f"{path}: no pictures in this folder."))


def find_folder_pictures(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Return the pictures of one folder and its sub-folders, as `find_pictures` does.

    Raises:
        SourceError: The folder is missing; or, during the iteration, it contains no picture or
            cannot be listed.
    """
    if not os.path.isdir(folder):
        raise SourceError(f"{folder}: no such folder.")
    return find_pictures([os.fspath(folder)])


class _FolderWalker:
    """Walks a folder and its sub-folders, and visits each once."""

    def __init__(
        self,
        refuse: Callable[[SourceError], None],
        on_other: Callable[[str], None],
        on_repeat: Callable[[str], None],
    ) -> None:
        self._refuse, self._on_other, self._on_repeat = refuse, on_other, on_repeat
        # Device and inode of each folder, in one number, which is smaller than a pair.
        self._visited: set[int] = set()

    def walk(self, folder: str) -> Iterator[str]:
        """Yield the paths of the pictures of one folder."""
        # A stack, because folders can be nested deeper than Python's recursion limit.
        open_folders = [self._list_folder(folder)]
        while open_folders:
            for path, is_folder in open_folders[-1]:
                if is_folder:
                    open_folders.append(self._list_folder(path))
                    break
                yield path
            else:
                open_folders.pop()

    def _list_folder(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Yield the sorted paths of pictures and folders in a folder, and whether each is one."""
        try:
            status = os.stat(folder)
            identity = status.st_dev << 64 | status.st_ino
            # Some file systems have no inodes; loops then end at the longest path.
            if status.st_ino and identity in self._visited:
                self._on_repeat(folder)
                return
            self._visited.add(identity)
            # Only names, and as bytes, which are smaller: there may be a million.
            names: list[bytes] = []
            folders: set[bytes] = set()
            with os.scandir(os.fsencode(folder)) as entries:
                for entry in entries:
                    names.append(entry.name)
                    # A link to itself raises an error.
                    with contextlib.suppress(OSError):
                        if entry.is_dir():
                            folders.add(entry.name)
            names.sort()
            # In one string: a million objects would stay in memory until the last picture.
            packed = b"/".join(names)
            del names
        except OSError as error:
            self._refuse(SourceError(f"{folder}: cannot be listed ({error.strerror})."))
            return
        for raw in _split_names(packed):
            name = os.fsdecode(raw)
            path = os.path.join(folder, name)
            is_folder = raw in folders
            if is_folder and not name.startswith("."):
                yield path, True
            elif not is_folder and is_picture_name(name):
                yield path, False
            else:
                self._on_other(path)


def _split_names(packed: bytes) -> Iterator[bytes]:
    """Yield the names that are joined by slashes, one at a time."""
    start = 0
    while start < len(packed):
        end = packed.find(b"/", start)
        end = len(packed) if end < 0 else end
        yield packed[start:end]
        start = end + 1


def expand_paths(paths: Iterable[str], stdin: BinaryIO, *, null: bool = False) -> Iterator[str]:
    """Replace ``-`` by the paths on standard input, and patterns by the paths that they match.

    Args:
        paths: Paths from the command line. A pattern that the shell did not expand (``*.jpg``) is
            expanded here and sorted, unless a file has exactly that name.
        stdin: Read for ``-``; bytes that are not UTF-8 are preserved.
        null: Whether paths on standard input end with a null byte instead of a line break.
    """
    for path in paths:
        if path == "-":
            yield from map(os.fsdecode, _read_parts(stdin, b"\0" if null else b"\n"))
        elif glob.has_magic(path) and not os.path.lexists(path):
            yield from sorted(glob.glob(path, recursive=True)) or [path]
        else:
            yield path


def _read_parts(stream: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Yield the parts of a stream that end with `end`, as they arrive; skip empty ones."""
    if end == b"\n":
        for line in stream:
            if name := line.rstrip(b"\r\n"):
                yield name
        return
    rest = b""
    # read1 returns the bytes that have arrived; read would wait for a full block.
    while block := getattr(stream, "read1", stream.read)(65536):
        *whole, rest = (rest + block).split(end)
        yield from filter(None, whole)
    if rest:
        yield rest
