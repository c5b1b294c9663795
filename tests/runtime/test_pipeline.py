"""Streams of pictures: order, completeness and limits."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from emotion_runtime import EmotionClassifier, PictureError, cpus, read_face
from emotion_runtime.cpus import count_usable_cpus, read_cpu_quota
from emotion_runtime.pictures import jpeg
from emotion_runtime.streaming import map_batches
from synthetic import CLASSES, band_face

Infer = Callable[..., Result]


def encode_face(label: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(band_face(label)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier(model_file: Path) -> EmotionClassifier:
    return EmotionClassifier(model_file)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_is_kept_among_mixed_pictures(
    classifier: EmotionClassifier, workers: int, batch_size: int
) -> None:
    pictures = []
    for number in range(60):
        face = band_face(number % 3, number)
        pictures.append(
            [face, Image.fromarray(face), encode_face(number % 3, "PNG")][number % 4 % 3]
        )
    pictures[7] = b"no picture"
    predictions = list(classifier.predict_many(pictures, batch_size=batch_size, workers=workers))
    assert predictions[7].error is not None
    assert [a.label for i, a in enumerate(predictions) if i != 7] == [
        CLASSES[i % 3] for i in range(60) if i != 7
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stream_of_anything_is_mapped_in_order(workers: int) -> None:
    def double(numbers: list[int], stop: threading.Event) -> list[int]:
        return [2 * number for number in numbers]

    results = list(map_batches(double, range(100), batch_size=7, workers=workers))
    assert results == list(range(0, 200, 2))


def test_the_first_result_comes_after_one_picture(classifier: EmotionClassifier) -> None:
    taken = 0

    def pictures() -> Iterator[object]:
        nonlocal taken
        while True:
            taken += 1
            yield band_face(0)

    stream = classifier.predict_many(pictures(), workers=1)
    next(stream)
    assert taken == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_an_abandoned_stream_leaves_no_thread(classifier: EmotionClassifier, workers: int) -> None:
    before = threading.active_count()
    stream = classifier.predict_many((band_face(0) for _ in range(10_000)), workers=workers)
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_an_error_of_the_source_comes_after_the_predictions_of_earlier_pictures(
    classifier: EmotionClassifier, workers: int, count: int
) -> None:
    def pictures() -> Iterator[object]:
        for number in range(count):
            yield band_face(number % 3)
        raise RuntimeError("the disk is gone")

    before, predictions = threading.active_count(), []
    stream = classifier.predict_many(pictures(), workers=workers, batch_size=8)
    with pytest.raises(RuntimeError, match="disk is gone"):
        predictions.extend(stream)
    labels = [CLASSES[number % 3] for number in range(count)]
    assert [prediction.label for prediction in predictions] == labels
    assert threading.active_count() == before


# Valid headers before random bytes reach more code of the decoders than random bytes alone.
HEADS = [b"", *(encode_face(0, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"))]
DAMAGED = st.builds(
    lambda head, cut, tail: head[: int(cut * len(head))] + tail,
    st.sampled_from(HEADS),
    st.floats(0, 1),
    st.binary(max_size=200),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(DAMAGED, max_size=12))
def test_any_bytes_have_one_prediction_each(
    classifier: EmotionClassifier, pictures: list[bytes]
) -> None:
    predictions = list(classifier.predict_many(pictures, batch_size=4, workers=2))
    assert len(predictions) == len(pictures)
    for prediction in predictions:
        assert (prediction.label is None) == (prediction.error is not None)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pictures=st.lists(DAMAGED, min_size=1, max_size=8))
def test_any_file_gets_a_line(
    tmp_path: Path, infer: Infer, model_file: Path, pictures: list[bytes]
) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture)
    done = infer("-m", model_file, "-f", "jsonl", "-q", *paths)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in paths]
    assert done.exit_code == int(any(line["error"] for line in lines))


def test_a_pipe_in_the_folder_does_not_block_the_run(
    tmp_path: Path, infer: Infer, model_file: Path
) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "a.jpg")
    done = infer("-m", model_file, "-f", "jsonl", tmp_path)
    assert "not a regular file" in json.loads(done.stdout)["error"]


def test_a_picture_that_disappears_is_reported(
    classifier: EmotionClassifier, tmp_path: Path
) -> None:
    def paths() -> Iterator[Path]:
        for number in range(30):
            path = tmp_path / f"{number}.png"
            Image.fromarray(band_face(number % 3)).save(path)
            if number == 20:
                path.unlink()
            yield path

    predictions = list(classifier.predict_many(paths(), workers=2, batch_size=4))
    assert [number for number, prediction in enumerate(predictions) if prediction.error] == [20]
    assert "No such file" in str(predictions[20].error)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_ctrl_c_keeps_complete_lines_and_ends_with_one_sentence(
    tmp_path: Path, model_file: Path
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(band_face(0)).save(picture)
    command = [sys.executable, "-m", "emotion_runtime", "-m", str(model_file), "-f", "jsonl"]
    command += ["-o", str(tmp_path / "out.jsonl"), "--resume", "-j", "3", "-"]
    # A test run in the background may ignore Ctrl-C, and its children would too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(f"{picture}\n".encode() * 200)
    process.stdin.flush()  # not closed, so that the run waits for more
    partial = tmp_path / "out.jsonl.partial"
    for _ in range(600):
        if partial.exists() and partial.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    message = process.stderr.read().decode()
    process.stdin.close()
    assert process.wait(timeout=30) == 130
    assert "interrupted" in message
    assert "Traceback" not in message
    lines = partial.read_text().splitlines()
    assert lines
    assert all(json.loads(line)["label"] == "happy" for line in lines)
    assert not (tmp_path / "out.jsonl").exists()


def test_workers_and_batches_change_no_byte_of_the_output(
    tmp_path: Path, infer: Infer, model_file: Path
) -> None:
    for number in range(20):
        Image.fromarray(band_face(number % 3, number)).save(tmp_path / f"{number:02}.png")
    outputs = {
        infer("-m", model_file, "-f", "csv", "-j", workers, "-b", batch, tmp_path).stdout
        for workers in (1, 3)
        for batch in (1, 7)
    }
    assert len(outputs) == 1


def test_the_error_on_an_unknown_provider_lists_the_known_ones(
    infer: Infer, model_file: Path
) -> None:
    done = infer("-m", model_file, "--self-test", "--provider", "AbacusExecutionProvider")
    assert done.exit_code == 1
    assert "CPUExecutionProvider" in done.stderr


def test_cpus_are_those_available_to_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert count_usable_cpus() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(cpus, "read_cpu_quota", lambda: None)
    for text, expected in {
        "2": 2,
        " 3 ": 3,
        "4,2": 4,  # a list for nested regions, of which the first counts
        "0": 8,  # no number of threads: no limit
        "-1": 8,
        "many": 8,
        "9" * 5000: 8,
    }.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert count_usable_cpus() == expected, text


def groups(root: Path, files: dict[str, str]) -> Path:
    """Write the files of control groups."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "0 0\n"}, None),
        ("0::/\n", {"cpu.max": "much\n"}, None),
        ("0::/\n", {}, None),
        # Nested: the smallest quota of the parents counts, not that of a sibling.
        (
            "0::/a/b/c\n",
            {
                "a/cpu.max": "200000 100000",
                "a/b/cpu.max": "max 100000",
                "a/b/c/cpu.max": "400000 100000",
                "a/x/cpu.max": "1000 100000",
            },
            2.0,
        ),
        # A path that is not mounted, or leads outside.
        ("0::/docker/1234\n", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/../../a\n", {"a/cpu.max": "300000 100000"}, 3.0),
        # Version 1: combined controllers, a single controller, and no limit.
        (
            "5:memory:/m\n4:cpu,cpuacct:/a/b\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "25000\n",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
            },
            0.25,
        ),
        (
            "4:cpu,cpuacct:/docker/1234\n",
            {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("3:cpuset:/a\n", {"cpuset/a/cpu.cfs_quota_us": "1000"}, None),
        # Both versions are mounted.
        ("4:cpu:/\n0::/a\n", {"unified/a/cpu.max": "70000 100000"}, 0.7),
    ],
)
def test_the_cpu_quota_of_control_groups_is_read(
    tmp_path: Path, own: str, files: dict[str, str], expected: float | None
) -> None:
    (tmp_path / "own").write_text(own)
    assert read_cpu_quota(tmp_path / "own", groups(tmp_path / "root", files)) == expected


