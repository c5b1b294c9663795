"""Stream the paths of the pictures in files, folders and lists of paths, in order."""

from __future__ import annotations

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

_BLOCK_BYTES = 4096  # of the names of a folder that are decoded at a time


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
            for pictures, subfolder in open_folders[-1]:
                yield from pictures
                if subfolder is not None:
                    open_folders.append(self._list_folder(subfolder))
                    break
            else:
                open_folders.pop()

    def _list_folder(self, folder: str) -> Iterator[tuple[list[str], str | None]]:
        """Yield the paths of a folder, sorted, in blocks: pictures, and a folder after them."""
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
            folders: set[str] = set()
            with os.scandir(os.fsencode(folder)) as entries:
                for entry in entries:
                    names.append(entry.name)
                    try:
                        is_folder = entry.is_dir()
                    except OSError:  # a link to itself
                        is_folder = False
                    if is_folder:
                        folders.add(os.fsdecode(entry.name))
            names.sort()
            # In one string: a million objects would stay in memory until the last picture.
            packed = b"/".join(names)
            del names
        except OSError as error:
            self._refuse(SourceError(f"{folder}: cannot be listed ({error.strerror})."))
            return
        prefix = os.path.join(folder, "")
        for block in _split_names(packed):
            pictures: list[str] = []
            for name in block:
                # `is_picture_name`, in place: a call for each name would take as long as the rest.
                is_picture = name[0] != "." and name[name.rfind(".") :].lower() in PICTURE_SUFFIXES
                if folders and name in folders:
                    if name[0] != ".":
                        yield pictures, prefix + name
                        pictures = []
                        continue
                    is_picture = False
                if is_picture:
                    pictures.append(prefix + name)
                else:
                    self._on_other(prefix + name)
            yield pictures, None


def _split_names(packed: bytes) -> Iterator[list[str]]:
    """Yield the names that are joined by slashes, a block of some hundred at a time."""
    start = 0
    while start < len(packed):
        end = packed.find(b"/", start + _BLOCK_BYTES)
        end = len(packed) if end < 0 else end
        yield os.fsdecode(packed[start:end]).split("/")
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
