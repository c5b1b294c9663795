"""Coverage-guided fuzzing with Atheris, libFuzzer for Python: `python -m fuzz.guided NAME`.

libFuzzer keeps the inputs that reach new lines of our code, and mutates these further. This suits
code that parses bytes in Python: model files, headers and containers. It needs Atheris (``pip
install atheris``; Linux). Options of libFuzzer follow the target:

    python -m fuzz.guided models -max_total_time=300 -seed=7

A crash stops the run, and its input is written to the current folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-not-found,unused-ignore]

from fuzz.worker import load_target, read_one


def main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["emotion_runtime", "emotion_train"]):
        target = load_target(name)
    corpus = target.seeds()
    scratch = Path(tempfile.mkdtemp(prefix="emotion-edge-fuzz-"))
    seeds = scratch / "corpus"
    seeds.mkdir()
    for number, data in enumerate(corpus):
        if len(data) < 100_000:
            (seeds / f"{number}").write_bytes(data)

    def read(data: bytes) -> None:
        finding = read_one(target, data, scratch, limited=False)
        if finding is not None:
            raise AssertionError(f"{finding['kind']}\n{finding['text']}")

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, size))
        return target.mutate(random, [data, *corpus])[:size]

    arguments = [sys.argv[0], str(seeds), "-timeout=60", "-rss_limit_mb=3000", *options]
    atheris.Setup(arguments, read, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
