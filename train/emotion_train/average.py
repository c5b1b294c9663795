"""``python -m emotion_train.average``: the mean of several runs' weights becomes a run of its own.

Runs of one network that began from the same weights lie in one valley of the loss, and the mean of
their weights is often better than each of them (Wortsman et al., "Model soups", 2022). The
statistics of batch normalisation do not average: they are taken anew from augmented training faces,
as in stochastic weight averaging (Izmailov et al., 2018; `torch.optim.swa_utils.update_bn`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    handle_errors,
    make_moved_option,
    quiet_option,
    require_extra,
    say,
    show,
    suggest_next,
    verbose_option,
    version_option,
)
from emotion_runtime.command_line.signals import raise_on_signals
from emotion_train.cli import refuse_inputs_within

if TYPE_CHECKING:
    from emotion_train.checkpoints.checkpoint import Checkpoint
    from emotion_train.data.dataset import Dataset
    from emotion_train.data.votes import Votes
    from emotion_train.recipe import Recipe

# What of a recipe decides which faces are held out of which network: all runs must share it.
_DATA_FIELDS = ("network", "size", "seed", "validation_per_class", "holdout")
_BATCH = 256
_NAME = "python -m emotion_train.average"
_EXAMPLES = (
    (f"{_NAME} runs/a runs/b -o runs/mean", "two runs"),
    (f"{_NAME} runs/a runs/b -o runs/mean --no-test", "a trial"),
    (f"{_NAME} runs/a runs/b -o runs/mean --coverage 0.95", "choose a threshold"),
)
_GROUPS = {
    "Data": ("data", "votes", "no_test"),
    "Confidence": ("coverage",),
    "Output": ("output", "overwrite"),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN_DIR|FILE.pt..."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="RUN_DIR",
    help="Folder of the average; one that holds something is refused without --overwrite.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The training data of the runs.  [default: those of the first run]",
)
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    help="CSV of annotators' votes, for the report; where all runs were taught by votes, they also "
    "choose the temperature and the threshold.",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0.5, 1.0),
    default=1.0,
    show_default=True,
    help="Part of the held-out faces that must get a label, as in emotion-train.",
)
@make_moved_option("--answered", "--coverage", type=float)
@click.option("--no-test", is_flag=True, help="A trial: leave the test set unmeasured.")
@click.option("--overwrite", is_flag=True, help="Replace what is in RUN_DIR.")
@version_option(_NAME)
@quiet_option
@verbose_option
@handle_errors(extra="train")
def main(
    runs: tuple[Path, ...],
    output: Path,
    data: Path | None,
    votes: Path | None,
    coverage: float,
    no_test: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Average the weights of runs that began alike.

    The runs must have the same network, classes and held-out faces, and should have started from
    the same weights (--start-from of emotion-train). The output becomes a run folder with
    best.pt and report/, which emotion-export takes like any other; its checkpoint and report name
    the runs that it came of.
    """
    require_extra("train")
    from emotion_train.run import prepare_folder

    if len(runs) < 2:
        raise click.UsageError("an average needs two runs or more.")
    if overwrite:
        refuse_inputs_within(output, (*runs, *((data,) if data else ())))
    raise_on_signals()
    prepare_folder(output, resume=False, overwrite=overwrite)
    Averaging(
        data or _data_of(runs[0]),
        output,
        votes=votes,
        coverage=coverage,
        with_test=not no_test,
        say=(lambda _: None) if quiet else say,
        show=(lambda _: None) if quiet else show,
    ).average(runs)
    if not quiet:
        suggest_next("", "emotion-export", "model.onnx", "--checkpoint", output)


def _data_of(run: Path) -> Path:
    """Return where a run's data were."""
    from emotion_train.errors import RunError
    from emotion_train.run_record import read_run_json

    try:
        return Path(read_run_json(run if run.is_dir() else run.parent)["data"])
    except (RunError, KeyError, TypeError) as error:
        raise click.UsageError(
            f"{run}: does not say where its training data are; name them with --data."
        ) from error


