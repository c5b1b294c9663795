"""Millions of pictures over many machines, by Ray Data; as a command, `emotion_runtime.ray.cli`.

Ray does what a cluster needs: it places workers, feeds them, and begins anew what died. Here is
only what is particular to pictures. Two doors:

- `predict_to`: folders or object stores in, one file of answers for each partition of the list of
  pictures. A partition's file appears whole or not at all, so that a run that was killed goes on
  with those that lack theirs, and a worker that dies costs its partition's time.
- `Predictor`: a class for `ray.data.Dataset.map_batches`, to be put between steps of one's own.

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
from emotion_runtime.prediction import format_count
from emotion_runtime.ray.packages import pafs, ray
from emotion_runtime.ray.storage import list_pictures, locate
from emotion_runtime.ray.worker import Job, PartitionWorker, part_name
from emotion_runtime.results.resumption import lock_exclusively

FORMATS = ("parquet", "jsonl", "csv")
_MANIFEST = "_manifest.json"  # readers of folders pass over names that begin so


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        pictures: In all partitions.
        unreadable: Of these, in the partitions of this run.
        partitions: All of them.
        skipped: Those that an earlier run had written.
        seconds: Of this run.
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
    format_name: str = "parquet",
    partition_size: int = 2000,
    concurrency: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Classify all pictures of `sources`, and go on with what an earlier run left.

    Args:
        sources: Files and folders, local ones by path, others by URI such as ``s3://bucket/faces``.
        output: A folder, by path or URI; it gets ``part-00000.parquet`` and so on.
        model: As in `EmotionClassifier`.
        faces: Find the faces of photographs; a row for each face.
        format_name: One of `FORMATS`.
        partition_size: Pictures of one file of answers: what a worker that dies must do again.
        concurrency: Workers; None for one on each CPU of the cluster.
        say: Takes messages for a person, one a partition.
        warn: Takes a message about files that were passed over.

    Raises:
        SourceError: A source holds no picture, or cannot be listed.
        OutputError: `output` cannot be written, or has the answers of another run.
        ModelFileError: The model cannot be opened.
    """
    started = time.monotonic()
    path = resolve_model(model)
    others = 0

    def pass_over(path: str) -> None:
        nonlocal others
        others += 1
        example.setdefault("path", path)

    example: dict[str, str] = {}
    pictures = list(list_pictures(sources, pass_over))
    if others:
        warn(f"{format_count(others, 'other file')} passed over, such as {example['path']}")
    filesystem, folder = locate(output)
    digest = compute_sha256(path)
    plan = {
        "pictures": len(pictures),
        "of": hashlib.sha256("\n".join(pictures).encode("utf-8", "surrogateescape")).hexdigest(),
        "partition_size": partition_size,
        "format": format_name,
        "faces": faces,
        "model_sha256": digest,
        "version": __version__,
    }
    with _agreed(filesystem, folder, plan):
        parts: list[dict[str, Any]] = [
            # As bytes: a name need not be UTF-8, Arrow's strings must.
            {
                "part": number,
                "pictures": [*map(os.fsencode, pictures[start : start + partition_size])],
            }
            for number, start in enumerate(range(0, len(pictures), partition_size))
        ]
        there = {
            PurePosixPath(info.path).name
            for info in filesystem.get_file_info(pafs.FileSelector(folder))
        }
        todo = [part for part in parts if part_name(part["part"], format_name) not in there]
        if len(todo) < len(parts):
            say(f"{len(parts) - len(todo):,} of {len(parts):,} partitions are there already")
        unreadable = 0
        if todo:
            _start()
            cpus: int = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
            size = min(concurrency or max(1, int(cpus)), len(todo))
            # Settings travel with each partition: a worker that is begun anew needs nothing else.
            job = json.dumps(asdict(Job(str(path), digest, faces, output, format_name)))
            rows = [{**part, "job": job} for part in todo]
            work = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                PartitionWorker, batch_size=1, compute=ray.data.ActorPoolStrategy(size=size)
            )
            for done in work.iter_rows():
                if done["error"]:
                    raise ModelFileError(done["error"])
                unreadable += done["unreadable"]
                say(f"partition {done['part']:,}: {done['pictures']:,} pictures")
    return Summary(
        len(pictures),
        int(unreadable),
        len(parts),
        len(parts) - len(todo),
        time.monotonic() - started,
    )


def _start() -> None:
    """Start Ray here, or join the cluster that ``RAY_ADDRESS`` names, unless that was done."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a tool for pictures reports to nobody
    here: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": count_usable_cpus()}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **here)


@contextlib.contextmanager
def _agreed(filesystem: pafs.FileSystem, folder: str, plan: dict[str, Any]) -> Iterator[None]:
    """Write down what is done, or see that an earlier run did the same, and keep others away.

    Only a local folder can be locked; on an object store two runs at once must be avoided by the
    user.
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
                f"{folder}: has the answers of a run with other {', '.join(changed)}; name "
                f"another folder, or empty this one."
            )
        yield


def _lock(file: IO[bytes], folder: str) -> None:
    """Lock the manifest for as long as it is open.

    Raises:
        OutputError: Another run has it.
    """
    try:
        lock_exclusively(file.fileno())
    except BlockingIOError as error:
        raise OutputError(
            f"{folder}: another process is writing it; wait until it has ended."
        ) from error
