"""Worker processes: order, faults, limits, and that none of them is left."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

import worker_functions
from emotion_runtime import (
    EmotionClassifier,
    FaceClassifier,
    FaceFinder,
    NamedBytes,
    WorkerError,
    processes,
    worker_pool,
)
from emotion_runtime.memory import find_available_memory
from emotion_runtime.processes import map_adaptively, map_in_processes
from emotion_runtime.streaming import Batches
from emotion_runtime.worker_pool import WorkerPool
from synthetic import CLASSES, band_face, save_face
from worker_functions import FAULT, KILLER, Double

Infer = Callable[..., Result]
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers after the first batch, and use them from then on."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(processes, "_MIN_MEASURED_SECONDS", 0.0)
    monkeypatch.setattr(processes, "_MIN_ELAPSED_SECONDS", 0.0)
    monkeypatch.setattr(WorkerPool, "is_ready", worker_functions.wait_until_ready)


def flatten(results: Iterator[list[Any]]) -> list[Any]:
    return [one for result in results for one in result]


def run(function: Double, items: list[int], **options: Any) -> list[Any]:
    options = {"batch_size": 8, "processes": 2, **options}
    return flatten(map_in_processes(function, items, **options))


def run_python(script: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script, or `text` from standard input where it is ``-``, with the modules of tests."""
    return subprocess.run(
        [sys.executable, script],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )


@posix
def test_an_item_that_kills_its_worker_is_the_only_one_without_a_result() -> None:
    items = list(range(200))
    items[20] = items[150] = KILLER
    function = Double()
    pool = WorkerPool(function, 2)
    with pool:
        pool.start()
        results = flatten(pool.map(Batches(iter(items), 8)))
    expected: list[Any] = [2 * item for item in items]
    expected[20] = expected[150] = f"{KILLER}: killed by SIGKILL"
    assert results == expected
    assert function.counted >= 198, "the counts of workers are added"
    assert pool.notes() == [
        "6 worker processes were replaced (killed by SIGKILL); their pictures were classified "
        "again, one by one"
    ]


@posix
def test_workers_killed_at_any_time_change_no_result() -> None:
    pool = WorkerPool(Double(seconds=0.003), 2)
    with pool:
        pool.start()
        results = []
        for number, result in enumerate(pool.map(Batches(iter(range(400)), 4))):
            results += result
            if number % 25 == 5:
                victim = pool._workers[number % len(pool._workers)]
                # Twice on the same item would be its fault.
                if not any(chunk.deaths for chunk in victim.chunks):
                    kill(victim)
    assert results == list(range(0, 800, 2))


def test_an_exception_comes_after_the_results_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield from range(50)
        raise OSError("the disk is gone")

    results: list[Any] = []
    stream = map_in_processes(Double(), numbers(), batch_size=4, processes=1)
    with pytest.raises(OSError, match="disk is gone"):
        results.extend(stream)
    assert flatten(iter(results)) == list(range(0, 100, 2))
    results = []
    stream = map_in_processes(Double(), [0, 1, FAULT, 3], batch_size=1, processes=1)
    with pytest.raises(LookupError, match="a fault"):
        results.extend(stream)
    assert results == [[0], [2]]


def test_a_stream_that_is_abandoned_ends_its_workers() -> None:
    stream = map_in_processes(Double(), iter(int, 1), batch_size=8, processes=2)
    assert next(stream) == [0]
    stream.close()
    assert multiprocessing.active_children() == []


def test_no_process_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkerPool, "start", None)
    assert run(Double(), []) == []


def test_no_more_processes_are_started_than_there_are_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []
    start = WorkerPool.start
    monkeypatch.setattr(WorkerPool, "start", lambda pool: (counts.append(pool.count), start(pool)))
    assert run(Double(), [1], processes=8) == [2]
    stream = map_in_processes(Double(), (one for one in [1]), batch_size=1, processes=2)
    assert flatten(stream) == [2]
    assert counts == [1, 2]


