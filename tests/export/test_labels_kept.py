"""``emotion-export --labels``: files with some of the classes of a network, and `other`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result

from emotion_export import export_module
from emotion_export.errors import ExportError
from emotion_export.int8.labelled_faces import LabelledFaces
from emotion_export.label_subset.subset import keep_labels
from emotion_export.label_subset.threshold import (
    choose_other_threshold,
    choose_thresholds,
    measure_out_of_fold,
)
from emotion_export.parity.comparison import GATES, Comparison, ParityError, Reference
from emotion_runtime import EmotionClassifier
from emotion_runtime.digest import compute_sha256
from emotion_runtime.evaluate.open_set import OpenSet
from emotion_runtime.model.outputs import Outputs
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.faces import Faces
from emotion_train.evaluation import predict_logits
from emotion_train.run_record import find_votes
from synthetic import DARK, band_face

Export = Callable[..., Result]
LABELS = ("surprise", "happy")  # in another order than the network's


@pytest.fixture(scope="module")
def kept(four_class_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One export with two of four labels, shared by several tests."""
    from emotion_export.cli import main

    path = tmp_path_factory.mktemp("kept") / "two.onnx"
    arguments = [str(path), "-c", str(four_class_run), "--labels", ", ".join(LABELS)]
    return path, CliRunner().invoke(main, arguments)


def faces() -> np.ndarray:
    return np.stack([band_face(n % 4, 900 + n) for n in range(40)])


def test_the_outputs_follow_from_the_full_softmax(
    kept: tuple[Path, Result], four_class_run: Path
) -> None:
    path, result = kept
    assert result.exit_code == 0, result.output
    checkpoint = load_checkpoint(four_class_run)
    with torch.inference_mode():
        logits = checkpoint.build()(torch.from_numpy(faces()[:, np.newaxis])).double()
    columns = [checkpoint.labels.index(name) for name in LABELS]
    shares = torch.softmax(logits / checkpoint.temperature, dim=1).numpy()
    alone = torch.softmax(logits[:, columns] / checkpoint.temperature, dim=1).numpy()
    classifier = EmotionClassifier(path)
    outputs = classifier.compute(faces())
    assert classifier.labels == LABELS
    np.testing.assert_allclose(outputs.logits, logits[:, columns].numpy(), atol=1e-4)
    np.testing.assert_allclose(outputs.probabilities, alone, atol=1e-5)
    np.testing.assert_allclose(outputs.other, 1 - shares[:, columns].sum(axis=1), atol=1e-5)


def test_the_file_has_contract_version_2(kept: tuple[Path, Result], four_class_run: Path) -> None:
    path, _ = kept
    classifier, checkpoint = EmotionClassifier(path), load_checkpoint(four_class_run)
    contract = classifier.contract
    assert contract.version == 2
    assert contract.other_classes == ("sad", DARK)
    assert classifier.self_test().passed
    assert contract.golden.other is not None
    assert classifier.predict(band_face(3, 5)).label == "other"
    assert classifier.predict(band_face(1, 5)).label == "other"
    assert classifier.predict(band_face(0, 5)).label == "happy"
    assert contract.metrics["all_classes"] == checkpoint.metrics
    assert contract.parity["max_other_difference"] <= 1e-4
    outputs = [value.name for value in onnx.load(path).graph.output]
    assert outputs == ["logits", "probabilities", "other"]


def test_the_threshold_has_the_stated_coverage(kept: tuple[Path, Result]) -> None:
    path, result = kept
    figures = EmotionClassifier(path).contract.metrics["held-out"]["other"]
    assert figures["truth"] == "labels of the data"
    assert figures["coverage"] >= 0.95
    assert (figures["pictures"], figures["other_pictures"]) == (40, 40)
    assert figures["other_classes"].keys() == {"sad", DARK}
    assert figures["out_of_fold"].keys() == {"coverage", "others_unnamed"}
    assert sum(map(sum, figures["confusion_matrix"])) == 80
    assert "40 of the labels: " in result.stderr
    assert "40 of other classes: " in result.stderr
    every = EmotionClassifier(path).contract.metrics["held-out"]["every_class"]
    assert every["pictures"] == 80
    assert "on faces that the threshold was not chosen on (five-fold): " in result.stderr


