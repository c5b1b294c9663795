"""Time faces in photographs: ``python benchmarks/faces.py [PHOTOS]``.

Compares `FaceClassifier.predict_many` with decoding and detection alone, and the detectors with
each other.
PHOTOS is a folder. Without it, scenes of two megapixels with samples as faces are drawn: their
faces are known, so that the faces that each detector misses are counted too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
from PIL import Image

from emotion_runtime import EmotionClassifier, FaceClassifier
from emotion_runtime.cpus import count_usable_cpus
from emotion_runtime.errors import DetectorError
from emotion_runtime.faces.detectors import DETECTORS, open_detector
from emotion_runtime.faces.finder import FaceFinder
from emotion_runtime.pictures.sources import find_pictures
from harness import format_table, medians, ratios, take_turns
from results import ResultOptions, benchmark_command, draw_bars, report_result

SAMPLES = Path(__file__).parent.parent / "samples"
SIDES_PIXELS = (90, 140, 260)  # of the samples in a drawn scene


def draw_scenes(folder: Path, count: int = 24) -> int:
    """Draw scenes of 1600×1200 pixels with three samples each; return the number of faces."""
    rng = np.random.default_rng(0)
    samples = sorted(SAMPLES.glob("*.png"))
    for number in range(count):
        noise = rng.integers(40, 216, (9, 12, 3), dtype=np.uint8)
        scene = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC)
        for position, side in enumerate(rng.permutation(SIDES_PIXELS)):
            face = Image.open(samples[rng.integers(len(samples))]).convert("RGB")
            corner = (100 + 500 * position, int(rng.integers(50, 900)))
            scene.paste(face.resize((side, side), Image.Resampling.BICUBIC), corner)
        scene.save(folder / f"{number:02}.jpg", quality=90)
    return count * len(SIDES_PIXELS)


def count_faces(classifier: FaceClassifier, photos: Iterable[str]) -> int:
    """Return the number of faces that a detector finds."""
    predictions = classifier.predict_many(photos)
    return sum(prediction.label is not None for prediction in predictions)


@benchmark_command(__doc__, rounds=7)
@click.argument(
    "photos", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
def main(options: ResultOptions, photos: Path | None, rounds: int) -> None:
    """Print tables of milliseconds a photograph."""
    with tempfile.TemporaryDirectory() as temporary:
        known = draw_scenes(Path(temporary)) if photos is None else None
        measure(options, list(find_pictures([str(photos or temporary)])), known, rounds)


def measure(options: ResultOptions, photos: list[str], known: int | None, rounds: int) -> None:
    """Time the cases and report the result; `known` is the number of faces in the photographs."""
    classifier = EmotionClassifier()
    classifiers = {}
    for name in DETECTORS:
        try:
            classifiers[name] = FaceClassifier(classifier, FaceFinder(open_detector(name)))
        except DetectorError as error:
            print(f"left out: {str(error).splitlines()[0]}")
    default = classifiers[DETECTORS[0]]
    cases = {
        "decoding and detection alone": lambda: [default.finder.locate(photo) for photo in photos],
        "faces, one worker": lambda: list(default.predict_many(photos, workers=1)),
        f"faces, {count_usable_cpus()} workers": lambda: list(default.predict_many(photos)),
    }
    for name, other in list(classifiers.items())[1:]:
        cases[f"{name}, one worker"] = lambda other=other: list(
            other.predict_many(photos, workers=1)
        )
    seconds = take_turns(cases, rounds=rounds)
    text = f"{len(photos)} photographs"
    counts = {name: count_faces(one, photos) for name, one in classifiers.items()}
    parts = ", ".join(f"{name} finds {count}" for name, count in counts.items())
    text += f" with {known} faces; {parts}.\n\n" if known else f"; {parts} faces.\n\n"
    reference = next(iter(cases))
    text += format_table(seconds, reference, count=len(photos))
    times = medians(seconds, unit=1e3, count=len(photos))
    report_result(
        options,
        "faces",
        text,
        lower={
            **{f"{name}, ms a photograph": value for name, value in times.items()},
            "times decoding and detection": ratios(seconds, "faces, one worker", reference)[1],
        },
        draw=lambda figure: draw_bars(figure, times, "ms a photograph"),
    )


if __name__ == "__main__":
    main()
