"""Remove from a light install the files that ``emotion-infer`` never loads: a third of its size.

    python -m venv trimmed
    trimmed/bin/pip install .
    trimmed/bin/python scripts/trim_install.py trimmed
    trimmed/bin/emotion-infer --self-test

For containers and devices with little storage. What is removed: onnxruntime's library for C
programs (a second copy of what its Python module contains), its tools for making models, the
packages that only those tools import, numpy's parts for building and testing packages, and the
checkpoints that a training starts from. All picture formats, all released models, the face
detector and the other commands of the light install keep working; ``pip check`` reports the
packages that are gone. An environment with other packages, which may need these files, is refused,
and so is one with links to folders outside it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from itertools import chain
from pathlib import Path

import click

# What is removed, as patterns below site-packages.
UNUSED = {
    "onnxruntime's library for C programs": ["onnxruntime/capi/libonnxruntime.so*"],
    "onnxruntime's tools for making models": [
        *("onnxruntime/backend", "onnxruntime/datasets", "onnxruntime/quantization"),
        *("onnxruntime/tools", "onnxruntime/transformers"),
    ],
    "packages that only those tools import": [
        # Each with its metadata. Up to 1.19, onnxruntime required sympy and coloredlogs too.
        *("google", "protobuf-*", "flatbuffers*", "packaging*"),
        *("sympy*", "isympy.py", "mpmath*", "coloredlogs*", "humanfriendly*"),
    ],
    "numpy's parts for building and testing packages": [
        *("numpy/distutils", "numpy/f2py", "numpy/testing", "numpy/**/tests", "numpy/**/*.pyi"),
        *("numpy/_core/include", "numpy/_core/lib", "numpy/random/lib"),
    ],
    "checkpoints that a training starts from": ["emotion_models/checkpoints"],
}

# An environment with any other package is refused.
_LIGHT = {"emotion-edge", "numpy", "pillow", "onnxruntime", "click"}
_REQUIRED_BY_ONNXRUNTIME = {
    *("flatbuffers", "packaging", "protobuf", "sympy", "mpmath", "coloredlogs", "humanfriendly"),
}
_NOT_INSTALLED = "emotion-edge is not installed in it (pip install ., without -e)."
_HARMLESS = {"pip", "setuptools", "wheel", "simplejpeg", "pillow-heif", "opencv-python-headless"}


def find_site_packages(environment: Path) -> Path:
    """Return the site-packages folder of a virtual environment.

    Args:
        environment: The environment, or its site-packages folder itself.

    Raises:
        click.UsageError: It has none, or the light install is not in it.
    """
    folders = [environment, *environment.glob("lib/python*/site-packages")]
    for folder in [*folders, environment / "Lib" / "site-packages"]:
        if (folder / "emotion_runtime" / "__init__.py").is_file():
            return folder
    raise click.UsageError(f"{environment}: {_NOT_INSTALLED}")


def find_unused(site_packages: Path) -> dict[str, list[Path]]:
    """Return part → the files and folders that `emotion-infer` never loads, none inside another."""
    found: dict[str, list[Path]] = {}
    for part, patterns in UNUSED.items():
        matches = {path for pattern in patterns for path in site_packages.glob(pattern)}
        found[part] = sorted(path for path in matches if not matches.intersection(path.parents))
    return found


def check_links(environment: Path, site_packages: Path, paths: Iterable[Path]) -> None:
    """Refuse an environment in which files outside it would be removed.

    Raises:
        click.UsageError: A folder on the way to a file is a link out of the environment.
    """
    inside = environment.resolve()
    for folder in dict.fromkeys([site_packages, *(path.parent for path in paths)]):
        if not (target := folder.resolve()).is_relative_to(inside):
            raise click.UsageError(
                f"{folder}: is {target}, outside {environment}; nothing was removed. Install "
                "with copies, not with links."
            )


def remove(path: Path) -> None:
    """Remove a file, a folder or a link, but not what a link points to.

    Raises:
        click.ClickException: It cannot be removed.
    """
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or path}: cannot be removed ({error.strerror or error}); run the "
            "script again as the owner of the environment."
        ) from error


def measure(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def check_packages(site_packages: Path) -> None:
    """Refuse an environment with packages that may need what is removed.

    Raises:
        click.UsageError: It has such packages, which the message names; or emotion-edge itself is
            not installed in it, such as in a folder of its sources.
    """
    installed = metadata.distributions(path=[str(site_packages)])
    names = {str(one.metadata["Name"]).lower().replace("_", "-") for one in installed}
    if "emotion-edge" not in names:
        raise click.UsageError(f"{site_packages}: {_NOT_INSTALLED}")
    if others := sorted(names - _LIGHT - _REQUIRED_BY_ONNXRUNTIME - _HARMLESS):
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        raise click.UsageError(
            f"{site_packages}: has other packages too ({shown}), which may need the files that "
            "would be removed; make an environment for the light install alone."
        )


@click.command(help=__doc__.partition("\n\n")[0])
@click.argument("environment", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Remove nothing; print what would be removed.")
def main(environment: Path, dry_run: bool) -> None:
    """Remove the unused files and print what they took."""
    site_packages = find_site_packages(environment)
    check_packages(site_packages)
    unused = find_unused(site_packages)
    check_links(environment, site_packages, chain.from_iterable(unused.values()))
    before, removed = measure(site_packages), 0
    for part, paths in unused.items():
        size = sum(map(measure, paths))
        removed += size
        if not dry_run:
            for path in paths:
                remove(path)
        click.echo(f"{size / 1e6:7.1f} MB  {part}")
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"{removed / 1e6:7.1f} MB of {before / 1e6:.1f} MB {verb} in {site_packages}")


if __name__ == "__main__":
    sys.exit(main())
