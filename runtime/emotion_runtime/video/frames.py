"""Frames of video files and cameras, read and written with OpenCV."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_runtime.errors import OutputError, VideoError
from emotion_runtime.video.containers import inspect_container

if TYPE_CHECKING:
    from typing_extensions import Self

_DEFAULT_RATE = 25.0  # frames a second, where a file states no plausible rate
# Frames a second; other values are units of time stamps, or wrong.
_MIN_RATE, _MAX_RATE = 0.01, 250.0
_MAX_FRAMES = 1e9
_MAX_FAILED_READS = 1000  # consecutive reads without a frame: the end of the file
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        number: Counted from 0; dropped frames of a camera are counted too.
        time: Seconds since the first frame.
        pixels: RGB, uint8, shape (height, width, 3).
    """

    number: int
    time: float
    pixels: NDArray[np.uint8]


def import_opencv() -> Any:
    """Import OpenCV, and silence its messages.

    Raises:
        VideoError: It is not installed.
    """
    # Silent: the errors that are raised here replace FFmpeg's messages.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        from emotion_runtime.command_line.extras import make_install_command

        raise VideoError(
            "videos and cameras need OpenCV, which is not installed; run\n"
            f"  {make_install_command('faces')}"
        ) from error
    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    else:  # OpenCV 5
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


class VideoFile:
    """Reads the frames of a video file.

    Attributes:
        name: The path, as it was given.
        rate: Frames a second; the average for a file with a changing rate.
        copy_rate: Frames a second of a copy that keeps nearly all frames of a changing rate; known
            for MP4 and MOV, else `rate`.
        length: Number of frames, sometimes an estimate; 0 where the file does not state it.
        notes: Sentences about what was assumed.

    Args:
        path: Path of the file.

    Raises:
        VideoError: It cannot be read, or OpenCV is not installed.
    """

    def __init__(self, path: str) -> None:
        cv2 = import_opencv()
        if not Path(path).is_file():
            there = "not a regular file" if Path(path).exists() else "no such file"
            raise VideoError(f"{path}: {there}.")
        try:
            self._container = inspect_container(path)
        except OSError as error:
            raise VideoError(f"{path}: cannot be opened ({error.strerror}).") from error
        if self._container.format is None:
            # FFmpeg would follow a playlist to other files and into the network.
            raise VideoError(f"{path}: not a video (MP4, MOV, AVI, Matroska, WebM or MPEG).")
        self.name = path
        self.notes: list[str] = []
        self._cv2, self._capture = cv2, cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            cut_off = ": it is cut off" if self._container.cut_off else ""
            raise VideoError(f"{path}: not a video that OpenCV can read{cut_off}.")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # upright, as phones record it
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if _MIN_RATE <= rate <= _MAX_RATE else _DEFAULT_RATE
        # Bounded: four times the average is enough for any camera.
        max_rate = min(self._container.max_rate or 0.0, 4 * self.rate, _MAX_RATE)
        self.copy_rate = max_rate if max_rate > 1.05 * self.rate else self.rate
        if self.rate != rate:
            self.notes.append(
                f"{path}: states {rate:g} frames a second; {_DEFAULT_RATE:g} is assumed "
                f"for frames without a time stamp"
            )
        if self._container.format in ("mpeg", "other"):
            self.notes.append(
                f"{path}: this format does not state its length, so that missing frames are not "
                f"noticed"
            )
        count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._stated = int(count) if 0 < count < _MAX_FRAMES else 0
        whole = not (self._container.cut_off or self._container.damaged)
        self.length = (self._container.frames if whole else None) or self._stated

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            VideoError: No frame can be decoded; or, after the last frame, the file is cut off, or
                some frames could not be decoded.
        """
        number, last, skipped, failed = 0, -1.0, 0, 0
        shape: tuple[int, ...] | None = None
        try:
            while failed < _MAX_FAILED_READS:
                there, pixels = self._capture.read()
                if not there:  # at the end, and where one frame cannot be decoded
                    failed += 1
                    continue
                skipped, failed = skipped + (failed if number else 0), 0
                stamp = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000
                # Some containers have no time stamps, and some repeat one.
                moment = stamp if stamp > last else number / self.rate
                last = max(last, moment)
                if shape is not None and pixels.shape != shape:
                    self._note_size(number, shape, pixels.shape)
                shape = pixels.shape
                yield Frame(number, last, self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2RGB))
                number += 1
        finally:
            self._capture.release()
        if number == 0:
            raise VideoError(f"{self.name}: has no frame that can be decoded.")
        if problem := self._find_problem(number, skipped, last):
            raise VideoError(f"{self.name}: {problem}.")

    def _note_size(self, number: int, before: tuple[int, ...], now: tuple[int, ...]) -> None:
        if not any("change size" in note for note in self.notes):
            self.notes.append(
                f"{self.name}: frames change size from {before[1]}×{before[0]} to "
                f"{now[1]}×{now[0]} pixels at frame {number}; boxes are of each frame's own size"
            )

    def _find_problem(self, number: int, skipped: int, last: float) -> str | None:
        """Return what is missing of the file; None for a complete one.

        Args:
            number: Number of frames that were decoded.
            skipped: Number of frames between them that could not be decoded.
            last: Time of the last frame in seconds.
        """
        container = self._container
        is_exact = container.exact or container.format == "avi"
        of = f" of {'' if is_exact else 'about '}{self._stated:,}" if self._stated > number else ""
        if container.cut_off and (of or not container.exact):
            return f"ends after {number:,}{of} frames: damaged or cut off"
        total = self._stated
        if not container.exact:
            total = 0 if container.damaged else container.frames or 0
        # The last frame of an AVI with reordered frames may be empty.
        missing = max(skipped, total - number - (container.format == "avi"))
        if missing > 0:
            if not skipped and last + 1.5 / self.rate < total / self.rate:
                return f"ends after {number:,} of {total:,} frames: damaged or cut off"
            return f"{missing:,} of {number + missing:,} frames cannot be decoded: damaged"
        if container.damaged and (of or not self._stated):
            return f"only {number:,}{of} frames can be decoded: damaged"
        return None


class Camera:
    """Reads the newest frame of a camera; frames that arrive in between are dropped, not queued.

    Args:
        number: Number of the camera, from 0.
        read: Returns the RGB pixels of the next frame, or None at the end; for tests and other
            sources.

    Attributes:
        dropped: Number of frames that were dropped.
        notes: Sentences about what was assumed.

    Raises:
        VideoError: There is no such camera, or OpenCV is not installed.
    """

    length = 0  # not known

    def __init__(
        self, number: int = 0, *, read: Callable[[], NDArray[np.uint8] | None] | None = None
    ) -> None:
        self.name, self.rate = f"camera {number}", 30.0
        self.copy_rate = self.rate
        self.notes: list[str] = []
        self._read = read or self._open_camera(number)
        self._fresh = threading.Condition()
        self._newest: Frame | None = None
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self.dropped = 0

    def _open_camera(self, number: int) -> Callable[[], NDArray[np.uint8] | None]:
        cv2 = import_opencv()
        capture = cv2.VideoCapture(number)
        if not capture.isOpened():
            raise VideoError(f"camera {number}: is not there, or in use, or may not be read.")
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        if _MIN_RATE <= rate <= _MAX_RATE:
            self.rate = self.copy_rate = rate

        def read() -> NDArray[np.uint8]:
            there, pixels = capture.read()
            if not there:
                raise VideoError(f"{self.name}: gives no more pictures; is it unplugged?")
            rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
            return rgb

        return read

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame until the camera ends.

        Raises:
            VideoError: The camera gives no more pictures.
        """
        thread = threading.Thread(target=self._read_frames, name="camera", daemon=True)
        thread.start()
        try:
            while True:
                with self._fresh:
                    self._fresh.wait_for(lambda: self._newest is not None or self._ended)
                    frame, self._newest = self._newest, None
                if frame is not None:
                    yield frame
                elif self._error is not None:
                    raise self._error
                else:
                    return
        finally:
            self._stopped = True
            thread.join(timeout=1)

    def _read_frames(self) -> None:
        number, started = 0, time.monotonic()
        try:
            while not self._stopped and (pixels := self._read()) is not None:
                with self._fresh:
                    self.dropped += self._newest is not None
                    self._newest = Frame(number, time.monotonic() - started, pixels)
                    self._fresh.notify()
                number += 1
        except BaseException as error:  # noqa: BLE001  raised in the thread that iterates
            self._error = error
        with self._fresh:
            self._ended = True
            self._fresh.notify()


