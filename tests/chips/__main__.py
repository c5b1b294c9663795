"""Run the light install on emulated chips, and compare with this machine.

    make arm         Cortex-A53, Cortex-A72, and a core with dot products
    make old-x86     Nehalem (without AVX) and Haswell (without AVX-512)
    make chips       a short part of both, which `make test` includes

On every chip, pictures of all formats must decode and resize to the same bytes, every released
model file must pass its self-test, and the samples and average faces must get the same labels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import emotion_models
from chips.comparison import ChipResults, compare
from chips.emulation import (
    CHIPS,
    FAMILIES,
    Chip,
    Emulator,
    UnavailableError,
    find_cache,
    make_environment,
)
from chips.inputs import ROOT, list_models, make_faces, write_pictures
from emotion_runtime.cpus import count_usable_cpus

WORKER = Path(__file__).with_name("worker.py")
QUICK_LIGHT_CHECKS = "cortex-a72"  # the chip that runs them in the quick run
# The models whose faces are compared in the quick run, beside all self-tests: the default one, and
# its float file.
QUICK_MODELS = (emotion_models.DEFAULT_MODEL, emotion_models.DEFAULT_MODEL.removesuffix("-int8"))
# Left out of the quick run: its fused multiply-adds take two minutes where each is emulated.
QUICK_OMITTED = {"haswell": ("baseline",)}
_TIMEOUT_SECONDS = 3600  # of one process


class StepError(Exception):
    """A process on a chip failed; the message is what it wrote."""


@dataclass
class Outcome:
    """The results of one chip so far.

    Attributes:
        steps: Number of steps that have not ended.
        seconds: Time of the steps that have, added up.
        figures: What was compared.
        failures: One sentence for each failure.
        report: The line of ``emotion-infer --self-test --report``.
    """

    steps: int = 0
    seconds: float = 0.0
    figures: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    report: str = ""


class Run:
    """The steps of all chips.

    Args:
        chips: The chips.
        emulator: Emulates them.
        folder: An empty folder.
        quick: Leave out what takes long.
    """

    def __init__(
        self, chips: tuple[Chip, ...], emulator: Emulator, folder: Path, *, quick: bool
    ) -> None:
        self.chips, self.emulator, self.folder, self.quick = chips, emulator, folder, quick
        self.outcomes = {chip: Outcome() for chip in chips}
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        pictures = folder / "pictures"
        pictures.mkdir()
        write_pictures(pictures, quick=quick)
        self._pictures, self._models = str(pictures), dict[str, str]()
        for name in list_models():
            if not quick or name in QUICK_MODELS:
                faces = make_faces(name, quick=quick)
            else:
                faces = make_faces(name, quick=True)[:1]
            self._models[name] = str(folder / f"{name}.npy")
            np.save(self._models[name], faces)
        self._native = self._compute("native", Path(sys.executable), ())

    def start(self, jobs: int) -> None:
        """Run all steps, and print a line about each chip as soon as its last step has ended."""
        steps: list[tuple[Chip, Callable[[Chip, Path], None]]] = []
        for chip in self.chips:
            steps.append((chip, self._compare))
            if not self.quick or chip.name == QUICK_LIGHT_CHECKS:
                steps.append((chip, self._check_light_install))
            if not self.quick:
                steps.append((chip, self._make_report))
        # The slowest first, so that no CPU waits for it at the end.
        steps.sort(key=lambda step: step[0].cpu != "Haswell")
        for chip, _ in steps:
            self.outcomes[chip].steps += 1
        started = time.monotonic()
        with ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(self._run_step, chip, step): chip for chip, step in steps}
            try:
                for number, future in enumerate(as_completed(futures), 1):
                    self._end_step(futures[future], future)
                    elapsed = time.monotonic() - started
                    left = elapsed / number * (len(futures) - number)
                    show_progress(f"{number} of {len(futures)} steps, about {left:.0f} s left")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                with self._lock:
                    for process in self._processes:
                        process.terminate()
                raise

    def _run_step(self, chip: Chip, step: Callable[[Chip, Path], None]) -> float:
        started = time.monotonic()
        with self.emulator.make_install(chip) as python:
            step(chip, python)
        return time.monotonic() - started

    def _end_step(self, chip: Chip, future: Future[float]) -> None:
        outcome = self.outcomes[chip]
        try:
            outcome.seconds += future.result()
        except StepError as error:
            outcome.failures.append(str(error))
        outcome.steps -= 1
        if outcome.steps == 0:
            show_progress("")
            verdict = "FAILED" if outcome.failures else "passed"
            print(f"{chip.name:<11} {verdict} in {outcome.seconds:.0f} s ({chip.has})")
            for line in outcome.figures:
                print(f"  {line}")
            for line in outcome.failures:
                print(f"  FAILED: {line}")
            if outcome.report:
                print(f"  {outcome.report}")
            sys.stdout.flush()

    def _compare(self, chip: Chip, python: Path) -> None:
        omitted = QUICK_OMITTED.get(chip.name, ()) if self.quick else ()
        comparison = compare(self._native, self._compute(chip.name, python, omitted))
        outcome = self.outcomes[chip]
        outcome.figures += [comparison.versions, comparison.describe()]
        if omitted:
            outcome.figures.append(f"without {', '.join(omitted)}, for its time; see make old-x86")
        outcome.failures += comparison.failures

    def _check_light_install(self, chip: Chip, python: Path) -> None:
        command = ["-m", "unittest", "discover", "--start-directory", "tests/light"]
        self._execute([str(python), *command, "--pattern", "check_*.py"])
        self.outcomes[chip].figures.append("light checks passed")

    def _make_report(self, chip: Chip, python: Path) -> None:
        command = [str(python.with_name("emotion-infer")), "--self-test", "--report"]
        self.outcomes[chip].report = self._execute(command).strip()

    def _compute(self, name: str, python: Path, omitted: tuple[str, ...]) -> ChipResults:
        """Run the worker with all models but those omitted, and return its results."""
        job, results, arrays = (
            self.folder / f"{name}.{suffix}" for suffix in ("job.json", "json", "npz")
        )
        models = {name: path for name, path in self._models.items() if name not in omitted}
        outputs = {"results": str(results), "arrays": str(arrays)}
        job.write_text(json.dumps({"pictures": self._pictures, "models": models, **outputs}))
        self._execute([str(python), str(WORKER), str(job)])
        return ChipResults.load(results, arrays)

    def _execute(self, command: list[str]) -> str:
        """Run a command, and return its standard output.

        Raises:
            StepError: It failed.
        """
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=make_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            with self._lock:
                self._processes.add(process)
            try:
                output, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise StepError(f"{command[1]} took more than {_TIMEOUT_SECONDS} s") from None
            finally:
                with self._lock:
                    self._processes.discard(process)
        if process.returncode:
            raise StepError(f"exit code {process.returncode}:\n{output}{errors}".rstrip())
        return output


def show_progress(text: str) -> None:
    """Show a line on a terminal, in the place of the one before."""
    if sys.stderr.isatty():
        print(f"\r{text:<70}\r", end="", file=sys.stderr, flush=True)


def count(text: str) -> int:
    """Return a number of processes.

    Raises:
        ValueError: It is not an integer from 0 on; argparse prints the name of this function.
    """
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def main() -> int:
    names = [*FAMILIES, *(chip.name for chip in CHIPS)]
    parser = argparse.ArgumentParser(
        prog="python -m chips",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(names)} (all)")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument(
        "--skip", action="store_true", help="where a chip cannot be emulated: print why, and pass"
    )
    parser.add_argument(
        "--jobs", type=count, default=0, help="processes (default: the usable CPUs)"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"no such chip: {', '.join(unknown)}; there are {', '.join(names)}")
    wanted = options.names or list(FAMILIES)
    chips = tuple(
        chip
        for chip in CHIPS
        if chip.name in wanted or any(chip in FAMILIES.get(name, ()) for name in wanted)
    )
    started = time.monotonic()
    try:
        emulator = Emulator(find_cache(), lambda line: print(line, flush=True))
        ready = prepare(emulator, chips, skip=options.skip)
        if not ready:
            return 0
        with tempfile.TemporaryDirectory(prefix="chips-") as folder:
            run = Run(ready, emulator, Path(folder).resolve(), quick=options.quick)
            run.start(options.jobs or count_usable_cpus())
    except UnavailableError as error:
        print(f"chips cannot be emulated here: {error}.", file=sys.stderr)
        return 0 if options.skip else 1
    except KeyboardInterrupt:
        print("interrupted; downloads that were complete are kept", file=sys.stderr)
        return 130
    print(f"{len(ready)} chips in {time.monotonic() - started:.0f} s")
    return 1 if any(outcome.failures for outcome in run.outcomes.values()) else 0


def prepare(emulator: Emulator, chips: tuple[Chip, ...], *, skip: bool) -> tuple[Chip, ...]:
    """Return the chips that can be emulated.

    Raises:
        UnavailableError: One cannot, and `skip` is not set.
    """
    ready: tuple[Chip, ...] = ()
    for family in FAMILIES.values():
        some = tuple(chip for chip in chips if chip in family)
        try:
            emulator.prepare(some)
            ready += some
        except UnavailableError as error:
            if not skip:
                raise
            print(f"skipped: {', '.join(chip.name for chip in some)}: {error}.", flush=True)
    return ready


if __name__ == "__main__":
    sys.exit(main())
