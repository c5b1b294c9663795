"""The command ``python -m emotion_train.average``: a run from the mean weights of several runs.

Runs of one network that started from the same weights lie in one basin of the loss, and the mean of
their weights is often better than each of them (Wortsman et al., "Model soups", 2022). The
statistics of batch normalisation cannot be averaged. They are recomputed from augmented training
faces, as in stochastic weight averaging (Izmailov et al., 2018; `torch.optim.swa_utils.update_bn`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    NumberRange,
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
from emotion_runtime.prediction import format_count
from emotion_train.command_line.choices import refuse_inputs_within
from emotion_train.recipe import FORMER_COVERAGE_NAME
from emotion_train.run_folder import RunFolder

if TYPE_CHECKING:
    from emotion_train.checkpoints.checkpoint import Checkpoint
    from emotion_train.data.dataset import Dataset
    from emotion_train.data.votes import Votes
    from emotion_train.recipe import Recipe

# Fields of the recipe that determine network and held-out faces, which must be equal in all runs.
_SHARED_FIELDS = ("network", "size", "seed", "validation_per_class", "holdout")
_BATCH_SIZE = 256
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
    help="Folder of the average; it must be empty without --overwrite.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The training data of the runs.  [default: those of the first run]",
)
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    help="CSV of annotators' votes, for the report. If all runs were trained on votes, they also "
    "choose the temperature and the threshold.",
)
@click.option(
    "--coverage",
    type=NumberRange(0.5, 1.0),
    default=1.0,
    show_default=True,
    help="Fraction of the held-out faces that must get a label, as in emotion-train.",
)
@make_moved_option(f"--{FORMER_COVERAGE_NAME}", "--coverage", type=float)
@click.option("--no-test", is_flag=True, help="Do not measure on the test set, for trials.")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN_DIR.")
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
    """Average the weights of runs with a common start.

    The runs must have the same network, classes and held-out faces, and should have started from
    the same weights (--start-from of emotion-train). The output is a run folder with best.pt and
    report/, for emotion-export. Its checkpoint and report name the averaged runs.
    """
    require_extra("train")
    if len(runs) < 2:
        raise click.UsageError("an average needs two runs or more.")
    if overwrite:
        refuse_inputs_within(output, (*runs, *((data,) if data else ())))
    raise_on_signals()
    RunFolder(output).check_new(overwrite=overwrite)
    Averaging(
        data or _find_data(runs[0]),
        output,
        votes=votes,
        coverage=coverage,
        with_test=not no_test,
        say=(lambda _: None) if quiet else say,
        show=(lambda _: None) if quiet else show,
    ).average(runs)
    if not quiet:
        suggest_next("", "emotion-export", "model.onnx", "--checkpoint", output)


def _find_data(run: Path) -> Path:
    """Return the path of the training data of a run."""
    from emotion_train.errors import RunError
    from emotion_train.run_record import read_run_json

    try:
        return Path(read_run_json(RunFolder.of(run).path)["data"])
    except (RunError, KeyError, TypeError) as error:
        raise click.UsageError(f"{run}: names no training data; name them with --data.") from error


@dataclass(frozen=True)
class Averaging:
    """Inputs, outputs and settings of an average.

    Attributes:
        data: The training data of the runs.
        folder: The run folder to write.
        votes: A votes file, for the report.
        coverage: Minimum fraction of the held-out faces at or above the confidence threshold.
        with_test: Measure on the test set.
        say: Prints a message.
        show: Prints a result.
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
            The figures of the report.

        Raises:
            CheckpointError: A checkpoint cannot be read.
            RunError: The runs differ in network, classes or held-out faces, or another process is
                training in the folder.
            DataError: The data cannot be read, or are not those of the runs.
        """
        with RunFolder(self.folder).lock():
            return self._average(runs)

    def _average(self, runs: Sequence[Path]) -> dict[str, Any]:
        """Average runs and write the run folder, which is locked."""
        from emotion_train.checkpoints.checkpoint import load_checkpoint
        from emotion_train.checkpoints.transfer import average_weights
        from emotion_train.data.checks import list_warnings
        from emotion_train.data.dataset import load_recipe_dataset
        from emotion_train.errors import RunError
        from emotion_train.recipe import Recipe
        from emotion_train.run_record import find_validation_folder

        checkpoints = [load_checkpoint(run) for run in runs]
        shared = _find_shared_recipe(runs, checkpoints)
        mean = average_weights(checkpoints)
        if not _have_common_start(checkpoints):
            self.say(
                "warning: the checkpoints do not record that the runs began from the same weights; "
                "the mean of others is worth nothing"
            )
        try:
            recipe = Recipe.from_dict(shared)
        except ValueError as error:
            raise RunError(f"{runs[0]}: a damaged checkpoint: {error}.") from error
        validation = find_validation_folder(runs[0])
        recipe = replace(recipe, classes=mean.labels, size=mean.size)
        dataset = load_recipe_dataset(self.data, recipe, validation=validation)
        warnings = list_warnings(dataset, dataset.holdout_share)
        for text in (*dataset.passed_over, *warnings):
            self.say(f"warning: {text}")
        _require_same_pictures(runs, checkpoints, dataset, shared)
        averaged = _recompute_statistics(mean, dataset, shared["augmentation"], shared["balance"])
        votes = self._load_votes(dataset)
        warnings += self._check_votes(recipe, votes)
        self._compare(runs, checkpoints, averaged, dataset)
        training = _describe_training(checkpoints, shared, dataset)
        self._write(replace(averaged, training=training), validation)
        return self._write_report(runs, dataset, recipe, votes, warnings)

    def _load_votes(self, dataset: Dataset) -> Votes | None:
        from emotion_train.data.votes import Votes

        return None if self.votes is None else Votes(self.votes, dataset.classes)

    def _check_votes(self, recipe: Recipe, votes: Votes | None) -> list[str]:
        """Print and return warnings about votes that the runs used and the average does not."""
        from emotion_train.recipe import NO_BALANCE

        warnings = []
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
        return warnings

    def _write(self, averaged: Checkpoint, validation: Path | None) -> None:
        """Write the checkpoint and ``run.json``."""
        from emotion_runtime.atomic import write_atomically
        from emotion_train.run_record import describe_input

        folder = RunFolder(self.folder)
        folder.remove_run()
        averaged.save(folder.best_checkpoint)
        digests = [parent["weights"] for parent in averaged.training["averaged_from"]]
        values: dict[str, Any] = {"data": str(self.data.absolute()), "averaged_from": digests}
        options: dict[str, Any] = {}
        if validation is not None:
            options["validation"] = str(validation)
        if self.votes is not None:
            options["votes"] = asdict(describe_input(str(self.votes)))
        if options:
            values["options"] = options
        with write_atomically(folder.record) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _write_report(
        self,
        runs: Sequence[Path],
        dataset: Dataset,
        recipe: Recipe,
        votes: Votes | None,
        warnings: Sequence[str],
    ) -> dict[str, Any]:
        import torch

        from emotion_train.data.balance import compute_balance
        from emotion_train.data.readers import read_other_classes
        from emotion_train.report.run_report import RunReport

        unreadable: list[str] = []
        others = read_other_classes(
            self.data,
            dataset.classes,
            size=recipe.size,
            skipped=unreadable,
            faces=recipe.faces,
        )
        if unreadable:
            self.say(f"skipped: {format_count(len(unreadable), 'picture')} of other classes")
        report = RunReport(
            dataset=dataset,
            recipe=recipe,
            device=torch.device("cpu"),
            balance=compute_balance(dataset.train, len(dataset.classes), recipe.balance),
            votes=votes,
            others=others,
            coverage=self.coverage,
            with_test=self.with_test,
            origin={"weights": f"the mean of {len(runs)} runs, see the checkpoint"},
            by_votes=bool(recipe.vote_weight) and votes is not None,
            warnings=warnings,
        )
        figures = report.write(self.folder)
        for text in report.list_warnings(figures):
            self.say(f"warning: {text}")
        self.show(f"{report.summarise(figures)}; report in {RunFolder(self.folder).report}")
        return figures

    def _compare(
        self,
        runs: Sequence[Path],
        checkpoints: Sequence[Checkpoint],
        averaged: Checkpoint,
        dataset: Dataset,
    ) -> None:
        """Print the held-out accuracy of each run and of the average."""
        from emotion_train.evaluation import measure, predict_logits
        from emotion_train.report.tables import describe_interval

        faces = dataset.selection
        for name, one in (*zip(map(str, runs), checkpoints, strict=True), ("average", averaged)):
            metrics = measure(predict_logits(one.build(), faces.pixels), faces.labels)
            interval = describe_interval(metrics.to_dict(dataset.classes)).rstrip(", ")
            self.show(
                f"{name}: accuracy {metrics.accuracy:.2%} on {len(faces):,} held-out faces, by the "
                f"labels of the data ({interval})"
            )


def _describe_training(
    checkpoints: Sequence[Checkpoint], shared: dict[str, Any], dataset: Dataset
) -> dict[str, Any]:
    """Return the part ``training`` of the checkpoint."""
    from emotion_train.checkpoints.transfer import describe_lineage
    from emotion_train.data.held_out_draw import BY_NAME

    return {
        "recipe": shared,
        "seed": shared["seed"],
        "epochs": 0,
        "epoch": 0,
        "data_digest": dataset.digest(),
        "held_out_draw": BY_NAME,
        "faces": dataset.train.count_by_class(len(dataset.classes)).tolist(),
        "held_out": {name: list(drawn) for name, drawn in dataset.drawn.items()},
        "world_size": 1,
        "started_from": None,
        "averaged_from": [describe_lineage(one) for one in checkpoints],
    }


def _find_shared_recipe(runs: Sequence[Path], checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """Return the common part of the recipes.

    Augmentation and class balance are those of the first run.

    Raises:
        RunError: The runs hold out different faces, or a checkpoint does not record which.
    """
    from emotion_train.errors import RunError
    from emotion_train.recipe import KEEP_DUPLICATES

    shared = [_read_recipe(run, one) for run, one in zip(runs, checkpoints, strict=True)]
    for run, recipe in zip(runs, shared, strict=True):
        for name in (*_SHARED_FIELDS, "faces"):
            if recipe[name] != shared[0][name]:
                raise RunError(
                    f"{run}: trained with {name} {recipe[name]}, {runs[0]} with "
                    f"{shared[0][name]}: one would know faces that the other holds out."
                )
    _check_recipe(runs[0], shared[0])
    duplicates = {recipe["duplicates"] for recipe in shared}
    return {
        **shared[0],
        "classes": list(checkpoints[0].labels),
        "duplicates": duplicates.pop() if len(duplicates) == 1 else KEEP_DUPLICATES,
        # Votes are used if all runs were trained on them.
        "vote_weight": min(recipe["vote_weight"] for recipe in shared),
    }


def _read_recipe(run: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the fields of a recipe that an average needs, also from older versions.

    Raises:
        RunError: The checkpoint lacks some of them.
    """
    from emotion_train.data.held_out_draw import names_held_out
    from emotion_train.errors import RunError
    from emotion_train.recipe import FULL, read_duplicates

    recipe = checkpoint.training.get("recipe")
    names = (*_SHARED_FIELDS, "augmentation")
    if (
        not isinstance(recipe, dict)
        or any(name not in recipe for name in names)
        or not names_held_out(checkpoint.training)
    ):
        raise RunError(f"{run}: does not record which faces were held out of its training.")
    return {
        **{name: recipe[name] for name in names},
        "balance": recipe.get("balance", FULL),
        "faces": recipe.get("faces", False),
        "duplicates": read_duplicates(recipe),
        "vote_weight": recipe.get("vote_weight", 0.0),
    }