class VideoWriter:
    """Writes frames to a video file, without sound; a ``with`` block completes and checks it.

    Args:
        path: The file to write; its suffix decides its format.
        rate: Frames a second.
        name: Name of the file in errors; None for `path`.

    Attributes:
        written: Number of frames written so far.
        notes: Sentences about how frames were changed to fit.

    Raises:
        OutputError: OpenCV cannot write this format, the file cannot be written completely, or no
            frame was written.
        VideoError: OpenCV is not installed.
    """

    def __init__(self, path: Path, rate: float, name: Path | None = None) -> None:
        self._path, self._name = path, path if name is None else name
        if path.suffix.lower() not in _CODECS:
            raise OutputError(f"{self._name}: name the video {', '.join(_CODECS)}.")
        # MPEG-4 divides a second into at most 65,535 parts.
        self.rate = round(rate, 2) or rate
        self._cv2 = import_opencv()
        self._writer: Any = None
        self._size = (0, 0)
        self.written = 0
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None:
            if kind is None:
                raise OutputError(f"{self._name}: not written, because there was no frame.")
            return
        self._writer.release()
        if kind is None:
            self._check()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Add a frame: RGB, uint8 (height, width, 3).

        The first frame determines the size of the video, rounded up to even numbers of pixels;
        other frames are scaled to it.

        Raises:
            OutputError: The file cannot be written.
        """
        cv2 = self._cv2
        height, width, _ = pixels.shape
        if self._writer is None:
            self._size = (width, height)
            even = (width + width % 2, height + height % 2)
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), codec, self.rate, even)
            if not self._writer.isOpened():
                raise OutputError(f"{self._name}: OpenCV cannot write this video here.")
            if even != self._size:
                self.notes.append(
                    f"{even[0]}×{even[1]} pixels, not {width}×{height}: videos have even sides, so "
                    f"that the last row or column is repeated"
                )
        elif (width, height) != self._size:
            if not any("scaled" in note for note in self.notes):
                self.notes.append(
                    f"frames of another size are scaled to {self._size[0]}×{self._size[1]} pixels"
                )
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
        width, height = self._size
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        self.written += 1

    def _check(self) -> None:
        """Check that all frames are in the file: OpenCV does not report a full disk.

        Raises:
            OutputError: Some are missing.
        """
        try:
            container = inspect_container(str(self._path))
        except OSError as error:
            raise OutputError(f"{self._name}: cannot be written ({error.strerror}).") from error
        capture = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)
        count = capture.get(self._cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        found = container.frames if container.frames is not None else int(max(0, count))
        if container.cut_off or container.damaged or found < self.written:
            raise OutputError(
                f"{self._name}: cannot be written whole; is the disk full? "
                f"({min(found, self.written):,} of {self.written:,} frames)"
            )