@dataclass(frozen=True)
class Averaging:
    """Where an average is made, and on what it is measured.

    Attributes:
        data: The training data of the runs.
        folder: The run folder to write.
        votes: A votes file, for the report.
        coverage: Part of the held-out faces that must reach the confidence threshold.
        with_test: Measure on the test set.
        say: Takes messages for a person.
        show: Takes results.
    """

    data: Path
    folder: Path
    votes: Path | None = None
    coverage: float = 1.0
    with_test: bool = True
    say: Callable[[str], None] = lambda _: None
    show: Callable[[str], None] = lambda _: None

    def average(self, runs: Sequence[Path]) -> dict[str, Any]:
        """Average runs, measure the result and write its run folder.

        Returns:
            The report's figures.

        Raises:
            CheckpointError: A checkpoint cannot be read.
            RunError: The runs differ in network, classes or held-out faces.
            DataError: The data cannot be read, or are not those of the runs.
        """
        from dataclasses import replace

        from emotion_train.checkpoints.checkpoint import BEST, load_checkpoint
        from emotion_train.checkpoints.transfer import blend, lineage
        from emotion_train.data.checks import list_warnings
        from emotion_train.data.dataset import load_recipe_dataset
        from emotion_train.errors import RunError
        from emotion_train.recipe import NO_BALANCE, Recipe
        from emotion_train.run_record import find_validation_folder

        checkpoints = [load_checkpoint(run) for run in runs]
        shared, draw = _shared_recipe(runs, checkpoints)
        mean = blend(checkpoints)
        if not _began_alike(checkpoints):
            self.say(
                "warning: nothing in the checkpoints says that the runs began from the same "
                "weights; the mean of others is worth nothing"
            )
        try:
            recipe = Recipe.from_dict(shared)
        except ValueError as error:
            raise RunError(f"{runs[0]}: a damaged checkpoint: {error}.") from error
        validation = find_validation_folder(runs[0])
        recipe = replace(recipe, classes=mean.labels, size=mean.size)
        dataset = load_recipe_dataset(self.data, recipe, validation=validation, draw=draw)
        warnings = list_warnings(dataset, dataset.holdout_share)
        for text in (*dataset.passed_over, *warnings):
            self.say(f"warning: {text}")
        _require_same_pictures(runs, checkpoints, dataset, shared)
        averaged = _with_fresh_statistics(mean, dataset, shared["augmentation"], shared["balance"])
        votes = self._votes(dataset)
        by_votes = bool(recipe.vote_weight) and votes is not None
        if recipe.vote_weight and votes is None:
            warnings.append(
                "the runs were taught by votes, and no --votes are named: temperature, threshold "
                "and figures come from the labels"
            )
            self.say(f"warning: {warnings[-1]}")
        if recipe.vote_weight and recipe.balance != NO_BALANCE:
            self.say(
                "balance: the runs copied faces by the class with most of each picture's votes; "
                "the average counts them by label"
            )
        self._compare(runs, checkpoints, averaged, dataset)
        training = {
            "recipe": shared,
            "seed": recipe.seed,
            "epochs": 0,
            "epoch": 0,
            "data_digest": dataset.digest(),
            "held_out_draw": draw,
            "faces": dataset.train.counts(len(dataset.classes)).tolist(),
            "held_out": {name: list(one) for name, one in dataset.drawn.items()},
            "world_size": 1,
            "started_from": None,
            "averaged_from": [lineage(one) for one in checkpoints],
        }
        self._write(averaged, training, BEST, validation)
        return self._report(runs, dataset, recipe, votes, by_votes, warnings)

    def _votes(self, dataset: Dataset) -> Votes | None:
        from emotion_train.data.votes import Votes

        return None if self.votes is None else Votes(self.votes, dataset.classes)

    def _write(
        self, averaged: Checkpoint, training: dict[str, Any], name: str, validation: Path | None
    ) -> None:
        from dataclasses import replace

        from emotion_runtime.atomic import write_atomically
        from emotion_train.run import clear
        from emotion_train.run_record import RUN

        self.folder.mkdir(parents=True, exist_ok=True)
        clear(self.folder)
        replace(averaged, training=training).save(self.folder / name)
        digests = [parent["weights"] for parent in training["averaged_from"]]
        values: dict[str, Any] = {"data": str(self.data.absolute()), "averaged_from": digests}
        if validation is not None:
            values["options"] = {"validation": str(validation)}
        with write_atomically(self.folder / RUN) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _report(
        self,
        runs: Sequence[Path],
        dataset: Dataset,
        recipe: Recipe,
        votes: Votes | None,
        by_votes: bool,
        warnings: Sequence[str],
    ) -> dict[str, Any]:
        import torch

        from emotion_train.data.balance import balance_table
        from emotion_train.data.readers import read_other_classes
        from emotion_train.report.outcome import REPORT, Outcome

        unreadable: list[str] = []
        others = read_other_classes(
            self.data,
            dataset.classes,
            size=recipe.size,
            skipped=unreadable,
            faces=recipe.faces,
        )
        if unreadable:
            self.say(f"skipped: {len(unreadable):,} pictures of other classes")
        outcome = Outcome(
            dataset,
            recipe,
            torch.device("cpu"),
            (),
            None,
            votes,
            others,
            self.coverage,
            self.with_test,
            balance=balance_table(dataset.train, len(dataset.classes), recipe.balance),
            origin={"weights": f"the mean of {len(runs)} runs, see the checkpoint"},
            by_votes=by_votes,
            warnings=warnings,
        )
        figures = outcome.complete(self.folder)
        for text in outcome.list_warnings(figures):
            self.say(f"warning: {text}")
        self.show(f"{outcome.summary(figures)}; report in {self.folder / REPORT}")
        return figures

    def _compare(
        self,
        runs: Sequence[Path],
        checkpoints: Sequence[Checkpoint],
        averaged: Checkpoint,
        dataset: Dataset,
    ) -> None:
        """Show the accuracy of each run, and of the average, on the faces held out of all."""
        from emotion_train.evaluation import measure, predict_logits
        from emotion_train.report.tables import describe_interval

        faces = dataset.selection()
        for name, one in (*zip(map(str, runs), checkpoints, strict=True), ("average", averaged)):
            metrics = measure(predict_logits(one.build(), faces.pixels), faces.labels)
            interval = describe_interval(metrics.to_dict(dataset.classes)).rstrip(", ")
            self.show(
                f"{name}: accuracy {metrics.accuracy:.2%} on {len(faces):,} held-out faces "
                f"({interval})"
            )


