r"""Release a trained run: verified ONNX files with their parity reports, cards and checksums.

    python scripts/release_model.py RUN_DIR NAME DATA "the command that trained it" \
        [--labels happy,sad,surprise --votes votes.csv --other-coverage 0.95]

NAME is released in fp32, and NAME-int8 beside it if int8 passes its gates. The checkpoint is
released too; RUN_DIR may be a released checkpoint itself, to release more files from it. With
--labels the files keep these labels of the network and have the output `other`; --votes has FER+
votes on what the faces show. `model_card.py` writes the cards.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click

import emotion_models
from emotion_export.defaults import OTHER_COVERAGE
from emotion_export.export import Plan, check_target, export_checkpoint
from emotion_export.int8.labelled_faces import read_labelled_faces
from emotion_export.parity.comparison import ParityError
from emotion_export.parity.faces import read_parity_faces
from emotion_runtime.atomic import write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.votes import Votes
from emotion_train.run_folder import RunFolder
from model_card import write_card

PACKAGE = Path(emotion_models.__file__).parent
CHECKPOINTS = PACKAGE / "checkpoints"


@click.command(help=__doc__.splitlines()[0])
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("name")
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("command")
@click.option("--labels", default="", help="The labels to keep, with commas. [default: all]")
@click.option(
    "--votes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="FER+ votes on the faces.",
)
@click.option(
    "--other-coverage",
    type=float,
    default=OTHER_COVERAGE,
    show_default=True,
    help="The share of held-out faces of the labels that must get a label.",
)
@click.option("--only-int8", is_flag=True, help="Release NAME-int8 and no fp32 file.")
def main(
    run: Path,
    name: str,
    data: Path,
    command: str,
    labels: str,
    votes: Path | None,
    other_coverage: float,
    only_int8: bool,
) -> None:
    """Write everything that belongs to the release `name`."""
    checkpoint = run
    if run.resolve().parent != CHECKPOINTS.resolve():
        checkpoint = CHECKPOINTS / f"{name}.pt"
        shutil.copyfile(RunFolder(run).best_checkpoint, checkpoint)
    kept = tuple(filter(None, labels.split(",")))
    plan = Plan(report=False, labels=kept, other_coverage=other_coverage)
    names = [] if only_int8 else [name]
    if not only_int8:
        release_file(name, plan, checkpoint, data, votes)
    try:
        release_file(f"{name}-int8", replace(plan, precision="int8"), checkpoint, data, votes)
        names.append(f"{name}-int8")
    except ParityError as error:
        print(f"{name}-int8 is not released: {error}")
    lines = [f"{compute_sha256(path)}  {path.name}\n" for path in sorted(PACKAGE.glob("*.onnx"))]
    with write_atomically(PACKAGE / "SHA256SUMS") as path:
        path.write_text("".join(lines), encoding="ascii")
    for released in names:  # once their names are in SHA256SUMS
        write_card(released, command)


def release_file(name: str, plan: Plan, checkpoint: Path, data: Path, votes: Path | None) -> None:
    """Export one file, and verify it, with its parity report."""
    trained = load_checkpoint(checkpoint)
    model = PACKAGE / f"{name}.onnx"
    check_target(model, overwrite=True)
    labelled = read_labelled_faces(data, trained)
    faces = read_parity_faces(data, size=trained.size)
    done = export_checkpoint(
        trained,
        model,
        faces,
        plan,
        labelled,
        test=labelled.test,
        votes=None if votes is None else Votes(votes, trained.labels),
        log=print,
    )
    print(f"{model.name}: largest logit difference {done.max_logit_difference:.1e}")


if __name__ == "__main__":
    main()
