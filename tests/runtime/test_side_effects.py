"""A run starts no program, opens no connection and writes only its outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from pictures import one_of_each_format
from synthetic import band_face

READ = {"JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "PPM", "PCX", "TGA"}

# Records the events by which Python starts a program, connects, or changes the file system.
HOOK = """
import os, sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
           "os.chown", "os.truncate", "os.utime", "os.setxattr"}
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn",
            "os.posix_spawn", "os.startfile", "pty.spawn"}

def record(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & WRITES:
        print("write", os.fsdecode(arguments[0]), file=log)
    elif event in CHANGES:
        print("write", os.fsdecode(arguments[0]), file=log)
    elif event in PROGRAMS or event.startswith("socket."):
        print(event, arguments, file=log)

log = open(sys.argv.pop(1), "w", buffering=1)
sys.addaudithook(record)
from emotion_runtime.__main__ import run
run()
"""


def test_a_run_over_every_format_runs_no_program_and_writes_only_its_outputs(
    tmp_path: Path, model_file: Path
) -> None:
    pictures, out, home = tmp_path / "in", tmp_path / "out", tmp_path / "home"
    for folder in (pictures, out, home):
        folder.mkdir()
    face = Image.fromarray(band_face(0, size=60))
    for kind, data in one_of_each_format(face).items():
        (pictures / f"{kind}.jpg").write_bytes(data)
    command = [sys.executable, "-c", HOOK, str(tmp_path / "log"), str(pictures), "-q"]
    command += ["-m", str(model_file), "-f", "jsonl", "-o", str(out / "results.jsonl"), "--resume"]
    command += ["--sort-into", str(out / "sorted"), "--contact-sheet", str(out / "sheet.png")]
    # coverage writes a file and imports its own modules.
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    environment = unmeasured | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "TMPDIR": str(home),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr  # some cannot be read
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"write {out}") for line in lines)
    # os.remove with a folder descriptor reports only the name.
    foreign = [line for line in lines if not line.startswith(f"write {out}{os.sep}")]
    assert foreign == []
    assert not list(home.iterdir())
    results = {}
    for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        results[Path(result["path"]).stem] = result
    for kind, result in results.items():
        if kind in READ:
            assert result["error"] is None, result
        elif kind not in {"AVIF", "JPEG2000", "WEBP", "HEIF"}:
            assert "not a picture in a format that is read" in result["error"], result
    assert {"EPS", "WMF", "PDF"} & set(results), "this Pillow can open none of them"


def test_the_hook_records_programs_and_files(tmp_path: Path) -> None:
    start = HOOK.rpartition("from emotion_runtime")[0]
    code = start + (
        "import subprocess\n"
        "subprocess.run([sys.executable, '-c', ''])\n"
        "open('written', 'w').close()\n"
        "import socket; socket.socket().close()\n"
    )
    command = [sys.executable, "-c", code, "log"]
    subprocess.run(command, cwd=tmp_path, check=True)
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert "subprocess.Popen" in text
    assert "write written" in text
    assert "socket.__new__" in text
