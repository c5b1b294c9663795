"""``run.json``, the settings of a run, with which ``--resume`` continues it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emotion_runtime.atomic import write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_runtime.errors import shorten_repr
from emotion_runtime.prediction import format_count
from emotion_train.data.held_out_draw import BY_NAME
from emotion_train.errors import RunError
from emotion_train.recipe import FORMER_COVERAGE_NAME, FORMER_FIELDS, MAX_COUNT, Recipe
from emotion_train.run_folder import RunFolder
from emotion_train.training.augmentation import AUGMENTATIONS

_MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """A file that a run reads besides its data.

    Attributes:
        name: An absolute path, or the name of a released model.
        sha256: The digest of its content.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class RunOptions:
    """The settings of a run besides recipe and data.

    Attributes:
        coverage: Minimum fraction of the held-out faces at or above the confidence threshold.
        with_test: Measure on the test set at the end.
        votes: The votes file.
        exclude: The ``audit.csv`` by which training pictures are excluded.
        teachers: The networks of the teacher.
        start_from: The checkpoints with the initial weights.
        validation: The absolute path of the folder of the validation set, if one was given.
        max_minutes: The time limit, if one was given.
    """

    coverage: float = 1.0
    with_test: bool = True
    votes: InputFile | None = None
    exclude: InputFile | None = None
    teachers: tuple[InputFile, ...] = ()
    start_from: tuple[InputFile, ...] = ()
    validation: str | None = None
    max_minutes: float | None = None

    @classmethod
    def from_dict(cls, values: Any) -> RunOptions:
        """Return the options that `dataclasses.asdict` wrote.

        Raises:
            KeyError, TypeError, ValueError: The values are damaged.
        """
        coverage = values["coverage"] if "coverage" in values else values[FORMER_COVERAGE_NAME]
        with_test, votes = values["with_test"], values["votes"]
        if not isinstance(with_test, bool) or not 0.5 <= float(coverage) <= 1.0:
            raise ValueError("options that no run can have")
        validation = values.get("validation")
        if validation is not None and not isinstance(validation, str):
            raise TypeError("the validation set is no path")
        minutes, exclude = values.get("max_minutes"), values.get("exclude")
        if minutes is not None and not float(minutes) > 0:
            raise ValueError("options that no run can have")
        return cls(
            coverage=float(coverage),
            with_test=with_test,
            votes=None if votes is None else _parse_input(votes),
            exclude=None if exclude is None else _parse_input(exclude),
            teachers=tuple(map(_parse_input, values["teachers"])),
            start_from=tuple(map(_parse_input, values["start_from"])),
            validation=validation,
            max_minutes=None if minutes is None else float(minutes),
        )


@dataclass(frozen=True)
class Extension:
    """A change of the number of epochs of a run.

    Attributes:
        after: Completed epochs at the time of the change.
        planned: The number of epochs before.
        epochs: The number of epochs since; the learning-rate schedule was recomputed for it.
    """

    after: int
    planned: int
    epochs: int

    @classmethod
    def from_dict(cls, values: Any) -> Extension:
        """Return the change that `dataclasses.asdict` wrote.

        Raises:
            KeyError, TypeError, ValueError: The values are damaged.
        """
        numbers = [values[name] for name in ("after", "planned", "epochs")]
        if not all(type(number) is int and 0 <= number <= MAX_COUNT for number in numbers):
            raise ValueError("numbers of epochs that no run can have")
        return cls(*numbers)

    def __str__(self) -> str:
        return (
            f"{format_count(self.epochs, 'epoch')} instead of {self.planned} since epoch "
            f"{self.after}, with the learning-rate schedule recomputed for {self.epochs}"
        )


