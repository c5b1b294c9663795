from __future__ import annotations

from pathlib import Path

import pytest

from emotion_train.training import cpu_features


@pytest.mark.parametrize(
    ("machine", "text", "lacks"),
    [
        ("x86_64", "flags\t\t: fpu avx2 avx512f\n", True),
        ("x86_64", "flags\t\t: fpu avx2 avx512_bf16\n", False),
        ("aarch64", "Features\t: fp asimd\n", True),
        ("aarch64", "Features\t: fp asimd bf16\n", False),
        ("riscv64", "isa : rv64\n", False),  # unknown
        ("x86_64", "", False),
    ],
)
def test_missing_bf16_instructions_are_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, text: str, lacks: bool
) -> None:
    monkeypatch.setattr(cpu_features.platform, "machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_features.lacks_fast("bf16", tmp_path / "cpuinfo") is lacks
    assert not cpu_features.lacks_fast("fp32", tmp_path / "cpuinfo")
    assert not cpu_features.lacks_fast("bf16", tmp_path / "gone")
