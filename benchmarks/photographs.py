"""Measure faces in photographs: ``python benchmarks/photographs.py FOLDER [--baseline CHECKOUT]``.

FOLDER holds photographs and ``boxes.json``, which gives the faces of each: file name → list of
[x, y, width, height] in pixels. Reported are recall and boxes that match no face, by size and by
detection threshold (faces that are not given count as such, too); what a photograph costs, stage
by stage and beside decoding alone; and how many faces are found in a panorama of 24 photographs.
A found box is a face where it overlaps a given one by an intersection over union of at least 0.5,
one to one, the surest box first. Times are CPU time, which other work on the machine does not
lengthen.

With ``--baseline``, another checkout of this repository is measured too, in a process of its own
whose turns alternate with those of this one, so that whatever else runs hits both alike.
"""

from __future__ import annotations

import argparse
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

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
MIN_OVERLAP = 0.5  # intersection over union of a found box and a given one
MIN_CONTACT = 0.2  # of a box that lies on a given face, if not well
MIN_HEIGHT = 30  # pixels of the recall that is quoted
SIZES = ((0, 20), (20, 30), (30, 60), (60, 100_000))  # pixels of height
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
PANORAMA_PHOTOGRAPHS, PANORAMA_HEIGHT = 24, 450  # beside each other; pixels
MAX_PANORAMA_FACES = 3  # of one of its photographs
SCENES = {"12 MP": ((4032, 3024), 500), "2 MP": ((1632, 1224), 200)}  # size, side of a face

Boxes = Sequence[Sequence[float]]


class Version:
    """A checkout, measured in a process of its own.

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
        """Run a function of `_TASKS` in the process, and return what it returns."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([task, *arguments]) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise SystemExit("the process that measures has ended; its error is above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


# In the measured process: nothing but what every version has, and what came with it later is
# looked for.


def serve() -> None:
    """Run tasks, one JSON line each, until standard input ends."""
    for line in sys.stdin:
        task, *arguments = json.loads(line)
        print(json.dumps(_TASKS[task](*arguments)), flush=True)


def _finder(threshold: float | None) -> Any:
    import inspect

    from emotion_runtime import FaceFinder

    if threshold is None:
        return FaceFinder()
    names = inspect.signature(FaceFinder).parameters
    name = "threshold" if "threshold" in names else "floor"
    return FaceFinder(**{name: threshold})


def _find(paths: list[str], threshold: float | None) -> list[Boxes]:
    finder = _finder(threshold)
    return [
        [[*face.box, face.confidence] for face in finder.find(path)] for path in paths
    ]  # fmt: skip


_kept: dict[str, Any] = {}


def _classifier() -> tuple[Any, Any]:
    if not _kept:
        from emotion_runtime import EmotionClassifier

        _kept["both"] = EmotionClassifier(), _finder(None)
    both: tuple[Any, Any] = _kept["both"]
    return both


def _time(paths: list[str]) -> float:
    """Return the seconds of finding and classifying the faces of photographs."""
    import emotion_runtime

    classifier, finder = _classifier()
    if "FaceClassifier" in emotion_runtime.__all__:
        predict = emotion_runtime.FaceClassifier(classifier, finder).predict
    else:  # an earlier version
        predict = functools.partial(classifier.predict_faces, finder=finder)
    started = time.process_time()
    for path in paths:
        predict(path)
    return time.process_time() - started


def _time_decoding(paths: list[str]) -> float:
    """Return the seconds of decoding photographs alone, at the scale that 1,024 pixels need."""
    started = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            image.draft("RGB", (1000, 750))
            image.load()
    return time.process_time() - started


