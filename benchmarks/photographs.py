"""Measure faces in photographs: ``python benchmarks/photographs.py FOLDER [--baseline CHECKOUT]``.

FOLDER has photographs and ``boxes.json`` with the faces of each: file name → list of
[x, y, width, height] in pixels. Reports recall and boxes that match no face, by size and by
detection threshold; the time of a photograph by stage, compared with decoding alone; and the
faces found in a panorama of 24 photographs. A found box matches a given one if their intersection
over union is at least 0.5; the most confident box is matched first, and each box once. A found
face that ``boxes.json`` lacks counts as a box that matches no face. Times are CPU times, which
other work on the machine changes little.

With ``--baseline``, another checkout of this repository is measured in a process of its own that
takes turns with this one, so that other load affects both alike.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from harness import format_amount, ratios, take_turns
from results import ResultOptions, benchmark_command, report_result

HERE = Path(__file__).resolve().parent
MIN_OVERLAP = 0.5  # intersection over union of a found box and a given one
MIN_CONTACT = (
    0.2  # intersection over union of a box that is on a given face, though it does not match
)
MIN_HEIGHT = 30  # pixels of the faces in the main recall
SIZES = ((0, 20), (20, 30), (30, 60), (60, 100_000))  # pixels of height
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
PANORAMA_PHOTOGRAPHS, PANORAMA_HEIGHT = 24, 450  # side by side; pixels
MAX_PANORAMA_FACES = 3  # in a photograph of the panorama
SCENES = {"12 MP": ((4032, 3024), 500), "2 MP": ((1632, 1224), 200)}  # size, side of a face

Boxes = Sequence[Sequence[float]]


class Version:
    """A checkout that is measured in its own process.

    Args:
        checkout: The folder of the repository.
    """

    def __init__(self, checkout: Path) -> None:
        sources = [str(checkout.resolve() / name) for name in ("models", "runtime")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sources)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def call(self, task: str, *arguments: object) -> Any:
        """Run a function of `_TASKS` in the process and return its result."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([task, *arguments]) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise SystemExit("the measured process has ended; its error is above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


# In the measured process. Only functions that every version has are used; later ones are optional.


def serve() -> None:
    """Run the tasks on standard input, one JSON line each, until it ends."""
    for line in sys.stdin:
        task, *arguments = json.loads(line)
        print(json.dumps(_TASKS[task](*arguments)), flush=True)


def _open_finder(threshold: float | None) -> Any:
    import inspect

    from emotion_runtime import FaceFinder

    if threshold is None:
        return FaceFinder()
    names = inspect.signature(FaceFinder).parameters
    name = "threshold" if "threshold" in names else "floor"
    return FaceFinder(**{name: threshold})


def _find(paths: list[str], threshold: float | None) -> list[Boxes]:
    finder = _open_finder(threshold)
    return [
        [[*face.box, face.confidence] for face in finder.find(path)] for path in paths
    ]  # fmt: skip


@functools.cache
def _open_classifier() -> tuple[Any, Any]:
    """Return the classifier and the face finder, opened once."""
    from emotion_runtime import EmotionClassifier

    return EmotionClassifier(), _open_finder(None)


def _time_faces(paths: list[str]) -> float:
    """Return the seconds to find and classify the faces of photographs."""
    import emotion_runtime

    classifier, finder = _open_classifier()
    if "FaceClassifier" in emotion_runtime.__all__:
        predict = emotion_runtime.FaceClassifier(classifier, finder).predict
    else:  # an earlier version
        predict = functools.partial(classifier.predict_faces, finder=finder)
    started = time.process_time()
    for path in paths:
        predict(path)
    return time.process_time() - started


def _time_decoding(paths: list[str]) -> float:
    """Return the seconds to decode photographs, at the reduced scale for 1,024 pixels."""
    started = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            image.draft("RGB", (1000, 750))
            image.load()
    return time.process_time() - started