def test_a_threshold_chosen_on_few_faces_is_reported(four_class_run: Path) -> None:
    checkpoint = load_checkpoint(four_class_run)
    subset, told = keep_labels(checkpoint.labels, LABELS), list[str]()
    for count in (40, 100):
        labels = np.arange(4 * count // 2) % 4
        pixels = np.stack([band_face(int(label), 50 + n) for n, label in enumerate(labels)])
        held_out = Faces(pixels, labels, tuple(map(str, labels)))
        labelled = LabelledFaces(pixels, held_out, None)
        choose_thresholds(checkpoint.build(), checkpoint, subset, labelled, log=told.append)
    (warning,) = [text for text in told if "chosen on only" in text]
    assert "only 40 held-out faces of the labels and 40 of other classes" in warning
    assert warning.endswith("keep a label (95 % interval)")


def test_the_confidence_threshold_is_chosen_again_for_its_coverage(four_class_run: Path) -> None:
    """With two labels a face has a higher confidence than with four."""
    checkpoint = load_checkpoint(four_class_run)
    rows = [{"min_confidence": 0.5, "coverage": 0.8}]
    strict = replace(checkpoint, min_confidence=0.5, metrics={"confidence": rows}, temperature=5)
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    noisy = [
        band_face(int(label), 50 + n) + rng.integers(0, 60, (48, 48))
        for n, label in enumerate(labels)
    ]
    held_out = Faces(np.stack(noisy).clip(0, 255).astype(np.uint8), labels, tuple(map(str, labels)))
    subset = keep_labels(checkpoint.labels, LABELS)
    labelled = LabelledFaces(held_out.pixels, held_out, None)
    network = checkpoint.build()
    found = choose_thresholds(network, strict, subset, labelled).min_confidence
    logits = predict_logits(network, held_out.pixels)
    known = subset.map_labels(labels) < 2
    confidence = subset.compute_outputs(logits[known], 5).probabilities.max(axis=1)
    assert 0.8 <= (confidence >= found).mean() < 1
    assert found > 0.5
    assert choose_thresholds(network, checkpoint, subset, labelled).min_confidence == 0


def test_the_threshold_is_in_the_middle_of_its_range() -> None:
    known, dense = np.array([0.1, 0.2, 0.3, 0.4]), np.linspace(0, 1, 1000)
    assert choose_other_threshold(known, dense, 0.75) == 0.31
    assert choose_other_threshold(known, dense, 1.0) == 0.41
    assert choose_other_threshold(np.array([0.995]), dense, 0.95) == 1.0
    # Nothing changes from 0.41 to 0.80: the threshold is in the middle.
    assert choose_other_threshold(known, np.array([0.8, 0.9]), 1.0) == 0.6


def test_out_of_fold_figures_use_thresholds_of_other_faces() -> None:
    known = np.linspace(0, 0.5, 100)
    open_set = OpenSet(known, known >= 0, np.linspace(0.4, 1, 50))
    figures = measure_out_of_fold(open_set, 0.95)
    assert 0.9 < figures["coverage"] < 1
    few = OpenSet(known[:3], known[:3] >= 0, known)
    assert measure_out_of_fold(few, 0.95) == {"coverage": None, "others_unnamed": None}


def test_the_report_has_the_figures_of_other(kept: tuple[Path, Result]) -> None:
    path, _ = kept
    report = json.loads(path.with_suffix(".parity.json").read_text())
    assert report["other"]["classes"] == ["sad", DARK]
    assert all(one["max_other_difference"] <= 1e-4 for one in report["comparisons"])
    text = path.with_suffix(".export.md").read_text()
    assert "## Other" in text
    assert f"| {DARK}, still gets one of the labels |" in text
    assert "| AUROC of other |" in text
    for suffix in (".other.png", ".confusion.png"):
        assert path.with_suffix(suffix).stat().st_size > 1000


def test_the_file_is_verified_against_its_run(
    kept: tuple[Path, Result], four_class_run: Path
) -> None:
    from emotion_export.verify_cli import main

    result = CliRunner().invoke(main, [str(kept[0]), "-c", str(four_class_run)])
    assert result.exit_code == 0, result.output
    assert "every label agrees" in result.stdout


def run_with_votes(run: Path, votes: Path, target: Path) -> Path:
    """Copy a run and record these votes as a part of its targets."""
    checkpoint = load_checkpoint(run)
    recipe = checkpoint.training["recipe"] | {"vote_weight": 0.8}
    target.mkdir()
    replace(checkpoint, training=checkpoint.training | {"recipe": recipe}).save(target / "best.pt")
    record = json.loads((run / "run.json").read_text())
    record["options"]["votes"] = {"name": str(votes), "sha256": compute_sha256(votes)}
    (target / "run.json").write_text(json.dumps(record))
    return target


def test_votes_that_changed_since_the_training_are_refused(
    four_class_run: Path, tmp_path: Path
) -> None:
    votes = tmp_path / "votes.csv"
    votes.write_text("path,happy\n")
    run = run_with_votes(four_class_run, votes, tmp_path / "run")
    assert find_votes(run) == find_votes(run / "best.pt") == votes
    votes.write_text("path,sad\n")
    assert find_votes(run) is None
    assert find_votes(four_class_run) is None


def test_votes_determine_the_true_classes(
    export: Export, four_class_run: Path, four_class_data: Path, tmp_path: Path
) -> None:
    votes = tmp_path / "votes.csv"
    columns = ["path", "happiness", "sadness", "surprise", DARK, "contempt"]
    with votes.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for number, path in enumerate(sorted(four_class_data.rglob("*.png"))):
            name = path.relative_to(four_class_data).as_posix()
            kind = ["happy", "sad", "surprise", DARK].index(path.parent.name)
            counts = [0] * 5
            counts[kind] = 10
            if number % 5 == 0:  # nothing has a majority
                counts = [5, 5, 0, 0, 0]
            rows.writerow([name, *counts])
    path, run = tmp_path / "m.onnx", run_with_votes(four_class_run, votes, tmp_path / "run")
    result = export(path, "-c", run, "--labels", "happy,sad,surprise", "--other-coverage", 0.9)
    assert result.exit_code == 0, result.output
    assert f"votes: {votes}" in result.stderr
    metrics = EmotionClassifier(path).contract.metrics["held-out"]
    figures = metrics["other"]
    assert figures["truth"] == "strict majority of the annotators' votes"
    assert figures["left_out"] > 0
    assert figures["left_out"] + figures["pictures"] + figures["other_pictures"] == 80
    assert metrics["other_by_labels"]["pictures"] == 60
    assert metrics["other_by_labels"]["left_out"] == 0
    assert figures["coverage"] >= 0.9
    assert f"{figures['left_out']} held-out faces without one are left out" in result.stderr


def test_int8_is_compared_on_other_too(
    export: Export, four_class_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    arguments = ("-c", four_class_run, "--labels", "happy,sad,surprise", "-p", "int8")
    result = export(path, *arguments, "--allow-label-agreement", 0.9)
    assert result.exit_code == 0, result.output
    classifier = EmotionClassifier(path)
    assert classifier.self_test().passed
    report = json.loads(path.with_suffix(".parity.json").read_text())
    recalls = report["int8"]["paired_comparisons"]["recall"]
    assert recalls.keys() == {"happy", "sad", "surprise", "other"}
    assert report["int8"]["faces"] == 80
    assert classifier.predict(band_face(3, 11)).label == "other"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--labels", "happy,glad"], 1, "does not know the label 'glad'; it knows happy, sad"),
        (["--labels", "happy"], 1, "at least two labels"),
        (["--labels", "happy,happy"], 1, "given twice"),
        (["--labels", f"happy,sad,surprise,{DARK}"], 1, "all classes of the network"),
        (["--labels", "happy,,sad"], 2, "a name is empty"),
        (["--labels", "happy,sad", "--label", "happy"], 2, "not with both"),
        (["--other-coverage", "0.9"], 2, "need --labels"),
        (["--votes", "votes.csv"], 2, "need --labels"),
        (["--calibration", "data"], 2, "is for --precision int8 or --labels"),
    ],
)
def test_unsuitable_labels_are_refused_in_one_sentence(
    export: Export,
    four_class_run: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    result = export(tmp_path / "m.onnx", "-c", four_class_run, *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_other_data_than_in_the_training_are_refused(
    export: Export, four_class_run: Path, four_class_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(("happy", "sad", "surprise", DARK)):
        source = ("sad", "surprise", DARK, "happy")[number]
        for path in (four_class_data / "train" / source).iterdir():
            target = data / "train" / name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    arguments = ("-c", four_class_run, "--labels", "happy,sad", "--calibration", data)
    result = export(tmp_path / "m.onnx", *arguments)
    assert result.exit_code == 1
    assert "not the training data of the network" in result.stderr


def test_a_graph_that_computes_other_wrongly_is_refused() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(Scaled(), torch.nn.Linear(48 * 48, 4)).eval()
    subset = keep_labels(("a", "b", "c", "d"), ("a", "c"))
    reference = Reference(network, 1.0, faces(), subset, 0.5)

    def infer(offset: float) -> Callable[[np.ndarray], Outputs]:
        def run(pixels: np.ndarray) -> Outputs:
            with torch.inference_mode():
                logits = network(torch.from_numpy(pixels)).numpy()
            named, shares, other = subset.compute_outputs(logits, 1.0)
            assert other is not None
            return Outputs(named, shares.astype(np.float32), (other + offset).astype(np.float32))

        return run

    right = reference.compare(infer(0.0), "graph", "off", 64)
    assert right.passes(GATES["fp32"])
    assert not reference.compare(infer(0.01), "graph", "off", 64).passes(GATES["fp32"])
    assert not reference.compare(infer(float("nan")), "graph", "off", 64).passes(GATES["int8"])
    flipped = reference.compare(infer(0.5), "graph", "off", 64)
    assert flipped.label_agreement < 1
    assert "other max" in str(right)
    assert "max_other_difference" in right.to_dict()
    plain = Comparison("graph", "off", 1, 2, 0, 0, 0, 0, 1)
    assert "max_other_difference" not in plain.to_dict()
    with pytest.raises(ParityError, match="does not have the outputs"):
        reference.compare(lambda pixels: Outputs(*infer(0.0)(pixels)[:2]), "graph", "off", 64)


class Scaled(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().flatten(1) / 255


def test_a_user_defined_network_is_exported_with_some_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(Scaled(), torch.nn.Linear(48 * 48, 3))
    path = tmp_path / "m.onnx"
    labels = ["up", "down", "left"]
    export_module(network, labels, path, faces(), keep=["left", "up"], other_threshold=0.6)
    classifier = EmotionClassifier(path)
    assert classifier.labels == ("left", "up")
    assert (classifier.other_threshold, classifier.contract.other_classes) == (0.6, ("down",))
    with pytest.raises(ExportError, match="go together"):
        export_module(network, labels, path, faces(), keep=["left", "up"])
    with pytest.raises(ExportError, match="go together"):
        export_module(network, labels, path, faces(), other_threshold=0.5)
    with pytest.raises(ExportError, match="not from 0 to 1"):
        export_module(network, labels, path, faces(), keep=["left", "up"], other_threshold=2.0)
