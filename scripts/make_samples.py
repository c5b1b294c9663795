"""Make the pictures of samples/: average faces, each the mean of 24 training faces or more.

    python scripts/make_samples.py DATA [FOLDER]

DATA is FER2013 as for emotion-train. Averages show an expression and no person, so that they may
be given away where the data may not.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from emotion_train.data.dataset import load_dataset
from emotion_train.data.held_out_draw import BY_PLACE
from emotion_train.recipe import DROP_HELD_OUT
from emotion_train.report.average_faces import make_average_faces

PER_CLASS = 10
SAMPLES = Path(__file__).parents[1] / "samples"


def main(data: Path, folder: Path) -> None:
    """Write ``<class>_01.png`` and on for every class into `folder`."""
    # The draw of the version that made the samples first: the same training faces again.
    dataset = load_dataset(data, holdout=0.0, duplicates=DROP_HELD_OUT, draw=BY_PLACE)
    for label, name in enumerate(dataset.classes):
        faces = make_average_faces(dataset.train, label, PER_CLASS)
        for number, face in enumerate(faces, start=1):
            Image.fromarray(face).save(folder / f"{name}_{number:02}.png", optimize=True)
        print(f"{name}: {len(faces)}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else SAMPLES)