@pytest.mark.parametrize(
    ("quota", "workers"), [(0.5, 1), (0.01, 1), (1.2, 2), (2.0, 2), (99, 8), (None, 8)]
)
def test_a_fraction_of_a_cpu_counts_as_one(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, workers: int
) -> None:
    monkeypatch.setattr(cpus, "read_cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert count_usable_cpus() == workers


@pytest.mark.parametrize("decoder", ["simplejpeg", "Pillow"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("shape", [(48, 48), (47, 61), (150, 191), (192, 300), (8, 9)])
@pytest.mark.parametrize("options", [{"quality": 30}, {"quality": 95, "progressive": True}])
def test_the_fast_path_for_small_jpegs_gives_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch,
    decoder: str,
    mode: str,
    shape: tuple[int, int],
    options: dict[str, Any],
) -> None:
    rng = np.random.default_rng(shape[0])
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize(shape[::-1]).convert(mode).save(buffer, "JPEG", **options)
    fast = read_by_fast_path(monkeypatch, decoder, buffer.getvalue())
    monkeypatch.setattr(jpeg, "SMALL_FILE_BYTES", 0)
    np.testing.assert_array_equal(read_face(buffer.getvalue()), fast)


@pytest.mark.parametrize("decoder", ["simplejpeg", "Pillow"])
def test_the_fast_path_reads_or_refuses_damaged_jpegs_like_the_normal_path(
    monkeypatch: pytest.MonkeyPatch, decoder: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)).save(buffer, "JPEG")
    whole, rng, read = buffer.getvalue(), np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(rng.integers(2, len(whole)))] = int(rng.integers(256))
        del damaged[int(rng.integers(len(whole) // 2, 3 * len(whole))) :]
        with monkeypatch.context() as patch:
            fast = read_by_fast_path(patch, decoder, bytes(damaged))
            patch.setattr(jpeg, "SMALL_FILE_BYTES", 0)
            normal = read_or_error(bytes(damaged))
        if decoder == "Pillow" or isinstance(fast, str) or isinstance(normal, str):
            np.testing.assert_equal(fast, normal)
        read += not isinstance(fast, str)
    assert 50 < read < 250


def read_by_fast_path(
    monkeypatch: pytest.MonkeyPatch, decoder: str, data: bytes
) -> NDArray[np.uint8] | str:
    if decoder == "Pillow":
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")
    return read_or_error(data)


def read_or_error(data: bytes) -> NDArray[np.uint8] | str:
    try:
        return read_face(data)
    except PictureError as error:
        return str(error)