def _time_stages(paths: list[str]) -> dict[str, float]:
    """Return the seconds of each stage."""
    classifier, finder = _open_classifier()
    spent: dict[str, float] = {}
    undo = []

    def watch(owner: Any, attribute: str, stage: str) -> None:
        original = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.process_time() - started

        setattr(owner, attribute, timed)
        undo.append(lambda: setattr(owner, attribute, original))

    detector = finder._detector
    watch(detector, "detect", "detect")
    watch(detector._session, "run", "network")
    watch(
        finder, "_decode_reduced" if hasattr(finder, "_decode_reduced") else "_reduced", "decoding"
    )
    watch(finder, "_detect", "search")
    watch(classifier, "compute" if hasattr(classifier, "compute") else "infer", "classifier")
    try:
        total = _time_faces(paths)
    finally:
        for one in undo:
            one()
    named = {
        "decoding, turning, RGB": spent["decoding"],
        "resizing, joining looks": spent["search"] - spent["detect"],
        "detector network": spent["network"],
        "boxes and non-maximum suppression": spent["detect"] - spent["network"],
        "classifier": spent.get("classifier", 0.0),
    }
    return named | {"crops and the rest": total - sum(named.values())}


_TASKS = {"find": _find, "time": _time_faces, "decode": _time_decoding, "stages": _time_stages}


# In the measuring process.


def match(found: Boxes, given: Boxes) -> tuple[set[int], set[int]]:
    """Match found boxes with given faces.

    Args:
        found: x, y, width, height and confidence of each; the most confident is matched first.
        given: x, y, width and height of each.

    Returns:
        The indices of the found boxes that match, and of the given faces that were found.
    """
    from emotion_runtime import Box
    from emotion_runtime.faces.detection import compute_iou

    faces: set[int] = set()
    matched: set[int] = set()
    for index in sorted(range(len(found)), key=lambda index: -found[index][4]):
        shares = [
            0.0 if number in matched else compute_iou(Box(*found[index][:4]), Box(*one))
            for number, one in enumerate(given)
        ]
        if shares and max(shares) >= MIN_OVERLAP:
            faces.add(index)
            matched.add(shares.index(max(shares)))
    return faces, matched


def count_matches(found: Sequence[Boxes], given: Sequence[Boxes]) -> dict[str, float]:
    """Count given faces, found ones and boxes that match no face, in total and by height."""
    counts: dict[str, float] = {"boxes": 0, "no face": 0, "elsewhere": 0}
    for low, _ in SIZES:
        counts |= dict.fromkeys((f"faces {low}", f"found {low}", f"no face {low}"), 0)
    counts |= {"faces": 0, "found": 0}
    for boxes, marked in zip(found, given, strict=True):
        faces, matched = match(boxes, marked)
        counts["boxes"] += len(boxes)
        counts["no face"] += len(boxes) - len(faces)
        for number, one in enumerate(marked):
            low = _find_size(one[3])
            counts[f"faces {low}"] += 1
            counts[f"found {low}"] += number in matched
            counts["faces"] += one[3] >= MIN_HEIGHT
            counts["found"] += one[3] >= MIN_HEIGHT and number in matched
        for index, one in enumerate(boxes):
            counts[f"no face {_find_size(one[3])}"] += index not in faces
            counts["elsewhere"] += index not in faces and not _touches(one, marked)
    return counts


def _touches(box: Sequence[float], marked: Boxes) -> bool:
    """Return whether a box is on a given face, at least in part."""
    from emotion_runtime import Box
    from emotion_runtime.faces.detection import compute_iou

    return any(compute_iou(Box(*box[:4]), Box(*one)) >= MIN_CONTACT for one in marked)


def _find_size(height: float) -> int:
    """Return the lower end of the range of `SIZES` that has the height."""
    return next(low for low, high in SIZES if height < high)


