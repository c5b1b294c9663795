"""`make chips` notices every difference, and is skipped where a chip cannot be emulated."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from chips import __main__ as command
from chips.comparison import ChipResults, compare
from chips.emulation import (
    CHIPS,
    Chip,
    Emulator,
    UnavailableError,
    find_cache,
    make_environment,
)


def make_results() -> ChipResults:
    """Return the results of two pictures, one of them unreadable, and of one model."""
    return ChipResults(
        versions={"onnxruntime": "1.32.0"},
        unreadable={"bad.png": "bad.png: not a picture"},
        models={"edge": {"precision": "int8", "failures": [], "labels": ["happy", "sad"]}},
        arrays={
            "picture:a.jpg": np.full((48, 48), 7, np.uint8),
            "probabilities:edge": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
        },
    )


def test_equal_results_have_no_failures_and_are_counted() -> None:
    comparison = compare(make_results(), make_results())
    assert comparison.failures == []
    assert (comparison.pictures, comparison.faces) == (1, 2)
    assert comparison.differences == {"int8": 0.0}
    assert comparison.versions == "onnxruntime 1.32.0"
    other = make_results()
    other.versions["onnxruntime"] = "1.23.2"
    assert compare(make_results(), other).versions == "onnxruntime 1.23.2 (here 1.32.0)"


def test_every_difference_is_a_failure() -> None:
    chip = make_results()
    chip.arrays["picture:a.jpg"][3, 4] = 8
    chip.models["edge"]["labels"][1] = "happy"
    chip.models["edge"]["failures"].append("the operators have changed")
    chip.arrays["probabilities:edge"][0, 0] = 0.93
    chip.unreadable["c.png"] = "c.png: damaged"
    comparison = compare(make_results(), chip)
    assert (comparison.pictures, comparison.faces) == (0, 1)
    text = "\n".join(comparison.failures)
    assert len(comparison.failures) == 5
    for part in (
        "picture:a.jpg differs by up to 1 of 255",
        "edge: 1 of 2 faces get another label",
        "edge: self-test: the operators have changed",
        "edge: a probability differs by 0.03 (allowed 0.02)",
        "c.png: damaged",
    ):
        assert part in text


def test_nan_and_a_larger_difference_of_a_float_file_are_failures() -> None:
    native, chip = make_results(), make_results()
    chip.arrays["probabilities:edge"][0, 0] = np.nan
    assert "differs by nan" in compare(native, chip).failures[0]
    native, chip = make_results(), make_results()
    chip.models["edge"]["precision"] = "fp32"
    assert not compare(native, chip).failures
    chip.arrays["probabilities:edge"][0, 0] += np.float32(0.001)
    assert "allowed 0.0001" in compare(native, chip).failures[0]
    native, chip = make_results(), make_results()
    native.arrays["other:edge"] = np.zeros(2, np.float32)
    chip.arrays["other:edge"] = np.array([0, np.nan], np.float32)
    assert "differs by nan" in compare(native, chip).failures[0]


def refuse(self: Emulator, chips: tuple[Chip, ...]) -> None:
    raise UnavailableError("apt-get failed (no network)")


def test_without_packages_the_short_run_is_skipped_and_the_others_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Emulator, "prepare", refuse)
    monkeypatch.setenv("CHIPS_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["chips", "--quick", "--skip"])
    assert command.main() == 0
    output = capsys.readouterr().out
    for chip in CHIPS:
        assert chip.name in output
    assert output.count("skipped: ") == 2
    assert "apt-get failed (no network)" in output
    monkeypatch.setattr("sys.argv", ["chips", "arm"])
    assert command.main() == 1
    assert "cannot be emulated here: apt-get failed" in capsys.readouterr().err


def test_an_unknown_chip_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chips", "z80"])
    with pytest.raises(SystemExit) as error:
        command.main()
    assert error.value.code == 2
    assert "no such chip: z80; there are arm, old-x86, cortex-a53" in capsys.readouterr().err


def test_a_download_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path / "cache", print)

    def make(folder: Path) -> None:
        (folder / "half").touch()
        raise UnavailableError("interrupted")

    with pytest.raises(UnavailableError):
        emulator._cached("qemu", make)
    assert list((tmp_path / "cache").iterdir()) == []
    made = emulator._cached("qemu", lambda folder: (folder / "all").touch())
    assert emulator._cached("qemu", make) == made
    assert [path.name for path in made.iterdir()] == ["all"]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_an_emulated_install_has_no_packages_of_the_system_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A script in the place of qemu, whose options are -cpu CPU -0 NAME: it emulates nothing.
    qemu = tmp_path / "qemu"
    qemu.write_text('#!/usr/bin/env bash\nexec -a "$4" "${@:5}"\n')
    qemu.chmod(0o755)
    monkeypatch.setattr(Emulator, "_find_qemu", lambda self, architecture: qemu)
    chip = next(chip for chip in CHIPS if chip.name == "haswell")
    code = "import json, sys; print(json.dumps([sys.prefix, sys.path]))"
    with Emulator(tmp_path / "cache", print).make_install(chip) as python:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=True, env=make_environment()
        )
        prefix, folders = json.loads(done.stdout)
        assert Path(prefix) == python.parents[1]
        packages = [folder for folder in folders if Path(folder).name.endswith("-packages")]
        assert packages == [str(next(python.parents[1].glob("lib/python*/site-packages")))]


def test_the_cache_follows_the_xdg_specification(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CHIPS_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert find_cache() == tmp_path / ".cache" / "emotion-edge" / "chips"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert find_cache() == tmp_path / "x" / "emotion-edge" / "chips"
    monkeypatch.setenv("CHIPS_CACHE", str(tmp_path / "y"))
    assert find_cache() == tmp_path / "y"


@pytest.mark.parametrize("skip", [False, True])
def test_a_cache_that_cannot_be_written_is_a_reason(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    skip: bool,
) -> None:
    cache = tmp_path / "file"
    cache.write_text("mine")
    monkeypatch.setenv("CHIPS_CACHE", str(cache))
    monkeypatch.setattr("sys.argv", ["chips", "arm", *(["--skip"] if skip else [])])
    assert command.main() == (0 if skip else 1)
    output = "".join(capsys.readouterr())
    assert f"{cache}: cannot be written (File exists); CHIPS_CACHE names another folder" in output
    assert cache.read_text() == "mine"


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path, print)
    (tmp_path / "arm64-python").mkdir()
    with pytest.raises(UnavailableError, match=r"arm64-python: holds no Python; delete it"):
        emulator.prepare(CHIPS[:1])
    python = tmp_path / "arm64-python" / "usr" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.touch()
    versions = "-".join(f"{one}-{version(one)}" for one in ("onnxruntime", "numpy", "Pillow"))
    packages = tmp_path / f"arm64-packages-3-{versions}"
    (packages / "numpy").mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"onnxruntime, PIL not in it; delete it"):
        emulator.prepare(CHIPS[:1])


def test_a_damaged_download_is_a_reason(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path / "cache", print)

    def make(folder: Path) -> None:
        (folder / "a.whl").write_bytes(b"PK\3\4 half")
        zipfile.ZipFile(folder / "a.whl")

    with pytest.raises(UnavailableError, match="a downloaded package is damaged"):
        emulator._cached("arm64-packages", make)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_program_that_fails_or_is_missing_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("apt-get", "dpkg", "dpkg-deb"):
        (tmp_path / name).write_text(
            "#!/bin/sh\n"
            "[ $1 = --print-architecture ] && echo arm64 && exit\n"
            "echo 'E: Failed to fetch a list  No address' >&2\n"
            "echo 'E: Some index files failed to download.' >&2\n"
            "exit 100\n"
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    emulator = Emulator(tmp_path / "cache", print)
    with pytest.raises(UnavailableError, match=r"apt-get failed \(E: Failed to fetch a list"):
        emulator._arm_root()
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UnavailableError, match="which are not on this machine"):
        emulator._find_qemu("aarch64")


def test_a_negative_number_of_jobs_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for jobs in ("-1", "nan"):
        monkeypatch.setattr("sys.argv", ["chips", "--jobs", jobs])
        with pytest.raises(SystemExit) as error:
            command.main()
        assert error.value.code == 2
        assert f"invalid count value: '{jobs}'" in capsys.readouterr().err
