"""Checks that no output is one of the inputs, or another output of the same run."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from emotion_runtime.atomic import make_exists_error
from emotion_runtime.errors import OutputError

T = TypeVar("T")


class OutputGuard:
    """Compares the outputs of a run with its inputs, by device and inode.

    Devices and FIFOs are exempt: they may be read and written at once.

    Args:
        outputs: The file of each option; None for options that were not given.

    Raises:
        OutputError: Two of them are one file.
    """

    def __init__(self, outputs: Mapping[str, Path | None]) -> None:
        self._files: dict[tuple[int, int], str] = {}
        self._names: dict[str, str] = {}
        for option, path in outputs.items():
            if path is None:
                continue
            name = f"{option} {path}"
            status = _get_status(path)
            if status is not None and not stat.S_ISREG(status.st_mode):
                continue
            real = os.path.realpath(path)
            other = self._names.get(real)
            if status is not None:
                other = other or self._files.get((status.st_dev, status.st_ino))
                self._files[status.st_dev, status.st_ino] = name
            if other is not None:
                raise OutputError(f"{name}: is the file of {other} too; name another.")
            self._names[real] = name

    def check(self, source: str | os.PathLike[str] | int) -> None:
        """Refuse an input that is one of the outputs.

        Args:
            source: Path or open file descriptor of the input.

        Raises:
            OutputError: The input is one of the outputs.
        """
        if not self._files:  # no existing file will be replaced
            return
        status = _get_status(source)
        if status is None or (output := self._files.get((status.st_dev, status.st_ino))) is None:
            return
        what = "standard input" if isinstance(source, int) else os.fspath(source)
        raise OutputError(f"{output}: is {what}, an input of this run; name another file.")

    def check_all(self, sources: Iterable[str]) -> Iterator[str]:
        """Return an iterator over the inputs that checks each of them before.

        Raises:
            OutputError: An input is one of the outputs.
        """
        if not self._files:  # no existing file will be replaced
            return iter(sources)
        return self._check_each(sources)

    def _check_each(self, sources: Iterable[str]) -> Iterator[str]:
        for source in sources:
            self.check(source)
            yield source

    def check_standard_input(self) -> None:
        """Refuse a file on standard input that is one of the outputs.

        Raises:
            OutputError: Standard input is one of the outputs.
        """
        try:
            number = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):
            return  # closed, or not a file of the operating system
        self.check(number)


def check_video_outputs(
    sources: Sequence[object], output: Path | None, annotate: Path | None
) -> None:
    """Refuse outputs of a run over videos that are one of the videos, or each other.

    An annotated video that is named is replaced. In a folder, where annotated videos have the names
    of the sources, nothing is overwritten.

    Args:
        sources: Paths of videos; others (a camera) are ignored.
        output: The file of results, if any.
        annotate: The annotated video; for several sources, the folder of the annotated videos.

    Raises:
        OutputError: An output is an input or another output, or exists already in the folder.
    """
    videos = [source for source in sources if isinstance(source, str)]
    outputs: dict[str, Path | None] = {"-o": output}
    if annotate is not None and len(sources) > 1:
        for number, video in enumerate(videos, start=1):
            outputs[f"--annotate (of video {number})"] = annotate / Path(video).name
    else:
        outputs["--annotate"] = annotate
    guard = OutputGuard(outputs)
    for video in videos:
        guard.check(video)
    if annotate is not None and len(sources) > 1:
        for video in videos:
            if os.path.lexists(target := annotate / Path(video).name):
                raise make_exists_error(target)


def _get_status(path: str | os.PathLike[str] | int) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  an open descriptor too
    except (OSError, ValueError):
        return None  # missing, or reported when it is opened
