"""The layout of a data folder: split folders with class folders, or class folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_runtime.pictures.sources import is_picture_name
from emotion_runtime.prediction import format_count
from emotion_train.errors import DataError

SPLITS = ("train", "validation", "test")

# Names of split folders and of splits in a CSV, in any case.
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
    """The folder of each split.

    Attributes:
        splits: The folder with the class folders of each split; ``train`` is always there.
        is_flat: The class folders are in the data folder itself: there are no splits.
    """

    splits: dict[str, Path]
    is_flat: bool


def recognise_layout(data: Path) -> Layout:
    """Return the layout: ``DATA/{train,val,test}/<class>`` or ``DATA/<class>``.

    Raises:
        DataError: The folder has neither layout, or could have both.
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
        return Layout({"train": data}, is_flat=True)
    others = [folder.name for folder in folders if folder not in splits.values()]
    if "train" not in splits:
        named = _join_names([folder.name for folder in splits.values()])
        beside = f", with {_join_names(others)} beside it" if others else ""
        raise DataError(
            f"{data}: has {named}{beside}, but no folder 'train'; expected {data}/train/<class>/*, "
            f"or class folders alone (a class named like a split must be renamed)."
        )
    train = splits["train"]
    if not list_folders(train) and (loose := _count_loose_pictures(train)) and others:
        raise DataError(
            f"{train}: holds {format_count(loose, 'picture')} and no class folders, with "
            f"{_join_names(others)} beside it. If it is a class, rename it; if it is the training "
            f"set, sort its pictures into {train}/<class>/."
        )
    return Layout({split: splits[split] for split in SPLITS if split in splits}, is_flat=False)


def refuse_output_within(data: Path, folder: Path) -> None:
    """Raise an error if a run folder is among the class folders, and would be read as a class.

    Raises:
        DataError: It is.
    """
    if not data.is_dir() or not folder.resolve().is_relative_to(data.resolve()):
        return
    for split in recognise_layout(data).splits.values():
        if folder.resolve().is_relative_to(split.resolve()):
            raise DataError(
                f"{folder}: lies in {split}, whose folders are classes; name another folder with "
                f"-o."
            )


def list_folders(folder: Path) -> list[Path]:
    """Return the sub-folders that are not hidden, sorted by name."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _refuse_inner_splits(data: Path, folders: Sequence[Path]) -> None:
    """Raise an error for split folders inside class folders, or if `data` is the parent folder."""
    for folder in folders:
        inner = [one.name for one in list_folders(folder) if one.name.casefold() in SPLIT_NAMES]
        if inner and len(folders) == 1:
            raise DataError(
                f"{data}: has one folder, {folder.name}, which holds {_join_names(inner)}; name "
                f"{folder} as the data folder."
            )
        if inner:
            raise DataError(
                f"{folder}: a class folder that holds {_join_names(inner)}; expected the splits "
                f"above the classes, {data}/train/<class>/*."
            )


def _count_loose_pictures(folder: Path) -> int:
    return sum(is_picture_name(path.name) and path.is_file() for path in folder.iterdir())


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5:,} more"
