"""Labelled pictures in class folders, matched with a model's labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_runtime.errors import SourceError

SPLIT_FOLDERS = ("test", "val", "valid", "validation", "train")


@dataclass(frozen=True)
class ClassFolders:
    """What one folder of class folders holds.

    Attributes:
        folders: The folder of each label that has one.
        others: Folders named after none of the labels.
        missing: Labels without a folder.
        loose: What lies beside the class folders: pictures, which have no label, other files, and
            hidden folders, each counted once.
    """

    folders: dict[str, Path]
    others: tuple[Path, ...]
    missing: tuple[str, ...]
    loose: int


def find_class_folders(folder: Path, labels: Sequence[str]) -> ClassFolders:
    """Match the folders inside `folder` with a model's labels.

    Raises:
        SourceError: `folder` is missing, cannot be listed, or none of its folders is named after
            a label; or a folder's name differs from a label in case alone.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder.")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed ({error.strerror}).") from error
    inside = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    loose = len(entries) - len(inside)
    by_case = {label.casefold(): label for label in labels}
    for name in inside:
        label = by_case.get(name.casefold(), name)
        if name not in labels and label in labels and label not in inside:
            raise SourceError(
                f"{folder / name}: the model's label is {label!r}; name the folder so."
            )
    found = {label: folder / label for label in labels if label in inside}
    if not found:
        splits = [name for name in SPLIT_FOLDERS if name in inside]
        hint = f"; evaluate {folder / splits[0]}" if splits else ""
        held = f"it holds {', '.join(inside[:8])}" if inside else "it holds no folder"
        raise SourceError(
            f"{folder}: no folder is named after a label of the model ({', '.join(labels)}); "
            f"{held}{hint}."
        )
    return ClassFolders(
        folders=found,
        others=tuple(folder / name for name in inside if name not in labels),
        missing=tuple(label for label in labels if label not in found),
        loose=loose,
    )
