"""Frames of video files and cameras, read by OpenCV, and frames written to a video."""

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
from emotion_runtime.video.containers import inspect

if TYPE_CHECKING:
    from typing_extensions import Self

_GUESSED_RATE = 25.0  # frames a second
_MIN_RATE, _MAX_RATE = 0.01, 250.0  # others are the units of time stamps, or nonsense
_MOST_FRAMES = 1e9
_GIVE_UP = 1000  # reads in a row without a frame: it is the end
_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        number: From 0 on; of a camera, those that were dropped are counted too.
        time: Seconds since the first.
        pixels: RGB, uint8, shape (height, width, 3).
    """

    number: int
    time: float
    pixels: NDArray[np.uint8]


def opencv() -> Any:
    """Import OpenCV.

    Raises:
        VideoError: It is not installed.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: we say it in our own words
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
    """Reads a video file from its beginning to its end.

    Attributes:
        name: The path, as it was given.
        rate: Frames a second; of a file with a changing rate, an average.
        copy_rate: Frames a second that a copy needs to hold the frames that come fastest; known of
            MP4 and MOV, else `rate`.
        length: Number of frames, at times an estimate; 0 where the file does not state it.
        notes: Sentences about what was guessed.

    Args:
        path: The file.

    Raises:
        VideoError: It cannot be read, or OpenCV is not installed.
    """

    def __init__(self, path: str) -> None:
        cv2 = opencv()
        if not Path(path).is_file():
            there = "not a regular file" if Path(path).exists() else "no such file"
            raise VideoError(f"{path}: {there}.")
        try:
            self._container = inspect(path)
        except OSError as error:
            raise VideoError(f"{path}: cannot be opened ({error.strerror}).") from error
        if self._container.format is None:
            # FFmpeg would follow a playlist of that name to other files, and into the network.
            raise VideoError(f"{path}: not a video (MP4, MOV, AVI, Matroska, WebM or MPEG).")
        self.name = path
        self.notes: list[str] = []
        self._cv2, self._capture = cv2, cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            cut_off = ": it is cut off" if self._container.cut_off else ""
            raise VideoError(f"{path}: not a video that OpenCV can read{cut_off}.")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # upright, as phones note it
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if _MIN_RATE <= rate <= _MAX_RATE else _GUESSED_RATE
        # Four times the average holds the fast frames of any camera.
        fastest = min(self._container.fastest or 0.0, 4 * self.rate, _MAX_RATE)
        self.copy_rate = fastest if fastest > 1.05 * self.rate else self.rate
        if self.rate != rate:
            self.notes.append(
                f"{path}: states {rate:g} frames a second; {_GUESSED_RATE:g} is taken instead "
                f"where frames have no time of their own"
            )
        if self._container.format in ("mpeg", "other"):
            self.notes.append(
                f"{path}: this format does not state how long it is, so that missing frames are "
                f"not noticed"
            )
        count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._stated = int(count) if 0 < count < _MOST_FRAMES else 0
        whole = not (self._container.cut_off or self._container.damaged)
        self.length = (self._container.frames if whole else None) or self._stated

    def __iter__(self) -> Iterator[Frame]:
        """Give its frames.

        Raises:
            VideoError: Not one of them can be decoded; or, after the last one, the file ends
                before its pictures do, or some between could not be decoded.
        """
        number, last, skipped, failed = 0, -1.0, 0, 0
        shape: tuple[int, ...] | None = None
        try:
            while failed < _GIVE_UP:
                there, pixels = self._capture.read()
                if not there:  # at the end, and where one frame cannot be decoded
                    failed += 1
                    continue
                skipped, failed = skipped + (failed if number else 0), 0
                stamp = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000
                # Some containers have no times; a video's time never stands still.
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
        if problem := self._problem(number, skipped, last):
            raise VideoError(f"{self.name}: {problem}.")

    def _note_size(self, number: int, before: tuple[int, ...], now: tuple[int, ...]) -> None:
        if not any("change size" in note for note in self.notes):
            self.notes.append(
                f"{self.name}: frames change size from {before[1]}×{before[0]} to "
                f"{now[1]}×{now[0]} pixels at frame {number}; boxes are of each frame's own size"
            )

    def _problem(self, number: int, skipped: int, last: float) -> str | None:
        """Say what is missing of the file.

        Args:
            number: Frames that were decoded.
            skipped: Frames between them that could not be.
            last: Time of the last frame, in seconds.
        """
        held = self._container
        sure = held.exact or held.format == "avi"
        of = f" of {'' if sure else 'about '}{self._stated:,}" if self._stated > number else ""
        if held.cut_off and (of or not held.exact):
            return f"ends after {number:,}{of} frames: damaged or cut off"
        total = self._stated if held.exact else 0 if held.damaged else held.frames or 0
        # The last frame of an AVI with frames out of order may be an empty one.
        missing = max(skipped, total - number - (held.format == "avi"))
        if missing > 0:
            if not skipped and last + 1.5 / self.rate < total / self.rate:
                return f"ends after {number:,} of {total:,} frames: damaged or cut off"
            return f"{missing:,} of {number + missing:,} frames cannot be decoded: damaged"
        if held.damaged and (of or not self._stated):
            return f"only {number:,}{of} frames can be decoded: damaged"
        return None


