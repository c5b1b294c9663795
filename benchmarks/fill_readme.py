"""Copy figures into the READMEs: ``python benchmarks/fill_readme.py [--check]``.

The tables of ``benchmarks/README.md`` and ``docs/devices.md`` come from ``results/NAME.md``, those
of ``README.md`` from ``results/*.json`` and from the released model files. None of these figures is
written by hand; a test runs this script with ``--check``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import emotion_models
from emotion_runtime.classifier import EmotionClassifier
from harness import format_amount
from results import RESULTS

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def fill(text: str, block: Callable[[str], str]) -> str:
    """Replace the text between two marks with what `block` returns for the name in the marks."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2])}\n\n{found[3]}", text)


def read_result(name: str) -> dict[str, Any]:
    """Return the figures of a benchmark."""
    values: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return values


def format_machine(name: str) -> str:
    """Return the machine and the versions of a benchmark's result, as a sentence."""
    machine = read_result(name)["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    cpus = f"{machine['cpus']} CPU{'s' if machine['cpus'] > 1 else ''}"
    return (
        f"{machine['cpu']} ({', '.join(machine['instructions'])}), {cpus}, "
        f"{machine['memory_gib']:.0f} GiB, Python {machine['python']}, {versions}."
    )


def format_benchmark(name: str) -> str:
    """Return the table and the picture of a benchmark, or the machine, Markdown."""
    if name == "machine":
        return format_machine("latency")
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
    if read_result(name)["machine"]["cpu"] != read_result("latency")["machine"]["cpu"]:
        text += f"\n\nMeasured on another machine: {format_machine(name)}"
    picture = RESULTS / f"{name}.png"
    return f"{text}\n\n![{name}](results/{name}.png)" if picture.exists() else text


def format_summary(name: str) -> str:
    """Return a table for the README of the project, Markdown."""
    return {"models": _format_models, "speed": _format_speed}[name]()


def _format_models() -> str:
    """Return the table of the released models, the default first."""
    latency = read_result("latency")
    lines = [
        "| released model | labels | test accuracy | where annotators agree | right label | "
        "neutral is `other` | damaged pictures | one face, one thread | file |",
        "| --- | --- |" + " ---: |" * 7,
    ]
    accuracy = read_result("accuracy")["higher_is_better"]
    released = sorted(emotion_models.names(), key=lambda n: n != emotion_models.DEFAULT_MODEL)
    for name in released:
        contract = EmotionClassifier(name).contract
        metrics, labels = contract.metrics, contract.labels
        more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
        test = metrics["test"]
        agreed, right, neutral = _format_agreement(test)
        time = latency["lower_is_better"][f"{name}, µs"]
        faster = latency["higher_is_better"][f"{name}, times as fast as baseline"]
        size = emotion_models.model_path(name).stat().st_size / 1e6
        default = ", the default" if name == emotion_models.DEFAULT_MODEL else ""
        lines.append(
            f"| [`{name}`](models/emotion_models/cards/{name}.md){default} | "
            f"{', '.join(labels[:3])}{more} | "
            f"{test['accuracy']:.1%} | {agreed} | {right} | {neutral} | "
            f"{accuracy[f'{name}, accuracy on damaged pictures']:.1%} | "
            f"{format_amount(time)} µs ({faster:.1f} ×) | {size:.2f} MB |"
        )
    return "\n".join(lines)


def _format_agreement(test: dict[str, Any]) -> tuple[str, str, str]:
    """Return figures by the annotators' votes, and the share of neutral faces that get `other`."""
    other = test.get("other")
    if other is None:
        agreed = test.get("annotators_agree")
        return ("–" if agreed is None else f"{agreed['accuracy']:.1%}", "–", "–")
    unnamed = 1 - other["other_classes"]["neutral"]["named"]
    return (f"{other['accuracy']:.1%}", f"{other['named_correctly']:.1%}", f"{unnamed:.1%}")


def _format_speed() -> str:
    """Return the table of times and sizes, each with the command that measures it."""
    default = emotion_models.DEFAULT_MODEL
    folder, cold = read_result("folder"), read_result("cold_start")["lower_is_better"]
    each = folder["lower_is_better"]
    ours, loop = f"emotion-infer, {default}", "plain loop, baseline"
    photos, footprint = read_result("photos"), read_result("footprint")["lower_is_better"]
    photo = photos["lower_is_better"]
    backends, faces = (read_result(name)["lower_is_better"] for name in ("backends", "faces"))
    torch_time = backends["edge, PyTorch, batch 1, µs"]
    peer = each.get("the package fer, µs a picture")
    rows = [
        (
            f"a folder of {folder['pictures']:,} JPEGs, time of one picture",
            f"{format_amount(each[f'{ours}, µs a picture'])} µs, with `[fast]` "
            f"{format_amount(each[f'{ours} [fast], µs a picture'])} µs; "
            f"a plain loop over `baseline` {format_amount(each[f'{loop}, µs a picture'])} µs"
            + ("" if peer is None else f", the package `fer` {format_amount(peer)} µs"),
            "folder.py fer2013/test/{happy,sad,surprise}",
        ),
        (
            "one face, `edge`",
            f"{format_amount(backends['edge, onnxruntime, batch 1, µs'])} µs, int8 "
            f"{format_amount(backends['edge, onnxruntime, int8, batch 1, µs'])} µs; PyTorch "
            f"{format_amount(torch_time)} µs",
            "backends.py",
        ),
        (
            "from the start of the process to the first prediction",
            f"{format_amount(cold['emotion-infer, ms'])} ms; a bare script "
            f"{format_amount(cold['bare script, ms'])} ms"
            + (
                f", `import torch` alone {format_amount(cold['import torch, ms'])} ms"
                if "import torch, ms" in cold
                else ""
            ),
            "cold_start.py",
        ),
        (
            "peak memory, 100,000 pictures",
            f"{format_amount(footprint['peak memory, 100,000 pictures, MiB'])} MiB; 1,000 pictures "
            f"{format_amount(footprint['peak memory, 1,000 pictures, MiB'])} MiB",
            "footprint.py",
        ),
        (
            "decoding a JPEG of 12 megapixels for the network, without finding faces",
            f"{format_amount(photo['read_face, ms'])} ms at reduced scale; "
            f"{format_amount(photo['in full, ms'])} ms in full",
            "photos.py",
        ),
        (
            "a photograph of 2 megapixels with three faces: decoded, found, classified",
            f"{format_amount(faces['faces, one worker, ms a photograph'])} ms with one worker",
            "faces.py",
        ),
        (
            "light install, with numpy and onnxruntime",
            f"{format_amount(footprint['light install, with all that it needs, MB'])} MB",
            "footprint.py",
        ),
    ]
    lines = ["| what | figure | reproduce with |", "| --- | --- | --- |"]
    lines += [f"| {what} | {figure} | `python benchmarks/{how}` |" for what, figure, how in rows]
    return "\n".join(lines) + f"\n\n{_name_cpus([how.split('.')[0] for *_, how in rows])}"


def _name_cpus(names: list[str]) -> str:
    """Return a sentence with the CPU of each benchmark."""
    measured: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        machine = read_result(name)["machine"]
        cpu = f"{machine['cpus']} CPUs of {machine['cpu']} ({', '.join(machine['instructions'])})"
        measured.setdefault(cpu, []).append(name)
    if len(measured) == 1:
        return f"*Measured on {next(iter(measured))}.*"
    parts = (f"{', '.join(some)}: {cpu}" for cpu, some in measured.items())
    return f"*Measured on different machines: {'; '.join(parts)}.*"


def format_budgets(name: str) -> str:
    """Return the tables of what a device needs, Markdown: those of `footprint.py`."""
    assert name == "budgets", name
    text = (RESULTS / "footprint.md").read_text(encoding="utf-8").strip()
    return f"{text}\n\nMeasured on: {format_machine('footprint')}"


@click.command(help=__doc__.splitlines()[0])
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a file is out of date.")
def main(check: bool) -> None:
    """Update the files, or check that they are up to date."""
    stale = []
    for path, block in (
        (ROOT / "README.md", format_summary),
        (ROOT / "benchmarks" / "README.md", format_benchmark),
        (ROOT / "docs" / "devices.md", format_budgets),
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
