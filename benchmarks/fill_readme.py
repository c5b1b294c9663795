"""Copy figures into the READMEs: ``python benchmarks/fill_readme.py [--check]``.

``benchmarks/README.md`` gets each table from ``results/NAME.md``, ``README.md`` its summary from
``results/*.json`` and from the released files themselves. No figure there is written by hand; a
test runs this with ``--check``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emotion_models
from emotion_runtime.classifier import EmotionClassifier
from harness import amount
from results import RESULTS

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def fill(text: str, block: Callable[[str], str]) -> str:
    """Replace what stands between the marks by what `block` gives for their names."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2])}\n\n{found[3]}", text)


def result(name: str) -> dict[str, Any]:
    """Read the figures of a benchmark."""
    values: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return values


def of_benchmarks(name: str) -> str:
    """Give a benchmark's table and picture, or the machine."""
    if name == "machine":
        described = result("latency")["machine"]
        versions = ", ".join(f"{k} {v}" for k, v in described["versions"].items())
        return (
            f"{described['cpu']} ({', '.join(described['instructions'])}), {described['cpus']} "
            f"CPUs, {described['memory_gib']:.0f} GiB, Python {described['python']}, {versions}."
        )
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
    picture = RESULTS / f"{name}.png"
    return f"{text}\n\n![{name}](results/{name}.png)" if picture.exists() else text


def of_project(name: str) -> str:
    """Give a summary for the project's README."""
    return {"models": _models, "speed": _speed}[name]()


def _models() -> str:
    """Lay out the released models, the default first."""
    latency = result("latency")
    lines = [
        "| released model | test accuracy | where annotators agree | damaged pictures | "
        "one face, one thread | file |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    accuracy = result("accuracy")["higher_is_better"]
    released = sorted(emotion_models.names(), key=lambda n: n != emotion_models.DEFAULT_MODEL)
    for name in released:
        metrics = EmotionClassifier(name).contract.metrics
        test, agreed = metrics["test"], metrics["test"].get("annotators_agree")
        agreement = "–" if agreed is None else f"{agreed['accuracy']:.1%}"
        time = latency["lower_is_better"][f"{name}, µs"]
        faster = latency["higher_is_better"][f"{name}, times as fast as baseline"]
        size = emotion_models.model_path(name).stat().st_size / 1e6
        default = ", the default" if name == emotion_models.DEFAULT_MODEL else ""
        lines.append(
            f"| [`{name}`](models/emotion_models/cards/{name}.md){default} | "
            f"{test['accuracy']:.1%} | {agreement} | "
            f"{accuracy[f'{name}, accuracy on damaged pictures']:.1%} | "
            f"{amount(time)} µs ({faster:.1f} ×) | {size:.2f} MB |"
        )
    return "\n".join(lines)


def _speed() -> str:
    """Lay out what the rest costs, each with the command that repeats it."""
    default = emotion_models.DEFAULT_MODEL
    folder, cold = result("folder"), result("cold_start")["lower_is_better"]
    each = folder["lower_is_better"]
    ours, loop = f"emotion-infer, {default}", "plain loop, baseline"
    photos, footprint = result("photos"), result("footprint")["lower_is_better"]
    photo = photos["lower_is_better"]
    backends, faces = (result(name)["lower_is_better"] for name in ("backends", "faces"))
    torch_time = backends["edge, PyTorch, batch 1, µs"]
    peer = each.get("the package fer, µs a picture")
    rows = [
        (
            f"a folder of {folder['pictures']:,} JPEGs, time of one picture",
            f"{amount(each[f'{ours}, µs a picture'])} µs, with `[fast]` "
            f"{amount(each[f'{ours} [fast], µs a picture'])} µs; a plain loop over `baseline` "
            f"{amount(each[f'{loop}, µs a picture'])} µs"
            + ("" if peer is None else f", the package `fer` {amount(peer)} µs"),
            "folder.py fer2013/test/{happy,sad,surprise}",
        ),
        (
            "one face, `edge`",
            f"{amount(backends['edge, onnxruntime, batch 1, µs'])} µs, int8 "
            f"{amount(backends['edge, onnxruntime, int8, batch 1, µs'])} µs; PyTorch "
            f"{amount(torch_time)} µs",
            "backends.py",
        ),
        (
            "from the start of the process to the first prediction",
            f"{amount(cold['emotion-infer, ms'])} ms; a bare script "
            f"{amount(cold['bare script, ms'])} ms"
            + (
                f", `import torch` alone {amount(cold['import torch, ms'])} ms"
                if "import torch, ms" in cold
                else ""
            ),
            "cold_start.py",
        ),
        (
            "peak memory, 100,000 pictures",
            f"{amount(footprint['peak memory, 100,000 pictures, MiB'])} MiB; 1,000 pictures "
            f"{amount(footprint['peak memory, 1,000 pictures, MiB'])} MiB",
            "footprint.py",
        ),
        (
            "decoding a JPEG of 12 megapixels for the network, without finding faces",
            f"{amount(photo['read_face, ms'])} ms at reduced scale; {amount(photo['in full, ms'])} "
            "ms in full",
            "photos.py",
        ),
        (
            "a photograph of 2 megapixels with three faces: decoded, found, classified",
            f"{amount(faces['faces, one worker, ms a photograph'])} ms with one worker",
            "faces.py",
        ),
        (
            "light install, with numpy and onnxruntime",
            f"{amount(footprint['light install, with all that it needs, MB'])} MB",
            "footprint.py",
        ),
    ]
    lines = ["| what | figure | reproduce with |", "| --- | --- | --- |"]
    lines += [f"| {what} | {figure} | `python benchmarks/{how}` |" for what, figure, how in rows]
    return "\n".join(lines)


def main() -> None:
    """Fill both files, or say which one is not filled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check = parser.parse_args().check
    stale = []
    for path, block in (
        (ROOT / "README.md", of_project),
        (ROOT / "benchmarks" / "README.md", of_benchmarks),
    ):
        before = path.read_text(encoding="utf-8")
        after = fill(before, block)
        if after != before:
            stale.append(path.name)
            if not check:
                path.write_text(after, encoding="utf-8")
    if check and stale:
        sys.exit(f"{', '.join(stale)}: figures differ from results/; run fill_readme.py")


if __name__ == "__main__":
    main()