def _check_recipe(run: Path, recipe: dict[str, Any]) -> None:
    """Check augmentation and class balance of a recipe.

    Raises:
        RunError: One of them is unknown.
    """
    from emotion_train.errors import RunError
    from emotion_train.recipe import BALANCES
    from emotion_train.training.augmentation import AUGMENTATIONS

    if recipe["augmentation"] not in tuple(AUGMENTATIONS):
        raise RunError(
            f"{run}: trained with an augmentation that this emotion-edge does not have, so "
            f"that the statistics of batch normalisation cannot be recomputed."
        )
    if recipe["balance"] not in BALANCES:
        raise RunError(f"{run}: a damaged checkpoint: a class balance that there is not.")


def _require_same_pictures(
    runs: Sequence[Path],
    checkpoints: Sequence[Checkpoint],
    dataset: Dataset,
    shared: dict[str, Any],
) -> None:
    """Raise an error if a run was trained on other data.

    Runs with votes or a teacher are not checked, because their digest covers these too.

    Raises:
        RunError: As above.
    """
    from emotion_train.errors import RunError
    from emotion_train.recipe import read_duplicates

    for run, checkpoint in zip(runs, checkpoints, strict=True):
        recipe = checkpoint.training["recipe"]
        if recipe.get("vote_weight") or recipe.get("teacher_weight"):
            continue
        if read_duplicates(recipe) != shared["duplicates"]:
            continue
        if checkpoint.training.get("data_digest") != dataset.digest():
            raise RunError(f"{run}: was trained on other pictures than the data named here.")


