"""Fuzz targets: checkpoints, run.json, data files, votes and audits."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch

from emotion_runtime import EmotionEdgeError
from emotion_train.checkpoints.checkpoint import FORMAT, VERSION, load_checkpoint
from emotion_train.data.exclusion import AuditTable
from emotion_train.data.readers import read_source
from emotion_train.data.votes import Votes
from emotion_train.networks import build_network
from emotion_train.recipe import Recipe
from emotion_train.run_record import RunOptions, RunRecord, read_record
from fuzz.mutation import TEXTS, json_text, mutate_bytes, mutate_json, to_bytes
from fuzz.target import Target, check_sentence
from synthetic import CLASSES, band_face, pixels_text, save_face

# --- checkpoints ---


@cache
def _values() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": "edge",
        "labels": list(CLASSES),
        "size": 48,
        "temperature": 1.5,
        "min_confidence": 0.5,
        "metrics": {"holdout": {"accuracy": 0.9, "faces": 10}},
        "training": {"seed": 0, "recipe": {"epochs": 3}},
        "multiply_adds": None,
    }


@cache
def _tensors() -> dict[str, Any]:
    return {
        "weights": build_network("edge", 3).state_dict(),
        "average_faces": torch.zeros(3, 1, 48, 48, dtype=torch.uint8),
        "probe": torch.zeros(48, 48, dtype=torch.uint8),
    }


def _save(values: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


class _Code:
    def __reduce__(self) -> Any:
        return print, ("code ran",)


def _checkpoint_seeds() -> list[bytes]:
    whole = _values() | _tensors()
    cases: list[dict[str, Any]] = [
        {"network": ["edge"]},
        {"version": [1]},
        {"average_faces": None},
        {"average_faces": torch.zeros(1, 1, 48, 48, dtype=torch.uint8).expand(10**9, 1, 48, 48)},
        {"labels": ["../x", "b", "c"]},
        {"weights": {**whole["weights"], "head.weight": torch.zeros(2, 2)}},
        {"metrics": {"x": _Code()}},
    ]
    seeds = [_save(whole), *(_save(whole | case) for case in cases)]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(20 << 20))
    return [*seeds, bomb.getvalue(), pickle.dumps(_Code()), b"", b"PK\3\4"]


def _mutate_checkpoint(random: Random, corpus: Sequence[bytes]) -> bytes:
    chance = random.random()
    if chance < 0.3:
        # Other values in a valid file.
        with contextlib.suppress(RecursionError, TypeError, ValueError, OverflowError):
            return _save({**mutate_json(random, _values()), **_other_tensors(random)})
    if chance < 0.8:
        return _other_zip(random, corpus[0])
    return mutate_bytes(random, random.choice(corpus[:4]), corpus)


def _other_tensors(random: Random) -> dict[str, Any]:
    tensors: dict[str, Any] = dict(_tensors())
    if random.random() < 0.6:
        name = random.choice(list(tensors))
        others: list[Any] = [
            None,
            [],
            {},
            torch.zeros(0),
            torch.zeros(3, dtype=torch.complex64),
            torch.full((48, 48), float("nan")),
            torch.zeros(1).expand(10**9),
            {"a": torch.zeros(1)},
        ]
        tensors[name] = random.choice(others)
    return tensors


def _other_zip(random: Random, data: bytes) -> bytes:
    """Return the zip with one entry changed and correct checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    structure = next(i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
    place = structure if random.random() < 0.7 else random.randrange(len(entries))
    name, content = entries[place]
    chance = random.random()
    if chance < 0.8:
        entries[place] = name, mutate_bytes(random, content, (), _OPERATIONS)
    elif chance < 0.87:
        del entries[place]
    elif chance < 0.93:
        entries[place] = random.choice((name.upper(), "../x", "/x", name + "x")), content
    else:
        entries.append((name + random.choice(("", "2")), content))
    kind = zipfile.ZIP_STORED if random.random() < 0.95 else zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a duplicate name
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


# Opcodes of pickle: code, memo, containers, persistent names.
_OPERATIONS = [
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"R",
    b"Q",
    b"b",
    b"}",
    b"]",
    b"(",
    b"t",
    b"s",
    b"u",
    b"K\xff",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"h\0",
    b"q\0",
    b"N",
    b"X\xff\xff\xff\x7f",
]


def _read_checkpoint(data: bytes, folder: Path) -> None:
    path = folder / "best.pt"
    path.write_bytes(data)
    try:
        checkpoint = load_checkpoint(path)
        with torch.no_grad():
            checkpoint.build()(torch.zeros(1, 1, checkpoint.size, checkpoint.size))
    except EmotionEdgeError as error:
        if "the checkpoint" not in str(error):  # a part of a sentence: the caller names the file
            check_sentence(error, folder)


# --- run.json ---


@cache
def _run_json() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        RunRecord("/data", Recipe(), RunOptions()).save(Path(folder))
        values: dict[str, Any] = json.loads((Path(folder) / "run.json").read_text())
    return values


def _run_json_seeds() -> list[bytes]:
    return [json.dumps(_run_json()).encode(), b"[" * 100_000, b"7", b"\xff", b" " * (2 << 20)]


def _mutate_run_json(random: Random, corpus: Sequence[bytes]) -> bytes:
    if random.random() < 0.2:
        return mutate_bytes(random, corpus[0])
    return to_bytes(json_text(random, mutate_json(random, _run_json())))


def _read_run_json(data: bytes, folder: Path) -> None:
    (folder / "run.json").write_bytes(data)
    try:
        read_record(folder)
    except EmotionEdgeError as error:
        check_sentence(error, folder)


# --- data and votes ---


def _data_seeds() -> list[bytes]:
    rows = [
        f"{emotion},{pixels_text(band_face(emotion % 3, number))},{usage}"
        for number in range(2)
        for emotion in (3, 4, 5)
        for usage in ("Training", "PublicTest")
    ]
    return [
        "\n".join(["emotion,pixels,Usage", *rows, ""]).encode(),
        "\n".join(["\ufeffUsage; emotion; pixels", *rows]).encode("utf-16"),
        b'emotion,pixels,Usage\n3,"' + b"1 " * 200_000 + b"\n",
        b"emotion,pixels,Usage\n3," + b"9" * 100_000 + b",Training\n",
        b"\x1f\x8b" + bytes(50),
        # Files by name, with lists that are read or refused.
        "\n".join(["path,label,split", *_LISTED]).encode(),
        "\n".join(["path,label", *_LISTED, "x" * 300 + ".png,happy", "a\0b,sad"]).encode(),
    ]


_LISTED = [f"{name}/{number}.png,{name},train" for name in CLASSES for number in range(3)]
_DATA_TOKENS = [b",", b'"', b"\n", b"\r", b"\0", b" ", b"-1", b"999", b"1e9", b"\xff", b"Training"]
_DATA_TOKENS += [text.encode("utf-8", "replace") for text in TEXTS[:18] if len(text) < 100]


def _mutate_data(random: Random, corpus: Sequence[bytes]) -> bytes:
    data = mutate_bytes(random, random.choice(corpus[:1] * 4 + list(corpus)), corpus, _DATA_TOKENS)
    if random.random() < 0.1:
        import gzip

        data = gzip.compress(data, 1)
        return data if random.random() < 0.5 else mutate_bytes(random, data)
    return data


def _read_data(data: bytes, folder: Path) -> None:
    path = folder / "fer2013.csv"
    path.write_bytes(data)
    for name in CLASSES:
        save_face(folder / name / "0.png", CLASSES.index(name))
    for classes in (CLASSES, ("all",)):
        try:
            read_source(path, classes)
        except EmotionEdgeError as error:
            check_sentence(error, folder)


def _votes_seeds() -> list[bytes]:
    rows = [f"train/{name}/{number}.png,7,1,1,1,0,0" for name in CLASSES for number in range(3)]
    header = "path,happiness,sadness,surprise,neutral,unknown,not_a_face"
    return [
        "\n".join([header, *rows]).encode(),
        b"path,happiness,sadness,surprise\na," + b"9" * 5000 + b",1,1\n",
        b'path,happiness,sadness,surprise\n"' + b"x" * 200_000,
        b"\xff\xfe",
    ]


def _read_votes(data: bytes, folder: Path) -> None:
    import numpy as np

    from emotion_train.data.faces import Faces

    path = folder / "votes.csv"
    path.write_bytes(data)
    pixels = np.zeros((1, 48, 48), np.uint8)
    faces = Faces(pixels, np.zeros(1, np.int64), ("train/happy/0.png",))
    try:
        votes = Votes(path, CLASSES)
        votes.find_majority(faces)
        votes.compute_targets(faces)
        votes.find_usable(faces)
    except EmotionEdgeError as error:
        check_sentence(error, folder)


def _audit_seeds() -> list[bytes]:
    header = "path,label,split,suggested_label,score,label_issue,further_issues,probability_happy"
    rows = [
        f"train/{name}/{number}.png,{name},train,sad,0.{number}25,{mark},no face; copy,0.5"
        for name in CLASSES
        for number, mark in enumerate(("yes", "no", ""))
    ]
    return [
        "\n".join([header, *rows]).encode(),
        f"{header}\n'=a.png,happy,train,sad,nan,yes,,\n".encode(),
        f"{header}\na.png,happy,train,sad,{'9' * 5000},yes,,\n".encode(),
        b"\xff\xfe",
    ]


def _read_audit(data: bytes, folder: Path) -> None:
    path = folder / "audit.csv"
    path.write_bytes(data)
    try:
        table = AuditTable(path)
        for rule in ("issues", "0.5", "30%"):
            table.choose(rule)
    except EmotionEdgeError as error:
        check_sentence(error, folder)


CHECKPOINTS = Target("checkpoints", _checkpoint_seeds, _mutate_checkpoint, _read_checkpoint)
RUN_JSON = Target("run-json", _run_json_seeds, _mutate_run_json, _read_run_json)
DATA = Target("data-csv", _data_seeds, _mutate_data, _read_data)
VOTES = Target(
    "votes-csv",
    _votes_seeds,
    lambda random, corpus: mutate_bytes(random, random.choice(corpus), corpus, _DATA_TOKENS),
    _read_votes,
)
AUDIT = Target(
    "audit-csv",
    _audit_seeds,
    lambda random, corpus: mutate_bytes(random, random.choice(corpus), corpus, _DATA_TOKENS),
    _read_audit,
)
