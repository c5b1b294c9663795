"""The Dockerfile without a container engine: its steps in a folder, its user, no network.

The instructions are read from the Dockerfile itself. `/src` and `/opt` of the image are in a
temporary folder, and Python is that of this machine.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
NO_INDEX = ("No matching distribution", "Could not find a version", "Connection", "connection")


def read_stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, without its FROM."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: list[list[tuple[str, str]]] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        elif name and stages:
            stages[-1].append((name, rest.strip()))
    return stages


def find(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def copy_context(target: Path) -> None:
    """Copy what `.dockerignore` lets into the build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*", "only what is listed goes into the build"
    excluded = [pattern for pattern in patterns[1:] if not pattern.startswith("!")]
    for pattern in patterns:
        if not pattern.startswith("!"):
            continue
        top = ROOT / pattern[1:]
        assert top.exists(), pattern
        for path in [top] if top.is_file() else top.rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            names = [name, *(parent.as_posix() for parent in path.relative_to(ROOT).parents)]
            if path.is_file() and not any(
                fnmatch.fnmatch(one, other) for one in names for other in excluded
            ):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)


def can_run(*command: object) -> bool:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=60)
    except OSError:
        return False
    return done.returncode == 0


def switch_user(user: str) -> list[str]:
    """Return the words before a command that run it as the user of the image."""
    number, _, group = user.partition(":")
    return ["setpriv", f"--reuid={number}", f"--regid={group}", "--clear-groups", "--no-new-privs"]


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[Path, list[str], dict[str, str]]]:
    """The folder of the image, the words before a command in it, and its environment."""
    build, final = read_stages()
    root = Path(tempfile.mkdtemp(prefix="image"))  # not below pytest's, which others cannot enter
    root.chmod(0o755)
    wrapper: list[str] = []
    python = os.path.realpath(sys.executable)
    if os.geteuid() == 0 and shutil.which("setpriv"):
        wrapper = switch_user(find(final, "USER")[0])
        check = "import sys, ctypes, venv; sys.exit(sys.version_info < (3, 10))"
        choices = [python, "/usr/bin/python3"]  # the first may be in a home folder
        usable = [one for one in choices if can_run(*wrapper, "env", "-i", one, "-c", check)]
        wrapper, python = (wrapper, usable[0]) if usable else ([], python)
    for network in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if can_run(*network, "true"):
            wrapper = [*network, *wrapper]
            break
    bin_folder = root / "usr" / "bin"
    bin_folder.mkdir(parents=True)
    # pip may be missing in that Python; it installs into another one all the same.
    pip = f'if [ "$1 $2" = "-m pip" ]; then exec {shlex.quote(sys.executable)} "$@"; fi'
    (bin_folder / "python").write_text(f'#!/bin/sh\n{pip}\nexec {shlex.quote(python)} "$@"\n')
    (bin_folder / "python").chmod(0o755)

    def place(text: str) -> str:
        return re.sub(r"(?<![\w.])/(?=(opt|src)\b)", f"{root}/", text)

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
    directory = root
    try:
        for name, rest in build:
            if name == "WORKDIR":
                directory = Path(place(rest))
                directory.mkdir(parents=True)
            elif name == "COPY":
                assert rest == ". ."
                copy_context(directory)
            else:
                assert name == "RUN", name
                done = subprocess.run(
                    *(["/bin/sh", "-ec", place(rest)],),
                    capture_output=True,
                    text=True,
                    check=False,
                    cwd=directory,
                    env=environment,
                )
                if "pip" in rest and any(text in done.stderr for text in NO_INDEX):
                    pytest.skip("pip reaches no package index: " + done.stderr.splitlines()[-1])
                assert done.returncode == 0, (rest, done.stderr)
        shutil.rmtree(root / "src")  # it is not in the final image
        assert find(final, "COPY") == ["--from=build /opt/emotion-edge /opt/emotion-edge"]
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)
        variables: dict[str, str] = {}
        for word in shlex.split(" ".join(find(final, "ENV"))):
            key, _, value = word.partition("=")
            variables[key] = Template(place(value)).substitute(PATH="/usr/bin:/bin")
        yield root, wrapper, variables
    finally:
        for path in root.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        root.chmod(0o755)
        shutil.rmtree(root)


def run(
    image: tuple[Path, list[str], dict[str, str]], *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Run the image's entry point with no other variables than the image's, so without HOME."""
    _, wrapper, variables = image
    entry = json.loads(find(read_stages()[-1], "ENTRYPOINT")[0])
    words = [*wrapper, "env", "-i", *(f"{k}={v}" for k, v in variables.items()), *entry]
    return subprocess.run(
        [*words, *map(str, arguments)], capture_output=True, text=True, check=False, cwd="/"
    )


def test_the_image_starts_without_root_and_has_no_secret_or_build_tool() -> None:
    _, final = read_stages()
    (user,) = find(final, "USER")
    assert int(user.partition(":")[0]) > 0
    assert not find(final, "RUN")
    assert json.loads(find(final, "CMD")[0]) == ["--help"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the image is for Linux")
def test_the_steps_of_the_dockerfile_make_an_install_that_classifies(
    image: tuple[Path, list[str], dict[str, str]], tmp_path: Path
) -> None:
    root, wrapper, _ = image
    readable = Path(tempfile.mkdtemp(dir=root.parent))
    try:
        readable.chmod(0o755)
        for name in ("happy_01.png", "sad_01.png", "surprise_01.png"):
            shutil.copyfile(SAMPLES / name, readable / name)
        shutil.copyfile(ROOT / "docs" / "faces.png", readable / "faces.jpg")
        done = run(image, "-f", "jsonl", readable)
        faces = run(image, "--faces", "-f", "jsonl", readable / "faces.jpg")
    finally:
        shutil.rmtree(readable)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    labels = {Path(one["path"]).name: one["label"] for one in results}
    assert {name: labels[name] for name in labels if name.endswith(".png")} == {
        "happy_01.png": "happy",
        "sad_01.png": "sad",
        "surprise_01.png": "surprise",
    }
    assert [json.loads(line)["label"] for line in faces.stdout.splitlines()] == [
        *("surprise", "happy", "sad", "happy", "surprise"),
    ], faces.stderr
    check = run(image, "--self-test")
    assert check.returncode == 0, check.stderr
    assert run(image).returncode == 2  # no picture is given; CMD prints the help
    # An output that cannot be written is an error of one sentence.
    refused = run(image, readable, "-o", root / "opt" / "results.csv", "-f", "csv")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    missing = [] if "setpriv" in wrapper else ["as another user"]
    missing += [] if "unshare" in wrapper else ["without a network"]
    if missing:
        pytest.skip(f"the image's steps work, but could not be run {' and '.join(missing)} here")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the image is for Linux")
def test_the_image_lacks_what_emotion_infer_never_loads(
    image: tuple[Path, list[str], dict[str, str]],
) -> None:
    root, _, _ = image
    (packages,) = root.glob("opt/emotion-edge/lib/python*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert {"emotion_runtime", "numpy", "onnxruntime", "PIL", "click"} <= names
    assert not names & {"pip", "setuptools", "google", "sympy", "torch"}
    assert not (packages / "emotion_models" / "checkpoints").exists()
    assert list(packages.rglob("*.pyc")), "without compiled files each start would take longer"