def format_recall(counts: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of recall and boxes that match no face by height, for each version."""
    names = list(counts)
    heads = "".join(f" recall, {name} | no match, {name} |" for name in names)
    lines = [
        f"| height in pixels | faces |{heads}",
        "| --- | ---: |" + " ---: | ---: |" * len(names),
    ]
    for low, high in SIZES:
        span = f"{low}–{high}" if high < SIZES[-1][1] else f"from {low}"
        cells = ""
        for name in names:
            one = counts[name]
            share = one[f"found {low}"] / max(1, one[f"faces {low}"])
            cells += f" {share:.3f} | {one[f'no face {low}']:.0f} |"
        lines.append(f"| {span} | {counts[names[0]][f'faces {low}']:.0f} |{cells}")
    cells = "".join(
        f" {one['found'] / max(1, one['faces']):.3f} | {one['no face']:.0f} of {one['boxes']:.0f} |"
        for one in counts.values()
    )
    lines.append(f"| from {MIN_HEIGHT}; all boxes | {counts[names[0]]['faces']:.0f} |{cells}")
    return "\n".join(lines)


def format_thresholds(counts: Mapping[float, Mapping[str, float]]) -> str:
    """Return a table of the error rates at each detection threshold."""
    lines = [
        f"| detection threshold | recall from {MIN_HEIGHT} pixels | recall of 20–{MIN_HEIGHT} | "
        "boxes that match no given face | of these, on none |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for threshold, one in counts.items():
        lines.append(
            f"| {threshold} | {one['found'] / max(1, one['faces']):.3f} | "
            f"{one['found 20'] / max(1, one['faces 20']):.3f} | "
            f"{one['no face']:.0f} of {one['boxes']:.0f} "
            f"({one['no face'] / max(1, one['boxes']):.1%}) | "
            f"{one['elsewhere']:.0f} ({one['elsewhere'] / max(1, one['boxes']):.1%}) |"
        )
    return "\n".join(lines)


def draw_scene(path: Path, size: tuple[int, int], side: int) -> None:
    """Draw a photograph with two samples as faces."""
    rng = np.random.default_rng(0)
    noise = rng.integers(40, 216, (9, 12, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    for index, name in enumerate(("happy_01", "surprise_03")):
        face = Image.open(HERE.parent / "samples" / f"{name}.png").convert("RGB")
        corner = size[0] // 5 + index * size[0] // 2, size[1] // 3
        scene.paste(face.resize((side, side), Image.Resampling.BICUBIC), corner)
    # Noise, so that decoding takes as long as for a photograph.
    grain = rng.integers(-6, 7, (size[1], size[0], 1), dtype=np.int16)
    pixels = np.clip(np.asarray(scene, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def draw_panorama(path: Path, photographs: Sequence[Path], given: Sequence[Boxes]) -> Boxes:
    """Save photographs side by side as one picture; return its faces."""
    parts: list[Image.Image] = []
    boxes = []
    x = 0
    for photograph, marked in zip(photographs, given, strict=True):
        with Image.open(photograph) as image:
            scale = PANORAMA_HEIGHT / image.height
            size = round(image.width * scale), PANORAMA_HEIGHT
            parts.append(image.convert("RGB").resize(size))
        boxes += [[x + b[0] * scale, b[1] * scale, b[2] * scale, b[3] * scale] for b in marked]
        x += size[0]
    whole = Image.new("RGB", (x, PANORAMA_HEIGHT))
    x = 0
    for part in parts:
        whole.paste(part, (x, 0))
        x += part.width
    whole.save(path, quality=92)
    return boxes


@benchmark_command(__doc__, rounds=5)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--baseline",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout, which takes turns with this one.",
)
@click.option("--no-times", is_flag=True, help="Count faces and measure no times.")
def main(
    options: ResultOptions, folder: Path, baseline: Path | None, no_times: bool, rounds: int
) -> None:
    """Print the tables."""
    try:
        marked = json.loads((folder / "boxes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{folder / 'boxes.json'}: cannot be read ({error}).") from error
    versions = {"now": Version(HERE.parent)}
    if baseline is not None:
        versions = {"baseline": Version(baseline), **versions}
    try:
        measure(options, folder, marked, versions, rounds=0 if no_times else rounds)
    finally:
        for version in versions.values():
            version.close()


def measure(
    options: ResultOptions,
    folder: Path,
    marked: dict[str, Boxes],
    versions: dict[str, Version],
    *,
    rounds: int,
) -> None:
    """Count faces and measure times, and report the results; 0 rounds for no times."""
    photographs = [folder / name for name in sorted(marked)]
    paths = list(map(str, photographs))
    given = [marked[path.name] for path in photographs]
    faces = sum(map(len, given))
    counts = {
        name: count_matches(version.call("find", paths, None), given)
        for name, version in versions.items()
    }
    by_threshold = {
        threshold: count_matches(versions["now"].call("find", paths, threshold), given)
        for threshold in THRESHOLDS
    }
    now = counts["now"]
    text = f"{len(paths)} photographs with {faces} faces, default options.\n\n"
    text += format_recall(counts) + "\n\n" + format_thresholds(by_threshold)
    higher = {
        f"recall from {MIN_HEIGHT} pixels": now["found"] / max(1, now["faces"]),
        "recall of 20 to 30 pixels": now["found 20"] / max(1, now["faces 20"]),
    }
    lower = {"boxes that match no face, share": now["no face"] / max(1, now["boxes"])}
    with tempfile.TemporaryDirectory() as temporary:
        few = [
            (path, boxes)
            for path, boxes in zip(photographs, given, strict=True)
            if 0 < len(boxes) <= MAX_PANORAMA_FACES
        ][:PANORAMA_PHOTOGRAPHS]
        panorama = Path(temporary) / "panorama.jpg"
        joined = draw_panorama(panorama, [path for path, _ in few], [boxes for _, boxes in few])
        found = {
            name: count_matches(version.call("find", [str(panorama)], None), [joined])
            for name, version in versions.items()
        }
        parts = "; ".join(
            f"{name}: {sum(one[f'found {low}'] for low, _ in SIZES):.0f} found"
            for name, one in found.items()
        )
        text += f"\n\nA panorama of {len(few)} photographs with {len(joined)} faces: {parts}."
        if rounds:
            table, figures = measure_times(rounds, Path(temporary), paths, versions)
            text += "\n\n" + table
            lower |= figures
    report_result(
        options,
        "photographs",
        text,
        lower=lower,
        higher=higher,
    )


def measure_times(
    rounds: int, folder: Path, paths: list[str], versions: Mapping[str, Version]
) -> tuple[str, dict[str, float]]:
    """Time the versions in turns; return tables, and figures for which lower is better."""
    cases: dict[str, list[str]] = {}
    for name, (size, side) in SCENES.items():
        draw_scene(folder / f"{name}.jpg", size, side)
        cases[name] = [str(folder / f"{name}.jpg")]
    cases["the folder's"] = paths
    heads = "".join(f" {name}, ms |" for name in versions)
    lines = [
        f"| photographs |{heads} now × baseline | decoding alone, ms | now × decoding |",
        "| --- |" + " ---: |" * (len(versions) + 3),
    ]
    figures = {}
    for name, files in cases.items():
        reported: dict[str, list[float]] = {key: [] for key in [*versions, "decoding"]}

        def run(key: str, files: list[str] = files, reported: Any = reported) -> None:
            version = versions["now" if key == "decoding" else key]
            task = "decode" if key == "decoding" else "time"
            reported[key].append(version.call(task, files))

        take_turns({key: (lambda key=key: run(key)) for key in reported}, rounds=rounds)
        seconds = {key: values[1:] for key, values in reported.items()}  # the first is a warm-up
        middle = {key: float(np.median(one)) * 1e3 / len(files) for key, one in seconds.items()}
        share = f"{ratios(seconds, 'now', 'baseline')[1]:.2f}" if "baseline" in versions else "–"
        beside = ratios(seconds, "now", "decoding")[1]
        cells = "".join(f" {format_amount(middle[key])} |" for key in versions)
        lines.append(
            f"| {name} |{cells} {share} | {format_amount(middle['decoding'])} | {beside:.1f} |"
        )
        figures[f"{name}, ms a photograph"] = middle["now"]
        figures[f"{name}, times decoding"] = beside
    lines += ["", "| stage |" + "".join(f" {name} |" for name in SCENES)]
    lines += ["| --- |" + " ---: |" * len(SCENES)]
    stages = {name: versions["now"].call("stages", cases[name] * rounds) for name in SCENES}
    for stage in next(iter(stages.values())):
        shares = (one[stage] / sum(one.values()) for one in stages.values())
        lines.append(f"| {stage} |" + "".join(f" {share:.0%} |" for share in shares))
    return "\n".join(lines), figures


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main()