def test_what_cannot_be_pickled_is_refused_after_the_results_before_it() -> None:
    stream = map_in_processes(Double(), [1, 2, lambda: 1], batch_size=1, processes=1)
    assert [next(stream), next(stream)] == [[2], [4]]
    with pytest.raises(TypeError, match="give paths, bytes, images or arrays"):
        next(stream)


def test_a_frozen_program_that_is_run_as_a_worker_starts_no_further_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(WorkerPool, "_send_function", None)
    for arguments in (
        ["--multiprocessing-fork", "tracker_fd=5", "pipe_handle=7"],
        ["-B", "-c", "from multiprocessing.resource_tracker import main;main(5)"],
    ):
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(WorkerError, match=r"did not call multiprocessing\.freeze_support"):
            run(Double(), [1])


def test_a_frozen_program_that_refuses_the_arguments_of_a_worker_gets_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Python itself is such a program: it knows no --multiprocessing-fork, and exits with code 2.
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(WorkerError, match=r"exit code 2\).*multiprocessing\.freeze_support\(\)"):
        run(Double(), [1])


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_main_module_that_ends_a_worker_gets_advice(code: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nif __name__ != '__main__':\n    sys.exit({code})\n"
        "from emotion_runtime.processes import map_in_processes\n"
        "from worker_functions import Double\n"
        "next(map_in_processes(Double(), [1], batch_size=1, processes=1))\n"
    )
    done = run_python(str(script))
    assert done.returncode == 1
    assert f"(exit code {code})" in done.stderr
    assert "in a block \"if __name__ == '__main__':\"" in done.stderr.splitlines()[-1]


def kill(worker: Any) -> None:
    os.kill(worker.process.pid, signal.SIGKILL)


@posix
def test_a_worker_that_ends_before_it_is_ready_is_replaced_and_counted() -> None:
    pool = WorkerPool(Double(), 2)
    with pool:
        pool.start()
        kill(pool._workers[0])
        assert flatten(pool.map(Batches(iter(range(100)), 8))) == list(range(0, 200, 2))
        while not all(worker.is_ready for worker in pool._workers):
            pool._receive(None)
        assert len(pool._workers) == 2
        assert pool.notes() == ["1 worker process ended before it was ready (killed by SIGKILL)"]


@posix
def test_workers_that_cannot_be_replaced_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise WorkerError("worker processes cannot be started (Cannot allocate memory)")

    pool = WorkerPool(Double(), 2)
    with pool:
        pool.start()
        while not all(worker.is_ready for worker in pool._workers):
            pool._receive(None)
        monkeypatch.setattr(WorkerPool, "_start_worker", fail)
        kill(pool._workers[0])
        pool._workers[0].process.join()
        assert flatten(pool.map(Batches(iter(range(100)), 8))) == list(range(0, 200, 2))
        assert pool.notes()[-1] == "1 of 2 worker processes were left at the end"
        kill(pool._workers[0])
        with pytest.raises(WorkerError, match="Cannot allocate memory"):
            list(pool.map(Batches(iter(range(100)), 8)))


def test_an_error_that_a_worker_returned_is_raised_after_the_workers_are_gone(
    early: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pool: WorkerPool[int, list[object]], batches: Batches[int]) -> Iterator[Any]:
        pool._chunks.append(worker_pool._Chunk([next(batches)], is_done=True, error=LookupError()))
        yield [-1]
        raise WorkerError("no worker is left")

    monkeypatch.setattr(WorkerPool, "map", fail)
    with pytest.raises(LookupError):
        list(map_adaptively(Double(), range(100), batch_size=8, workers=2, notes=[]))


def test_work_is_not_collected_for_all_workers_where_items_arrive_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = WorkerPool(Double(), 2)
    with pool:
        pool.start()
        while not all(worker.is_ready for worker in pool._workers):
            pool._receive(None)
        batches = Batches(iter(range(8)), 1)
        monkeypatch.setattr(worker_pool, "_SLOW_SECONDS", -1.0)
        assert not pool._hand_out(batches), "results are received first"
        assert len(pool._chunks) <= 1


