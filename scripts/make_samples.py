"""Make the pictures in samples/: average faces, each the mean of 24 training faces or more.

    python scripts/make_samples.py DATA VOTES [FOLDER]

DATA is FER2013 as for emotion-train, VOTES its FER+ votes. A sample shows what at least 80 % of the
annotators saw, whatever the label in the data. An average shows an expression and no person, so
that it may be published although the data may not.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from emotion_train.data.dataset import load_dataset
from emotion_train.data.faces import Faces
from emotion_train.data.votes import Votes
from emotion_train.report.average_faces import make_average_faces

# The labels of the released models, and expressions that these models should call `other`.
SAMPLES_PER_CLASS = {"happy": 10, "sad": 10, "surprise": 10, "neutral": 5, "angry": 3, "fear": 2}
CLASSES = (*SAMPLES_PER_CLASS, "disgust")
MIN_VOTE_SHARE = 0.8  # of the class; averages of less certain faces lose their expression
SAMPLES_FOLDER = Path(__file__).parents[1] / "samples"


@click.command(help=__doc__.splitlines()[0])
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("votes", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", default=SAMPLES_FOLDER, type=click.Path(path_type=Path))
def main(data: Path, votes: Path, folder: Path) -> None:
    """Write ``<class>_01.png``, ``<class>_02.png`` … of each class into `folder`."""
    faces = load_dataset(data, classes=CLASSES).train
    shares = np.nan_to_num(Votes(votes, CLASSES).compute_targets(faces))
    agreed = Faces(faces.pixels, shares.argmax(axis=1), faces.names)
    agreed = agreed.take(np.flatnonzero(shares.max(axis=1) >= MIN_VOTE_SHARE))
    for label, (name, count) in enumerate(SAMPLES_PER_CLASS.items()):
        averages = make_average_faces(agreed, label, count)
        for number, face in enumerate(averages, start=1):
            Image.fromarray(face).save(folder / f"{name}_{number:02}.png", optimize=True)
        print(f"{name}: {len(averages)}")


if __name__ == "__main__":
    main()
