"""The self-test of a file notices faults, by its golden inputs and the digest of its graph."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from emotion_export.parity.comparison import open_graph
from emotion_export.parity.golden_inputs import (
    LOW_MARGIN_STEPS,
    MAX_INPUTS,
    MIN_MARGIN_STEPS,
    choose_golden_inputs,
)
from emotion_runtime import EmotionClassifier
from emotion_train.checkpoints.checkpoint import load_checkpoint
from synthetic import band_face, band_model


@pytest.fixture(scope="module")
def perturb_model() -> ModuleType:
    """The script that changes a file in many ways."""
    path = Path(__file__).parents[2] / "scripts" / "perturb_model.py"
    spec = importlib.util.spec_from_file_location("perturb_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_half_of_the_inputs_lie_near_a_border_and_every_label_is_there(
    small_files: dict[str, Path], precision: str
) -> None:
    golden = EmotionClassifier(small_files[precision]).contract.golden
    assert len(golden.pixels) == MAX_INPUTS
    assert set(golden.logits.argmax(axis=1)) == {0, 1, 2}
    ordered = np.sort(golden.logits, axis=1)
    margins = (ordered[:, -1] - ordered[:, -2]) / np.ptp(golden.logits) * 255
    assert (margins < 1.5 * LOW_MARGIN_STEPS).sum() >= MAX_INPUTS // 2
    assert margins.min() > 0.5 * MIN_MARGIN_STEPS, "no rounding changes a label"


def test_no_input_shows_a_face_of_the_training(small_files: dict[str, Path], run_dir: Path) -> None:
    """They are made from the average faces of the checkpoint, or from patterns."""
    checkpoint = load_checkpoint(run_dir)
    graph = onnx.load(small_files["fp32"])
    infer = open_graph(graph.SerializeToString(), "full")
    averages = checkpoint.average_faces[:, 0].numpy()
    again = choose_golden_inputs(graph, infer, averages, 48)
    stored = EmotionClassifier(small_files["fp32"]).contract.golden.pixels[:, 0]
    np.testing.assert_array_equal(again, stored)
    patterns = choose_golden_inputs(graph, infer, averages[:0], 48)
    assert patterns.shape == (MAX_INPUTS, 48, 48)


def test_the_tolerance_of_int8_is_two_steps(small_files: dict[str, Path]) -> None:
    golden = EmotionClassifier(small_files["int8"]).contract.golden
    step = np.ptp(golden.logits) / 255
    assert 2 * step <= golden.tolerance * 1.001
    assert golden.mean_tolerance is not None
    assert step / 16 <= golden.mean_tolerance * 1.001
    assert golden.mean_tolerance < golden.tolerance / 4
    assert EmotionClassifier(small_files["fp32"]).contract.golden.mean_tolerance is None


def test_a_graph_without_borders_has_golden_inputs_too(tmp_path: Path) -> None:
    model = onnx.load(band_model(tmp_path / "m.onnx"))
    infer = open_graph(model.SerializeToString(), "full")
    one_class = np.stack([band_face(0, seed) for seed in range(4)])
    assert len(choose_golden_inputs(model, infer, one_class, 48)) == MAX_INPUTS


def test_no_fault_that_changes_a_label_passes(
    small_files: dict[str, Path], perturb_model: ModuleType
) -> None:
    path = small_files["int8"]
    faces = np.stack([band_face(n % 3, 9_000 + n) for n in range(60)])
    near = EmotionClassifier(small_files["fp32"]).contract.golden.pixels[:, 0]
    changes = list(perturb_model.draw_changes(onnx.load(path), 0, 8, 8))
    assert {change.kind for change in changes} >= {
        *perturb_model.SERIOUS,
        "every weight of a layer off by one",
        "every bias of a layer off by one",
        "a scale 1 % larger",
        "a zero point off by one",
    }
    outcomes = perturb_model.perturb(path, changes, np.concatenate([faces, near]))
    assert not [one for one in outcomes if one.passed], "the digest shows every change"
    assert not perturb_model.find_missed(outcomes)
    serious = [one for one in outcomes if one.kind in perturb_model.SERIOUS and one.flips]
    assert serious
    assert not [one for one in serious if one.passed_by_numbers]
    table = perturb_model.format_table(outcomes, 60)
    assert "| an output channel zeroed | 8 |" in table


def test_the_script_fails_where_a_serious_fault_passes(perturb_model: ModuleType) -> None:
    outcome = perturb_model.Outcome
    passing = outcome(perturb_model.ZEROED, "weights", 3, True, True)
    harmless = outcome(perturb_model.ZEROED, "weights", 0, True, True)
    small = outcome("a scale 1 % larger", "scale", 1, True, True)
    assert perturb_model.find_missed([harmless, small, passing]) == [passing]


def test_the_script_prints_a_table(
    small_files: dict[str, Path], perturb_model: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = perturb_model.draw_changes
    monkeypatch.setattr(perturb_model, "draw_changes", lambda *given: list(draw(*given))[:3])
    done = CliRunner().invoke(perturb_model.main, [str(small_files["fp32"])])
    assert done.exit_code == 0, done.output
    assert "change a label of 40 faces" in done.output
    assert "| an output channel zeroed | 3 |" in done.output