def test_a_function_that_no_worker_can_load_is_an_error_or_left_to_threads(early: None) -> None:
    with pytest.raises(WorkerError, match=r"\(this function stays at home\)\.$"):
        run(Double(refuse=True), [1])
    notes: list[str] = []
    results = map_adaptively(Double(refuse=True), range(100), batch_size=8, workers=2, notes=notes)
    assert flatten(results) == list(range(0, 200, 2))
    (note,) = notes
    assert note.startswith("worker processes end before they are ready")
    assert note.endswith("threads did the work")


def count_started(monkeypatch: pytest.MonkeyPatch, items: Iterator[int], **options: Any) -> int:
    """Return how many workers an adaptive run wants to start, a millisecond for an item."""
    started: list[int] = []
    monkeypatch.setattr(WorkerPool, "start", lambda pool: started.append(pool.count))
    notes: list[str] = []
    options = {"workers": 4, "batch_size": 8, "notes": notes, **options}
    function = Double()
    clock = SimpleNamespace(monotonic=lambda: 0.001 * function.counted, perf_counter=lambda: 0.0)
    monkeypatch.setattr(processes, "time", clock)
    results = flatten(map_adaptively(function, items, **options))
    assert results == [0] * len(results)
    return sum(started)


def test_processes_are_started_where_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "find_available_memory", lambda: None)
    few, many = 100, 4_000
    monkeypatch.setattr(processes, "_MIN_ELAPSED_SECONDS", 60.0)
    assert count_started(monkeypatch, iter([0] * few)) == 0
    assert count_started(monkeypatch, iter([0] * many)) == 4
    assert count_started(monkeypatch, iter([0] * many), can_look_ahead=False) == 0
    assert count_started(monkeypatch, iter([0] * many), can_start=False) == 0
    monkeypatch.setattr(processes, "_MIN_ELAPSED_SECONDS", 0.03)
    assert count_started(monkeypatch, iter([0] * 800), can_look_ahead=False) == 4
    assert count_started(monkeypatch, iter([0] * few), workers=1) == 0
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert count_started(monkeypatch, iter([0] * many)) == 0
    monkeypatch.delattr(sys, "frozen")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert count_started(monkeypatch, iter([0] * many)) == 0, "free-threaded: threads scale"


@pytest.mark.parametrize("slow", ["source", "reader"])
def test_time_in_which_others_are_slow_does_not_start_workers(
    monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(WorkerPool, "start", None)
    seconds = [0.0]

    def read() -> float:
        return seconds[0]

    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=read, perf_counter=read))

    def wait_in(place: str) -> None:
        seconds[0] += 1.0 if place == slow else 0.0

    def numbers() -> Iterator[int]:
        for number in range(100):
            wait_in("source")
            yield number

    notes: list[str] = []
    results = map_adaptively(
        Double(), numbers(), batch_size=4, workers=2, can_look_ahead=False, notes=notes
    )
    for _ in results:
        wait_in("reader")
    assert notes == []


@pytest.mark.parametrize(("left", "count"), [(10, 4), (2.5, 2), (1.5, 0), (0, 0)])
def test_memory_limits_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch, left: float, count: int
) -> None:
    worker = max(worker_pool.WORKER_MEMORY_BYTES, worker_pool.measure_peak_memory())
    monkeypatch.setattr(worker_pool, "measure_peak_memory", lambda: worker)
    monkeypatch.setattr(worker_pool, "find_available_memory", lambda: int(left * worker))
    notes: list[str] = []
    assert count_started(monkeypatch, iter([0] * 4_000), notes=notes) == count
    assert notes == ([] if count == 4 else notes[:1])
    assert all(f"memory is left for {int(left)} of 4 worker processes" in note for note in notes)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, 4_096_000),  # of the machine
        ("0::/\n", {"memory.max": "3000\n", "memory.current": "1000\n"}, 2000),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "1000\n"}, 4_096_000),
        (
            "0::/a\n",
            {
                "a/memory.max": "3000",
                "a/memory.current": "2900",
                "a/memory.stat": "anon 7\ninactive_file 500\nactive_file 90\n",
            },
            600,
        ),
        ("0::/\n", {"memory.max": "1000", "memory.current": "1200"}, 0),
        (
            "4:memory:/m\n",
            {
                "memory/m/memory.limit_in_bytes": "3000",
                "memory/m/memory.usage_in_bytes": "2000",
                "memory/m/memory.stat": "inactive_file 1\ntotal_inactive_file 50",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "2000",
            },
            1050,
        ),
    ],
)
def test_the_memory_limit_of_control_groups_is_read(
    tmp_path: Path, own: str, files: dict[str, str], expected: int
) -> None:
    (tmp_path / "own").write_text(own)
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    paths = tmp_path / "own", tmp_path / "root", tmp_path / "meminfo"
    assert find_available_memory(*paths) == expected
    (tmp_path / "meminfo").unlink()
    assert find_available_memory(*paths) == (None if expected == 4_096_000 else expected)


