"""Faces over time: video files, cameras, and what is said of a face from frame to frame."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime.cli import main
from emotion_runtime.detection import Box
from emotion_runtime.faces import Face
from emotion_runtime.frames import Camera, Frame, VideoFile, VideoWriter
from emotion_runtime.tracking import Tracker

SAMPLES = Path(__file__).parents[2] / "samples"
RATE, FRAMES, SIZE = 10, 24, (480, 320)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


def frame(number: int) -> NDArray[np.uint8]:
    """Draw a face that drifts to the right and turns from happy to surprise, and one that stays."""
    noise = np.random.default_rng(1).integers(60, 200, (8, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((600, 320), Image.Resampling.BICUBIC)
    image = image.crop((4 * number, 0, 4 * number + SIZE[0], SIZE[1]))  # the background moves
    name = "happy_01" if number < FRAMES // 2 else "surprise_03"
    for sample, side, corner in ((name, 140, (20 + 2 * number, 30)), ("sad_01", 120, (320, 150))):
        face = Image.open(SAMPLES / f"{sample}.png").convert("RGB").resize((side, side))
        image.paste(face, corner)
    return np.asarray(image)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, RATE) as writer:
        for number in range(FRAMES):
            writer.write(frame(number))
    return path


def test_clip_is_classified_over_time(clip: Path, tmp_path: Path) -> None:
    result = run(clip, "--faces", "-f", "jsonl", "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert list(rows[0]) == [
        *("path", "label", "confidence", "probabilities", "error"),
        *("box", "detection_confidence", "time", "frame", "face"),
    ]
    faces: dict[int, list[dict[str, object]]] = {}
    for row in rows:
        faces.setdefault(row["face"], []).append(row)
    assert sorted(faces) == [1, 2]  # followed: no face becomes a new one
    drifting, staying = faces[1], faces[2]
    assert [row["frame"] for row in drifting] == list(range(FRAMES))
    assert {row["label"] for row in staying} == {"sad"}
    labels = [row["label"] for row in drifting]
    assert labels[: FRAMES // 2] == ["happy"] * (FRAMES // 2)
    assert labels[-6:] == ["surprise"] * 6
    assert [row["time"] for row in drifting] == pytest.approx(
        [number / RATE for number in range(FRAMES)], abs=0.02
    )
    assert "24 frames in 2.3 s, 2 faces" in result.stderr


def test_annotated_video_shows_boxes_and_has_every_frame(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    assert run(clip, "--faces", "--annotate", target, "-o", tmp_path / "t").exit_code == 0
    frames = list(VideoFile(str(target)))
    assert len(frames) == FRAMES
    changed = np.abs(frames[0].pixels.astype(int) - frame(0)).max(axis=2) > 100
    assert 0.01 < changed.mean() < 0.3


def test_csv_says_when_and_which_face(clip: Path) -> None:
    head = run(clip, "--faces", "-f", "csv").stdout.splitlines()[0]
    assert head.endswith("error,x,y,width,height,detection_confidence,time,frame,face")


def test_file_that_is_no_video_is_an_error_and_leaves_nothing(tmp_path: Path, clip: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    result = run(bad, "--faces", "--annotate", tmp_path / "out.mp4")
    assert result.exit_code == 1
    assert "bad.mp4: not a video" in result.stderr
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:500])
    assert run(cut, "--faces").exit_code == 1
    assert run(tmp_path / "none.mp4", "--faces").exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.mp4", "cut.mp4"]


def test_video_is_looked_at_with_faces_and_alone(clip: Path) -> None:
    assert "with --faces" in run(clip).stderr
    assert run(clip, SAMPLES / "sad_01.png", "--faces").exit_code == 2
    assert run(clip, "--faces", "--camera", "0").exit_code == 2


def test_missing_opencv_is_answered_with_what_installs_it(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = run(clip, "--faces")
    assert result.exit_code == 1
    assert "pip install " in result.stderr
    assert "[faces]" in result.stderr


def test_camera_that_is_not_there_is_one_sentence() -> None:
    pytest.importorskip("cv2", reason="cameras need the extra [faces]")
    result = run("--faces", "--camera", "97")
    assert result.exit_code == 1
    assert "camera 97: is not there" in result.stderr


def test_slow_reader_of_a_camera_gets_the_newest_frame() -> None:
    """Frames are dropped rather than delay built up."""
    given = threading.Event()
    count = 0

    def read() -> NDArray[np.uint8] | None:
        nonlocal count
        if count == 20:
            given.set()  # all are out before the reader asks for its second
        if count == 21:
            time.sleep(0.2)
            return None
        count += 1
        return np.full((2, 2, 3), count, dtype=np.uint8)

    camera = Camera(read=read)
    seen = []
    for one in camera:
        seen.append(int(one.pixels[0, 0, 0]))
        given.wait(5)
    assert seen[-1] == 21
    assert len(seen) + camera.dropped == 21
    assert camera.dropped >= 18


def face(x: float) -> Face:
    return Face(Box(x, 0, 50, 50), 1.0, np.zeros((48, 48), dtype=np.uint8))


def test_track_keeps_its_name_and_steadies_its_answer() -> None:
    tracker = Tracker(smoothing=0.3)
    sure, other = np.array([[1.0, 0.0]], "f4"), np.array([[0.0, 1.0]], "f4")
    (first,) = tracker.update(0.0, [face(0)], sure)
    assert first.probabilities.tolist() == [1.0, 0.0]
    (second,) = tracker.update(0.1, [face(5)], other)
    assert second.number == first.number
    assert second.probabilities[0] == pytest.approx(np.exp(-1 / 3))
    (jumped,) = tracker.update(0.2, [face(300)], sure)
    assert jumped.number == 2
    assert tracker.count == 2


def test_track_is_forgotten_after_its_memory() -> None:
    tracker = Tracker(memory=0.5)
    answer = np.array([[1.0, 0.0]], "f4")
    tracker.update(0.0, [face(0)], answer)
    assert tracker.update(0.4, [face(0)], answer)[0].number == 1
    assert tracker.update(1.0, [face(0)], answer)[0].number == 2


def test_crossing_faces_take_the_nearest_track() -> None:
    tracker = Tracker()
    both = np.eye(2, dtype="f4")
    left, right = tracker.update(0.0, [face(0), face(60)], both)
    first, second = tracker.update(0.1, [face(12), face(48)], both)
    assert (first.number, second.number) == (left.number, right.number)


def test_frames_without_a_face_give_no_line(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    path = tmp_path / "empty.avi"
    with VideoWriter(path, RATE) as writer:
        for _ in range(3):
            writer.write(np.full((64, 64, 3), 90, dtype=np.uint8))
    assert [one.number for one in VideoFile(str(path))] == [0, 1, 2]
    result = run(path, "--faces", "-f", "jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    assert isinstance(next(iter(VideoFile(str(path)))), Frame)
