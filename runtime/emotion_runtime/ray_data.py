"""Millions of pictures over many machines, by Ray Data; as a command, `emotion_runtime.ray_infer`.

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
import functools
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import numpy as np

try:
    import pyarrow as pa
    import pyarrow.fs as pafs
    import pyarrow.parquet as pq
    import ray
    import ray.data
except ImportError as error:
    from emotion_runtime.extras import missing_message

    text = missing_message("emotion_runtime.ray_data", str(error.name), "ray")
    raise ImportError(text, name=error.name) from error

from emotion_runtime import __version__
from emotion_runtime.classifier import EmotionClassifier, resolve_model
from emotion_runtime.cpus import usable_cpus
from emotion_runtime.digest import sha256_of
from emotion_runtime.errors import ModelFileError, OutputError, SourceError
from emotion_runtime.prediction import OTHER, FacePrediction, Prediction, counted
from emotion_runtime.preprocessing import NamedBytes
from emotion_runtime.resumption import lock_exclusively
from emotion_runtime.sources import find_pictures, is_picture_name
from emotion_runtime.writers import WRITERS

FORMATS = ("parquet", "jsonl", "csv")
_MANIFEST = "_manifest.json"  # readers of folders pass over names that begin so
_AHEAD = 16  # objects fetched at a time by one worker: it is their latency that is waited for


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


class Predictor:
    """One session, and batches through it: give it to `ray.data.Dataset.map_batches`.

    >>> pictures = ray.data.read_binary_files("faces/", include_paths=True)  # doctest: +SKIP
    >>> workers = ray.data.ActorPoolStrategy(size=7)  # of 8 CPUs: reading needs one too
    >>> answers = pictures.map_batches(Predictor, compute=workers)  # doctest: +SKIP

    Args:
        model: As in `EmotionClassifier`.
        faces: Find the faces of photographs; a row for each face.
    """

    def __init__(self, model: str | None = None, *, faces: bool = False) -> None:
        self.classifier = EmotionClassifier(model)
        self.kind: type[Prediction] = FacePrediction if faces else Prediction

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer a batch with the columns ``bytes`` and ``path``, as those of ``emotion-infer``."""
        pictures = [
            NamedBytes(bytes(data), str(path))
            for data, path in zip(batch["bytes"], batch["path"], strict=True)
        ]
        predictions = list(self.predict(pictures))
        return columns(predictions, self.classifier.labels, self.kind, with_other=self.with_other)

    @property
    def with_other(self) -> bool:
        """Return whether the model has the output `other`, and the results a column of it."""
        return self.classifier.other_threshold is not None

    def predict(self, pictures: Iterable[str | NamedBytes]) -> Iterator[Prediction]:
        """Answer a stream of pictures in this thread; Ray places a worker on each CPU."""
        if self.kind is FacePrediction:
            return self.classifier.predict_faces_many(pictures, workers=1)
        return self.classifier.predict_many(pictures, workers=1)


def columns(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    kind: type[Prediction],
    *,
    with_other: bool = False,
) -> dict[str, Any]:
    """Lay predictions out as columns: path, label, confidence, the classes, error, further ones.

    Where the model has the output `other`, its column comes behind those of the classes.
    """
    values: dict[str, list[Any]] = {
        "path": [_utf8(one.path) for one in predictions],
        "label": [one.label for one in predictions],
        "confidence": [one.confidence for one in predictions],
    }
    for label in labels:
        values[label] = [(one.probabilities or {}).get(label) for one in predictions]
    if with_other:
        values[OTHER] = [one.other for one in predictions]
    values["error"] = [_utf8(one.error) for one in predictions]
    further = [one.columns() for one in predictions]
    for name in kind.COLUMNS:
        values[name] = [row[name] for row in further]
    return {name: np.array(column, dtype=object) for name, column in values.items()}


def schema(labels: Sequence[str], kind: type[Prediction], *, with_other: bool = False) -> pa.Schema:
    """Return the types of the columns, the same in every partition."""
    text, number = pa.string(), pa.float64()
    fields = [("path", text), ("label", text), ("confidence", number)]
    fields += [(label, number) for label in (*labels, *([OTHER] if with_other else []))]
    fields.append(("error", text))
    for name in kind.COLUMNS:
        fields.append((name, number if name == "detection_confidence" else pa.int64()))
    return pa.schema(fields)


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
    pictures = list(_listed(sources, pass_over))
    if others:
        warn(f"{counted(others, 'other file')} passed over, such as {example['path']}")
    filesystem, folder = _located(output)
    digest = sha256_of(path)
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
        todo = [part for part in parts if _name(part["part"], format_name) not in there]
        if len(todo) < len(parts):
            say(f"{len(parts) - len(todo):,} of {len(parts):,} partitions are there already")
        unreadable = 0
        if todo:
            _start()
            cpus: int = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
            size = min(concurrency or max(1, int(cpus)), len(todo))
            # Settings travel with each partition: a worker that is begun anew needs nothing else.
            job = json.dumps(asdict(_Job(str(path), digest, faces, output, format_name)))
            rows = [{**part, "job": job} for part in todo]
            work = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Worker, batch_size=1, compute=ray.data.ActorPoolStrategy(size=size)
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
    here: dict[str, Any] = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": usable_cpus()}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **here)


