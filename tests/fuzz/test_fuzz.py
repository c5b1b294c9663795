"""A short run of the fuzzer: the corpus and some hundred mutations of each target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from emotion_runtime import EmotionEdgeError
from fuzz.driver import Totals, fuzz
from fuzz.mutation import mutate_protobuf
from fuzz.target import Target, check_sentence
from fuzz.worker import MAX_PIXELS, TARGETS, load_target, read_one

# About a second for each target; `make fuzz` runs for minutes.
COUNTS = {
    "pictures": 120,
    "models": 40,
    "contracts": 100,
    "checkpoints": 25,
    "run-json": 150,
    "data-csv": 40,
    "votes-csv": 150,
    "audit-csv": 150,
    "partial": 100,
    "videos": 200,
}


@pytest.mark.parametrize("name", TARGETS)
def test_untrusted_files_are_read_or_refused_in_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOTION_EDGE_MAX_PIXELS", str(MAX_PIXELS))
    target = load_target(name)
    corpus = target.seeds()
    for number in range(len(corpus) + COUNTS[name]):
        finding = read_one(target, target.input_of(1, number, corpus), tmp_path, limited=False)
        assert finding is None, f"{name}, seed 1, input {number}: {finding}"


def test_the_same_seed_gives_the_same_inputs() -> None:
    target = load_target("votes-csv")
    corpus = target.seeds()
    inputs = [target.input_of(3, number, corpus) for number in range(20)]
    assert inputs == [target.input_of(3, number, corpus) for number in range(20)]
    assert inputs[len(corpus) :] != [
        target.input_of(4, number, corpus) for number in range(len(corpus), 20)
    ]
    message = b"\x08\x08" + b"\x3a\x04\x0a\x02hi"
    assert len({mutate_protobuf(Random(seed), message) for seed in range(50)}) > 10


def raising(error: Exception) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        try:
            raise error
        except EmotionEdgeError as refusal:
            check_sentence(refusal, folder)

    return read


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EmotionEdgeError("x.png: a sentence."), None),
        (EmotionEdgeError("two\nlines."), "AssertionError"),
        (EmotionEdgeError("no sentence"), "AssertionError"),
        (EmotionEdgeError("x" * 10_000 + "."), "AssertionError"),
        (KeyError("labels"), "KeyError"),
        (RecursionError(), "RecursionError"),
    ],
)
def test_other_errors_are_findings(error: Exception, kind: str | None, tmp_path: Path) -> None:
    target = Target("any", lambda: [b""], lambda random, corpus: b"", raising(error))
    finding = read_one(target, b"", tmp_path, limited=False)
    assert (finding and finding["kind"].split()[0]) == kind


def test_a_run_in_a_child_process_counts_its_inputs(tmp_path: Path) -> None:
    totals = Totals()
    for _ in range(2):
        fuzz("videos", seed=1, folder=tmp_path / "findings", totals=totals, count=20)
    assert totals.inputs == 40
    assert not totals.findings
    assert not (tmp_path / "findings").exists()