def _stages(paths: list[str]) -> dict[str, float]:
    """Return stage → seconds."""
    classifier, finder = _classifier()
    spent: dict[str, float] = {}
    undo = []

    def watch(owner: Any, attribute: str, stage: str) -> None:
        plain = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return plain(*args, **kwargs)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.process_time() - started

        setattr(owner, attribute, timed)
        undo.append(lambda: setattr(owner, attribute, plain))

    detector = finder._detector
    watch(detector, "detect", "detect")
    watch(detector._session, "run", "network")
    watch(
        finder, "_decode_reduced" if hasattr(finder, "_decode_reduced") else "_reduced", "decoding"
    )
    watch(finder, "_detect", "search")
    watch(classifier, "compute" if hasattr(classifier, "compute") else "infer", "classifier")
    try:
        total = _time(paths)
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


_TASKS = {"find": _find, "time": _time, "decode": _time_decoding, "stages": _stages}


# In the measuring process.


def match(found: Boxes, given: Boxes) -> tuple[set[int], set[int]]:
    """Return which of `found` are faces, and which of `given` were found, by their places.

    Args:
        found: x, y, width, height and confidence of each; the surest is matched first.
        given: x, y, width and height of each.
    """
    from emotion_runtime import Box
    from emotion_runtime.faces.detection import compute_iou

    faces: set[int] = set()
    taken: set[int] = set()
    for place in sorted(range(len(found)), key=lambda place: -found[place][4]):
        shares = [
            0.0 if at in taken else compute_iou(Box(*found[place][:4]), Box(*one))
            for at, one in enumerate(given)
        ]
        if shares and max(shares) >= MIN_OVERLAP:
            faces.add(place)
            taken.add(shares.index(max(shares)))
    return faces, taken


def count(found: Sequence[Boxes], given: Sequence[Boxes]) -> dict[str, float]:
    """Count faces, found ones and boxes that are no face, in all and by height."""
    counts: dict[str, float] = {"boxes": 0, "no face": 0, "elsewhere": 0}
    for low, _ in SIZES:
        counts |= dict.fromkeys((f"faces {low}", f"found {low}", f"no face {low}"), 0)
    counts |= {"faces": 0, "found": 0}
    for boxes, marked in zip(found, given, strict=True):
        faces, taken = match(boxes, marked)
        counts["boxes"] += len(boxes)
        counts["no face"] += len(boxes) - len(faces)
        for at, one in enumerate(marked):
            low = _low(one[3])
            counts[f"faces {low}"] += 1
            counts[f"found {low}"] += at in taken
            counts["faces"] += one[3] >= MIN_HEIGHT
            counts["found"] += one[3] >= MIN_HEIGHT and at in taken
        for place, one in enumerate(boxes):
            counts[f"no face {_low(one[3])}"] += place not in faces
            counts["elsewhere"] += place not in faces and not _touches(one, marked)
    return counts


def _touches(box: Sequence[float], marked: Boxes) -> bool:
    """Return whether a box lies on a given face."""
    from emotion_runtime import Box
    from emotion_runtime.faces.detection import compute_iou

    return any(compute_iou(Box(*box[:4]), Box(*one)) >= MIN_CONTACT for one in marked)


def _low(height: float) -> int:
    return next(low for low, high in SIZES if height < high)


