from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner

import shortcuts
from emotion_export.page.onnxruntime_web import ONNXRUNTIME_WEB
from synthetic import CLASSES, DARK, write_data
from web_page import RUNTIME_FILES, serve


@pytest.fixture(scope="session")
def run_dir(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training."""
    return shortcuts.make_once(
        tmp_path_factory, "trained_run", lambda folder: _train(data_folder, folder)
    )


@pytest.fixture(scope="session")
def four_class_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of three classes, and neutral faces without a band."""

    def write(folder: Path) -> None:
        write_data(folder, train=(50, 50, 50, 50), test=4, classes=(*CLASSES, DARK))

    return shortcuts.make_once(tmp_path_factory, "four_classes", write)


@pytest.fixture(scope="session")
def four_class_run(four_class_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training on four classes."""

    def train(folder: Path) -> None:
        _train(four_class_data, folder, "--classes", ",".join((*CLASSES, DARK)))

    return shortcuts.make_once(tmp_path_factory, "four_class_run", train)


@pytest.fixture(scope="session")
def small_files(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network of `run_dir` in every precision; the steps of each bar lie beside the files."""
    folder = shortcuts.make_once(
        tmp_path_factory, "precisions", lambda folder: _export_all(run_dir, folder)
    )
    return {name: folder / f"{name}.onnx" for name in ("fp32", "fp16", "int8")}


def _export_all(run_dir: Path, folder: Path) -> None:
    from emotion_export import parity_progress
    from emotion_export.cli import main

    folder.mkdir()
    for precision in ("fp32", "fp16", "int8"):
        counted = []
        with (
            shortcuts.blank_figures(),
            shortcuts.conversions_once(),
            mock.patch.object(
                parity_progress.Progress,
                "advance",
                lambda progress, steps=1, counted=counted: counted.append(
                    (steps, progress._bar.total)
                ),
            ),
        ):
            arguments = [f"{folder}/{precision}.onnx", "-c", str(run_dir), "-p", precision]
            result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        steps = [sum(step for step, _ in counted), counted[0][1]]
        (folder / f"{precision}.steps.json").write_text(json.dumps(steps))


def _train(data: Path, folder: Path, *options: str) -> None:
    from emotion_train.cli import main

    arguments = [str(data), "-o", str(folder), "--network", "edge", "--epochs", "6", "-q"]
    arguments += ["--batch-size", "8", "--validation", "20", "--learning-rate", "3e-4", *options]
    with shortcuts.blank_figures():
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="session")
def npm_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm package onnxruntime-web, downloaded once."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed (it downloads onnxruntime-web)")

    def download(folder: Path) -> None:
        folder.mkdir()
        command = [npm, "pack", "--silent", f"onnxruntime-web@{ONNXRUNTIME_WEB}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm cannot download onnxruntime-web: {done.stderr.strip()[:200]}")

    (package,) = shortcuts.make_once(tmp_path_factory, "npm", download).glob("*.tgz")
    return package


@pytest.fixture(scope="session")
def npm_package(npm_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of the package that a page needs. They are compressed once, which takes seconds."""
    from emotion_export.page import build

    compress = build._compress

    def extract(folder: Path) -> None:
        with tarfile.open(npm_archive) as archive:
            names = [f"package/dist/{name}" for name in RUNTIME_FILES]
            archive.extractall(folder, [archive.getmember(name) for name in names])
        program = next(folder.rglob("*.wasm"))
        (folder / "compressed").write_bytes(compress(program.read_bytes()))

    folder = shortcuts.make_once(tmp_path_factory, "npm_package", extract)
    compressed = (folder / "compressed").read_bytes()
    with mock.patch.object(build, "_compress", return_value=compressed):
        yield folder / "package"


@pytest.fixture(scope="session")
def page_folder(npm_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from emotion_export.page.build import write_page

    folder = tmp_path_factory.mktemp("page") / "page"
    return write_page(None, folder, runtime=npm_package)


@pytest.fixture(scope="session")
def address(page_folder: Path) -> Iterator[str]:
    with serve(page_folder) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()
