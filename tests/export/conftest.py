from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

import shortcuts
from synthetic import CLASSES, DARK, write_data


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