def recall_table(counts: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out recall and boxes that are no face by height, a column for each version."""
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


def threshold_table(counts: Mapping[float, Mapping[str, float]]) -> str:
    """Lay out both error rates for each detection threshold."""
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
    """Draw a photograph's worth of pixels with two of the samples in it."""
    rng = np.random.default_rng(0)
    noise = rng.integers(40, 216, (9, 12, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    for place, name in enumerate(("happy_01", "surprise_03")):
        face = Image.open(HERE.parent / "samples" / f"{name}.png").convert("RGB")
        corner = size[0] // 5 + place * size[0] // 2, size[1] // 3
        scene.paste(face.resize((side, side), Image.Resampling.BICUBIC), corner)
    # Grain, so that decoding costs what it does for a photograph.
    grain = rng.integers(-6, 7, (size[1], size[0], 1), dtype=np.int16)
    pixels = np.clip(np.asarray(scene, dtype=np.int16) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def draw_panorama(path: Path, photographs: Sequence[Path], given: Sequence[Boxes]) -> Boxes:
    """Put photographs beside each other in one picture; return its faces."""
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


def main() -> None:
    """Measure, and print tables."""
    if sys.argv[1:] == ["--serve"]:
        serve()
        return
    from results import options

    parser = options(__doc__, rounds=5)
    parser.add_argument("folder", type=Path, help="photographs, and boxes.json")
    parser.add_argument("--baseline", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--no-times", action="store_true", help="count faces only")
    chosen = parser.parse_args()
    try:
        marked = json.loads((chosen.folder / "boxes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{chosen.folder / 'boxes.json'}: cannot be read ({error}).") from error
    versions = {"now": Version(HERE.parent)}
    if chosen.baseline is not None:
        versions = {"baseline": Version(chosen.baseline), **versions}
    try:
        measure(chosen, marked, versions)
    finally:
        for version in versions.values():
            version.close()


def measure(
    chosen: argparse.Namespace, marked: dict[str, Boxes], versions: dict[str, Version]
) -> None:
    """Count and time, and leave the results."""
    from results import finish

    photographs = [chosen.folder / name for name in sorted(marked)]
    paths = list(map(str, photographs))
    given = [marked[path.name] for path in photographs]
    faces = sum(map(len, given))
    counts = {
        name: count(version.call("find", paths, None), given) for name, version in versions.items()
    }
    swept = {
        threshold: count(versions["now"].call("find", paths, threshold), given)
        for threshold in THRESHOLDS
    }
    now = counts["now"]
    text = f"{len(paths)} photographs with {faces} faces, default options.\n\n"
    text += recall_table(counts) + "\n\n" + threshold_table(swept)
    higher = {
        f"recall from {MIN_HEIGHT} pixels": now["found"] / max(1, now["faces"]),
        "recall of 20 to 30 pixels": now["found 20"] / max(1, now["faces 20"]),
    }
    lower = {"boxes that match no face, share": now["no face"] / max(1, now["boxes"])}
    with tempfile.TemporaryDirectory() as made:
        few = [at for at, boxes in enumerate(given) if 0 < len(boxes) <= MAX_PANORAMA_FACES]
        few = few[:PANORAMA_PHOTOGRAPHS]
        panorama = Path(made) / "panorama.jpg"
        joined = draw_panorama(panorama, [photographs[at] for at in few], [given[at] for at in few])
        found = {
            name: count(version.call("find", [str(panorama)], None), [joined])
            for name, version in versions.items()
        }
        parts = "; ".join(
            f"{name}: {sum(one[f'found {low}'] for low, _ in SIZES):.0f} found"
            for name, one in found.items()
        )
        text += f"\n\nA panorama of {len(few)} photographs with {len(joined)} faces: {parts}."
        if not chosen.no_times:
            table, figures = times(chosen.rounds, Path(made), paths, versions)
            text += "\n\n" + table
            lower |= figures
    finish(
        chosen,
        "photographs",
        text,
        lower=lower,
        higher=higher,
    )


def times(
    rounds: int, made: Path, paths: list[str], versions: Mapping[str, Version]
) -> tuple[str, dict[str, float]]:
    """Time the versions in turns; return markdown, and figures of which less is better."""
    from harness import amount, ratios, take_turns

    cases: dict[str, list[str]] = {}
    for name, (size, side) in SCENES.items():
        draw_scene(made / f"{name}.jpg", size, side)
        cases[name] = [str(made / f"{name}.jpg")]
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
        seconds = {key: values[1:] for key, values in reported.items()}  # the first warms up
        middle = {key: float(np.median(one)) * 1e3 / len(files) for key, one in seconds.items()}
        share = f"{ratios(seconds, 'now', 'baseline')[1]:.2f}" if "baseline" in versions else "–"
        beside = ratios(seconds, "now", "decoding")[1]
        cells = "".join(f" {amount(middle[key])} |" for key in versions)
        lines.append(f"| {name} |{cells} {share} | {amount(middle['decoding'])} | {beside:.1f} |")
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
    main()
