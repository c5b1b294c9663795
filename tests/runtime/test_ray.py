"""Pictures over Ray's workers: the same predictions, none lost and none repeated."""

from __future__ import annotations

import json
import os
import shutil
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
from click.testing import CliRunner

from emotion_runtime.infer.cli import main
from synthetic import save_face

pytest.importorskip("ray.data", reason="needs the extra [ray]")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own
SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    """A local Ray with two CPUs, in its own processes."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


class LocalDataset:
    """The part of `ray.data.Dataset` that a run uses: one worker at a time, in this process."""

    def __init__(self, rows: list[dict[str, Any]], **_: object) -> None:
        self.rows = rows

    def map_batches(self, worker: Callable[[], Any], **_: object) -> LocalDataset:
        self.worker = worker()
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            done = self.worker({name: [value] for name, value in row.items()})
            yield {name: value for name, (value,) in done.items()}


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray without its processes, for tests that do not depend on them."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray.data, "from_items", LocalDataset)


on_cluster = pytest.mark.usefixtures("two_workers")
in_process = pytest.mark.usefixtures("no_cluster")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty samples in two folders, and a file that is not a picture."""
    folder = tmp_path / "pictures"
    for number, path in enumerate(sorted(SAMPLES.glob("[hs]*.png"))):
        target = folder / f"album {number % 2}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (folder / "album 1" / "broken.png").write_bytes(b"no picture")
    return folder


