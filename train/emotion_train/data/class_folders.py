"""Pictures in class folders, with or without split folders above; sub-folders are read too."""

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
    PictureReader,
    Source,
    check_class_names,
    check_source,
    choose_classes,
)
from emotion_train.errors import DataError


def read_class_folders(
    data: Path, wanted: Sequence[str] | None, reader: PictureReader, validation: Path | None = None
) -> Source:
    """Read a data folder with class folders.

    Args:
        data: The folder.
        wanted: As in `choose_classes`.
        reader: Reads the pictures and counts what it leaves out.
        validation: A folder of class folders to use as the validation set.

    Raises:
        DataError: The folder has another layout, lacks a class, or has no readable picture of one.
    """
    layout = recognise_layout(data)
    if validation is not None:
        layout = _add_validation(data, layout, validation)
    train = layout.splits["train"]
    found = [folder.name for folder in list_folders(train)]
    empty = [name for name in found if layout.is_flat and not has_picture(train / name)]
    if wanted is None or tuple(wanted) == ALL_CLASSES:
        found = [name for name in found if name not in empty]
    classes = choose_classes(found, wanted)
    _require_classes(data, layout, found, classes)
    check_class_names(train, classes)  # before all of them are read
    check_class_folders(layout, found)
    passed_over = list_passed_over(data, layout, classes)
    passed_over += [f"{name}: a folder without pictures" for name in empty]
    splits = {}
    for split, folder in layout.splits.items():
        items = _list_split_items(data, folder, classes, reader, passed_over)
        splits[split] = reader.read(items, classes, split)
        for other in list_folders(folder):
            if other.name not in classes and (count := count_pictures(other)[0]):
                reader.inventory.other_classes[other.name] += count
    described = "class folders alone"
    if not layout.is_flat:
        names = ", ".join(path.name for path in layout.splits.values())
        described = f"{names}, with class folders"
    source = reader.make_source(
        classes, splits, passed_over=passed_over, layout=described, is_flat=layout.is_flat
    )
    source = check_source(data, source)
    if validation is not None and "validation" not in source.splits:
        raise DataError(f"{validation}: {source.passed_over[-1].split('; ')[0]}.")
    return source


def list_training_items(data: Path, excluded: Sequence[str]) -> tuple[list[Item], tuple[str, ...]]:
    """Return the training pictures of all classes that are not excluded.

    Returns:
        The items, and the names of their classes in label order.
    """
    train = recognise_layout(data).splits["train"]
    names = tuple(path.name for path in list_folders(train) if path.name not in excluded)
    items: list[Item] = []
    for label, name in enumerate(names):
        items += _list_items(train / name, data, label, name, None, [])
    return items, names


def _require_classes(
    data: Path, layout: Layout, found: Sequence[str], classes: Sequence[str]
) -> None:
    """Raise an error if there are no class folders, or one of the classes has none.

    Raises:
        DataError: As above.
    """
    train = layout.splits["train"]
    if not classes or (layout.is_flat and not found):
        expected = f"{train}/<class>/*"
        if layout.is_flat:
            expected = f"{data}/{{train,test}}/<class>/* or {data}/<class>/*"
        raise DataError(f"{train}: has no class folders; expected {expected}.")
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(
            f"{train}: no folder for the class {', '.join(missing)}; "
            f"found {', '.join(found) if found else 'no class at all'}."
        )


def _add_validation(data: Path, layout: Layout, validation: Path) -> Layout:
    """Return the layout with another folder as the validation set."""
    if not validation.is_dir():
        raise DataError(f"{validation}: no such folder; --val takes a folder of class folders.")
    if "validation" in layout.splits:
        raise DataError(
            f"{data}: has a validation set of its own, {layout.splits['validation'].name}; leave "
            f"--val out, or rename that folder."
        )
    if layout.is_flat and validation.resolve().is_relative_to(data.resolve()):
        raise DataError(
            f"{validation}: lies in {data}, whose folders are classes; move it out of there, or "
            f"make {data}/train and {data}/val of them."
        )
    resolved = [folder.resolve() for folder in layout.splits.values()]
    if validation.resolve() in resolved:
        raise DataError(f"{validation}: is a split of {data} already; --val takes another folder.")
    return Layout({**layout.splits, "validation": validation}, layout.is_flat)


def _list_split_items(
    data: Path,
    folder: Path,
    classes: Sequence[str],
    reader: PictureReader,
    passed_over: list[str],
) -> list[Item]:
    """Return the pictures of all classes in the folder of a split."""
    base = data if folder.is_relative_to(data) else folder.parent
    items = []
    for label, name in enumerate(classes):
        if (folder / name).is_dir():  # held-out splits may lack a class; train was checked
            items += _list_items(folder / name, base, label, name, reader, passed_over)
    return items


def _list_items(
    folder: Path,
    base: Path,
    label: int,
    name: str,
    reader: PictureReader | None,
    passed_over: list[str],
) -> list[Item]:
    """Return the pictures below a class folder, sorted; count and describe other files."""
    others: list[str] = []
    links: list[str] = []

    def record_error(error: SourceError) -> None:
        if reader is not None and "cannot be listed" in str(error):
            reader.skipped.append(str(error))

    found = find_pictures(
        [str(folder)], on_error=record_error, on_other=others.append, on_repeat=links.append
    )
    items: list[Item] = [
        (path.relative_to(base).as_posix(), label, lambda path=path: path)  # type: ignore[misc]
        for path in map(Path, found)
    ]
    name_in_data = folder.relative_to(base).as_posix()
    passed_over += describe_other_files(name_in_data, others, links)
    if reader is not None and others:
        reader.inventory.found[name] += len(others)
        reader.inventory.left_out[name, NOT_A_PICTURE] += len(others)
    return items
