from __future__ import annotations

import copy
import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import Result
from onnx import numpy_helper

import emotion_export.export as stages
from emotion_export import export_module
from emotion_export.errors import ExportError
from emotion_export.parity.comparison import Comparison, Gate, ParityError, require_parity
from emotion_export.parity.faces import ParityFaces, read_parity_faces
from emotion_runtime import EmotionClassifier
from emotion_train.checkpoints.checkpoint import Checkpoint, load_checkpoint
from emotion_train.networks import NETWORKS, build_network
from emotion_train.networks.face_network import count_multiply_adds
from synthetic import band_face, save_face

Export = Callable[..., Result]


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One export, shared by several tests."""
    from click.testing import CliRunner

    from emotion_export.cli import main

    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return path, CliRunner().invoke(main, [str(path), "-c", str(run_dir)])


def test_the_file_and_its_parity_report_are_written(
    exported: tuple[Path, Result], run_dir: Path
) -> None:
    path, result = exported
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "model.export.md",
        "model.export.png",
        "model.onnx",
        "model.parity.json",
    ]
    assert "every label agrees" in result.stdout
    data = json.loads((run_dir / "run.json").read_text())["data"]
    assert result.stderr.splitlines()[-1] == f"next: emotion-eval {data}/test -m {path}"
    report = json.loads(path.with_suffix(".parity.json").read_text())
    ways = {(c["stage"], c["optimisation"], c["batch_size"]) for c in report["comparisons"]}
    assert ways == {
        *(
            (s, o, b)
            for s in ("simplified",)  # nothing was folded: the same graph as the converted one
            for o in ("off", "full")
            for b in (1, 7, 64)
        ),
        ("file", "full", 64),
        ("threads", "full", 64),
        ("pictures", "full", 64),
    }
    assert all(c["label_agreement"] == 1 for c in report["comparisons"])
    assert all(c["max_logit_difference"] <= 1e-4 for c in report["comparisons"])
    assert report["faces"]["count"] == 188  # the run's own training faces
    assert {c["faces"] for c in report["comparisons"] if c["batch_size"] == 64} == {188}
    assert {c["faces"] for c in report["comparisons"] if c["batch_size"] < 64} == {128}
    assert "5 comparisons on 188 faces and 4 on 128 of them" in result.stdout
    assert report["faces"]["real"]
    assert report["bytes"] == path.stat().st_size


def test_the_file_computes_the_outputs_of_pytorch(
    exported: tuple[Path, Result], run_dir: Path
) -> None:
    checkpoint = load_checkpoint(run_dir)
    faces = np.stack([band_face(n % 3, 777 + n) for n in range(9)])[:, np.newaxis]
    with torch.inference_mode():
        expected = checkpoint.build()(torch.from_numpy(faces))
        chances = torch.softmax(expected / checkpoint.temperature, dim=1)
    logits, probabilities = EmotionClassifier(exported[0]).infer(faces)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(probabilities, chances.numpy(), atol=1e-5)


def test_the_file_contains_its_contract(exported: tuple[Path, Result], run_dir: Path) -> None:
    classifier = EmotionClassifier(exported[0])
    contract, checkpoint = classifier.contract, load_checkpoint(run_dir)
    assert contract.labels == checkpoint.labels
    assert contract.temperature == checkpoint.temperature
    assert contract.metrics == checkpoint.metrics
    assert contract.training["recipe"]["epochs"] == 6
    assert contract.parity["label_agreement"] == 1
    assert {"torch", "onnx", "onnxruntime"} <= set(contract.tool_versions)
    assert classifier.self_test().passed


def test_old_runtimes_can_read_it(exported: tuple[Path, Result]) -> None:
    model = onnx.load(exported[0])
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8


def test_the_file_contains_no_path_of_this_machine(
    exported: tuple[Path, Result], run_dir: Path
) -> None:
    for path in (exported[0], exported[0].with_suffix(".parity.json")):
        for place in (run_dir, exported[0].parent, Path(stages.__file__).parent, Path.home()):
            assert str(place).encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_exported_and_passes_the_parity_check(
    network: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    built = build_network(network, 2)
    count = count_multiply_adds(built)
    checkpoint = Checkpoint(network, ("a", "b"), built.state_dict(), multiply_adds=count)
    faces = np.stack([band_face(n % 3, n) for n in range(70)])
    done = stages.export_checkpoint(
        checkpoint, tmp_path / "m.onnx", ParityFaces(faces, "made", real=False)
    )
    assert done.max_logit_difference < 1e-4
    assert EmotionClassifier(done.path).labels == ("a", "b")


@pytest.mark.slow
def test_a_user_defined_network_is_exported(tmp_path: Path) -> None:
    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64 * 64, 2)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.layer(pixels.float().flatten(1) / 255)

    for number in range(6):
        save_face(tmp_path / "faces" / f"{number}.png", number % 3, number)
    torch.manual_seed(0)
    faces, target = tmp_path / "faces", tmp_path / "m.onnx"
    done = export_module(Mine(), ["up", "down"], target, faces, size=64)
    classifier = EmotionClassifier(done.path)
    assert classifier.labels == ("up", "down")
    assert classifier.contract.network == "Mine"
    assert classifier.contract.input.size == 64
    assert classifier.self_test().passed


def test_pictures_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        save_face(tmp_path / f"{number}.png", number, number)
    (tmp_path / "bad.png").write_bytes(b"no")
    faces = read_parity_faces(tmp_path)
    assert (len(faces.pixels), faces.unreadable) == (3, 1)


class Linear(torch.nn.Module):
    """A network of one layer; `prepare` is applied to its pixels first."""

    def __init__(self, prepare: Callable[[torch.Tensor], torch.Tensor], outputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.prepare, self.layer = prepare, torch.nn.LazyLinear(outputs)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(self.prepare(pixels).flatten(1))


def scale(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 255


class Colour(torch.nn.Module):
    """A network with three input channels."""

    def __init__(self, scale: bool) -> None:
        super().__init__()
        self.scale, self.layer = scale, torch.nn.Conv2d(3, 2, 48)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(scale(pixels) if self.scale else pixels).flatten(1)


FACES = np.stack([band_face(n % 3, n) for n in range(6)])


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (Linear(scale), {"labels": "up,down"}, "labels are a string"),
        (Linear(scale), {"labels": ["up"]}, "too few; give two"),
        (Linear(scale), {"labels": ["up", "error"]}, "reserved"),
        (Linear(scale), {"labels": ["up", "down", "left"]}, "the 3 labels have the shape"),
        (Linear(scale), {"faces": FACES.astype(np.float32)}, "uint8"),
        (Linear(scale), {"faces": FACES[:0]}, "n at least 1"),
        (Linear(scale), {"faces": FACES, "size": 64}, "size= names another side"),
        (Linear(scale), {"faces": "gone"}, "no such folder"),
        (Linear(scale), {"path": "no/m.onnx"}, "no such folder"),
        (Linear(scale), {"plan": stages.Plan("int8")}, "int8 is evaluated on held-out faces"),
        (Linear(scale), {"temperature": float("nan")}, "not a number above 0"),
        (Linear(lambda pixels: pixels), {}, "accepts only float pixels"),
        (Colour(scale=True), {}, "needs three channels"),
        (Colour(scale=False), {}, "float pixels with three channels"),
        (torch.nn.Sequential(Linear(scale), torch.nn.Softmax(1)), {}, "returns probabilities"),
        (Linear(lambda pixels: scale(pixels) * float("nan")), {}, "not all finite"),
        (torch.nn.Flatten(), {}, "the network returns the shape"),
    ],
)
def test_an_unsuitable_network_is_refused_in_one_sentence_before_the_conversion(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: torch.nn.Module,
    options: dict[str, object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"labels": ["up", "down"], "path": "m.onnx", "faces": FACES, **options}
    with pytest.raises(ExportError, match=message):
        export_module(network, given.pop("labels"), given.pop("path"), given.pop("faces"), **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_scaling_that_seems_to_be_missing_causes_a_warning(tmp_path: Path) -> None:
    """With faces as an array, and the path as text."""
    target = str(tmp_path / "m.onnx")
    with pytest.warns(UserWarning, match="it seems to lack the scaling"):
        done = export_module(Linear(lambda p: p.float()), ["up", "down"], target, FACES)
    assert EmotionClassifier(done.path).labels == ("up", "down")


def test_an_existing_file_is_not_replaced_by_default(
    export: Export, exported: tuple[Path, Result], run_dir: Path
) -> None:
    before = exported[0].read_bytes()
    result = export(exported[0], "-c", run_dir)
    assert result.exit_code == 1
    assert "--overwrite replaces it" in result.stderr
    assert exported[0].read_bytes() == before


def change_one_weight(model: onnx.ModelProto) -> onnx.ModelProto:
    """Change one bias of the last layer slightly, as a bad conversion might."""
    model = copy.deepcopy(model)
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
    tensor = next(t for t in model.graph.initializer if t.name == last.input[2])
    values = numpy_helper.to_array(tensor).copy()
    values[0] += 0.05
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def swap_labels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Swap two outputs."""
    model = copy.deepcopy(model)
    last = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
    for tensor in model.graph.initializer:
        if tensor.name in last.input:
            values = numpy_helper.to_array(tensor)[[1, 0, 2]]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


