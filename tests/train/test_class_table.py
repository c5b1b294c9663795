from __future__ import annotations

from pathlib import Path

from emotion_runtime.command_line.text_width import measure_width
from emotion_train.data.dataset import load_dataset
from emotion_train.report.tables import format_class_table
from synthetic import save_face


def test_the_table_is_aligned_in_every_script(tmp_path: Path) -> None:
    for label, name in enumerate(("驚き", "sad")):
        for number in range(60):
            save_face(tmp_path / "train" / name / f"{number}.png", label, number)
    dataset = load_dataset(tmp_path, classes=("驚き", "sad"), size=48, seed=0, progress=False)
    assert len({measure_width(line) for line in format_class_table(dataset).splitlines()}) == 1
