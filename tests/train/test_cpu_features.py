from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emotion_train.training import cpu_features, precision


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
    assert cpu_features.is_emulated("bf16", tmp_path / "cpuinfo") is lacks
    assert not cpu_features.is_emulated("fp32", tmp_path / "cpuinfo")
    assert not cpu_features.is_emulated("bf16", tmp_path / "gone")


@pytest.mark.parametrize(
    ("machine", "flags", "has"),
    [
        ("x86_64", "avx512_bf16 amx_tile amx_bf16", True),
        ("x86_64", "avx512_bf16", False),  # no faster than fp32
        ("x86_64", "avx2", False),
        ("aarch64", "bf16 amx_bf16", False),
    ],
)
def test_auto_is_bf16_where_the_cpu_multiplies_bf16_matrices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, has: bool
) -> None:
    monkeypatch.setattr(cpu_features.platform, "machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    assert cpu_features.has_matrix_unit(tmp_path / "cpuinfo") is has
    assert not cpu_features.has_matrix_unit(tmp_path / "gone")
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: has)
    cpu = torch.device("cpu")
    assert precision.choose_precision("auto", cpu) is (torch.bfloat16 if has else torch.float32)
    assert precision.choose_precision("fp32", cpu) is torch.float32
