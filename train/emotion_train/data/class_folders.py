"""Labelled pictures in class folders, with or without splits above them; sub-folders are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emotion_runtime.errors import SourceError
from emotion_runtime.pictures.sources import find_pictures
from emotion_train.data.layout import Layout, list_folders, recognise_layout
from emotion_train.data.passed_over import (
    check_class_folders,
    count_pictures,
    describe_other_files,
    has_picture,
    list_passed_over,
)
from emotion_train.data.source import (
    ALL_CLASSES,
    NOT_A_PICTURE,
    Item,
    Reading,
    Source,
    check_class_names,
    check_source,
    choose_classes,
)
from emotion_train.errors import DataError


def read_class_folders(
    data: Path, wanted: Sequence[str] | None, reading: Reading, validation: Path | None = None
) -> Source:
    """Read a data folder.

    Args:
        data: The folder.
        wanted: As in `choose_classes`.
        reading: Reads the pictures.
        validation: A folder of class folders to use as the validation set.

    Raises:
        DataError: The folder has another layout, lacks a class, or has no readable picture of one.
    """
    layout = recognise_layout(data)
    if validation is not None:
        layout = _with_validation(data, layout, validation)
    train = layout.splits["train"]
    found = [folder.name for folder in list_folders(train)]
    without = [name for name in found if layout.flat and not has_picture(train / name)]
    if wanted is None or tuple(wanted) == ALL_CLASSES:
        found = [name for name in found if name not in without]
    classes = choose_classes(found, wanted)
    if not classes or (layout.flat and not found):
        expected = f"{train}/<class>/*" if not layout.flat else f"{data}/{{train,test}}/<class>/*"
        also = f" or {data}/<class>/*" if layout.flat else ""
        raise DataError(f"{train}: has no class folders; expected {expected}{also}.")
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(
            f"{train}: no folder for the class {', '.join(missing)}; "
            f"found {', '.join(found) if found else 'no class at all'}."
        )
    check_class_names(train, classes)  # before all of them are read
    check_class_folders(layout, found)
    passed_over = list_passed_over(data, layout, classes)
    passed_over += [f"{name}: a folder without pictures" for name in without]
    splits = {}
    for split, folder in layout.splits.items():
        base = data if folder.is_relative_to(data) else folder.parent
        items = []
        for label, name in enumerate(classes):
            if (folder / name).is_dir():  # a held-out split may lack a class; train was checked
                items += _list_items(folder / name, base, label, name, reading, passed_over)
        splits[split] = reading.read(items, classes, split)
        for other in list_folders(folder):
            if other.name not in classes and (count := count_pictures(other)[0]):
                reading.inventory.other_classes[other.name] += count
    shown = "class folders alone"
    if not layout.flat:
        shown = ", ".join(path.name for path in layout.splits.values()) + ", with class folders"
    source = Source(
        classes,
        splits,
        reading.skipped,
        reading.unreadable,
        reading.faceless,
        tuple(passed_over),
        (f"layout: {shown}",),
        layout.flat,
        reading.inventory,
    )
    source = check_source(data, source)
    if validation is not None and "validation" not in source.splits:
        raise DataError(f"{validation}: {source.passed_over[-1].split('; ')[0]}.")
    return source


def list_training_items(data: Path, excluded: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """List the training pictures of every class that is not excluded.

    Returns:
        The items, and the names of their classes in label order.
    """
    train = recognise_layout(data).splits["train"]
    names = tuple(path.name for path in list_folders(train) if path.name not in excluded)
    items: list[Item] = []
    for label, name in enumerate(names):
        items += _list_items(train / name, data, label, name, None, [])
    return items, names


def _with_validation(data: Path, layout: Layout, validation: Path) -> Layout:
    """Take another folder as the validation set."""
    if not validation.is_dir():
        raise DataError(f"{validation}: no such folder; --val takes a folder of class folders.")
    if "validation" in layout.splits:
        raise DataError(
            f"{data}: has a validation set of its own, {layout.splits['validation'].name}; leave "
            f"--val out, or rename that folder."
        )
    if layout.flat and validation.resolve().is_relative_to(data.resolve()):
        raise DataError(
            f"{validation}: lies in {data}, whose folders are classes; move it out of there, or "
            f"make {data}/train and {data}/val of them."
        )
    resolved = [folder.resolve() for folder in layout.splits.values()]
    if validation.resolve() in resolved:
        raise DataError(f"{validation}: is a split of {data} already; --val takes another folder.")
    return Layout({**layout.splits, "validation": validation}, layout.flat)


def _list_items(
    folder: Path,
    base: Path,
    label: int,
    name: str,
    reading: Reading | None,
    passed_over: list[str],
) -> list[Item]:
    """List the pictures below a class folder, sorted; count and describe what else is there."""
    others: list[str] = []
    links: list[str] = []

    def note(error: SourceError) -> None:
        if reading is not None and "cannot be listed" in str(error):
            reading.skipped.append(str(error))

    paths = map(
        Path,
        find_pictures([str(folder)], on_error=note, on_other=others.append, on_repeat=links.append),
    )
    items: list[Item] = [
        (path.relative_to(base).as_posix(), label, lambda path=path: path)  # type: ignore[misc]
        for path in paths
    ]
    place = folder.relative_to(base).as_posix()
    passed_over += describe_other_files(place, others, links)
    if reading is not None and others:
        reading.inventory.found[name] += len(others)
        reading.inventory.left_out[name, NOT_A_PICTURE] += len(others)
    return items
