"""Pictures and results on local disks and in object stores."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from emotion_runtime.errors import OutputError, SourceError
from emotion_runtime.pictures.preprocessing import NamedBytes
from emotion_runtime.pictures.sources import find_pictures, is_picture_name
from emotion_runtime.ray.packages import pa, pafs

_PARALLEL_FETCHES = 16  # of one worker, to hide the latency of an object store


def locate(location: str) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem of a path or URI, and the path within it.

    Raises:
        OutputError: Arrow knows no filesystem for it.
    """
    if "://" not in location:
        return pafs.LocalFileSystem(), _make_absolute(location)
    parts = urlsplit(location)
    try:
        filesystem, base = _open_filesystem(urlunsplit(parts._replace(path="/")))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise OutputError(f"{location}: no filesystem is known for it ({error}).") from error
    return filesystem, (base.rstrip("/") + unquote(parts.path)).rstrip("/")


@functools.lru_cache(maxsize=16)  # one client for all pictures of a bucket
def _open_filesystem(root: str) -> tuple[pafs.FileSystem, str]:
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(root)
    return found


def _make_absolute(path: str) -> str:
    return str(Path(path).absolute())


def list_pictures(
    sources: Sequence[str], on_other: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    """Yield the pictures of all sources in order, those of each folder sorted.

    Args:
        sources: Files and folders, by path or URI.
        on_other: Called with each file that is not a picture.

    Yields:
        Absolute paths, and URIs for sources that are URIs.

    Raises:
        SourceError: A source is missing, holds no picture, or cannot be listed.
        OutputError: Arrow knows no filesystem for a URI.
    """
    for source in sources:
        if "://" not in source:
            # Absolute: workers have other working directories.
            yield from find_pictures([_make_absolute(source)], on_other=on_other)
            continue
        filesystem, path = locate(source)
        try:
            root = filesystem.get_file_info(path)
            if root.type == pafs.FileType.NotFound:
                raise SourceError(f"{source}: no such file or folder.")
            if root.type == pafs.FileType.File:
                yield source
                continue
            found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        except OSError as error:
            raise SourceError(f"{source}: cannot be listed ({error}).") from error
        for info in found:
            if info.is_file and not is_picture_name(info.base_name):
                on_other(info.path)
        inside = sorted(
            info.path[len(path) :]
            for info in found
            if info.is_file and is_picture_name(info.base_name)
        )
        if not inside:
            raise SourceError(f"{source}: no pictures in this folder.")
        parts = urlsplit(source)
        for name in inside:
            yield urlunsplit(parts._replace(path=parts.path.rstrip("/") + quote(name)))


def fetch_pictures(pictures: Iterable[str]) -> Iterator[str | NamedBytes]:
    """Yield local pictures by path and the content of others, fetched in parallel, in order."""
    remaining = iter(pictures)
    with ThreadPoolExecutor(_PARALLEL_FETCHES) as pool:
        while group := list(islice(remaining, _PARALLEL_FETCHES)):
            remote = any("://" in picture for picture in group)
            yield from pool.map(_fetch, group) if remote else group


def _fetch(picture: str) -> str | NamedBytes:
    if "://" not in picture:
        return picture
    filesystem, path = locate(picture)
    # A missing or unreadable object is empty, which gives a result with an error.
    with contextlib.suppress(OSError), filesystem.open_input_stream(path) as stream:
        return NamedBytes(stream.read(), picture)
    return NamedBytes(b"", picture)
