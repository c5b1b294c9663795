"""Read the files of onnxruntime-web from its npm package, and check them against their SHA-256."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from emotion_export.errors import PageError
from emotion_runtime.errors import format_reason

ONNXRUNTIME_WEB = "1.23.2"  # 1.30 is 7 % faster with int8, but loads 2.3 MB more
# The files that a page needs, with their SHA-256.
RUNTIME_SHA256 = dict(
    line.split()
    for line in """
ort.wasm.min.mjs 69751720f611e37d1ce2fa3c6ebaa80f949014752636c5f8887a63d40feadcc7
ort-wasm-simd-threaded.mjs 90a557d15c02bac4504d95b67f431d8594635ed2a0a62a7f2cd83d090ff91d3e
ort-wasm-simd-threaded.wasm 45eaee27761ad883742a8d4b8fce1538d60ce43b51adf1726fafccc59b8c1a15
""".splitlines()
    if line
)
_MAX_FILE_BYTES = 64 * 1024**2  # the largest of them has 11 MB
_MAX_DOWNLOAD_SECONDS = 600


def read_onnxruntime_web(source: Path | None, log: Callable[[str], None]) -> dict[str, bytes]:
    """Return the contents of the files in `RUNTIME_SHA256`, by name.

    Args:
        source: The npm package, unpacked or as .tgz; None to download it with npm.
        log: Called with a message before a download.

    Raises:
        PageError: The package cannot be downloaded or read, or has another version.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if source is None:
            log(f"downloading onnxruntime-web {ONNXRUNTIME_WEB} with npm")
            source = _download(Path(scratch))
        try:
            files = _read_folder(source) if source.is_dir() else _read_archive(source)
        except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
            raise PageError(
                f"{source}: not the npm package onnxruntime-web ({format_reason(error)})."
            ) from error
    for name, digest in RUNTIME_SHA256.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise PageError(
                f"{source}: its {name} is not that of onnxruntime-web {ONNXRUNTIME_WEB}, the "
                f"version that the page is tested with."
            )
    return files


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in RUNTIME_SHA256:
        path = folder / "dist" / name
        if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"no dist/{name} in it")
        files[name] = path.read_bytes()
    return files


def _read_archive(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise ValueError("neither a folder nor a file")
    files = {}
    with tarfile.open(path) as archive:
        # In one pass, because a member may be a link to itself or claim a wrong size.
        for member in archive:
            name = member.name.removeprefix("package/dist/")
            if name in RUNTIME_SHA256 and name != member.name and member.isreg():
                stream = archive.extractfile(member)
                if stream is not None and member.size <= _MAX_FILE_BYTES:
                    files[name] = stream.read()
            if len(files) == len(RUNTIME_SHA256):
                return files
    missing = next(name for name in RUNTIME_SHA256 if name not in files)
    raise ValueError(f"no package/dist/{missing} in it")


def _download(scratch: Path) -> Path:
    """Download the package with npm, which also checks it against the registry's checksum."""
    package = f"onnxruntime-web@{ONNXRUNTIME_WEB}"
    npm = shutil.which("npm")
    if npm is None:
        raise PageError(
            f"npm is not installed, which would download onnxruntime-web {ONNXRUNTIME_WEB}; "
            f"install it, or give the package with --onnxruntime-web."
        )
    command = [npm, "pack", "--loglevel=error", "--fetch-retries=1"]
    command += ["--fetch-retry-mintimeout=1000", package]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, check=False, timeout=_MAX_DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise _make_error(f"not finished after {_MAX_DOWNLOAD_SECONDS} seconds") from None
    except OSError as error:
        raise _make_error(error.strerror or format_reason(error)) from error
    found = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or not found:
        raise _make_error(_find_reason(done.stderr) or f"exit code {done.returncode}")
    return found[0]


def _find_reason(output: bytes) -> str:
    """Return the line of npm's error output that is meant for the user."""
    lines = output.decode("utf-8", "replace").splitlines()
    words = [line.removeprefix("npm error").split() for line in lines]
    readable = (line for line in words if line and line[0] not in ("code", "syscall", "errno"))
    return " ".join(next(readable, []))[:200]


def _make_error(reason: str) -> PageError:
    return PageError(
        f"npm could not download onnxruntime-web {ONNXRUNTIME_WEB} ({reason}); without a network, "
        f"download it elsewhere with npm pack, and give it with --onnxruntime-web."
    )
