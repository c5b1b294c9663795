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

if TYPE_CHECKING:
    from typing_extensions import Self

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
        from emotion_runtime.extras import install_hint

        raise VideoError(
            "videos and cameras need OpenCV, which is not installed; run\n"
            f"  {install_hint('faces')}"
        ) from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


class VideoFile:
    """Reads a video file from its beginning to its end.

    Args:
        path: The file.

    Raises:
        VideoError: It cannot be read, or OpenCV is not installed.
    """

    def __init__(self, path: str) -> None:
        cv2 = opencv()
        if not Path(path).is_file():
            raise VideoError(f"{path}: no such file.")
        self.name = path
        self._cv2, self._capture = cv2, cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        if not self._capture.isOpened():
            raise VideoError(f"{path}: not a video that OpenCV can read.")

    def __iter__(self) -> Iterator[Frame]:
        """Give its frames.

        Raises:
            VideoError: Not one of them can be decoded.
        """
        number, last = 0, -1.0
        try:
            while True:
                there, pixels = self._capture.read()
                if not there:
                    break
                stamp = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000
                # Some containers have no times; a video's time never stands still.
                moment = stamp if stamp > last else number / self.rate
                last = max(last, moment)
                yield Frame(number, last, self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2RGB))
                number += 1
        finally:
            self._capture.release()
        if number == 0:
            raise VideoError(f"{self.name}: has no frame that can be decoded.")


class Camera:
    """The newest frame of a camera; what comes while one is worked on is dropped, not queued.

    Args:
        number: The camera, from 0 on.
        read: Gives the next frame's RGB pixels, or None at the end; for tests, or another source.

    Raises:
        VideoError: There is no such camera, or OpenCV is not installed.
    """

    length = 0  # has no end

    def __init__(
        self, number: int = 0, *, read: Callable[[], NDArray[np.uint8] | None] | None = None
    ) -> None:
        self.name, self.rate = f"camera {number}", 30.0
        self._read = read or self._opened(number)
        self._fresh = threading.Condition()
        self._newest: Frame | None = None
        self._ended = self._stopped = False
        self.dropped = 0

    def _opened(self, number: int) -> Callable[[], NDArray[np.uint8] | None]:
        cv2 = opencv()
        capture = cv2.VideoCapture(number)
        if not capture.isOpened():
            raise VideoError(f"camera {number}: is not there, or in use, or may not be read.")
        self.rate = float(capture.get(cv2.CAP_PROP_FPS)) or self.rate

        def read() -> NDArray[np.uint8] | None:
            there, pixels = capture.read()
            return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if there else None

        return read

    def __iter__(self) -> Iterator[Frame]:
        """Give the newest frame, again and again, until the camera ends."""
        thread = threading.Thread(target=self._watch, name="camera", daemon=True)
        thread.start()
        try:
            while True:
                with self._fresh:
                    self._fresh.wait_for(lambda: self._newest is not None or self._ended)
                    frame, self._newest = self._newest, None
                if frame is None:
                    return
                yield frame
        finally:
            self._stopped = True
            thread.join(timeout=1)

    def _watch(self) -> None:
        number, started = 0, time.monotonic()
        while not self._stopped and (pixels := self._read()) is not None:
            with self._fresh:
                self.dropped += self._newest is not None
                self._newest = Frame(number, time.monotonic() - started, pixels)
                self._fresh.notify()
            number += 1
        with self._fresh:
            self._ended = True
            self._fresh.notify()


class VideoWriter:
    """Writes frames to a video file; a ``with`` block completes it.

    Args:
        path: Where to; its suffix says the format.
        rate: Frames a second.

    Raises:
        OutputError: OpenCV writes no such file, or it cannot be written.
        VideoError: OpenCV is not installed.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if path.suffix.lower() not in _CODECS:
            raise OutputError(f"{path}: name the video {', '.join(_CODECS)}.")
        self._path, self._rate = path, rate
        self._cv2 = opencv()
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Add a frame: RGB, uint8 (height, width, 3), all of one shape.

        Raises:
            OutputError: The file cannot be written.
        """
        cv2 = self._cv2
        if self._writer is None:
            height, width, _ = pixels.shape
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), codec, self._rate, (width, height))
            if not self._writer.isOpened():
                raise OutputError(f"{self._path}: OpenCV cannot write this video here.")
        self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
