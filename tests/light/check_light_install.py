"""The light install: run by ``make light``, without pytest and without any extra."""

import importlib.util
import json
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

import emotion_models

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name(command)
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )


def expect_label(line: dict[str, Any]) -> str:
    """Return what a sample shows, or ``other`` where the model has no such label."""
    shown = Path(line["path"]).name.partition("_")[0]
    return shown if shown in line["probabilities"] else "other"


class LightInstall(unittest.TestCase):
    def test_no_training_package_is_installed(self) -> None:
        for name in ("torch", "torchvision", "onnx", "onnxsim", "matplotlib", "sklearn", "scipy"):
            self.assertIsNone(importlib.util.find_spec(name), name)

    def test_the_package_is_the_installed_one(self) -> None:
        import emotion_runtime

        self.assertIn("site-packages", str(emotion_runtime.__file__))

    def test_samples_get_the_label_of_what_they_show(self) -> None:
        for name in emotion_models.names():
            with self.subTest(name):
                done = run("emotion-infer", str(SAMPLES), "-f", "jsonl", "-m", name)
                self.assertEqual(done.returncode, 0, done.stderr)
                lines = [json.loads(line) for line in done.stdout.splitlines()]
                self.assertEqual(len(lines), len(list(SAMPLES.glob("*.png"))))
                wrong = [line for line in lines if line["label"] != expect_label(line)]
                allowed = 4 if name == "edge-7-int8" else 0  # seven expressions are harder
                self.assertLessEqual(len(wrong), allowed, wrong)

    def test_every_released_model_passes_its_self_test(self) -> None:
        for name in emotion_models.names():
            with self.subTest(name):
                done = run("emotion-infer", "--self-test", "-m", name)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("self-test passed", done.stdout)

    def test_faces_in_photographs_need_no_extra(self) -> None:
        self.assertIsNone(importlib.util.find_spec("cv2"))
        picture = ROOT / "docs" / "faces.png"
        done = run("emotion-infer", str(picture), "--faces", "-f", "jsonl")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        labels = [line["label"] for line in lines]
        self.assertEqual(labels, ["surprise", "happy", "sad", "happy", "surprise"])

    def test_errors_of_the_other_commands_name_the_extra(self) -> None:
        self.assertEqual(run("emotion-page", "--help").returncode, 0)
        for command, extra in (
            ("emotion-train", "train"),
            ("emotion-export", "export"),
            ("emotion-verify", "export"),
        ):
            self.assertEqual(run(command, "--help").returncode, 0)
            done = run(command, "model.onnx")
            self.assertEqual(done.returncode, 1)
            self.assertIn("pip install ", done.stderr)
            self.assertIn(f"[{extra}]", done.stderr)
            self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
