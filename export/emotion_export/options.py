"""Options that several commands of this package share."""

from __future__ import annotations

from pathlib import Path

import click

from emotion_export import defaults

parity_data_option = click.option(
    "--parity-data",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Faces for the parity check with PyTorch: a folder or the CSV.  [default: the run's "
    "training data, else the average faces in the checkpoint]",
)
parity_faces_option = click.option(
    "--parity-faces",
    type=click.IntRange(min=1),
    default=defaults.PARITY_FACES,
    show_default=True,
    help="Number of faces for the parity check.",
)