@pytest.mark.parametrize("damage", [change_one_weight, swap_labels])
def test_a_broken_conversion_is_refused_and_leaves_no_file(
    export: Export,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[onnx.ModelProto], onnx.ModelProto],
) -> None:
    monkeypatch.setattr(stages, "simplify", damage)
    result = export(tmp_path / "m.onnx", "-c", run_dir)
    assert result.exit_code == 1
    assert "does not compute what PyTorch computes" in result.stderr
    assert "the simplified graph" in result.stderr
    assert result.stderr.count("logits max") == 12, "the figures are shown"
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_earlier_file(
    export: Export, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"earlier")
    monkeypatch.setattr(stages, "simplify", swap_labels)
    assert export(tmp_path / "m.onnx", "-c", run_dir, "--overwrite").exit_code == 1
    assert (tmp_path / "m.onnx").read_bytes() == b"earlier"


def test_a_full_disk_gives_one_sentence_and_leaves_no_file(
    export: Export, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: onnx.ModelProto, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stages.onnx, "save", full)
    result = export(tmp_path / "m.onnx", "-c", run_dir)
    assert result.exit_code == 1
    assert "m.onnx: cannot be written (No space left on device)" in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_nan_never_passes_the_parity_check() -> None:
    figures = ("file", "full", 1, 10, float("nan"), 0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ParityError, match="nan"):
        require_parity([Comparison(*figures)], Gate())


