"""Match class folders with the labels of a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_runtime.errors import SourceError

SPLIT_FOLDERS = ("test", "val", "valid", "validation", "train")


@dataclass(frozen=True)
class ClassFolders:
    """The content of a folder of class folders.

    Attributes:
        folders: Label → folder, for the labels that have one.
        others: Folders that are not named after a label.
        missing: Labels without a folder.
        unassigned: Number of files and hidden folders beside the class folders. Pictures among
            them have no label.
    """

    folders: dict[str, Path]
    others: tuple[Path, ...]
    missing: tuple[str, ...]
    unassigned: int


def find_class_folders(folder: Path, labels: Sequence[str]) -> ClassFolders:
    """Match the folders inside `folder` with a model's labels.

    Raises:
        SourceError: `folder` is missing or cannot be listed, none of its folders is named after a
            label, or the name of a folder differs from a label only in case.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder.")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed ({error.strerror}).") from error
    inside = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    unassigned = len(entries) - len(inside)
    by_case = {label.casefold(): label for label in labels}
    for name in inside:
        label = by_case.get(name.casefold(), name)
        if name not in labels and label in labels and label not in inside:
            raise SourceError(
                f"{folder / name}: the model's label is {label!r}; rename the folder."
            )
    found = {label: folder / label for label in labels if label in inside}
    if not found:
        splits = [name for name in SPLIT_FOLDERS if name in inside]
        hint = f"; evaluate {folder / splits[0]}" if splits else ""
        content = f"it contains {', '.join(inside[:8])}" if inside else "it contains no folder"
        raise SourceError(
            f"{folder}: no folder is named after a label of the model ({', '.join(labels)}); "
            f"{content}{hint}."
        )
    return ClassFolders(
        folders=found,
        others=tuple(folder / name for name in inside if name not in labels),
        missing=tuple(label for label in labels if label not in found),
        unassigned=unassigned,
    )
