"""The files that users get: whole, proven, self-describing, and free of this machine."""

from __future__ import annotations

import json
import re
import sys

import onnx
import pytest

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.digest import compute_sha256
from emotion_train.checkpoints.checkpoint import load_checkpoint

NAMES = emotion_models.names()


def test_the_default_is_released() -> None:
    assert emotion_models.DEFAULT_MODEL in NAMES
    assert emotion_models.model_path() == emotion_models.model_path(emotion_models.DEFAULT_MODEL)
    with pytest.raises(KeyError, match="no released model"):
        emotion_models.model_path("vast")


def test_checkpoints_have_the_names_of_their_networks() -> None:
    assert emotion_models.checkpoint_names() == ("baseline", "edge")
    for name in emotion_models.checkpoint_names():
        assert load_checkpoint(emotion_models.checkpoint_path(name)).network == name
    with pytest.raises(KeyError, match="no released checkpoint 'edge-int8'; there are baseline"):
        emotion_models.checkpoint_path("edge-int8")


@pytest.mark.parametrize("name", NAMES)
class TestRelease:
    def test_the_checksum_holds(self, name: str) -> None:
        assert compute_sha256(emotion_models.model_path(name)) == emotion_models.checksums()[name]

    def test_it_keeps_the_contract_and_proves_itself(self, name: str) -> None:
        classifier = EmotionClassifier(name)
        assert classifier.labels == ("happy", "sad", "surprise")
        assert classifier.self_test().passed
        assert classifier.contract.metrics["test"]["pictures"] == 3852

    def test_old_runtimes_read_it(self, name: str) -> None:
        model = onnx.load(emotion_models.model_path(name))
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
        assert model.ir_version == 8
        assert not any(t.external_data for t in model.graph.initializer)

    def test_openvino_reads_it_and_answers_alike(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Its import reports to its maker through this package; without it, to nobody.
        monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
        openvino = pytest.importorskip("openvino")
        golden = EmotionClassifier(name).contract.golden
        core = openvino.Core()
        model = core.read_model(emotion_models.model_path(name))
        # In float: on some chips OpenVINO would choose bfloat16 unasked.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        logits = compiled(golden.pixels)["logits"]
        assert abs(logits - golden.logits).max() <= golden.tolerance
        assert (logits.argmax(axis=1) == golden.logits.argmax(axis=1)).all()

    def test_its_proof_is_of_this_very_file(self, name: str) -> None:
        path = emotion_models.model_path(name)
        report = json.loads(path.with_suffix(".parity.json").read_text(encoding="utf-8"))
        assert report["sha256"] == emotion_models.checksums()[name]
        assert report["passed"]
        assert report["faces"]["real"]
        assert report["faces"]["count"] >= 1000

    def test_its_card_says_what_the_file_says(self, name: str) -> None:
        card = (emotion_models.model_path(name).parent / "cards" / f"{name}.md").read_text("utf-8")
        metrics = EmotionClassifier(name).contract.metrics["test"]
        assert f"**{metrics['accuracy']:.2%}**" in card
        for row in metrics["confusion_matrix"]:
            assert " | ".join(f"{count:,}" for count in row) in card
        assert "expressions, not feelings" in card

    def test_int8_costs_little(self, name: str) -> None:
        contract = EmotionClassifier(name).contract
        if contract.precision != "int8":
            pytest.skip("a file in float")
        figures = contract.parity["int8"]
        assert "loosened" not in figures
        assert figures["label_agreement"] >= 0.99
        assert figures["accuracy_loss"] <= 0.003
        assert figures["recall_loss"] <= 0.005

    def test_no_path_of_a_machine_is_in_it(self, name: str) -> None:
        content = emotion_models.model_path(name).read_bytes()
        assert not re.search(rb"/(home|root|tmp|work|usr)/", content)

    def test_its_checkpoint_is_the_one_it_was_made_of(self, name: str) -> None:
        contract = EmotionClassifier(name).contract
        checkpoint = load_checkpoint(emotion_models.checkpoint_path(contract.network))
        assert checkpoint.metrics == contract.metrics.get("float_network", contract.metrics)
        assert checkpoint.training == contract.training
        assert checkpoint.temperature == contract.temperature
        assert checkpoint.min_confidence == contract.min_confidence
