"""Make the pictures in samples/: average faces, each the mean of 24 training faces or more.

    python scripts/make_samples.py DATA [FOLDER]

DATA is FER2013 as for emotion-train. An average shows an expression and no person, so that it may
be published although the data may not.
"""

from __future__ import annotations

from pathlib import Path

import click
from PIL import Image

from emotion_train.data.dataset import load_dataset
from emotion_train.data.held_out_draw import BY_PLACE
from emotion_train.recipe import DROP_HELD_OUT
from emotion_train.report.average_faces import make_average_faces

FACES_PER_CLASS = 10
SAMPLES_FOLDER = Path(__file__).parents[1] / "samples"


@click.command(help=__doc__.splitlines()[0])
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", default=SAMPLES_FOLDER, type=click.Path(path_type=Path))
def main(data: Path, folder: Path) -> None:
    """Write ``<class>_01.png``, ``<class>_02.png`` … of each class into `folder`."""
    # The held-out draw with which the samples were first made, so that the faces are the same.
    dataset = load_dataset(data, holdout=0.0, duplicates=DROP_HELD_OUT, draw=BY_PLACE)
    for label, name in enumerate(dataset.classes):
        faces = make_average_faces(dataset.train, label, FACES_PER_CLASS)
        for number, face in enumerate(faces, start=1):
            Image.fromarray(face).save(folder / f"{name}_{number:02}.png", optimize=True)
        print(f"{name}: {len(faces)}")


if __name__ == "__main__":
    main()