@dataclass(frozen=True)
class RunRecord:
    """The settings of a run, recorded at its start.

    Attributes:
        data: The absolute path of the data folder or CSV.
        recipe: The recipe.
        options: The other settings; None in files of older versions.
        data_digest: Digest of the training and held-out faces, their targets and the predictions of
            the teacher.
        test_digest: Digest of the test faces; None without a test set.
        precision: The arithmetic in use, such as ``fp32``.
        tool_versions: Versions of the packages on which the result depends.
        held_out_draw: How held-out pictures are drawn.
        extensions: Each change of the number of epochs, the earliest first.
        warnings: Warnings before the first epoch, for the report.
        plan: Sentences about the defaults that were chosen.
    """

    data: str
    recipe: Recipe
    options: RunOptions | None
    data_digest: str | None = None
    test_digest: str | None = None
    precision: str | None = None
    tool_versions: dict[str, str] | None = None
    held_out_draw: str = BY_NAME
    extensions: tuple[Extension, ...] = ()
    warnings: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write ``run.json``. Paths are recorded there only, not in checkpoints."""
        values = {**asdict(self), "recipe": self.recipe.to_dict()}
        with write_atomically(RunFolder(folder).record) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> RunRecord:
    """Load the ``run.json`` of a run folder.

    Raises:
        RunError: The file is missing or damaged, or the run cannot be resumed.
    """
    values = read_run_json(folder)
    try:
        _require_resumable(folder, values)
        if not isinstance(values["data"], str):
            raise TypeError("the data are no path")
        optional = ("data_digest", "test_digest", "precision")
        texts = {name: values.get(name) for name in optional}
        if not all(text is None or isinstance(text, str) for text in texts.values()):
            raise TypeError("a digest is no text")
        if values["recipe"].get("augmentation") not in (None, *AUGMENTATIONS):
            raise ValueError("an augmentation that there is not")
        versions = values.get("tool_versions")
        if versions is not None:
            versions = {str(name): str(version) for name, version in versions.items()}
        options = values.get("options")
        return RunRecord(
            data=values["data"],
            recipe=Recipe.from_dict(values["recipe"]),
            options=RunOptions.from_dict(options) if options else None,
            **texts,
            tool_versions=versions,
            extensions=tuple(map(Extension.from_dict, values.get("extensions") or ())),
            warnings=tuple(map(str, values.get("warnings") or ())),
            plan=tuple(map(str, values.get("plan") or ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        path = RunFolder(folder).record
        raise RunError(f"{path}: damaged, the run cannot be resumed.") from error


def _require_resumable(folder: Path, values: Any) -> None:
    """Raise an error for averages of runs, and for runs of other versions that differ.

    Raises:
        RunError: As above.
    """
    if isinstance(values, dict) and "averaged_from" in values:
        raise RunError(f"{folder}: an average of runs has no epoch to resume after.")
    if isinstance(values, dict) and "recipe" in values and values.get("held_out_draw") != BY_NAME:
        raise RunError(
            f"{folder}: started by an older emotion-edge, which drew other held-out pictures; "
            f"continue with that version, or start a new run."
        )
    known = {*Recipe().to_dict(), *FORMER_FIELDS}
    unknown = [name for name in values["recipe"] if name not in known]
    if unknown:
        raise RunError(
            f"{folder}: started by another version of emotion-edge, with "
            f"{shorten_repr(unknown[0])} in its recipe, which this one does not have; continue "
            f"with that version, or start a new run."
        )
    if values["recipe"].get("vote_weight") and "balance" not in values["recipe"]:
        raise RunError(
            f"{folder}: started by an older emotion-edge, which copied faces by their labels, "
            f"and this one does by the votes; continue with that version, or start a new run."
        )


def read_run_json(folder: Path) -> Any:
    """Load the values of a ``run.json``, without checks.

    Raises:
        RunError: The file is missing, or is no JSON.
    """
    path = RunFolder(folder).record
    try:
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: not a regular file, the run cannot be resumed.")
        with path.open("rb") as file:
            data = file.read(_MAX_RECORD_BYTES + 1)
        if len(data) > _MAX_RECORD_BYTES:
            raise RunError(f"{path}: larger than 1 MiB, the run cannot be resumed.")
        return json.loads(data.decode("utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no run to resume here.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, the run cannot be resumed.") from error


def find_validation_folder(run: Path) -> Path | None:
    """Return the folder given with ``--val`` to a run; None without one, or if it is gone.

    Args:
        run: A run folder, or a checkpoint in it.
    """
    try:
        folder = read_run_json(RunFolder.of(run).path)["options"]["validation"]
    except (RunError, KeyError, TypeError):
        return None
    return Path(folder) if isinstance(folder, str) and Path(folder).is_dir() else None


def find_votes(run: Path) -> Path | None:
    """Return the votes file given to a run; None without one, or if it has changed.

    Args:
        run: A run folder, or a checkpoint in it.
    """
    try:
        votes = _parse_input(read_run_json(RunFolder.of(run).path)["options"]["votes"])
    except (RunError, KeyError, TypeError):
        return None
    path = Path(votes.name)
    return path if path.is_file() and compute_sha256(path) == votes.sha256 else None


def describe_input(name: str, *, start: bool = False) -> InputFile:
    """Return an input file with the digest of its content.

    Of a run folder, the digest is that of its ``best.pt``. A missing file gets an empty digest; the
    code that opens it reports the error.

    Args:
        name: A file, a run folder, or the name of a released model.
        start: A released name means the checkpoint of that network, not its model file.
    """
    import emotion_models

    path = Path(name)
    if path.is_dir():
        path = RunFolder(path).best_checkpoint
    elif not path.exists() and start and name in emotion_models.checkpoint_names():
        return InputFile(name, compute_sha256(emotion_models.checkpoint_path(name)))
    elif not path.exists() and not start and name in emotion_models.names():
        return InputFile(name, compute_sha256(emotion_models.model_path(name)))
    digest = compute_sha256(path) if path.is_file() else ""
    return InputFile(str(Path(name).absolute()), digest)


def have_changed(before: Sequence[InputFile], now: Sequence[InputFile]) -> bool:
    """Return whether two lists of input files differ in the content of the files."""
    return [one.sha256 for one in before] != [one.sha256 for one in now]


def _parse_input(values: Any) -> InputFile:
    name, digest = values["name"], values["sha256"]
    if not isinstance(name, str) or not isinstance(digest, str):
        raise TypeError("an input file is no text")
    return InputFile(name, digest)
