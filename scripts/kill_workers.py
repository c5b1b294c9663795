"""Kill workers of one long run at random: ``python scripts/kill_workers.py FOLDER``.

Runs `emotion-infer` twice over at least 30,000 pictures (FOLDER is named repeatedly if it has
fewer), once undisturbed and once with a hundred worker processes killed at random times, and
compares the two outputs byte by byte. Linux only.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from emotion_runtime.pictures.sources import find_pictures

MIN_WORKER_SECONDS = 0.4  # of CPU time; it takes about half of this until a worker is ready


def start(folders: list[str], workers: int, out: Path) -> subprocess.Popen[bytes]:
    """Start the command."""
    command = [sys.executable, "-m", "emotion_runtime", "-q", "-f", "jsonl", "-o", str(out)]
    return subprocess.Popen([*command, "-j", str(workers), *folders])


def list_workers(parent: int) -> list[int]:
    """Return the worker processes of a run that have worked for a while.

    Those that are still starting are left out: a run whose workers all die before they are ready
    goes on with threads. So is the tracker of `multiprocessing`.
    """
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = []
    for child in map(int, children):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks = int(fields[11]) + int(fields[12])  # of user and system time, see proc(5)
        if b"spawn_main" in command and ticks / os.sysconf("SC_CLK_TCK") > MIN_WORKER_SECONDS:
            found.append(child)
    return found


@click.command(help=__doc__.partition("\n\n")[0])
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--pictures", default=30_000, show_default=True)
@click.option("--kills", default=100, show_default=True)
@click.option("-j", "--workers", default=2, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(folder: str, pictures: int, kills: int, workers: int, seed: int) -> None:
    """Compare a disturbed run with an undisturbed one."""
    count = sum(1 for _ in find_pictures([folder]))
    folders = [folder] * -(-pictures // count)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole, disturbed = Path(scratch) / "whole.jsonl", Path(scratch) / "disturbed.jsonl"
        started = time.monotonic()
        if start(folders, workers, whole).wait():
            raise SystemExit("the undisturbed run failed")
        seconds = time.monotonic() - started
        click.echo(f"undisturbed: {seconds:.1f} s")
        started = time.monotonic()
        run, done = start(folders, workers, disturbed), 0
        while run.poll() is None and done < kills:
            time.sleep(chance.uniform(0, 2 * seconds / kills))
            if run.poll() is None and (found := list_workers(run.pid)):
                os.kill(chance.choice(found), signal.SIGKILL)
                done += 1
        if run.wait():
            raise SystemExit("the disturbed run failed")
        longer = time.monotonic() - started
        lines = whole.read_bytes().count(b"\n")
        same = whole.read_bytes() == disturbed.read_bytes()
        left = sorted(path.name for path in Path(scratch).iterdir())
    click.echo(
        f"{lines:,} results; {done} workers killed, {longer:.1f} s; the outputs are "
        f"{'equal' if same else 'DIFFERENT'}; files left: {', '.join(left)}"
    )
    sys.exit(not same)


if __name__ == "__main__":
    main()
