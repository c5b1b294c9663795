"""Files of a data folder that are not read, with their counts, for messages."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from emotion_runtime.pictures.sources import find_pictures, is_picture_name
from emotion_train.data.layout import Layout, list_folders
from emotion_train.errors import DataError

_MAX_COUNTED_FILES = 100_000  # below one folder; counting more would take too long


def list_passed_over(data: Path, layout: Layout, classes: Sequence[str]) -> list[str]:
    """Return descriptions of pictures outside of the class folders that are read.

    Args:
        data: The data folder.
        layout: Where its class folders are.
        classes: The classes that are read.

    Returns:
        Sentences without a full stop, each with a count and an example.
    """
    found = [] if layout.is_flat else list(_describe_beside_splits(data, layout))
    for folder in layout.splits.values():
        found += _describe_beside_classes(folder, classes)
    return found


def check_class_folders(layout: Layout, known: Sequence[str]) -> None:
    """Raise an error for held-out pictures of a class that the training folder does not have.

    Raises:
        DataError: There is such a class.
    """
    for split, held_out in layout.splits.items():
        if split == "train":
            continue
        for path in list_folders(held_out):
            pictures = 0 if path.name in known else count_pictures(path)[0]
            if pictures:
                alike = [name for name in known if name.casefold() == path.name.casefold()]
                hint = f"; it has {alike[0]!r}" if alike else f"; it has {', '.join(sorted(known))}"
                raise DataError(
                    f"{path}: {_format_count(pictures, 'picture')} of a class {path.name!r} that "
                    f"{layout.splits['train']} does not have{hint}. Rename the folder, or take it "
                    f"away."
                )


def describe_other_files(
    folder: str, others: Sequence[str], links: Sequence[str] = ()
) -> Iterator[str]:
    """Yield descriptions of files that are no pictures by name, and of repeated links.

    Args:
        folder: The class folder, for messages.
        others: Paths of hidden files, of hidden folders, and of files without a picture's suffix.
        links: Paths of links to folders that were read already.
    """
    kinds = Counter[str]()
    for path in others:
        name = os.path.basename(path)  # noqa: PTH119  there may be a million
        hidden = name.startswith(".")
        kinds["hidden" if hidden else os.path.splitext(name)[1].lower() or "no suffix"] += 1  # noqa: PTH122
    if kinds:
        shown = ", ".join(f"{name} {count:,}" for name, count in kinds.most_common())
        yield (
            f"{folder}: {_format_count(kinds.total(), 'file')} that no suffix names a picture "
            f"({shown}; such as {Path(others[0]).name})"
        )
    if links:
        yield f"{folder}: {_format_count(len(links), 'link')} to folders that are read already"


def count_pictures(folder: Path) -> tuple[int, str]:
    """Count the pictures below a folder, among at most `_MAX_COUNTED_FILES`; follow no links.

    Returns:
        The count, and the path of one picture.
    """
    count, files, example = 0, 0, ""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            files += 1
            if is_picture_name(name):
                count += 1
                example = example or f"{parent}/{name}"
        if files >= _MAX_COUNTED_FILES:
            break
    return count, example


def has_picture(folder: Path) -> bool:
    """Return whether there is a picture below a folder; follow links to folders."""
    found = find_pictures([str(folder)], on_error=lambda _: None)
    return next(found, None) is not None


def _describe_beside_splits(data: Path, layout: Layout) -> Iterator[str]:
    """Yield descriptions of pictures in the data folder, outside of its split folders."""
    read = {folder.resolve() for folder in layout.splits.values()}
    splits = [
        folder.name
        for folder in layout.splits.values()
        if folder.resolve().parent == data.resolve()
    ]
    split_names = f"{', '.join(splits[:-1])} and {splits[-1]}" if len(splits) > 1 else splits[0]
    verb = "are" if len(splits) > 1 else "is"
    loose = 0
    for path in sorted(data.iterdir()):
        if path.name.startswith(".") or path.resolve() in read:
            continue
        if path.is_dir():
            pictures, example = count_pictures(path)
            if pictures:
                yield (
                    f"{path.name}: {_format_count(pictures, 'picture')} (such as "
                    f"{Path(example).relative_to(data).as_posix()}); only {split_names} {verb} read"
                )
        else:
            loose += is_picture_name(path.name)
    if loose:
        yield f"{data.name}: {_format_count(loose, 'picture')} outside of {split_names}"


def _describe_beside_classes(folder: Path, classes: Sequence[str]) -> Iterator[str]:
    """Yield descriptions of pictures of other classes, and of pictures in no class folder."""
    loose, others = 0, Counter[str]()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name not in classes:
            others[path.name] = count_pictures(path)[0]
        elif not path.is_dir() and is_picture_name(path.name):
            loose += 1
    if others := +others:
        counts = ", ".join(f"{name} {_format_number(count)}" for name, count in others.items())
        yield f"{folder.name}: pictures of classes that are not trained on ({counts})"
    if loose:
        yield f"{folder.name}: {_format_count(loose, 'picture')} in no class folder"


def _format_number(count: int) -> str:
    return f"at least {count:,}" if count >= _MAX_COUNTED_FILES else f"{count:,}"


def _format_count(count: int, what: str) -> str:
    return f"{_format_number(count)} {what}{'' if count == 1 else 's'}"
