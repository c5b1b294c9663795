"""Pictures and results by path or URI."""

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

_AHEAD = 16  # objects fetched at a time by one worker: it is their latency that is waited for


def locate(place: str) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem of a path or URI, and the path within it.

    Raises:
        OutputError: No filesystem is known for it.
    """
    if "://" not in place:
        return pafs.LocalFileSystem(), _absolute(place)
    parts = urlsplit(place)
    try:
        filesystem, base = _filesystem(urlunsplit(parts._replace(path="/")))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise OutputError(f"{place}: no filesystem is known for it ({error}).") from error
    return filesystem, (base.rstrip("/") + unquote(parts.path)).rstrip("/")


@functools.lru_cache(maxsize=16)  # one client for all pictures of a bucket
def _filesystem(root: str) -> tuple[pafs.FileSystem, str]:
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(root)
    return found


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def list_pictures(
    sources: Sequence[str], on_other: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    """Give the pictures of all sources; of URIs as URIs, sorted, each folder in its place."""
    for source in sources:
        if "://" not in source:
            # Absolute: workers run elsewhere.
            yield from find_pictures([_absolute(source)], on_other=on_other)
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
    """Give local pictures by path; fetch others, some at a time, in order."""
    waiting = iter(pictures)
    with ThreadPoolExecutor(_AHEAD) as pool:
        while group := list(islice(waiting, _AHEAD)):
            remote = any("://" in picture for picture in group)
            yield from pool.map(_fetch, group) if remote else group


def _fetch(picture: str) -> str | NamedBytes:
    if "://" not in picture:
        return picture
    filesystem, path = locate(picture)
    # What is not there, or may not be read, is empty: an answer with an error.
    with contextlib.suppress(OSError), filesystem.open_input_stream(path) as stream:
        return NamedBytes(stream.read(), picture)
    return NamedBytes(b"", picture)
