"""Inference on many machines with Ray Data; the command is `emotion_runtime.ray.cli`.

Ray places the workers, passes pictures to them, and replaces workers that died. There are two ways
to use it:

- `predict_to` reads folders or object stores, and writes one file of results for each partition of
  the list of pictures. These files are written atomically: a run that was killed continues with the
  missing partitions, and a worker that dies costs the time of its partition.
- `worker.Predictor` is a class for `ray.data.Dataset.map_batches`, for pipelines of one's own.

Needs the extra ``ray``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from emotion_runtime import __version__
from emotion_runtime.classifier import resolve_model
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.digest import compute_sha256
from emotion_runtime.errors import ModelFileError, OutputError
from emotion_runtime.locks import is_held, lock_exclusively
from emotion_runtime.prediction import format_count
from emotion_runtime.ray.defaults import FORMATS, PARTITION_SIZE
from emotion_runtime.ray.packages import pafs, ray
from emotion_runtime.ray.storage import list_pictures, locate
from emotion_runtime.ray.worker import Job, PartitionWorker, make_part_name

_MANIFEST = "_manifest.json"  # readers of data folders ignore names with an underscore in front


@dataclass(frozen=True)
class Summary:
    """The counts and the duration of a run.

    Attributes:
        pictures: Number of pictures in all partitions.
        unreadable: Number of unreadable pictures in the partitions of this run.
        partitions: Number of partitions.
        skipped: Number of partitions that an earlier run had written.
        seconds: Duration of this run.
    """

    pictures: int
    unreadable: int
    partitions: int
    skipped: int
    seconds: float


def predict_to(
    sources: Sequence[str],
    output: str,
    *,
    model: str | None = None,
    faces: bool = False,
    format_name: str = FORMATS[0],
    partition_size: int = PARTITION_SIZE,
    concurrency: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Classify all pictures of `sources`, or continue an interrupted run.

    Args:
        sources: Files and folders, local ones by path, others by URI such as ``s3://bucket/faces``.
        output: Folder of the results ``part-00000.parquet`` and so on, by path or URI.
        model: As in `EmotionClassifier`.
        faces: Find the faces of photographs, and write one row for each face.
        format_name: One of `FORMATS`.
        partition_size: Pictures in one file of results, which is repeated where a worker dies.
        concurrency: Number of workers; None for one on each CPU of the cluster.
        say: Shows a message to the user, one for each partition.
        warn: Shows a message about files that were ignored.

    Raises:
        SourceError: A source holds no picture, or cannot be listed.
        OutputError: `output` cannot be written, or has the results of another run.
        ModelFileError: The model cannot be opened.
    """
    started = time.monotonic()
    model_path = resolve_model(model)
    pictures = _list_all(sources, warn)
    filesystem, folder = locate(output)
    job = Job(
        model=str(model_path),
        model_sha256=compute_sha256(model_path),
        faces=faces,
        output=output,
        format_name=format_name,
    )
    plan = {
        "pictures": len(pictures),
        "of": hashlib.sha256("\n".join(pictures).encode("utf-8", "surrogateescape")).hexdigest(),
        "partition_size": partition_size,
        "format": format_name,
        "faces": faces,
        "model_sha256": job.model_sha256,
        "version": __version__,
    }
    with _open_manifest(filesystem, folder, plan):
        partitions: list[dict[str, Any]] = [
            # As bytes: a name need not be UTF-8, but Arrow's strings must be.
            {
                "part": number,
                "pictures": [*map(os.fsencode, pictures[start : start + partition_size])],
            }
            for number, start in enumerate(range(0, len(pictures), partition_size))
        ]
        files = filesystem.get_file_info(pafs.FileSelector(folder))
        existing = {PurePosixPath(info.path).name for info in files}
        missing = [
            partition
            for partition in partitions
            if make_part_name(partition["part"], format_name) not in existing
        ]
        skipped = len(partitions) - len(missing)
        if skipped:
            say(f"{skipped:,} of {len(partitions):,} partitions are there already")
        unreadable = _process(missing, job, concurrency, say) if missing else 0
    return Summary(
        pictures=len(pictures),
        unreadable=unreadable,
        partitions=len(partitions),
        skipped=skipped,
        seconds=time.monotonic() - started,
    )


