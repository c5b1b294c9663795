"""`scripts/trim_install.py` removes what is never loaded, and refuses other environments."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from trim_install import UNUSED, main  # noqa: E402

REQUIRED = ("numpy", "Pillow", "onnxruntime", "click", "protobuf", "flatbuffers", "packaging")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with links to the light install's packages, and their metadata."""
    packages = tmp_path / "env" / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    for name in REQUIRED:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # not required by every version of onnxruntime
        for file in distribution.files or ():
            source, target = Path(str(file.locate())), packages / file
            if source.is_file() and ".." not in file.parts and "__pycache__" not in file.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    for folder in ("models/emotion_models", "runtime/emotion_runtime"):
        shutil.copytree(
            ROOT / folder,
            packages / Path(folder).name,
            copy_function=lambda source, target: Path(target).symlink_to(source),
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    (packages / "emotion_edge-0.1.0.dist-info").mkdir()
    (packages / "emotion_edge-0.1.0.dist-info" / "METADATA").write_text(
        "Name: emotion-edge\nVersion: 0.1.0\n"
    )
    return tmp_path / "env"


def test_what_is_removed_is_never_loaded(environment: Path) -> None:
    done = CliRunner().invoke(main, [str(environment)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (packages,) = environment.glob("lib/python3/site-packages")
    for patterns in UNUSED.values():
        for pattern in patterns:
            assert not list(packages.glob(pattern)), pattern
    code = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)]\n"
        "import numpy, onnxruntime\n"
        "assert onnxruntime.__file__.startswith(sys.path[0]), onnxruntime.__file__\n"
        "from emotion_runtime.__main__ import run; run()"
    )
    # -I -S: no other package can be found.
    command = [sys.executable, "-I", "-S", "-B", "-c", code, str(packages)]
    for arguments in (
        ["--self-test"],
        ["-q", str(ROOT / "samples" / "sad_01.png")],
        ["-q", "--faces", str(ROOT / "docs" / "faces.png")],
    ):
        done_run = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False
        )
        assert done_run.returncode == 0, done_run.stderr
        assert "sad" in done_run.stdout or "passed" in done_run.stdout


def test_a_dry_run_removes_nothing(environment: Path) -> None:
    before = sorted(environment.rglob("*"))
    done = CliRunner().invoke(main, [str(environment), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "would be removed" in done.output
    assert sorted(environment.rglob("*")) == before


def test_an_environment_with_other_packages_is_refused(environment: Path) -> None:
    (packages,) = environment.glob("lib/python3/site-packages")
    (packages / "torch-2.0.dist-info").mkdir()
    (packages / "torch-2.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.0\n")
    before = sorted(environment.rglob("*"))
    done = CliRunner().invoke(main, [str(environment)])
    assert done.exit_code == 2
    assert "torch" in done.output
    assert sorted(environment.rglob("*")) == before


def test_nothing_outside_the_environment_is_removed(environment: Path, tmp_path: Path) -> None:
    (packages,) = environment.glob("lib/python3/site-packages")
    outside = tmp_path / "outside"
    shutil.move(packages / "numpy", outside)
    (packages / "numpy").symlink_to(outside)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(main, [str(environment)])
    assert done.exit_code == 2
    assert f"{outside}, outside {environment}; nothing was removed" in done.output
    assert sorted(tmp_path.rglob("*")) == before
    (packages / "numpy").unlink()
    # A link in the place of what is removed: the link goes, and not what it points to.
    (packages / "numpy").mkdir()
    (packages / "numpy" / "f2py").symlink_to(outside / "f2py")
    kept = sorted(outside.rglob("*"))
    done = CliRunner().invoke(main, [str(environment)])
    assert done.exit_code == 0, done.output
    assert list((packages / "numpy").iterdir()) == []
    assert sorted(outside.rglob("*")) == kept
    again = CliRunner().invoke(main, [str(environment)])
    assert again.exit_code == 0
    assert "0.0 MB of " in again.output


def test_a_site_packages_folder_elsewhere_is_refused(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lib").symlink_to(environment / "lib")
    before = sorted(environment.rglob("*"))
    done = CliRunner().invoke(main, [str(tmp_path / "other")])
    assert done.exit_code == 2
    assert "nothing was removed" in done.output
    assert sorted(environment.rglob("*")) == before


def test_sources_that_are_not_installed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "emotion_runtime").mkdir()
    (tmp_path / "emotion_runtime" / "__init__.py").touch()
    checkpoints = tmp_path / "emotion_models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert done.exit_code == 2
    assert "emotion-edge is not installed in it" in done.output
    assert checkpoints.is_dir()


def test_what_cannot_be_removed_is_one_sentence(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", fail)
    done = CliRunner().invoke(main, [str(environment)])
    assert done.exit_code == 1
    assert "cannot be removed (Permission denied); run the script again" in done.output
    assert done.output.count("\n") <= 2


def test_a_folder_without_the_light_install_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert done.exit_code == 2
    assert "emotion-edge is not installed" in done.output
