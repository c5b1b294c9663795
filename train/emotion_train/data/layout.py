"""Which of the usual layouts a data folder has: splits with classes in them, or classes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_runtime.pictures.sources import is_picture_name
from emotion_runtime.prediction import format_count
from emotion_train.errors import DataError

SPLITS = ("train", "validation", "test")

# Names of split folders and of splits in a CSV, compared without regard to case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Layout:
    """Where the class folders of each split lie.

    Attributes:
        splits: Split to the folder that holds its class folders; ``train`` always.
        flat: The class folders lie in the data folder itself: there are no splits.
    """

    splits: dict[str, Path]
    flat: bool


def recognise_layout(data: Path) -> Layout:
    """Recognise ``DATA/{train,val,test}/<class>`` or ``DATA/<class>``.

    Raises:
        DataError: The folder is neither, or could be both; the message tells what was seen.
    """
    folders = list_folders(data)
    splits: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.casefold())
        if split is not None:
            if split in splits:
                raise DataError(
                    f"{data}: both {splits[split].name} and {folder.name} could be the {split} "
                    f"set; rename or remove one of them."
                )
            splits[split] = folder
    if not splits:
        _refuse_inner_splits(data, folders)
        return Layout({"train": data}, flat=True)
    others = [folder.name for folder in folders if folder not in splits.values()]
    if "train" not in splits:
        named = _listed([folder.name for folder in splits.values()])
        beside = f", with {_listed(others)} beside it" if others else ""
        raise DataError(
            f"{data}: has {named}{beside}, but no folder 'train'; expected {data}/train/<class>/*, "
            f"or class folders alone (a class named like a split must be renamed)."
        )
    train = splits["train"]
    if not list_folders(train) and (loose := _pictures_in(train)) and others:
        raise DataError(
            f"{train}: holds {format_count(loose, 'picture')} and no class folders, with "
            f"{_listed(others)} beside it. If it is a class, rename it; if it is the training set, "
            f"sort its pictures into {train}/<class>/."
        )
    return Layout({split: splits[split] for split in SPLITS if split in splits}, flat=False)


def refuse_output_within(data: Path, folder: Path) -> None:
    """Refuse a run folder among the class folders, whose pictures would be read as a class.

    Raises:
        DataError: `folder` lies there.
    """
    if not data.is_dir() or not folder.resolve().is_relative_to(data.resolve()):
        return
    for place in recognise_layout(data).splits.values():
        if folder.resolve().is_relative_to(place.resolve()):
            raise DataError(
                f"{folder}: lies in {place}, whose folders are classes; name another folder with "
                f"-o."
            )


def list_folders(folder: Path) -> list[Path]:
    """Return the sub-folders that are not hidden, sorted by name."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _refuse_inner_splits(data: Path, folders: Sequence[Path]) -> None:
    """Refuse splits inside of the class folders, which would be mixed, and a folder too high up."""
    for folder in folders:
        inner = [one.name for one in list_folders(folder) if one.name.casefold() in SPLIT_NAMES]
        if inner and len(folders) == 1:
            raise DataError(
                f"{data}: has one folder, {folder.name}, which holds {_listed(inner)}; name "
                f"{folder} as the data folder."
            )
        if inner:
            raise DataError(
                f"{folder}: a class folder that holds {_listed(inner)}; expected the splits above "
                f"the classes, {data}/train/<class>/*."
            )


def _pictures_in(folder: Path) -> int:
    return sum(is_picture_name(path.name) and path.is_file() for path in folder.iterdir())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"
