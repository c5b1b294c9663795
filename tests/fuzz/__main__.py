"""Fuzz all code that reads untrusted files: ``make fuzz`` or ``python -m fuzz``.

Each input must be read, or refused with an `EmotionEdgeError` of one sentence, within 5 seconds of
CPU time and 600 MB, in a child process with limits on memory and time. Everything else is a
finding: its bytes are saved in a folder, and its number reproduces it.

    python -m fuzz --minutes 30
    python -m fuzz --target pictures --minutes 5 --seed 7
    python -m fuzz --replay fuzz-findings/pictures-7-1234.bin
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from fuzz.driver import Totals, fuzz
from fuzz.page import fuzz_page
from fuzz.worker import TARGETS, load_target, read_one

_SLICE = 30.0  # seconds of one target before the next one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--target", action="append", choices=[*TARGETS, "page"], default=[])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), metavar="FOLDER")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read one saved input again")
    options = parser.parse_args()
    if options.replay:
        return _replay(options.replay)
    names = options.target or [*TARGETS, "page"]
    totals = {name: Totals() for name in names}
    print(f"seed {options.seed}, {options.minutes:g} minutes, targets: {', '.join(names)}")
    share = options.minutes * 60 / len(names)
    try:
        while any(one.seconds < share for one in totals.values()):
            for name, one in totals.items():
                seconds = min(_SLICE, share - one.seconds)
                if seconds <= 0:
                    continue
                run = fuzz_page if name == "page" else fuzz
                run(name, seed=options.seed, folder=options.findings, totals=one, seconds=seconds)
                print(_line(name, one), flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    return _report(totals, options.seed)


def _line(name: str, one: Totals) -> str:
    found = sum(one.findings.values())
    return f"{name:12} {one.inputs:>10,} inputs {one.seconds:>7.0f} s {found:>5,} findings"


def _report(totals: dict[str, Totals], seed: int) -> int:
    print(f"\nseed {seed}")
    for name, one in totals.items():
        print(_line(name, one))
    whole = Totals(
        sum(one.inputs for one in totals.values()),
        sum(one.seconds for one in totals.values()),
        {"all": sum(sum(one.findings.values()) for one in totals.values())},
    )
    print(_line("all", whole))
    for name, one in totals.items():
        for kind, times in one.findings.items():
            print(f"{name}: {times:,} × {kind}")
        for path, text in one.kept:
            print(f"  {path}: {text}")
    return 1 if whole.findings["all"] else 0


def _replay(path: Path) -> int:
    target = load_target(path.name.rsplit("-", 2)[0])
    with tempfile.TemporaryDirectory() as folder:
        finding = read_one(target, path.read_bytes(), Path(folder))
    print(f"{finding['kind']}\n{finding['text']}" if finding else "nothing found")
    return 1 if finding else 0


if __name__ == "__main__":
    sys.exit(main())