class Camera:
    """The newest frame of a camera; what comes while one is worked on is dropped, not queued.

    Args:
        number: The camera, from 0 on.
        read: Gives the next frame's RGB pixels, or None at the end; for tests, or another source.

    Attributes:
        dropped: Frames that nobody looked at.
        notes: Sentences about what was guessed.

    Raises:
        VideoError: There is no such camera, or OpenCV is not installed.
    """

    length = 0  # has no end

    def __init__(
        self, number: int = 0, *, read: Callable[[], NDArray[np.uint8] | None] | None = None
    ) -> None:
        self.name, self.rate = f"camera {number}", 30.0
        self.copy_rate = self.rate
        self.notes: list[str] = []
        self._read = read or self._opened(number)
        self._fresh = threading.Condition()
        self._newest: Frame | None = None
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self.dropped = 0

    def _opened(self, number: int) -> Callable[[], NDArray[np.uint8] | None]:
        cv2 = opencv()
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
        """Give the newest frame, again and again, until the camera ends.

        Raises:
            VideoError: The camera gives no more pictures.
        """
        thread = threading.Thread(target=self._watch, name="camera", daemon=True)
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

    def _watch(self) -> None:
        number, started = 0, time.monotonic()
        try:
            while not self._stopped and (pixels := self._read()) is not None:
                with self._fresh:
                    self.dropped += self._newest is not None
                    self._newest = Frame(number, time.monotonic() - started, pixels)
                    self._fresh.notify()
                number += 1
        except BaseException as error:  # noqa: BLE001  raised where frames are taken
            self._error = error
        with self._fresh:
            self._ended = True
            self._fresh.notify()


class VideoWriter:
    """Writes frames to a video file, without sound; a ``with`` block completes and checks it.

    Args:
        path: Where to; its suffix says the format.
        rate: Frames a second.
        name: What errors call the file; None for `path`.

    Attributes:
        written: Frames so far.
        notes: Sentences about how frames were changed to fit.

    Raises:
        OutputError: OpenCV writes no such file, or it cannot be written whole, or there was no
            frame.
        VideoError: OpenCV is not installed.
    """

    def __init__(self, path: Path, rate: float, name: Path | None = None) -> None:
        self._path, self._name = path, path if name is None else name
        if path.suffix.lower() not in _CODECS:
            raise OutputError(f"{self._name}: name the video {', '.join(_CODECS)}.")
        # MPEG-4 counts time in at most 65,535 parts of a second.
        self.rate = round(rate, 2) or rate
        self._cv2 = opencv()
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

        The first one gives the size of the video, to the next even number of pixels; others are
        scaled to it.

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
        """See whether all frames are in the file: OpenCV does not say when the disk is full.

        Raises:
            OutputError: Some are missing.
        """
        try:
            held = inspect(str(self._path))
        except OSError as error:
            raise OutputError(f"{self._name}: cannot be written ({error.strerror}).") from error
        capture = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)
        count = capture.get(self._cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        found = held.frames if held.frames is not None else int(max(0, count))
        if held.cut_off or held.damaged or found < self.written:
            raise OutputError(
                f"{self._name}: cannot be written whole; is the disk full? "
                f"({min(found, self.written):,} of {self.written:,} frames)"
            )