def _list_all(sources: Sequence[str], warn: Callable[[str], None]) -> list[str]:
    """Return the pictures of all sources; warn of the files that are not pictures."""
    others: list[str] = []
    pictures = list(list_pictures(sources, others.append))
    if others:
        warn(f"{format_count(len(others), 'other file')} passed over, such as {others[0]}")
    return pictures


def _process(
    partitions: Sequence[dict[str, Any]],
    job: Job,
    concurrency: int | None,
    say: Callable[[str], None],
) -> int:
    """Process partitions on the cluster, and return the number of unreadable pictures.

    Raises:
        ModelFileError: A worker cannot open the model, or has another one.
    """
    _start()
    cpus: int = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
    workers = min(concurrency or max(1, int(cpus)), len(partitions))
    # Each partition carries the settings, so that a replaced worker needs nothing else.
    settings = json.dumps(asdict(job))
    rows = [{**partition, "job": settings} for partition in partitions]
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        PartitionWorker, batch_size=1, compute=ray.data.ActorPoolStrategy(size=workers)
    )
    unreadable = 0
    for result in results.iter_rows():
        if result["error"]:
            raise ModelFileError(result["error"])
        unreadable += int(result["unreadable"])
        say(f"partition {result['part']:,}: {format_count(result['pictures'], 'picture')}")
    return unreadable


def _start() -> None:
    """Start Ray on this machine, or connect to the cluster at ``RAY_ADDRESS``; at most once."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics
    local: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": count_usable_cpus()}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **local)


@contextlib.contextmanager
def _open_manifest(
    filesystem: pafs.FileSystem, folder: str, plan: dict[str, Any]
) -> Iterator[None]:
    """Record the plan of the run, or check that an earlier run had the same, and lock the folder.

    Only a local folder can be locked: on an object store, the user must avoid two runs at once.

    Raises:
        OutputError: The folder cannot be written, has other files, is being written by another
            process, or has the results of a run with another plan.
    """
    manifest = f"{folder}/{_MANIFEST}"
    unfinished = f"{folder}/.{_MANIFEST}"
    with contextlib.ExitStack() as held:
        try:
            filesystem.create_dir(folder, recursive=True)
            if not filesystem.get_file_info(manifest).is_file:
                there = filesystem.get_file_info(pafs.FileSelector(folder))
                if any(info.base_name != f".{_MANIFEST}" for info in there):
                    raise OutputError(f"{folder}: is not empty; name another folder.")
                with filesystem.open_output_stream(unfinished) as stream:
                    stream.write(json.dumps(plan, indent=2).encode())
                filesystem.move(unfinished, manifest)
            if isinstance(filesystem, pafs.LocalFileSystem):
                _lock(held.enter_context(Path(manifest).open("r+b")), folder)
            with filesystem.open_input_stream(manifest) as stream:
                earlier = json.loads(stream.read())
            changed = [name for name, value in plan.items() if earlier.get(name) != value]
        except (OSError, ValueError, AttributeError) as error:
            raise OutputError(f"{folder}: cannot be written ({error}).") from error
        if changed:
            raise OutputError(
                f"{folder}: has the results of a run with other {', '.join(changed)}; name "
                f"another folder, or empty this one."
            )
        yield


def _lock(file: IO[bytes], folder: str) -> None:
    """Lock the manifest until it is closed.

    Raises:
        OutputError: Another process has locked it.
    """
    try:
        lock_exclusively(file.fileno())
    except OSError as error:
        if not is_held(error):
            raise
        raise OutputError(
            f"{folder}: another process is writing it; wait until it has ended."
        ) from error