def test_predictions_are_those_of_threads(model_file: Path, tmp_path: Path) -> None:
    classifier = EmotionClassifier(model_file, min_confidence=0.6)
    pictures: list[Any] = [band_face(number % 3, number) for number in range(40)]
    pictures[5], pictures[9] = b"no picture", tmp_path / "none.png"
    expected = list(classifier.predict_many(pictures, workers=1))
    assert list(classifier.predict_many(pictures, processes=2, batch_size=4)) == expected
    with pytest.raises(ValueError, match="not both"):
        classifier.predict_many(pictures, processes=2, workers=2)
    for wrong, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error):
            classifier.predict_many(pictures, processes=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        FaceClassifier(classifier).predict_folder(tmp_path, processes=2, workers=2)


def test_pictures_of_all_types_are_read_as_by_threads(model_file: Path, tmp_path: Path) -> None:
    save_face(tmp_path / "0.png", 0)
    large = tmp_path / "large.jpg"  # decoded at reduced size
    Image.fromarray(band_face(1)).resize((900, 700)).save(large)
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(large.read_bytes()[:9000])
    frames = [Image.fromarray(band_face(number)) for number in range(3)]
    frames[0].save(tmp_path / "frames.gif", save_all=True, append_images=frames[1:])

    def make_pictures() -> list[Any]:
        animation, closed = Image.open(tmp_path / "frames.gif"), Image.open(large)
        animation.seek(2)
        closed.close()
        (entry,) = (one for one in os.scandir(tmp_path) if one.name == "0.png")
        data = large.read_bytes()
        return [
            *(large, str(large), data, bytearray(data), memoryview(data), entry),
            *(NamedBytes(data, "store/large.jpg"), NamedBytes(b"", "store/empty.jpg")),
            *(large.open("rb"), large.open(), io.BytesIO(data), io.BytesIO(), damaged.open("rb")),
            *(Image.open(large), Image.open(damaged), animation, closed, frames[1]),
            *(band_face(2), None, lambda: None, [large]),
        ]

    classifier = EmotionClassifier(model_file)
    faces = FaceClassifier(classifier, FaceFinder(worker_functions.Middle()))
    for one in (classifier, faces):
        by_threads = list(one.predict_many(make_pictures(), workers=1))
        by_processes = list(one.predict_many(make_pictures(), processes=1, batch_size=4))
        for number, (expected, found) in enumerate(zip(by_threads, by_processes, strict=True)):
            assert found == expected, number
        assert sum(prediction.error is None for prediction in by_threads) == 13
    copied = pickle.loads(pickle.dumps(NamedBytes(b"data", "store/1.jpg")))
    assert (copied, copied.path) == (b"data", "store/1.jpg")


def test_a_model_with_a_relative_path_is_found_from_another_folder(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_file.parent)
    classifier = EmotionClassifier(model_file.name)
    monkeypatch.chdir(tmp_path)
    (prediction,) = classifier.predict_many([band_face(1)], processes=1)
    assert prediction.label == CLASSES[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        save_face(tmp_path / "in" / CLASSES[number % 3] / f"{number:02}.png", number % 3)
    (tmp_path / "in" / CLASSES[0] / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    return tmp_path / "in"


@pytest.mark.parametrize("format_name", ["csv", "json", "jsonl", "table"])
def test_the_output_of_workers_is_that_of_one_thread(
    folder: Path, infer: Infer, early: None, model_file: Path, format_name: str
) -> None:
    arguments = ("-m", model_file, "-b", 4, "-f", format_name, folder)
    one, many = infer("-j", 1, *arguments), infer("-j", 2, *arguments)
    assert many.stdout == one.stdout
    assert (many.exit_code, many.stderr) == (1, one.stderr)


def test_other_outputs_of_workers_are_those_of_one_thread(
    folder: Path, infer: Infer, evaluate: Infer, early: None, model_file: Path, tmp_path: Path
) -> None:
    outputs = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        out.mkdir()
        done = infer(
            *("-m", model_file, "-b", 4, "-j", workers, "-f", "jsonl", "-o", out / "a.jsonl"),
            *("--resume", "--sort-into", out / "sorted", "--strict", folder),
        )
        assert "damaged.jpg" in done.stderr
        (folder / CLASSES[0] / "damaged.jpg").rename(tmp_path / "aside.jpg")
        figures = evaluate(folder, "-m", model_file, "-j", workers, "-f", "json")
        (tmp_path / "aside.jpg").rename(folder / CLASSES[0] / "damaged.jpg")
        files = sorted(path for path in out.rglob("*") if path.is_file())
        outputs.append(
            ([(path.relative_to(out), path.read_bytes()) for path in files], figures.stdout)
        )
    assert outputs[0] == outputs[1]
    assert len(outputs[0][0]) > 10
    assert json.loads(outputs[0][1])["accuracy"] == 1.0


def test_notes_about_faces_are_those_of_one_thread(
    infer: Infer, early: None, model_file: Path, tmp_path: Path
) -> None:
    Image.new("L", (1300, 820)).save(tmp_path / "large.png")  # small faces are not searched for
    paths = [tmp_path / "large.png"] * 6
    arguments = ("--faces", "--no-turn", "-m", model_file, "-b", 1, "-f", "jsonl")
    one, many = infer(*arguments, "-j", 1, *paths), infer(*arguments, "-j", 2, *paths)
    assert (many.stdout, many.stderr) == (one.stdout, one.stderr)
    assert "not searched for in 6 large pictures" in many.stderr


CRASHING_DECODER = """
import multiprocessing, os, signal
def decode_jpeg_header(data):
    if b"crash" in data and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGSEGV)
    raise ValueError
"""


@posix
def test_a_picture_that_crashes_the_decoder_is_a_result_with_an_error(
    folder: Path, infer: Infer, early: None, model_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "simplejpeg.py").write_text(CRASHING_DECODER)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    crashing = folder / CLASSES[2] / "0.jpg"
    crashing.write_bytes(b"\xff\xd8\xff crash")
    done = infer("-m", model_file, "-b", 4, "-j", 2, "-f", "jsonl", folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 42
    errors = {line["path"]: line["error"] for line in lines if line["error"]}
    assert errors[str(crashing)] == (
        f"{crashing}: cannot be read (it ended a worker process: killed by SIGSEGV)."
    )
    assert len(errors) == 2
    assert "3 worker processes were replaced (killed by SIGSEGV)" in done.stderr
    assert done.exit_code == 1


PREPARED = """
import sys
import worker_functions
worker_functions.start_early()
if __name__ == "__main__":
    from emotion_runtime.__main__ import run
    run()
"""


def start(tmp_path: Path, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a long run whose workers start early, with Ctrl-C as in a terminal."""
    (tmp_path / "prepared.py").write_text(PREPARED)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "prepared.py"), "-j", "2", "-q", "-f", "jsonl"]
            + [str(argument) for argument in arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"},
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def list_members(group: int) -> list[int]:
    """Return the processes of a process group that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(status.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_the_run(
    tmp_path: Path, folder: Path, model_file: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ("-m", model_file, "-o", out, "--resume", *[folder] * 3000)
    with start(tmp_path, *arguments) as process:
        assert process.stderr is not None
        partial = tmp_path / "out.jsonl.partial"
        wait_until(lambda: partial.exists() and partial.stat().st_size > 20_000)
        assert len(list_members(process.pid)) >= 3
        if number == signal.SIGINT:  # a terminal sends it to the whole group
            os.killpg(process.pid, number)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(timeout=60) == {2: 130, 15: 143}.get(number, -number)
        message = process.stderr.read().decode()
        wait_until(lambda: not list_members(process.pid))
    expected = {2: "error: interrupted.\n", 15: "error: terminated.\n"}.get(number, "")
    assert message == expected or (number == signal.SIGINT and message == expected * 2)
    lines = partial.read_bytes().split(b"\n")
    assert all(json.loads(line)["path"] for line in lines[:-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in", "out.jsonl.partial", "out.jsonl.settings.json", "prepared.py",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_closed_pipe_and_a_full_disk_end_the_workers(
    tmp_path: Path, folder: Path, model_file: Path
) -> None:
    arguments = ("-m", model_file, *[folder] * 3000)
    with start(tmp_path, *arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"path"')
        process.stdout.close()
        assert (process.wait(timeout=60), process.stderr.read()) == (0, b"")
        # multiprocessing's resource tracker ends by itself after the run.
        wait_until(lambda: not list_members(process.pid))
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o020666, os.makedev(1, 7))
    except OSError:
        pytest.skip("only root can make devices")
    with start(tmp_path, *arguments, "-o", full) as process:
        assert process.stderr is not None
        assert process.wait(timeout=60) == 1
        message = process.stderr.read().decode()
        assert message == f"error: {full}: cannot be written (No space left on device).\n"
        # multiprocessing's resource tracker ends by itself after the run.
        wait_until(lambda: not list_members(process.pid))


@posix
def test_a_command_learns_how_its_workers_end_where_its_caller_ignores_that() -> None:
    code = (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from emotion_runtime.command_line.signals import exit_on_interrupt, raise_on_signals\n"
        "exit_on_interrupt(); raise_on_signals()\n"
        "print(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def make_import_error(reason: str) -> ImportError:
    """Return an error as numpy raises it: a page of advice, from the error with the reason."""
    error = ImportError("\n\nIMPORTANT: PLEASE READ THIS FOR ADVICE ON HOW TO SOLVE THIS ISSUE!")
    error.__cause__ = ImportError(reason, name="numpy._core._multiarray_umath")
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory."),
        (ImportError("libm.so: failed to map segment from shared object"), "not enough memory."),
        (make_import_error("Exception caught: std::bad_alloc"), "not enough memory."),
        (
            make_import_error("libstdc++.so.6: version `GLIBCXX_3.4.29' not found"),
            "numpy cannot be loaded on this machine (libstdc++.so.6: version `GLIBCXX_3.4.29' not "
            "found); install a version of it for this system and this Python.",
        ),
        (
            RuntimeError("can't start new thread"),
            "no thread can be started; raise the limit of processes, or use fewer threads.",
        ),
    ],
)
def test_limits_of_the_system_are_one_sentence(
    infer: Infer, model_file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(EmotionClassifier, "make_batch_function", fail)
    done = infer("-m", model_file, model_file)
    assert (done.exit_code, done.stderr) == (1, f"error: {message}\n")


@pytest.mark.slow
def test_a_script_without_a_guard_gets_one_sentence(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from emotion_runtime import EmotionClassifier\n"
        f"classifier = EmotionClassifier({str(model_file)!r})\n"
        "print(len(list(classifier.predict_many([b'', b''], processes=1))))\n"
    )
    done = run_python(str(tmp_path / "script.py"))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("emotion_runtime.errors.WorkerError: worker processes end before")
    assert "in a block \"if __name__ == '__main__':\"" in last
    # From standard input, the script is not imported.
    done = run_python("-", (tmp_path / "script.py").read_text())
    assert (done.stdout, done.stderr) == ("2\n", "")
