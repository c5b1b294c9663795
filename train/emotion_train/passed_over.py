"""What a data folder holds beside the pictures that are read: counted, so that nothing is ignored
in silence.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from emotion_runtime.sources import is_picture_name
from emotion_train.errors import DataError

SPLITS = ("train", "test")
_MOST_COUNTED = 100_000  # files below one folder; counting more would delay the first answer


def list_passed_over(data: Path, classes: Sequence[str]) -> list[str]:
    """Describe the files of a data folder that are not read, one sentence for each reason.

    Args:
        data: The folder with ``train/<class>/*`` and perhaps ``test/<class>/*``.
        classes: The classes that are read.

    Returns:
        Sentences without a full stop, each with a count and an example; empty where all is read.
    """
    found = list(_beside_splits(data))
    for split in SPLITS:
        if (data / split).is_dir():
            found += _beside_classes(data, split, classes)
            for name in classes:
                found += _inside_class(data, f"{split}/{name}")
    return found


def check_test_folders(data: Path, classes: Sequence[str]) -> None:
    """Refuse test pictures of a class that the training folder does not have.

    Raises:
        DataError: The class, and those that there are, are named.
    """
    test = data / "test"
    if not test.is_dir():
        return
    known = [path.name for path in (data / "train").iterdir() if path.is_dir()]
    for path in sorted(test.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in known:
            pictures, _ = _count_pictures(path)
            if pictures:
                alike = [name for name in known if name.casefold() == path.name.casefold()]
                hint = f"; it has {alike[0]!r}" if alike else f"; it has {', '.join(sorted(known))}"
                raise DataError(
                    f"{path}: {_counted(pictures, 'picture')} of a class {path.name!r} that "
                    f"{data / 'train'} does not have{hint}. Rename the folder, or take it away."
                )


def _beside_splits(data: Path) -> Iterator[str]:
    """Describe what lies in the data folder itself."""
    files = Counter[str]()
    for path in sorted(data.iterdir()):
        if path.name.startswith(".") or path.name in SPLITS:
            continue
        if path.is_dir():
            pictures, example = _count_pictures(path)
            if pictures:
                yield (
                    f"{path.name}: {_counted(pictures, 'picture')} (such as "
                    f"{_relative(example, data)}); only train and test are read"
                )
        elif is_picture_name(path.name):
            files[path.name] += 1
    if files:
        yield f"{data.name}: {_counted(files.total(), 'picture')} outside of train and test"


def _beside_classes(data: Path, split: str, classes: Sequence[str]) -> Iterator[str]:
    """Describe pictures of other classes, and those that lie in no class folder."""
    loose, others = 0, Counter[str]()
    for path in sorted((data / split).iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name not in classes:
            others[path.name] = _count_pictures(path)[0]
        elif not path.is_dir() and is_picture_name(path.name):
            loose += 1
    if others := +others:
        named = ", ".join(f"{name} {_number(count)}" for name, count in others.items())
        yield f"{split}: pictures of classes that --classes does not name ({named})"
    if loose:
        yield f"{split}: {_counted(loose, 'picture')} in no class folder"


def _inside_class(data: Path, place: str) -> Iterator[str]:
    """Describe sub-folders, and files that are no pictures by name."""
    folder = data / place
    if not folder.is_dir():
        return
    nested, nested_example, suffixes, example = 0, "", Counter[str](), ""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.is_dir():
                count, first = _count_pictures(Path(entry.path))
                nested_example = nested_example or first
                nested += count
            elif not is_picture_name(entry.name):
                if entry.name.startswith("."):
                    suffixes["hidden"] += 1
                else:
                    suffixes[Path(entry.name).suffix.lower() or "no suffix"] += 1
                example = example or entry.name
    if nested:
        yield (
            f"{place}: {_counted(nested, 'picture')} in its sub-folders (such as "
            f"{_relative(nested_example, data)}); only the class folder itself is read"
        )
    if suffixes:
        kinds = ", ".join(f"{name} {count:,}" for name, count in suffixes.most_common())
        yield (
            f"{place}: {_counted(suffixes.total(), 'file')} that no suffix names a picture "
            f"({kinds}; such as {example})"
        )


def _count_pictures(folder: Path) -> tuple[int, str]:
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


def _relative(path: str, data: Path) -> str:
    return Path(path).relative_to(data).as_posix()


def _number(count: int) -> str:
    return f"at least {count:,}" if count >= _MOST_COUNTED else f"{count:,}"


def _counted(count: int, what: str) -> str:
    return f"{_number(count)} {what}{'' if count == 1 else 's'}"
