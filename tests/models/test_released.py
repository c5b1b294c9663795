"""The released files: complete, verified, self-describing, and without paths of a machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import onnx
import pytest

import emotion_models
from emotion_runtime import EmotionClassifier
from emotion_runtime.digest import compute_sha256
from emotion_train.checkpoints.checkpoint import load_checkpoint

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

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

    def test_it_keeps_the_contract_and_passes_its_self_test(self, name: str) -> None:
        classifier = EmotionClassifier(name)
        contract = classifier.contract
        three = ("happy", "sad", "surprise")
        others = ("neutral", "angry", "fear", "disgust")
        seven = name.startswith("edge-7")
        assert classifier.labels == (three + others if seven else three)
        assert contract.other_classes == (() if seven else others)
        assert classifier.self_test().passed
        assert contract.metrics["test"]["pictures"] == (7178 if seven else 3852)

    def test_old_runtimes_read_it(self, name: str) -> None:
        model = onnx.load(emotion_models.model_path(name))
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
        assert model.ir_version == 8
        assert not any(t.external_data for t in model.graph.initializer)

    def test_openvino_computes_the_same_logits(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # OpenVINO's import sends telemetry through this package.
        monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
        openvino = pytest.importorskip("openvino")
        golden = EmotionClassifier(name).contract.golden
        core = openvino.Core()
        model = core.read_model(emotion_models.model_path(name))
        # In float: on some chips OpenVINO chooses bfloat16 by default.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        logits = compiled(golden.pixels)["logits"]
        assert abs(logits - golden.logits).max() <= golden.tolerance
        assert (logits.argmax(axis=1) == golden.logits.argmax(axis=1)).all()

    def test_its_parity_report_belongs_to_this_file(self, name: str) -> None:
        path = emotion_models.model_path(name)
        report = json.loads(path.with_suffix(".parity.json").read_text(encoding="utf-8"))
        assert report["sha256"] == emotion_models.checksums()[name]
        assert report["passed"]
        assert report["faces"]["real"]
        assert report["faces"]["count"] >= 1000

    def test_its_card_is_what_the_template_renders(self, name: str) -> None:
        pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install '.[export]'")
        pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
        import model_card

        path = emotion_models.model_path(name)
        contract = EmotionClassifier(name).contract
        text = model_card.render_card(name, path, contract, model_card.read_command(name))
        assert emotion_models.card_path(name).read_text(encoding="utf-8") == text, (
            "run: python scripts/model_card.py"
        )

    def test_its_card_has_the_figures_of_the_file(self, name: str) -> None:
        card = emotion_models.card_path(name).read_text(encoding="utf-8")
        metrics = EmotionClassifier(name).contract.metrics["test"]
        assert f"**{metrics['accuracy']:.2%}**" in card
        assert compute_sha256(emotion_models.model_path(name))[:16] in card
        for row in metrics["confusion_matrix"]:
            assert " | ".join(f"{count:,}" for count in row) in card
        assert "expressions, not feelings" in card

    def test_int8_costs_little(self, name: str) -> None:
        contract = EmotionClassifier(name).contract
        if contract.precision != "int8":
            pytest.skip("a file in float")
        figures = contract.parity["int8"]
        assert "loosened" not in figures
        assert figures["clear_label_agreement"] >= 0.999
        if len(contract.labels) == 3:
            # Of seven labels, more are almost equally probable: see test_clear_labels.py.
            assert figures["label_agreement"] >= 0.99
        assert figures["accuracy_loss"] <= 0.003
        # Of some classes 200 faces are held out or fewer, so that one of them is 0.5 %.
        assert figures["recall_loss"] <= 0.01

    def test_it_contains_no_path_of_a_machine(self, name: str) -> None:
        content = emotion_models.model_path(name).read_bytes()
        assert not re.search(rb"/(home|root|tmp|work|usr)/", content)

    def test_its_checkpoint_is_the_one_it_was_exported_from(self, name: str) -> None:
        contract = EmotionClassifier(name).contract
        checkpoint = load_checkpoint(emotion_models.checkpoint_path(contract.network))
        assert checkpoint.training == contract.training
        assert checkpoint.temperature == contract.temperature
        if contract.other_threshold is None:  # else measured and chosen for the labels of the file
            assert checkpoint.metrics == contract.metrics.get("float_network", contract.metrics)
            assert checkpoint.min_confidence == contract.min_confidence