def _have_common_start(checkpoints: Sequence[Checkpoint]) -> bool:
    """Return whether each pair of checkpoints has a common ancestor or the same seed."""
    from emotion_train.checkpoints.transfer import describe_lineage

    families = []
    for checkpoint in checkpoints:
        lineage = describe_lineage(checkpoint)
        family = {lineage["weights"], *lineage["ancestors"]}
        if not lineage["ancestors"]:  # random weights depend on the seed
            family.add(f"seed {checkpoint.training.get('seed')}")
        families.append(family)
    return all(one & other for one, other in combinations(families, 2))


def _recompute_statistics(
    mean: Checkpoint, dataset: Dataset, augmentation: str, balance: str = "full"
) -> Checkpoint:
    """Return a checkpoint with batch-normalisation statistics of one epoch of training batches.

    The faces are augmented, as in training. With plain faces, the hold-out accuracy of the released
    `edge` was one point lower (90.1 % instead of 91.0 %).
    """
    import torch
    from torch.optim.swa_utils import update_bn

    from emotion_train.data.balance import compute_balance
    from emotion_train.training.batches import AugmentedBatches, EpochBatches
    from emotion_train.training.targets import make_label_targets

    network, classes = mean.build(), len(dataset.classes)
    targets = make_label_targets(dataset.train, classes)
    batches = EpochBatches(
        dataset.train,
        classes,
        _BATCH_SIZE,
        seed=0,
        balance=compute_balance(dataset.train, classes, balance),
    )
    augmented = AugmentedBatches(dataset.train, targets, augmentation, batches, torch.device("cpu"))
    update_bn((batch.pixels for batch in augmented), network)
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
