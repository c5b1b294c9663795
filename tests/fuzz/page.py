"""Fuzz target: the model file reader of the page, run in Node.js with its own mutations."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import emotion_export
from fuzz.driver import Totals

_BATCH = 2_000
_MAX_MEGABYTES = 600
_READER = Path(__file__).parent.parent / "export" / "contract_reader.mjs"


def fuzz_page(
    name: str,
    *,
    seed: int,
    folder: Path,
    totals: Totals,
    count: int = sys.maxsize,
    seconds: float = 1e9,
) -> None:
    """Let Node.js read mutated files in batches; without Node.js, do nothing."""
    from fuzz.models_target import MODELS

    began, end = time.monotonic(), totals.inputs + count if count < sys.maxsize else count
    node = shutil.which("node")
    seeds = [one for one in MODELS.seeds() if len(one) < 100_000]
    contract = Path(emotion_export.__file__).parent / "page" / "contract.js"
    while node and totals.inputs < end and time.monotonic() - began < seconds:
        batch = totals.inputs // _BATCH
        request = {
            "fuzz": base64.b64encode(seeds[batch % len(seeds)]).decode(),
            "seed": (seed * 7919 + batch) % 2**32,
            "count": min(_BATCH, end - totals.inputs),
        }
        with tempfile.TemporaryDirectory() as scratch:
            module = shutil.copyfile(contract, Path(scratch) / "contract.mjs")
            try:
                done = subprocess.run(
                    [node, "--max-old-space-size=512", str(_READER), str(module)],
                    input=json.dumps(request),
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=120,
                )
                problem = done.stderr.strip() if done.returncode else ""
                if not problem and json.loads(done.stdout)["megabytes"] > _MAX_MEGABYTES:
                    problem = f"memory: {json.loads(done.stdout)['megabytes']:.0f} MB"
            except subprocess.TimeoutExpired:
                problem = "never ends"
        if problem:
            kind = problem.splitlines()[-1][:80]
            totals.findings[kind] = totals.findings.get(kind, 0) + 1
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"page-{seed}-{batch}.json"
            path.write_text(json.dumps(request), encoding="utf-8")
            totals.kept.append((path, problem[:300]))
        totals.inputs += request["count"]
    totals.seconds += time.monotonic() - began