def _shared_recipe(
    runs: Sequence[Path], checkpoints: Sequence[Checkpoint]
) -> tuple[dict[str, Any], str]:
    """Return what the runs' recipes say of the data, and how their held-out faces were drawn.

    Augmentation and class balance are those of the first.

    Raises:
        RunError: They hold out other faces, or a checkpoint does not say which.
    """
    from emotion_train.data.held_out_draw import BY_PLACE
    from emotion_train.errors import RunError
    from emotion_train.recipe import BALANCES, FULL, KEEP_DUPLICATES, duplicates_of
    from emotion_train.training.augmentation import AUGMENTATIONS

    shared: list[dict[str, Any]] = []
    draws = [str(one.training.get("held_out_draw", BY_PLACE)) for one in checkpoints]
    for run, draw in zip(runs, draws, strict=True):
        if draw != draws[0]:
            raise RunError(
                f"{run}: its held-out faces were drawn by {draw}, those of {runs[0]} by "
                f"{draws[0]}: one would know faces that the other holds out."
            )
    for run, checkpoint in zip(runs, checkpoints, strict=True):
        recipe = checkpoint.training.get("recipe")
        names = (*_DATA_FIELDS, "augmentation")
        if not isinstance(recipe, dict) or any(name not in recipe for name in names):
            raise RunError(f"{run}: does not say which faces were held out of its training.")
        shared.append({name: recipe[name] for name in names})
        shared[-1] |= {
            "balance": recipe.get("balance", FULL),
            "faces": recipe.get("faces", False),
            "duplicates": duplicates_of(recipe),
            "vote_weight": recipe.get("vote_weight", 0.0),
        }
        for name in (*_DATA_FIELDS, "faces"):
            if shared[-1][name] != shared[0][name]:
                raise RunError(
                    f"{run}: trained with {name} {shared[-1][name]}, {runs[0]} with "
                    f"{shared[0][name]}: one would know faces that the other holds out."
                )
    if shared[0]["augmentation"] not in tuple(AUGMENTATIONS):
        raise RunError(
            f"{runs[0]}: trained with an augmentation that this emotion-edge does not have, so "
            f"that the statistics of batch normalisation cannot be taken anew."
        )
    if shared[0]["balance"] not in BALANCES:
        raise RunError(f"{runs[0]}: a damaged checkpoint: a class balance that there is not.")
    duplicates = {one["duplicates"] for one in shared}
    recipe = {
        **shared[0],
        "classes": list(checkpoints[0].labels),
        "duplicates": duplicates.pop() if len(duplicates) == 1 else KEEP_DUPLICATES,
        # Votes judge the mean where they taught every run.
        "vote_weight": min(one["vote_weight"] for one in shared),
    }
    return recipe, draws[0]