def lines(folder: Path) -> list[dict[str, object]]:
    parts = sorted(folder.glob("part-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def same(ours: list[dict[str, object]], theirs: list[dict[str, object]]) -> None:
    """Compare rows; probabilities may differ by the rounding of another batch size."""
    assert [(row["path"], row["label"]) for row in ours] == [
        (row["path"], row["label"]) for row in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert (one["error"] is None) == (other["error"] is None)
        if one["confidence"] is not None:
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)


@pytest.mark.slow
@on_cluster
def test_predictions_are_those_of_emotion_infer(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.ray.job import predict_to

    done = predict_to([str(folder)], str(tmp_path / "out"), format_name="jsonl", partition_size=7)
    assert (done.pictures, done.partitions, done.skipped, done.unreadable) == (31, 5, 0, 1)
    alone = CliRunner().invoke(main, [str(folder), "-f", "jsonl"])
    same(lines(tmp_path / "out"), [json.loads(line) for line in alone.stdout.splitlines()])


@in_process
def test_existing_partitions_are_not_repeated(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.ray.job import predict_to

    out = tmp_path / "out"
    predict_to([str(folder)], str(out), format_name="csv", partition_size=10)
    before = (out / "part-00000.csv").stat().st_mtime_ns
    whole = (out / "part-00002.csv").read_bytes()
    (out / "part-00002.csv").unlink()
    done = predict_to([str(folder)], str(out), format_name="csv", partition_size=10)
    assert (done.partitions, done.skipped) == (4, 3)
    assert (out / "part-00000.csv").stat().st_mtime_ns == before
    assert (out / "part-00002.csv").read_bytes() == whole
    assert not list(out.glob(".*"))


@in_process
def test_a_folder_with_results_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.errors import OutputError
    from emotion_runtime.ray.job import predict_to

    out = str(tmp_path / "out")
    predict_to([str(folder)], out, partition_size=20)
    (folder / "album 0" / "happy_01.png").unlink()
    with pytest.raises(OutputError, match="a run with other pictures, of"):
        predict_to([str(folder)], out, partition_size=20)
    with pytest.raises(OutputError, match="is not empty"):
        predict_to([str(folder)], str(folder))
    manifest = Path(out) / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "', '"version": "0.'))
    with pytest.raises(OutputError, match="a run with other pictures, of, version"):
        predict_to([str(folder)], out, partition_size=20)


@in_process
@pytest.mark.skipif(sys.platform == "win32", reason="locks as POSIX has them")
def test_a_second_run_is_refused(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.errors import OutputError
    from emotion_runtime.locks import lock_exclusively
    from emotion_runtime.ray.job import predict_to

    out = tmp_path / "out"
    warnings: list[str] = []
    (folder / "notes.txt").write_text("no picture")
    predict_to([str(folder)], str(out), partition_size=40, warn=warnings.append)
    assert warnings == [f"1 other file passed over, such as {folder / 'notes.txt'}"]
    with (out / "_manifest.json").open("r+b") as manifest:
        lock_exclusively(manifest.fileno())
        with pytest.raises(OutputError, match="another process is writing it"):
            predict_to([str(folder)], str(out), partition_size=40)


@in_process
def test_uris_and_parquet(folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from emotion_runtime.ray.job import predict_to

    predict_to([f"file://{folder}"], f"file://{tmp_path}/out", partition_size=20)
    table = pq.read_table(tmp_path / "out").to_pylist()
    assert len(table) == 31
    assert list(table[0]) == [
        *("path", "label", "confidence", "happy", "sad", "surprise", "other", "error")
    ]
    for row in table:
        assert row["path"].startswith("file:///")
        name = Path(row["path"]).name
        assert row["label"] == (None if name == "broken.png" else name.partition("_")[0])
        assert (row["error"] is not None) == (name == "broken.png")


@in_process
def test_paths_and_uris_may_be_mixed(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.ray.job import predict_to

    album = folder / "album 0"
    local = album / "100% happy.png"
    shutil.copyfile(SAMPLES / "happy_01.png", local)
    uri = f"file://{folder}/album%201/happy_02.png"
    predict_to([uri, str(local)], str(tmp_path / "out"), format_name="jsonl")
    rows = [(row["path"], row["label"]) for row in lines(tmp_path / "out")]
    assert rows == [(uri, "happy"), (str(local), "happy")]


@in_process
def test_faces_of_photographs(tmp_path: Path) -> None:
    from emotion_runtime.ray.job import predict_to

    scene = Path(__file__).parents[2] / "docs" / "faces.png"
    predict_to([str(scene)], str(tmp_path / "out"), faces=True, format_name="jsonl")
    rows = lines(tmp_path / "out")
    assert [row["label"] for row in rows] == ["surprise", "happy", "sad", "happy", "surprise"]
    assert all(row["box"] for row in rows)


@pytest.mark.slow
@on_cluster
def test_predictor_works_between_steps_of_the_user(folder: Path) -> None:
    import ray

    from emotion_runtime.ray.worker import Predictor

    rows = (
        ray.data.read_binary_files(str(folder), include_paths=True)
        # One: with both CPUs in use, Ray would wait for a CPU to read with.
        .map_batches(Predictor, batch_size=8, compute=ray.data.ActorPoolStrategy(size=1))
        .take_all()
    )
    assert len(rows) == 31
    for row in rows:
        name = Path(row["path"]).name
        assert row["label"] == (None if name == "broken.png" else name.partition("_")[0])


def workers() -> list[int]:
    """Return the processes of Ray that classify pictures."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::") and b"PartitionWorker" in name:
            found.append(int(entry.name))
    return found


@pytest.mark.slow
@on_cluster
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_a_killed_worker_does_not_change_the_result(tmp_path: Path, model_file: Path) -> None:
    from emotion_runtime.ray.job import predict_to

    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for number in range(60):
        save_face(folder / f"{number:03}.png", int(rng.integers(3)), number)
    killed = []
    is_over = threading.Event()

    def kill_one() -> None:
        while not killed and not is_over.is_set():  # Ray may take minutes to start
            if list((tmp_path / "out").glob("part-*")) and (found := workers()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.005)

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        done = predict_to(
            [str(folder)],
            str(tmp_path / "out"),
            model=str(model_file),
            format_name="jsonl",
            partition_size=1,
            concurrency=2,
        )
    finally:
        is_over.set()
        thread.join()
    assert killed, "no worker was found to kill"
    assert done.partitions == 60
    alone = CliRunner().invoke(main, [str(folder), "-m", str(model_file), "-f", "jsonl"])
    same(lines(tmp_path / "out"), [json.loads(line) for line in alone.stdout.splitlines()])


def test_the_error_on_missing_ray_names_the_extra(folder: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from emotion_runtime.ray.cli import main\n"
        f"main([{str(folder)!r}, '-o', 'out'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install " in done.stderr
    assert "[ray]" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_paths_and_uris_give_one_sentence(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.ray.cli import main as ray_infer

    for source, output, sentence in [
        ("nowhere://bucket", tmp_path / "a", "no filesystem is known"),
        (f"file://{tmp_path}/none", tmp_path / "b", "no such file or folder"),
        (folder, folder / "album 1" / "broken.png" / "out", "cannot be written"),
    ]:
        result = CliRunner().invoke(ray_infer, [str(source), "-o", str(output)])
        assert result.exit_code == 1
        assert sentence in result.stderr


@in_process
def test_another_model_file_on_the_machine_of_a_worker_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_runtime.ray import job as ray_data
    from emotion_runtime.ray.cli import main as ray_infer

    monkeypatch.setattr(ray_data, "compute_sha256", lambda _path: "0" * 64)
    result = CliRunner().invoke(ray_infer, [str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "copy the same model file to every machine" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").glob("part-*"))


@in_process
def test_the_command_counts_new_and_existing_partitions(folder: Path, tmp_path: Path) -> None:
    from emotion_runtime.ray.cli import main as ray_infer

    arguments = [str(folder), "-o", str(tmp_path / "out"), "--partition-size", "20", "-v"]
    first = CliRunner().invoke(ray_infer, arguments)
    assert first.exit_code == 1, first.output  # one picture cannot be read
    assert "partition 1: 11 pictures" in first.stderr
    assert "31 pictures in 2 partitions; 1 could not be read; " in first.stderr
    (folder / "album 1" / "broken.png").unlink()
    (tmp_path / "out" / "part-00001.parquet").unlink()
    shutil.copyfile(SAMPLES / "happy_01.png", folder / "album 1" / "broken.png")
    again = CliRunner().invoke(ray_infer, arguments)
    assert again.exit_code == 0, again.output
    assert "31 pictures in 2 partitions, 1 of them there already; " in again.stderr
    quiet = CliRunner().invoke(ray_infer, [*arguments[:-1], "-q"])
    assert (quiet.exit_code, quiet.stderr) == (0, "")
