"""``run.json``: what a run was begun with, so that ``--resume`` goes on with the very same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emotion_runtime.atomic import write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_runtime.errors import shorten_repr
from emotion_train.data.held_out_draw import BY_NAME
from emotion_train.errors import RunError
from emotion_train.recipe import FORMER_FIELDS, MAX_COUNT, Recipe
from emotion_train.training.augmentation import AUGMENTATIONS

RUN = "run.json"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file that a run reads beside its data.

    Attributes:
        name: How it was named, an absolute path or the name of a released model.
        sha256: Of its content.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Options:
    """What a result depends on beside the recipe and the data.

    Attributes:
        coverage: Part of the held-out faces that must reach the confidence threshold.
        with_test: Measure on the test set at the end.
        votes: The votes file.
        teachers: What teaches.
        start_from: Whose weights the run started with.
        validation: The folder of the validation set, absolute, where one was named.
        max_minutes: What the number of epochs was planned for; None where nothing limited it.
    """

    coverage: float = 1.0
    with_test: bool = True
    votes: Source | None = None
    teachers: tuple[Source, ...] = ()
    start_from: tuple[Source, ...] = ()
    validation: str | None = None
    max_minutes: float | None = None

    @classmethod
    def from_dict(cls, values: Any) -> Options:
        """Undo `dataclasses.asdict`; raises KeyError, TypeError or ValueError on anything else."""
        # Earlier files name the coverage "answered".
        coverage = values["coverage"] if "coverage" in values else values["answered"]
        with_test, votes = values["with_test"], values["votes"]
        if not isinstance(with_test, bool) or not 0.5 <= float(coverage) <= 1.0:
            raise ValueError("options that no run can have")
        validation = values.get("validation")
        if validation is not None and not isinstance(validation, str):
            raise TypeError("the validation set is no path")
        minutes = values.get("max_minutes")
        if minutes is not None and not float(minutes) > 0:
            raise ValueError("options that no run can have")
        return cls(
            float(coverage),
            with_test,
            None if votes is None else _source(votes),
            tuple(_source(one) for one in values["teachers"]),
            tuple(_source(one) for one in values["start_from"]),
            validation,
            None if minutes is None else float(minutes),
        )


@dataclass(frozen=True)
class Extension:
    """Another number of epochs for a run that was begun: longer, or ended earlier.

    Attributes:
        after: Epochs that were done when the number was changed.
        planned: Epochs that the run had before.
        epochs: Epochs that it has since; the learning-rate schedule was planned anew over them.
    """

    after: int
    planned: int
    epochs: int

    @classmethod
    def from_dict(cls, values: Any) -> Extension:
        """Undo `dataclasses.asdict`; raises KeyError, TypeError or ValueError on anything else."""
        numbers = [values[name] for name in ("after", "planned", "epochs")]
        if not all(type(number) is int and 0 <= number <= MAX_COUNT for number in numbers):
            raise ValueError("numbers of epochs that no run can have")
        return cls(*numbers)

    def __str__(self) -> str:
        return (
            f"{self.epochs} epochs instead of {self.planned} since epoch {self.after}, with the "
            f"learning-rate schedule planned anew over {self.epochs}"
        )


@dataclass(frozen=True)
class RunRecord:
    """What a run was begun with.

    Attributes:
        data: The data folder or CSV, absolute.
        recipe: The recipe.
        options: What else the result depends on; None in files of before this was recorded.
        data_digest: Of the training and held-out faces, their targets and the teacher's answers.
        test_digest: Of the test faces; None where there are none.
        precision: The arithmetic that ``auto`` became, such as ``fp32``.
        tool_versions: Of the packages that decide what a run learns.
        held_out_draw: How held-out pictures are drawn.
        extensions: Each change of the number of epochs, the earliest first.
        warnings: What the run warned of before its first epoch, for the report.
        plan: What was chosen when the run was begun, in sentences.
    """

    data: str
    recipe: Recipe
    options: Options | None
    data_digest: str | None = None
    test_digest: str | None = None
    precision: str | None = None
    tool_versions: dict[str, str] | None = None
    held_out_draw: str = BY_NAME
    extensions: tuple[Extension, ...] = ()
    warnings: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write ``run.json``; paths stay there, outside of the checkpoint."""
        values = {**asdict(self), "recipe": self.recipe.to_dict()}
        with write_atomically(folder / RUN) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> RunRecord:
    """Read the ``run.json`` of a run folder.

    Raises:
        RunError: There is none, it is damaged, or the folder holds an average of runs.
    """
    path = folder / RUN
    values = read_run_json(folder)
    if isinstance(values, dict) and "averaged_from" in values:
        raise RunError(f"{folder}: an average of runs has no epoch to go on after.")
    if isinstance(values, dict) and "recipe" in values and values.get("held_out_draw") != BY_NAME:
        raise RunError(
            f"{folder}: begun by an older emotion-edge, which drew other held-out pictures; go on "
            f"with that version, or begin a new run."
        )
    try:
        if not isinstance(values["data"], str):
            raise TypeError("the data are no path")
        optional = ("data_digest", "test_digest", "precision")
        texts = {name: values.get(name) for name in optional}
        if not all(text is None or isinstance(text, str) for text in texts.values()):
            raise TypeError("a digest is no text")
        known = {*Recipe().to_dict(), *FORMER_FIELDS}
        unknown = [name for name in values["recipe"] if name not in known]
        if unknown:
            raise RunError(
                f"{folder}: begun by another version of emotion-edge, with "
                f"{shorten_repr(unknown[0])} in its recipe, which this one does not have; go on "
                f"with that version, or begin anew."
            )
        if values["recipe"].get("vote_weight") and "balance" not in values["recipe"]:
            raise RunError(
                f"{folder}: begun by an older emotion-edge, which copied faces by their labels, "
                f"and this one does by the votes; go on with that version, or begin a new run."
            )
        if values["recipe"].get("augmentation") not in (None, *AUGMENTATIONS):
            raise ValueError("an augmentation that there is not")
        versions = values.get("tool_versions")
        if versions is not None:
            versions = {str(name): str(version) for name, version in versions.items()}
        return RunRecord(
            values["data"],
            Recipe.from_dict(values["recipe"]),
            Options.from_dict(values["options"]) if values.get("options") else None,
            **texts,
            tool_versions=versions,
            extensions=tuple(map(Extension.from_dict, values.get("extensions") or ())),
            warnings=tuple(map(str, values.get("warnings") or ())),
            plan=tuple(str(one) for one in values.get("plan") or ()),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(f"{path}: damaged, the run cannot be resumed.") from error


def read_run_json(folder: Path) -> Any:
    """Return the values of a ``run.json``, whatever they are.

    Raises:
        RunError: There is none, or it cannot be read as JSON.
    """
    path = folder / RUN
    try:
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: not a regular file, the run cannot be resumed.")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise RunError(f"{path}: larger than 1 MiB, the run cannot be resumed.")
        return json.loads(data.decode("utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no run to resume here.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, the run cannot be resumed.") from error


def find_validation_folder(run: Path) -> Path | None:
    """Return the folder that a run was given with ``--val``; None where there is none, or no more.

    Args:
        run: A run folder, or a checkpoint in it.
    """
    try:
        folder = read_run_json(run if run.is_dir() else run.parent)["options"]["validation"]
    except (RunError, KeyError, TypeError):
        return None
    return Path(folder) if isinstance(folder, str) and Path(folder).is_dir() else None


def find_votes(run: Path) -> Path | None:
    """Return the votes file that a run was given; None where there is none, or another by now.

    Args:
        run: A run folder, or a checkpoint in it.
    """
    try:
        votes = _source(read_run_json(run if run.is_dir() else run.parent)["options"]["votes"])
    except (RunError, KeyError, TypeError):
        return None
    path = Path(votes.name)
    return path if path.is_file() and compute_sha256(path) == votes.sha256 else None


def describe_source(name: str, *, start: bool = False) -> Source:
    """Return a file, run folder or released model with the digest of its content.

    A run folder stands for its ``best.pt``. What is missing gets an empty digest: whoever opens it
    says so better.

    Args:
        name: How it was named.
        start: A released name stands for the checkpoint of that network, not for its model file.
    """
    import emotion_models
    from emotion_train.checkpoints.checkpoint import BEST

    path = Path(name)
    if path.is_dir():
        path = path / BEST
    elif not path.exists() and start and name in emotion_models.checkpoint_names():
        return Source(name, compute_sha256(emotion_models.checkpoint_path(name)))
    elif not path.exists() and not start and name in emotion_models.names():
        return Source(name, compute_sha256(emotion_models.model_path(name)))
    digest = compute_sha256(path) if path.is_file() else ""
    return Source(str(Path(name).absolute()), digest)


def differing(now: Sequence[Source], then: Sequence[Source]) -> bool:
    """Return whether two lists of sources differ in what the files hold."""
    return [one.sha256 for one in now] != [one.sha256 for one in then]


def _source(values: Any) -> Source:
    name, digest = values["name"], values["sha256"]
    if not isinstance(name, str) or not isinstance(digest, str):
        raise TypeError("a source is no text")
    return Source(name, digest)