def test_parity_faces_that_cover_few_labels_cause_a_warning(
    export: Export, run_dir: Path, tmp_path: Path
) -> None:
    for number in range(4):
        save_face(tmp_path / "faces" / f"{number}.png", 0, 1)
    result = export(tmp_path / "m.onnx", "-c", run_dir, "--parity-data", tmp_path / "faces")
    assert result.exit_code == 0, result.output
    assert "warning: the network gives none of the 4 faces the label sad or" in result.stderr
    assert "the parity check does not cover them" in result.stderr
    assert "warning: 1 of the 4 faces are different" in result.stderr


def test_without_data_the_average_faces_are_the_parity_faces(
    export: Export, run_dir: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "alone.pt"
    copy.write_bytes((run_dir / "best.pt").read_bytes())
    (tmp_path / "run.json").write_text(json.dumps({"data": str(tmp_path / "gone")}))
    result = export(tmp_path / "m.onnx", "-c", copy)
    assert result.exit_code == 0, result.output
    assert "average faces" in result.stderr
    assert "the training data are no longer at" in result.stderr
    assert not json.loads((tmp_path / "m.parity.json").read_text())["faces"]["real"]


def test_no_simplify_and_other_opsets(export: Export, run_dir: Path, tmp_path: Path) -> None:
    result = export(tmp_path / "m.onnx", "-c", run_dir, "--no-simplify", "--opset", "20", "-v")
    assert result.exit_code == 0, result.output
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 20
    assert result.stderr.count("logits max") == 9


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["m.txt", "-c", "RUN"], 2, "ends in .onnx"),
        (["no/m.onnx", "-c", "RUN"], 1, "no such folder"),
        (["m.onnx"], 2, "no run in runs/"),
        (["m.onnx", "-c", "gone.pt"], 1, "no such checkpoint"),
        (["m.onnx", "-c", "text.pt"], 1, "not a checkpoint"),
        (["m.onnx", "-c", "RUN", "--parity-data", "gone"], 1, "no such folder or file"),
        (["m.onnx", "-c", "RUN", "--parity-data", "empty"], 1, "no pictures"),
        (["m.onnx", "-c", "RUN", "--opset", "8"], 1, "cannot be"),
        (["m.onnx", "-c", "RUN", "--opset", "x"], 2, "--opset"),
    ],
)
def test_bad_input_gives_one_sentence_and_leaves_no_file(
    export: Export,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.pt").write_text("hello")
    result = export(*[str(run_dir) if a == "RUN" else a for a in arguments])
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "text.pt"]