def _require_same_pictures(
    runs: Sequence[Path],
    checkpoints: Sequence[Checkpoint],
    dataset: Dataset,
    shared: dict[str, Any],
) -> None:
    """Refuse data that a run was not trained on, where its digest covers pictures and labels alone.

    Raises:
        RunError: The pictures are others.
    """
    from emotion_train.errors import RunError
    from emotion_train.recipe import duplicates_of

    for run, checkpoint in zip(runs, checkpoints, strict=True):
        recipe = checkpoint.training["recipe"]
        plain = not recipe.get("vote_weight") and not recipe.get("teacher_weight")
        same_draw = duplicates_of(recipe) == shared["duplicates"]
        if plain and same_draw and checkpoint.training.get("data_digest") != dataset.digest():
            raise RunError(f"{run}: was trained on other pictures than the data named here.")


def _began_alike(checkpoints: Sequence[Checkpoint]) -> bool:
    """Return whether the checkpoints tell of common first weights, each pair of them."""
    from emotion_train.checkpoints.transfer import lineage

    families = []
    for checkpoint in checkpoints:
        told = lineage(checkpoint)
        family = {told["weights"], *told["ancestors"]}
        if not told["ancestors"]:  # fresh weights are drawn by the seed
            family.add(f"seed {checkpoint.training.get('seed')}")
        families.append(family)
    return all(one & other for one, other in combinations(families, 2))


def _with_fresh_statistics(
    mean: Checkpoint, dataset: Dataset, augmentation: str, balance: str = "full"
) -> Checkpoint:
    """Take the statistics of batch normalisation anew, over one epoch as training sees it.

    Augmented faces, not the plain ones: on the released `edge` the statistics of plain faces cost
    a point of hold-out accuracy (90.1 % instead of 91.0 %).
    """
    from dataclasses import replace

    import torch
    from torch.optim.swa_utils import update_bn

    from emotion_train.data.balance import balance_table
    from emotion_train.training.batches import AugmentedBatches, EpochBatches
    from emotion_train.training.targets import label_targets

    network, classes = mean.build(), len(dataset.classes)
    targets = label_targets(dataset.train, classes)
    batches = EpochBatches(
        dataset.train,
        classes,
        _BATCH,
        seed=0,
        table=balance_table(dataset.train, classes, balance),
    )
    augmented = AugmentedBatches(dataset.train, targets, augmentation, batches, torch.device("cpu"))
    update_bn((pixels for pixels, _, _ in augmented), network)
    return replace(mean, weights=dict(network.eval().state_dict()), training={})


def run() -> None:
    """Run the command."""
    from emotion_runtime.command_line.signals import exit_on_interrupt
    from emotion_runtime.command_line.streams import open_standard_streams

    exit_on_interrupt()
    open_standard_streams()
    main(prog_name=_NAME)


if __name__ == "__main__":
    run()
