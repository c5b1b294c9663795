"""What a data folder holds beside the pictures that are read: counted, so that nothing is ignored
in silence.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from emotion_runtime.pictures.sources import find_pictures, is_picture_name
from emotion_train.data.layout import Layout, list_folders
from emotion_train.errors import DataError

_MOST_COUNTED = 100_000  # files below one folder; counting more would delay the first answer


def list_passed_over(data: Path, layout: Layout, classes: Sequence[str]) -> list[str]:
    """Describe what of a data folder lies outside of the class folders that are read.

    Args:
        data: The data folder.
        layout: Where its class folders are.
        classes: The classes that are read.

    Returns:
        Sentences without a full stop, each with a count and an example; empty where all is read.
    """
    found = [] if layout.flat else list(_beside_splits(data, layout))
    for folder in layout.splits.values():
        found += _beside_classes(folder, classes)
    return found


def check_class_folders(layout: Layout, known: Sequence[str]) -> None:
    """Refuse held-out pictures of a class that the training folder does not have.

    Raises:
        DataError: The class, and those that there are, are named.
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
                    f"{path}: {_counted(pictures, 'picture')} of a class {path.name!r} that "
                    f"{layout.splits['train']} does not have{hint}. Rename the folder, or take it "
                    f"away."
                )


def describe_other_files(
    place: str, others: Sequence[str], links: Sequence[str] = ()
) -> Iterator[str]:
    """Describe files of a class folder that are no pictures by name, and links seen before.

    Args:
        place: The class folder, as a message names it.
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
            f"{place}: {_counted(kinds.total(), 'file')} that no suffix names a picture "
            f"({shown}; such as {Path(others[0]).name})"
        )
    if links:
        yield f"{place}: {_counted(len(links), 'link')} to folders that are read already"


def count_pictures(folder: Path) -> tuple[int, str]:
    """Count the pictures below a folder, up to `_MOST_COUNTED` files; links are not followed.

    Returns:
        The count, and the path of one.
    """
    count, files, example = 0, 0, ""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            files += 1
            if is_picture_name(name):
                count += 1
                example = example or f"{place}/{name}"
        if files >= _MOST_COUNTED:
            break
    return count, example


def has_picture(folder: Path) -> bool:
    """Return whether there is a picture below a folder; links to folders are followed."""
    found = find_pictures([str(folder)], on_error=lambda _: None)
    return next(found, None) is not None


def _beside_splits(data: Path, layout: Layout) -> Iterator[str]:
    """Describe what lies in the data folder itself, beside its split folders."""
    read = {folder.resolve() for folder in layout.splits.values()}
    splits = [
        folder.name
        for folder in layout.splits.values()
        if folder.resolve().parent == data.resolve()
    ]
    named = f"{', '.join(splits[:-1])} and {splits[-1]}" if len(splits) > 1 else splits[0]
    verb = "are" if len(splits) > 1 else "is"
    loose = 0
    for path in sorted(data.iterdir()):
        if path.name.startswith(".") or path.resolve() in read:
            continue
        if path.is_dir():
            pictures, example = count_pictures(path)
            if pictures:
                yield (
                    f"{path.name}: {_counted(pictures, 'picture')} (such as "
                    f"{Path(example).relative_to(data).as_posix()}); only {named} {verb} read"
                )
        else:
            loose += is_picture_name(path.name)
    if loose:
        yield f"{data.name}: {_counted(loose, 'picture')} outside of {named}"


def _beside_classes(folder: Path, classes: Sequence[str]) -> Iterator[str]:
    """Describe pictures of other classes, and those that lie in no class folder."""
    loose, others = 0, Counter[str]()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name not in classes:
            others[path.name] = count_pictures(path)[0]
        elif not path.is_dir() and is_picture_name(path.name):
            loose += 1
    if others := +others:
        named = ", ".join(f"{name} {_number(count)}" for name, count in others.items())
        yield f"{folder.name}: pictures of classes that are not trained on ({named})"
    if loose:
        yield f"{folder.name}: {_counted(loose, 'picture')} in no class folder"


def _number(count: int) -> str:
    return f"at least {count:,}" if count >= _MOST_COUNTED else f"{count:,}"


def _counted(count: int, what: str) -> str:
    return f"{_number(count)} {what}{'' if count == 1 else 's'}"
