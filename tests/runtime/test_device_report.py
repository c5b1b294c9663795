"""``emotion-infer --self-test --report``: one line of JSON about a device."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result

from emotion_runtime import EmotionClassifier, __version__
from emotion_runtime.digest import compute_sha256
from emotion_runtime.infer import cpu_description, device_report
from emotion_runtime.infer.cpu_description import describe_cpu
from emotion_runtime.infer.device_report import measure_latency, measure_peak_memory
from synthetic import band_model

Infer = Callable[..., Result]

ARM = """\
processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd03

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd08
"""
X86 = "vendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: fpu avx avx2 fma avx_vnni\n"


def test_the_report_is_one_line_that_identifies_model_chip_and_versions(
    infer: Infer, model_file: Path, tmp_path: Path
) -> None:
    done = infer("--self-test", "--report", "-m", model_file)
    assert done.exit_code == 0
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert report["report"] == 1
    assert report["passed"] is True
    assert report["failures"] == []
    assert report["model"]["name"] == model_file.name
    assert report["model"]["sha256"] == compute_sha256(model_file)
    assert report["model"]["precision"] == "fp32"
    test = EmotionClassifier(model_file).self_test()
    assert report["self_test"]["inputs"] == test.inputs == 3
    assert report["self_test"]["max_difference"] == pytest.approx(test.max_difference)
    assert report["self_test"]["mean_difference"] == pytest.approx(test.mean_difference)
    assert report["self_test"]["label_flips"] == 0
    assert report["latency"]["batch_size"] == report["latency"]["threads"] == 1
    assert report["latency"]["p50_ms"] > 0
    assert report["cpu"]["machine"] == platform.machine()
    assert report["system"]["os"] == platform.system()
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["emotion-edge"] == __version__
    assert report["versions"]["onnxruntime"] == version("onnxruntime")
    # It can be sent to strangers.
    for private in (str(tmp_path.parent), str(Path.home()), platform.node()):
        assert private not in line


@pytest.mark.parametrize("name", ["", "missing.onnx", "folder", "empty.onnx", "cut.onnx"])
def test_no_report_is_made_of_a_file_that_is_no_model(
    infer: Infer, model_file: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "cut.onnx").write_bytes(model_file.read_bytes()[:1000])
    done = infer("--self-test", "--report", "-m", tmp_path / name if name else "")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path / name}: " if name else "error: the name")
    assert done.stderr.count("\n") == 1


def test_the_report_of_a_failed_self_test_has_the_reasons(infer: Infer, tmp_path: Path) -> None:
    bad = band_model(tmp_path / "bad.onnx", golden_offset=1.0)
    done = infer("--self-test", "--report", "-m", bad)
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["passed"] is False
    assert "the largest logit difference is 1" in report["failures"][0]
    assert "self-test failed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report"], "--report needs --self-test."),
        (["--report", "face.png"], "--report needs --self-test."),
        (["--self-test", "--report", "face.png"], "leave out PATH."),
        (["--self-test", "--report", "-f", "table"], "leave out --format."),
        (["--self-test", "--report", "-o", "report.json"], "leave out --output."),
        (["--self-test", "--report", "--describe"], "leave out --describe."),
        (["--self-test", "--report", "--faces"], "leave out --faces."),
        (["--self-test", "--report", "--faces", "--camera", "0"], "leave out --faces."),
        (["--self-test", "--report", "--min-confidence", "0"], "leave out --min-confidence."),
        (["--self-test", "--report", "--batch-size", "32"], "leave out --batch-size."),
    ],
)
def test_what_does_not_concern_the_report_is_refused(
    infer: Infer,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = infer(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_threads_are_reported(infer: Infer, model_file: Path) -> None:
    done = infer("--self-test", "--report", "--threads", "2", "-q", "-v", "-m", model_file)
    assert json.loads(done.stdout)["latency"]["threads"] == 2


def test_a_percentile_of_few_runs_is_left_out(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = EmotionClassifier(model_file)
    monkeypatch.setattr(device_report, "_MAX_SECONDS", 1e9)
    latency = measure_latency(classifier)
    assert latency["runs"] == 200
    assert latency["p99_ms"] is not None
    assert latency["p50_ms"] is not None
    assert latency["p50_ms"] <= latency["p99_ms"]
    monkeypatch.setattr(device_report, "_MAX_RUNS", 99)
    latency = measure_latency(classifier)
    assert latency["runs"] == 99
    assert latency["p99_ms"] is None
    assert latency["p50_ms"] is not None


def test_a_slow_device_measures_for_a_limited_time(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))  # every reading of the clock is a second later
    monkeypatch.setattr(device_report.time, "perf_counter", lambda: float(next(ticks)))
    latency = measure_latency(EmotionClassifier(model_file))
    assert latency == {"p50_ms": 1000.0, "p99_ms": None, "runs": 2}


def test_the_peak_memory_is_that_of_this_process(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t   67584 kB\nVmRSS:\t 1 kB\n")
    assert measure_peak_memory(tmp_path / "status") == 66.0
    other = measure_peak_memory(tmp_path / "none")  # getrusage, on systems without /proc
    if sys.platform == "win32":
        assert other is None
    else:
        assert other is not None
        assert 10 < other < 100_000


def write_cpuinfo(folder: Path, text: str) -> tuple[Path, Path]:
    (folder / "cpuinfo").write_text(text)
    return folder / "cpuinfo", folder / "model"


def test_arm_cores_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    cpuinfo, board = write_cpuinfo(tmp_path, ARM)
    board.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    described = describe_cpu(cpuinfo, board)
    assert described["name"] == "Cortex-A53 + Cortex-A72"
    assert described["device"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert described["emulated"] is False
    cpuinfo.write_text(ARM.replace("0xd08", "0xfff"))
    assert describe_cpu(cpuinfo, board)["name"] == "Cortex-A53 + 0x41/0xfff"
    board.write_bytes(b"QEMU user mode\0")
    assert describe_cpu(cpuinfo, board)["emulated"] is True


def test_an_emulated_chip_does_not_have_the_name_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NPY_DISABLE_CPU_FEATURES", raising=False)
    features = {"AVX", "AVX2", "FMA3", "SSE2", "AVX512_SKX"}
    monkeypatch.setattr(cpu_description, "_find_numpy_features", lambda: features)
    cpuinfo, board = write_cpuinfo(tmp_path, X86)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    native = describe_cpu(cpuinfo, board)
    assert (native["name"], native["emulated"], native["device"]) == ("Xeon", False, None)
    assert native["flags"] == ["avx", "avx2", "fma3", "sse2", "avx_vnni"]
    features.remove("AVX2")
    emulated = describe_cpu(cpuinfo, board)
    assert (emulated["name"], emulated["emulated"]) == (None, True)
    assert emulated["flags"] == ["avx", "fma3", "sse2"], "not those of the host"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert describe_cpu(cpuinfo, board)["emulated"] is True
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    cpuinfo.write_text(ARM)
    assert describe_cpu(cpuinfo, board)["emulated"] is True


def test_an_emulated_chip_without_avx512_is_told_from_a_host_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NPY_DISABLE_CPU_FEATURES", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(cpu_description, "_find_numpy_features", lambda: {"AVX", "AVX2", "FMA3"})
    files = write_cpuinfo(tmp_path, "model name\t: EPYC\nflags\t\t: avx avx2 fma vaes\n")
    monkeypatch.setattr(cpu_description, "_list_numpy_names", lambda: {"AVX", "VAES"})
    described = describe_cpu(*files)
    assert (described["name"], described["emulated"]) == (None, True)
    monkeypatch.setattr(cpu_description, "_list_numpy_names", lambda: {"AVX"})  # an older numpy
    described = describe_cpu(*files)
    assert (described["name"], described["emulated"]) == ("EPYC", False)


def test_a_system_without_the_files_has_a_description_too(tmp_path: Path) -> None:
    described = describe_cpu(tmp_path / "none", tmp_path / "none")
    assert described["machine"] == platform.machine()
    assert described["emulated"] is False
    assert described["device"] is None
