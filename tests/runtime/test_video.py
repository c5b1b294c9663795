"""Faces in video files and cameras, followed from frame to frame."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime import FaceClassifier
from emotion_runtime.errors import OutputError, VideoError
from emotion_runtime.faces.detection import Box, Detection
from emotion_runtime.faces.finder import Face, FaceFinder
from emotion_runtime.infer.cli import main
from emotion_runtime.video.containers import inspect_container
from emotion_runtime.video.frames import Camera, Frame, VideoFile, VideoWriter
from emotion_runtime.video.job import VideoJob
from emotion_runtime.video.prediction import AnnotatedVideo, predict_frames
from emotion_runtime.video.tracking import Tracker

SAMPLES = Path(__file__).parents[2] / "samples"
RATE, FRAMES, SIZE = 10, 24, (480, 320)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)


def frame(number: int) -> NDArray[np.uint8]:
    """Draw a face that moves right and changes from happy to surprise, and one that stays."""
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
        *("path", "label", "confidence", "probabilities", "other", "error"),
        *("box", "detection_confidence", "warning", "time", "frame", "face"),
    ]
    faces: dict[int, list[dict[str, object]]] = {}
    for row in rows:
        faces.setdefault(row["face"], []).append(row)
    assert sorted(faces) == [1, 2]  # tracked: no face gets a new number
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


def test_csv_has_the_time_and_the_number_of_the_face(clip: Path) -> None:
    head = run(clip, "--faces", "-f", "csv").stdout.splitlines()[0]
    assert head.endswith("error,x,y,width,height,detection_confidence,warning,time,frame,face")


def test_file_that_is_not_a_video_is_an_error_and_leaves_no_output(
    tmp_path: Path, clip: Path
) -> None:
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
    assert "need --faces" in run(clip).stderr
    assert run(clip, SAMPLES / "sad_01.png", "--faces").exit_code == 2
    assert run(clip, "--faces", "--camera", "0").exit_code == 2


def test_the_error_on_missing_opencv_names_the_extra(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = run(clip, "--faces")
    assert result.exit_code == 1
    assert "pip install " in result.stderr
    assert "[faces]" in result.stderr


def test_missing_camera_gives_one_sentence() -> None:
    pytest.importorskip("cv2", reason="cameras need the extra [faces]")
    result = run("--faces", "--camera", "97")
    assert result.exit_code == 1
    assert "camera 97: is not there" in result.stderr


def test_slow_reader_of_a_camera_gets_the_newest_frame() -> None:
    """Frames are dropped so that no delay builds up."""
    given = threading.Event()
    count = 0

    def read() -> NDArray[np.uint8] | None:
        nonlocal count
        if count == 20:
            given.set()  # all are available before the reader gets its second frame
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


def test_track_keeps_its_number_and_smooths_its_probabilities() -> None:
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


def test_track_ends_after_its_memory() -> None:
    tracker = Tracker(memory=0.5)
    probabilities = np.array([[1.0, 0.0]], "f4")
    tracker.update(0.0, [face(0)], probabilities)
    assert tracker.update(0.4, [face(0)], probabilities)[0].number == 1
    assert tracker.update(1.0, [face(0)], probabilities)[0].number == 2


def test_crossing_faces_get_the_nearest_track() -> None:
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


# Damaged video files.


def plain(number: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """Draw a frame without a face."""
    rng = np.random.default_rng(number)
    return np.kron(
        rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3)), np.ones((8, 8, 1))
    ).astype(np.uint8)


def write_video(path: Path, frames: int = 40, rate: float = 10) -> Path:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    with VideoWriter(path, rate) as writer:
        for number in range(frames):
            writer.write(plain(number))
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def write_avi(path: Path, frames: list[bytes], rate: tuple[int, int] = (10, 1)) -> Path:
    """Write an AVI of JPEGs; an empty one repeats the frame before, as in screen recordings."""
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    head = struct.pack("<14I", 100_000, 0, 0, 0x10, len(frames), 0, 1, 0, 64, 48, 0, 0, 0, 0)
    stream = b"vidsMJPG" + struct.pack("<3I", 0, 0, 0)
    stream += struct.pack("<7I", rate[1], rate[0], 0, len(frames), 0, 0, 0) + bytes(8)
    form = struct.pack("<IiiHH4s5I", 40, 64, 48, 1, 24, b"MJPG", 64 * 48 * 3, 0, 0, 0, 0)
    strl = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form))
    hdrl = chunk(b"LIST", b"hdrl" + chunk(b"avih", head) + strl)
    movi = chunk(b"LIST", b"movi" + b"".join(chunk(b"00dc", frame) for frame in frames))
    index, place = b"", 4
    for one in frames:
        index += struct.pack("<4s3I", b"00dc", 0x10, place, len(one))
        place += 8 + len(one) + len(one) % 2
    path.write_bytes(chunk(b"RIFF", b"AVI " + hdrl + movi + chunk(b"idx1", index)))
    return path


def jpeg(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(plain(number)).save(stream, "JPEG")
    return stream.getvalue()


def read_all(path: Path) -> tuple[int, str]:
    """Return the number of frames, and the error at the end."""
    number = 0
    try:
        for _ in VideoFile(str(path)):
            number += 1
    except VideoError as error:
        return number, str(error)
    return number, ""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv"])
def test_complete_video_causes_no_warning(tmp_path: Path, suffix: str) -> None:
    assert read_all(write_video(tmp_path / f"whole{suffix}")) == (40, "")


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_truncated_video_is_reported_after_its_last_frame(tmp_path: Path, suffix: str) -> None:
    whole = write_video(tmp_path / f"whole{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    number, problem = read_all(cut)
    assert 15 < number < 35
    about = "about " if suffix == ".mkv" else ""
    assert f"ends after {number} of {about}40 frames: damaged or cut off" in problem


def test_results_of_a_truncated_video_are_kept(clip: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.avi"
    with VideoWriter(whole, RATE) as writer:
        for number in range(FRAMES):
            writer.write(frame(number))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    out, copy = tmp_path / "out.jsonl", tmp_path / "copy.mp4"
    result = run(cut, "--faces", "-f", "jsonl", "-o", out, "--annotate", copy)
    assert result.exit_code == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    last = rows[-1]["frame"]
    assert 8 < last < FRAMES - 4
    assert f"ends after {last + 1} of 24 frames: damaged or cut off" in result.stderr
    assert read_all(copy) == (last + 1, "")
    strict = run(cut, "--faces", "-f", "jsonl", "-o", tmp_path / "s.jsonl", "--strict")
    assert strict.exit_code == 1
    assert not (tmp_path / "s.jsonl").exists()
    assert clip.is_file()


def test_mp4_without_its_end_is_reported_as_cut_off(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    assert "cut off" in read_all(tmp_path / "cut.mp4")[1]


def test_frames_after_one_that_cannot_be_decoded_are_read(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "whole.mp4").read_bytes())
    start = data.index(b"mdat")
    middle = start + (data.index(b"moov") - start) // 2
    data[middle : middle + 6000] = bytes(6000)
    (tmp_path / "bad.mp4").write_bytes(data)
    number, problem = read_all(tmp_path / "bad.mp4")
    assert 25 < number < 40
    assert f"{40 - number} of 40 frames cannot be decoded: damaged" in problem


def test_damage_between_frames_is_reported(tmp_path: Path) -> None:
    path = write_avi(tmp_path / "bad.avi", [jpeg(number) for number in range(20)])
    data = bytearray(path.read_bytes())
    at = data.index(b"00dc", len(data) // 2)
    data[at - 10 : at + 200] = b"\xee" * 210
    path.write_bytes(data)
    number, problem = read_all(path)
    assert number < 20
    assert "damaged" in problem


def test_frames_that_repeat_the_one_before_are_not_counted_as_missing(tmp_path: Path) -> None:
    frames = [b"" if number % 3 else jpeg(number) for number in range(30)]
    assert read_all(write_avi(tmp_path / "screen.avi", frames)) == (10, "")


def test_frames_that_an_edit_list_leaves_out_are_not_counted_as_missing(tmp_path: Path) -> None:
    """A clip that was trimmed on a phone still contains the frames before its start."""
    data = bytearray(write_video(tmp_path / "whole.mp4").read_bytes())
    at = data.index(b"elst")
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    struct.pack_into(">i", data, at + 16, scale)  # starts after one second
    (tmp_path / "trimmed.mp4").write_bytes(data)
    number, problem = read_all(tmp_path / "trimmed.mp4")
    assert number < 40
    assert problem == ""


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_damaged_containers_cause_no_traceback(tmp_path: Path, suffix: str) -> None:
    data = write_video(tmp_path / f"whole{suffix}", frames=4).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        broken = bytearray(data[: rng.integers(12, len(data))] if number % 2 else data)
        for _ in range(20):
            broken[rng.integers(8, min(len(broken), 1000) if number % 3 else len(broken))] = int(
                rng.integers(256)
            )
        (tmp_path / "broken").write_bytes(broken)
        inspect_container(str(tmp_path / "broken"))


def test_playlist_with_the_suffix_of_a_video_is_not_followed(tmp_path: Path) -> None:
    write_video(tmp_path / "private.mp4", frames=2)
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nprivate.mp4\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.mp4").write_text(text)
    (tmp_path / "concat.mkv").write_text("ffconcat version 1.0\nfile private.mp4\n")
    for name in ("list.mp4", "concat.mkv"):
        assert "not a video" in read_all(tmp_path / name)[1]


def test_video_of_a_phone_held_upright_is_upright(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "lying.mp4", frames=2).read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = quarter
    (tmp_path / "held.mp4").write_bytes(data)
    lying = next(iter(VideoFile(str(tmp_path / "lying.mp4")))).pixels
    held = next(iter(VideoFile(str(tmp_path / "held.mp4")))).pixels
    assert held.shape == (64, 48, 3)
    assert np.abs(held.astype(int) - np.rot90(lying, -1)).mean() < 3


@pytest.mark.parametrize("rate", [(1_000_000, 1), (1, 1_000)])
def test_invalid_frame_rate_causes_a_warning(tmp_path: Path, rate: tuple[int, int]) -> None:
    path = write_avi(tmp_path / "odd.avi", [jpeg(number) for number in range(5)], rate)
    video = VideoFile(str(path))
    assert video.rate == 25
    assert "25 is assumed" in video.notes[0]
    assert "25 is assumed" in run(path, "--faces").stderr


def test_frames_with_odd_sides_lose_no_pixel(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    with VideoWriter(tmp_path / "odd.avi", 10) as writer:
        writer.write(plain(0)[:41, :61])
    (only,) = VideoFile(str(tmp_path / "odd.avi"))
    assert only.pixels.shape == (42, 62, 3)
    assert "62×42 pixels, not 61×41" in writer.notes[0]


def test_frame_of_another_size_is_scaled(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    with VideoWriter(tmp_path / "sizes.avi", 10) as writer:
        for size in ((64, 48), (128, 96), (32, 24)):
            writer.write(plain(0, size))
    assert [one.pixels.shape for one in VideoFile(str(tmp_path / "sizes.avi"))] == [(48, 64, 3)] * 3
    assert writer.notes == ["frames of another size are scaled to 64×48 pixels"]


_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from emotion_runtime.video.frames import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), dtype=np.uint8)
with VideoWriter(Path(sys.argv[1]), 10) as writer:
    for one in noise:
        writer.write(one)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_full_disk_is_reported(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    pytest.importorskip("resource", reason="limits the size of a file")
    target = tmp_path / f"full{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, target], capture_output=True, text=True, check=False
    )
    assert "OutputError" in done.stderr
    assert "cannot be written" in done.stderr


def test_annotated_copy_is_reported_to_have_no_sound(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    result = run(clip, "--faces", "--annotate", target, "-o", tmp_path / "t")
    assert f"{target}: 24 frames without sound" in result.stderr


def test_annotated_copy_keeps_the_times_of_uneven_frames(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    with VideoWriter(tmp_path / "even.avi", 10) as writer:
        copy = AnnotatedVideo(writer, ("happy",))
        for number, moment in enumerate((0.0, 0.1, 0.22, 0.5, 1.0, 4000.0, 4000.1)):
            copy.add(Frame(number, moment, plain(number)), [])
    bright = [one.pixels.mean() for one in VideoFile(str(tmp_path / "even.avi"))]
    assert len(bright) == 13  # 0 to 1.0 s without the longest pause, and one more
    assert copy.repeated == 6
    assert "pauses of 3,999 s left out" in copy.notes()[0]


def test_camera_without_a_frame_writes_no_empty_video(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    job = VideoJob(
        FaceClassifier(),
        [Camera(read=lambda: None)],
        print,
        output=tmp_path / "t",
        annotate=tmp_path / "out.mp4",
    )
    with pytest.raises(OutputError, match="no frame"):
        job.run()
    assert not (tmp_path / "out.mp4").exists()


def test_disconnected_camera_is_an_error() -> None:
    def read() -> NDArray[np.uint8] | None:
        raise VideoError("camera 0: gives no more pictures; is it unplugged?")

    with pytest.raises(VideoError, match="unplugged"):
        list(Camera(read=read))


def test_results_of_a_disconnected_camera_are_kept(tmp_path: Path) -> None:
    count = 0

    def read() -> NDArray[np.uint8]:
        nonlocal count
        count += 1
        if count > 1:
            time.sleep(0.3)
            raise VideoError("camera 0: gives no more pictures; is it unplugged?")
        return frame(0)

    printed: list[str] = []
    out = tmp_path / "out.jsonl"
    job = VideoJob(FaceClassifier(), [Camera(read=read)], printed.append, "jsonl", out)
    assert not job.run()
    assert len(out.read_text().splitlines()) == 2
    assert any("1 frame in" in line for line in printed)
    assert any(line.startswith("error: camera 0: gives no more") for line in printed)


def test_boxes_are_inside_the_frame_and_faces_are_tracked_over_the_edge() -> None:
    class Leaving:
        x = 0.0

        def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
            self.x -= 5
            return [Detection(Box(self.x, 10, 40, 40), 0.9)]

    frames = [Frame(number, number / 10, plain(0, (640, 480))) for number in range(7)]
    finder = FaceFinder(Leaving())
    predictions = [one for _, (one,) in predict_frames(FaceClassifier(finder=finder), frames)]
    assert {one.face for one in predictions} == {1}
    assert [one.box for one in predictions] == [(0, 10, 40 - 5 * n, 40) for n in range(1, 8)]


# Frames between those that are searched, and frames at uneven times.


class Moving:
    """Finds one face that moves 3 pixels to the right in each frame; counts the searches."""

    def __init__(self, frames: int) -> None:
        self.places = [(8 + 3 * number, 40) for number in range(frames)]
        self.searches = 0

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        self.searches += 1
        number = int(pixels[0, 0, 0])
        scale = pixels.shape[1] / 640
        x, y = self.places[number]
        return [Detection(Box(x * scale, y * scale, 60 * scale, 60 * scale), 0.9)]


def numbered(count: int) -> list[Frame]:
    """Return gray frames that hold their number in the first pixels."""
    frames = []
    for number in range(count):
        pixels = np.full((480, 640, 3), 128, dtype=np.uint8)
        pixels[:8, :8] = number
        frames.append(Frame(number, number / 10, pixels))
    return frames


def test_faces_are_followed_between_the_frames_that_are_searched() -> None:
    detector = Moving(24)
    finder = FaceFinder(detector, turned=False)
    found = list(predict_frames(FaceClassifier(finder=finder), numbered(24), detect_every=4))
    assert detector.searches == 6
    predictions = [one for _, (one,) in found]
    assert {one.face for one in predictions} == {1}
    assert [one.frame for one in predictions] == list(range(24))
    searched = [one.detection_confidence is not None for one in predictions]
    assert searched == [number % 4 == 0 for number in range(24)]
    for number, one in enumerate(predictions[12:], start=12):  # once the velocity is known
        assert one.box is not None
        assert abs(one.box[0] - detector.places[number][0]) <= 3
        assert one.box[2:] == (60, 60)


def test_face_that_is_gone_is_followed_no_longer_than_to_the_next_search() -> None:
    class Once:
        searches = 0

        def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
            self.searches += 1
            return [Detection(Box(100, 100, 60, 60), 0.9)] if self.searches == 1 else []

    finder = FaceFinder(Once(), turned=False)
    found = predict_frames(FaceClassifier(finder=finder), numbered(9), detect_every=3)
    assert [len(predictions) for _, predictions in found] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_face_that_moves_out_of_the_frame_is_followed_no_further() -> None:
    class Leaving:
        searches = 0

        def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
            self.searches += 1
            x = {1: 560, 2: 580, 3: 600, 4: 620}.get(self.searches)
            return [Detection(Box(x, 100, 60, 60), 0.9)] if x else []

    finder = FaceFinder(Leaving(), turned=False)
    found = list(predict_frames(FaceClassifier(finder=finder), numbered(16), detect_every=2))
    for _, predictions in found:
        for one in predictions:
            assert one.box is not None
            assert one.box[0] + one.box[2] <= 640
    assert not found[-1][1]


def test_clip_is_searched_in_every_third_frame(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run(clip, "--faces", "--detect-every", "3", "-f", "jsonl", "-o", out)
    assert result.exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["face"] for row in rows} == {1, 2}
    assert len(rows) == 2 * FRAMES
    assert all((row["detection_confidence"] is None) == (row["frame"] % 3 > 0) for row in rows)
    assert {row["label"] for row in rows if row["face"] == 2} == {"sad"}
    assert "faces were searched for in every 3rd frame" in result.stderr


@pytest.mark.parametrize("rate", [10.0, 20.0])
def test_annotated_copy_keeps_the_times_of_frames_that_come_too_fast(
    tmp_path: Path, rate: float
) -> None:
    """A second at 30 frames a second, then one at 10: 20 on average."""
    pytest.importorskip("cv2", reason="videos need the extra [faces]")
    times = [number / 30 for number in range(30)] + [1 + number / 10 for number in range(10)]
    written = []
    with VideoWriter(tmp_path / "copy.avi", rate) as writer:
        copy = AnnotatedVideo(writer, ("happy",))
        for number, moment in enumerate(times):
            copy.add(Frame(number, moment, plain(number)), [])
            written.append(writer.written)
    for moment, frames in zip(times, written, strict=True):
        assert abs((frames - 1) / rate - moment) <= 2 / rate + 0.05
    assert copy.too_fast > 5
    assert "left out that came too fast for it" in copy.notes()[0]


def test_copy_has_the_rate_at_which_frames_of_an_mp4_come_fastest(tmp_path: Path) -> None:
    whole = bytearray(write_video(tmp_path / "even.mp4", frames=40, rate=10).read_bytes())
    assert inspect_container(str(tmp_path / "even.mp4")).max_rate == pytest.approx(10)
    assert VideoFile(str(tmp_path / "even.mp4")).copy_rate == pytest.approx(10)
    at = whole.index(b"stts") + 8
    entries, frames, span = struct.unpack_from(">3I", whole, at)
    assert (entries, frames) == (1, 40)
    struct.pack_into(">I", whole, at + 8, span * 2)
    (tmp_path / "slow.mp4").write_bytes(whole)
    assert inspect_container(str(tmp_path / "slow.mp4")).max_rate == pytest.approx(5)
    # A box that is too short for what it states is not read over its end.
    struct.pack_into(">I", whole, at, 1_000_000)
    (tmp_path / "odd.mp4").write_bytes(whole)
    assert inspect_container(str(tmp_path / "odd.mp4")).max_rate == pytest.approx(5)
