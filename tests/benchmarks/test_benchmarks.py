"""The logic of the benchmarks, and the figures in the READMEs; nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import accuracy  # noqa: E402
import footprint  # noqa: E402
import power  # noqa: E402
from corruptions import CORRUPTIONS, STRENGTHS  # noqa: E402
from harness import format_amount, ratios, take_turns  # noqa: E402
from photographs import count_matches, draw_panorama, match  # noqa: E402
from results import ResultOptions, find_regressions, report_result  # noqa: E402
from synthetic import band_face  # noqa: E402


def test_the_readmes_hold_the_figures_of_the_results() -> None:
    command = [sys.executable, str(BENCHMARKS / "fill_readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cases_take_turns() -> None:
    order: list[str] = []
    seconds = take_turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warm_up=1
    )
    assert "".join(order) == "abababab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_taken_within_a_round() -> None:
    seconds = {"slow": [2.0, 20.0, 200.0], "fast": [1.0, 10.0, 100.0]}
    assert ratios(seconds, "slow", "fast") == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("value", "text"), [(1463.2, "1,463"), (98.12, "98.1"), (2.345, "2.35"), (0.5, "0.50")]
)
def test_amounts_have_three_digits(value: float, text: str) -> None:
    assert format_amount(value) == text


def result(cpu: str = "a", **figures: float) -> dict[str, object]:
    lower = {name: value for name, value in figures.items() if name != "rate"}
    higher = {"rate": figures["rate"]} if "rate" in figures else {}
    return {
        "benchmark": "latency",
        "machine": {"cpu": cpu, "cpus": 2},
        "lower_is_better": lower,
        "higher_is_better": higher,
    }


def test_figures_that_are_worse_by_more_than_the_tolerance_are_reported() -> None:
    before = result(edge=100.0, base=100.0, rate=10.0)
    assert find_regressions(before, result(edge=110.0, base=50.0, rate=9.5), 0.15) == []
    worse = find_regressions(before, result(edge=120.0, base=100.0, rate=5.0), 0.15)
    assert [line.split(":")[0] for line in worse] == ["edge", "rate"]
    assert find_regressions(before, result(edge=100.0, rate=10.0), 0.15) == [
        "base: no longer measured"
    ]


def test_figures_of_another_machine_are_not_compared() -> None:
    with pytest.raises(SystemExit, match="cannot be compared"):
        find_regressions(result(edge=1.0), result("b", edge=1.0), 0.15)


def test_a_result_is_saved_and_a_worse_one_exits_with_1(tmp_path: Path) -> None:
    options = ResultOptions(output=tmp_path / "one")
    report_result(options, "latency", "| table |", lower={"edge, µs": 100.0})
    assert (tmp_path / "one" / "latency.md").read_text() == "| table |\n"
    kept = tmp_path / "one" / "latency.json"
    assert json.loads(kept.read_text())["lower_is_better"] == {"edge, µs": 100.0}
    again = ResultOptions(output=tmp_path / "two", against=kept)
    report_result(again, "latency", "| table |", lower={"edge, µs": 101.0})
    with pytest.raises(SystemExit) as stop:
        report_result(again, "latency", "| table |", lower={"edge, µs": 200.0})
    assert stop.value.code == 1


@pytest.mark.slow
def test_accuracy_is_measured_on_a_folder(tmp_path: Path) -> None:
    for label, name in enumerate(("happy", "sad", "surprise")):
        folder = tmp_path / "data" / "test" / name
        folder.mkdir(parents=True)
        for seed in range(2):
            Image.fromarray(band_face(label, seed)).save(folder / f"{seed}.png")
    arguments = [str(tmp_path / "data"), "--every", "6", "--output", str(tmp_path / "results")]
    done = CliRunner().invoke(accuracy.main, arguments, catch_exceptions=False)
    assert "6 test pictures of data" in done.output
    saved = json.loads((tmp_path / "results" / "accuracy.json").read_text(encoding="utf-8"))
    assert 0 <= saved["higher_is_better"]["edge-int8, accuracy"] <= 1
    assert set(saved["damaged"]["edge-int8"]) == set(CORRUPTIONS)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_grows_and_keeps_the_shape(kind: str) -> None:
    face = band_face(0)
    changes = []
    for strength in STRENGTHS:
        damaged = CORRUPTIONS[kind](face, strength, np.random.default_rng(0))
        assert damaged.shape == (48, 48)
        assert damaged.dtype == np.uint8
        changes.append(np.abs(damaged.astype(int) - face).mean())
    assert 0 < changes[0] < changes[-1]


def test_each_face_is_matched_with_one_box_the_most_confident_first() -> None:
    given = [[0, 0, 40, 40], [100, 0, 25, 25]]
    found = [
        [2, 0, 40, 40, 0.7],
        [0, 0, 40, 40, 0.9],
        [100, 0, 25, 25, 0.6],
        [105, 6, 25, 25, 0.9],  # on the face, without a match
        [300, 0, 10, 10, 0.9],
    ]
    assert match(found, given) == ({1, 2}, {0, 1})
    counts = count_matches([found], [given])
    assert (counts["faces"], counts["found"]) == (1, 1)  # from 30 pixels on
    assert (counts["faces 20"], counts["found 20"]) == (1, 1)
    assert (counts["boxes"], counts["no face"], counts["elsewhere"]) == (5, 3, 1)


def test_the_panorama_of_photographs_has_their_faces(tmp_path: Path) -> None:
    for name, size in (("a.png", (300, 225)), ("b.png", (450, 900))):
        Image.new("RGB", size, "gray").save(tmp_path / name)
    photographs = [tmp_path / "a.png", tmp_path / "b.png"]
    boxes = draw_panorama(
        tmp_path / "p.bmp", photographs, [[[10, 20, 30, 40]], [[100, 200, 50, 60]]]
    )
    assert Image.open(tmp_path / "p.bmp").size == (600 + 225, 450)
    assert boxes == [[20, 40, 60, 80], [650, 100, 25, 30]]


def test_costs_are_compared_within_a_round() -> None:
    costs = {
        "default": [power.Cost(1.0, 1.0), power.Cost(10.0, 10.0), power.Cost(100.0, 100.0)],
        "threads": [power.Cost(0.5, 2.0), power.Cost(5.0, 20.0), power.Cost(50.0, 200.0)],
    }
    table = power.format_costs(costs, unit=1e3, heading="ms")
    assert table.splitlines()[-1] == "| threads | 5,000 | 20,000 | 0.50 | 2.00 |"


def test_the_cpu_time_of_children_counts() -> None:
    def start() -> None:
        subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True)

    (cost,) = power.measure_costs({"child": start}, rounds=1)["child"]
    assert cost.cpu > 0.005


def test_the_start_does_not_count_as_time_of_the_pictures() -> None:
    usage = {10: footprint.Usage(60, 0.5, 1), 2010: footprint.Usage(70, 1.5, 1)}
    assert footprint.compute_cpu_per_thousand(usage) == 0.5
    assert footprint.compute_cpu_per_thousand({10: usage[10]}) is None


def test_the_memory_of_a_process_is_not_that_of_the_one_which_starts_it() -> None:
    ballast = b"x" * (300 * 2**20)
    usage = footprint.run_and_measure([sys.executable, "-c", "data = b'x' * (30 * 2**20)"])
    assert 30 < usage.peak < 100 < len(ballast) / 2**20
    assert usage.cpu > 0
    with pytest.raises(SystemExit, match="failed"):
        footprint.run_and_measure([sys.executable, "-c", "raise SystemExit(1)"])


def test_every_file_of_the_install_counts_in_its_part() -> None:
    files = {
        "emotion_models/checkpoints/edge.npz": "checkpoints, to start a training from",
        "emotion_models/edge-int8.onnx": "released models, face detector and cards",
        "emotion_runtime/__init__.py": "emotion_runtime",
        "emotion_train/run.py": "emotion_train and emotion_export",
        "emotion_export/export.py": "emotion_train and emotion_export",
        "emotion_edge-0.1.0.dist-info/METADATA": "metadata and commands of emotion-edge",
        "../../../bin/emotion-infer": "metadata and commands of emotion-edge",
    }
    assert {file: footprint.find_own_part(file) for file in files} == files
    assert set(files.values()) == set(footprint.OWN_PARTS.values())


def test_an_editable_install_is_not_measured_as_the_light_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Editable:
        files = ("emotion_edge.pth",)

    monkeypatch.setattr(footprint.metadata, "distribution", lambda name: Editable())
    with pytest.raises(SystemExit, match="editable"):
        footprint.measure_parts("emotion-edge")