@dataclass(frozen=True)
class _Job:
    """What is the same for all partitions."""

    model: str
    model_sha256: str
    faces: bool
    output: str
    format_name: str


class _Worker:
    """Reads a partition's pictures, answers them, and writes its file at once."""

    _predictor: Predictor | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            return {**self._answered(batch), "error": [""]}
        except ModelFileError as error:  # raised here, it would reach nobody as one sentence
            return {
                "part": batch["part"],
                "pictures": [0],
                "unreadable": [0],
                "error": [str(error)],
            }

    def _answered(self, batch: dict[str, Any]) -> dict[str, Any]:
        (part,), (pictures,), (text,) = batch["part"], batch["pictures"], batch["job"]
        job = _Job(**json.loads(text))
        if self._predictor is None:
            predictor = Predictor(job.model, faces=job.faces)
            # The path is the same on every machine; what lies there may not be.
            if predictor.classifier.model_sha256 != job.model_sha256:
                raise ModelFileError(
                    f"{job.model}: not the file that the run was begun with, on the machine of "
                    f"this worker; copy the same model file to every machine."
                )
            self._predictor = predictor
            self._filesystem, self._folder = _located(job.output)
            self._format = job.format_name
        predictor = self._predictor
        predictions = list(predictor.predict(_fetched(map(os.fsdecode, pictures))))
        self._write(int(part), predictions, predictor)
        unreadable = sum(one.error is not None for one in predictions)
        return {"part": [part], "pictures": [len(pictures)], "unreadable": [unreadable]}

    def _write(self, part: int, predictions: list[Prediction], predictor: Predictor) -> None:
        labels, kind = predictor.classifier.labels, predictor.kind
        with_other = predictor.with_other
        target = f"{self._folder}/{_name(part, self._format)}"
        temporary = f"{self._folder}/.{_name(part, self._format)}"
        with self._filesystem.open_output_stream(temporary) as stream:
            if self._format == "parquet":
                types = schema(labels, kind, with_other=with_other)
                values = columns(predictions, labels, kind, with_other=with_other)
                arrays = [pa.array(values[field.name].tolist(), field.type) for field in types]
                pq.write_table(pa.Table.from_arrays(arrays, schema=types), stream)
            else:
                text = io.StringIO()
                with WRITERS[self._format](text, labels, kind, with_other=with_other) as writer:
                    for prediction in predictions:
                        writer.write(prediction)
                stream.write(text.getvalue().encode("utf-8", "surrogateescape"))
        self._filesystem.move(temporary, target)


def _utf8(text: str | None) -> str | None:
    """Write what is no UTF-8 as escapes, for Arrow."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _name(part: int, format_name: str) -> str:
    return f"part-{part:05}.{format_name}"


def _located(place: str) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem of a path or URI, and the path within it.

    Raises:
        OutputError: No filesystem is known for it.
    """
    if "://" not in place:
        return pafs.LocalFileSystem(), _absolute(place)
    parts = urlsplit(place)
    try:
        filesystem, base = _filesystem(urlunsplit(parts._replace(path="/")))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise OutputError(f"{place}: no filesystem is known for it ({error}).") from error
    return filesystem, (base.rstrip("/") + unquote(parts.path)).rstrip("/")


@functools.lru_cache(maxsize=16)  # one client for all pictures of a bucket
def _filesystem(root: str) -> tuple[pafs.FileSystem, str]:
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(root)
    return found


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _listed(
    sources: Sequence[str], on_other: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    """Give the pictures of all sources; of URIs as URIs, sorted, each folder in its place."""
    for source in sources:
        if "://" not in source:
            # Absolute: workers run elsewhere.
            yield from find_pictures([_absolute(source)], on_other=on_other)
            continue
        filesystem, path = _located(source)
        try:
            root = filesystem.get_file_info(path)
            if root.type == pafs.FileType.NotFound:
                raise SourceError(f"{source}: no such file or folder.")
            if root.type == pafs.FileType.File:
                yield source
                continue
            found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        except OSError as error:
            raise SourceError(f"{source}: cannot be listed ({error}).") from error
        for info in found:
            if info.is_file and not is_picture_name(info.base_name):
                on_other(info.path)
        inside = sorted(
            info.path[len(path) :]
            for info in found
            if info.is_file and is_picture_name(info.base_name)
        )
        if not inside:
            raise SourceError(f"{source}: no pictures in this folder.")
        parts = urlsplit(source)
        for name in inside:
            yield urlunsplit(parts._replace(path=parts.path.rstrip("/") + quote(name)))


def _fetched(pictures: Iterable[str]) -> Iterator[str | NamedBytes]:
    """Give local pictures by path; fetch others, some at a time, in order."""
    waiting = iter(pictures)
    with ThreadPoolExecutor(_AHEAD) as pool:
        while group := list(islice(waiting, _AHEAD)):
            remote = any("://" in picture for picture in group)
            yield from pool.map(_fetch, group) if remote else group


def _fetch(picture: str) -> str | NamedBytes:
    if "://" not in picture:
        return picture
    filesystem, path = _located(picture)
    # What is not there, or may not be read, is empty: an answer with an error.
    with contextlib.suppress(OSError), filesystem.open_input_stream(path) as stream:
        return NamedBytes(stream.read(), picture)
    return NamedBytes(b"", picture)


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
