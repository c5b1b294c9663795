"""Emulated chips: qemu's user mode, and a Python of the chip's architecture beside the system's.

Everything comes from the package sources that this machine is set up with (apt and pip) and is
unpacked into a cache folder. Nothing is installed, and no rights are needed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points, version
from pathlib import Path

_ARM_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_ARM_PACKAGES = ("onnxruntime", "numpy", "Pillow")
_ARM_PYTHON = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
OWN_PACKAGES = ("emotion_models", "emotion_runtime", "emotion_train", "emotion_export")
_TIMEOUT_SECONDS = 600  # of one download


class UnavailableError(Exception):
    """This machine cannot emulate a chip; the message is the reason."""


@dataclass(frozen=True)
class Chip:
    """A CPU that qemu can emulate.

    Attributes:
        name: Its name for a person.
        architecture: ``aarch64`` or ``x86_64``.
        cpu: Its name for qemu.
        has: What it has that matters to onnxruntime.
        part: Implementer and part of an ARM core, as in ``/proc/cpuinfo``.
        features: Features of an ARM core, as in ``/proc/cpuinfo``.
    """

    name: str
    architecture: str
    cpu: str
    has: str
    part: tuple[str, str] = ("", "")
    features: str = ""


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
CHIPS = (
    Chip(
        "cortex-a53",
        "aarch64",
        "cortex-a53",
        "NEON; Raspberry Pi 3, many phones",
        ("0x41", "0xd03"),
        _ARMV8,
    ),
    Chip("cortex-a72", "aarch64", "cortex-a72", "NEON; Raspberry Pi 4", ("0x41", "0xd08"), _ARMV8),
    Chip(
        "arm-max",
        "aarch64",
        "max",
        "dot products, i8mm, bf16, SVE2",
        ("0x00", "0x051"),
        f"{_ARMV8} atomics fphp asimdhp asimdrdm asimddp asimdfhm sve sve2 i8mm bf16",
    ),
    Chip("nehalem", "x86_64", "Nehalem", "SSE4.2, without AVX and FMA; 2008"),
    Chip("haswell", "x86_64", "Haswell", "AVX2 and FMA, without AVX-512 and VNNI; 2013"),
)
FAMILIES = {
    "arm": tuple(chip for chip in CHIPS if chip.architecture == "aarch64"),
    "old-x86": tuple(chip for chip in CHIPS if chip.architecture == "x86_64"),
}


def find_cache() -> Path:
    """Return the folder of downloads: that of ``CHIPS_CACHE``, or one in the user's cache."""
    if named := os.environ.get("CHIPS_CACHE"):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is invalid, as the XDG Base Directory Specification defines.
    cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return cache / "emotion-edge" / "chips"


class Emulator:
    """Runs Python on emulated chips.

    Args:
        cache: The folder of downloads. What is there already is not downloaded again.
        report: Called with a line about each download.
    """

    def __init__(self, cache: Path, report: Callable[[str], None]) -> None:
        if not sys.platform.startswith("linux"):
            raise UnavailableError("qemu's user mode needs Linux")
        self.cache = cache
        self._report = report

    def prepare(self, chips: tuple[Chip, ...]) -> None:
        """Download what the chips need, and start Python on one chip of each architecture.

        Raises:
            UnavailableError: It cannot be downloaded, or does not start.
        """
        for architecture in dict.fromkeys(chip.architecture for chip in chips):
            if architecture == "x86_64" and platform.machine() != "x86_64":
                raise UnavailableError("old x86-64 chips are emulated on x86-64 machines only")
            first = next(chip for chip in chips if chip.architecture == architecture)
            with self.make_install(first) as python:
                done = subprocess.run(
                    [python, "-c", "import numpy, onnxruntime, PIL"],
                    env=make_environment(),
                    capture_output=True,
                    text=True,
                    check=False,
                )
            if done.returncode:
                reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
                raise UnavailableError(f"Python does not start on {first.name} ({reason})")

    @contextlib.contextmanager
    def make_install(self, chip: Chip) -> Iterator[Path]:
        """Yield the Python of a temporary virtual environment whose commands run on the chip.

        It has the packages of this environment; for another architecture, those of the cache and
        this project's own. A command that starts another one of them stays on the chip.
        """
        is_arm = chip.architecture == "aarch64"
        base = _arm_python(self._arm_root()) if is_arm else Path(sys.executable).resolve()
        python_version = base.name.removeprefix("python") if is_arm else _python_version()
        with tempfile.TemporaryDirectory(prefix=f"{chip.name}-") as folder:
            install = Path(folder).resolve()
            python = install / "bin" / "python"
            python.parent.mkdir()
            # Without the second line Python would import the packages of its own installation too.
            (install / "pyvenv.cfg").write_text(
                f"home = {base.parent}\ninclude-system-site-packages = false\n"
            )
            site = install / "lib" / f"python{python_version}" / "site-packages"
            site.mkdir(parents=True)
            own = _find_own_packages()
            packages = self._arm_packages(python_version) if is_arm else _site_packages()
            for package in {path.name: path for path in (*packages.iterdir(), *own)}.values():
                (site / package.name).symlink_to(package)
            command = [str(self._find_qemu(chip.architecture)), "-cpu", chip.cpu]
            if is_arm:
                command += ["-L", str(_make_arm_root(install / "root", self._arm_root(), chip))]
            else:
                command[-1] += ",check=off"  # no warning about what the emulator lacks
            _write_script(python, [*command, "-0", str(python), str(base)])  # -0: sys.executable
            for script in entry_points(group="console_scripts"):
                if script.value.startswith(OWN_PACKAGES):
                    code = (
                        f"import sys, {script.module}; sys.argv[0] = {script.name!r}; "
                        f"sys.exit({script.module}.{script.attr}())"
                    )
                    _write_script(python.with_name(script.name), [str(python), "-c", code])
            yield python

    def _find_qemu(self, architecture: str) -> Path:
        names = _list_qemu_names(architecture)
        for name in names:
            if found := shutil.which(name):
                return Path(found)
        folder = self._cached("qemu", self._download_qemu)
        for name in names:
            if (folder / name).is_file():
                return folder / name
        raise UnavailableError(f"{folder}: has no {names[0]}; delete it, to download it again")

    def _arm_root(self) -> Path:
        root = self._cached("arm64-python", self._download_arm_python)
        if not _arm_python(root).is_file():
            raise UnavailableError(f"{root}: holds no Python; delete it, to download it again")
        return root

    def _arm_packages(self, python: str) -> Path:
        versions = {name: version(name) for name in _ARM_PACKAGES}
        name = "-".join([f"arm64-packages-{python}", *(f"{k}-{v}" for k, v in versions.items())])
        made = self._cached(name, lambda to: self._download_arm_packages(to, python, versions))
        if missing := [one for one in ("onnxruntime", "numpy", "PIL") if not (made / one).is_dir()]:
            raise UnavailableError(
                f"{made}: {', '.join(missing)} not in it; delete it, to download it again"
            )
        return made

    def _cached(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return a folder of the cache; where it is missing, make it completely or not at all."""
        folder = self.cache / name
        if folder.is_dir():
            return folder
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache, prefix=".partial-") as partial:
                made = Path(partial) / name
                made.mkdir()
                make(made)
                try:
                    made.rename(folder)
                except OSError:  # another process was faster
                    if not folder.is_dir():
                        raise
        except OSError as error:
            raise UnavailableError(
                f"{error.filename or self.cache}: cannot be written ({error.strerror or error}); "
                "CHIPS_CACHE names another folder for the downloads"
            ) from error
        except zipfile.BadZipFile as error:
            raise UnavailableError(f"a downloaded package is damaged ({error})") from error
        return folder

    def _download_qemu(self, to: Path) -> None:
        with self._apt(to) as run_apt:
            self._report("downloading qemu-user-static (60 MB)")
            run_apt("install", "--yes", "--download-only", "qemu-user-static")
            unpacked = to / "apt" / "unpacked"
            unpacked.mkdir()
            for package in (to / "apt" / "cache" / "archives").glob("*.deb"):
                _unpack(package, unpacked)
            for architecture in ("aarch64", "x86_64"):
                # In newer versions one name is a link to the other.
                for name in _list_qemu_names(architecture):
                    if (path := unpacked / "usr" / "bin" / name).is_file():
                        shutil.copy(path, to / name)

    def _download_arm_python(self, to: Path) -> None:
        with self._apt(to, "arm64") as run_apt:
            self._report("downloading Python for arm64 (16 MB)")
            run_apt("install", "--yes", "--download-only", *_ARM_PYTHON)
            for package in (to / "apt" / "cache" / "archives").glob("*.deb"):
                _unpack(package, to)

    def _download_arm_packages(self, to: Path, python: str, versions: dict[str, str]) -> None:
        pinned = [f"{name}=={number}" for name, number in versions.items()]
        self._report(f"downloading {', '.join(pinned)} for arm64 (38 MB)")
        arguments = ["--only-binary", ":all:", "--no-deps", "--dest", str(to / "wheels")]
        arguments += ["--implementation", "cp", "--python-version", python]
        for name in _ARM_PLATFORMS:
            arguments += ["--platform", name]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
        try:
            _run([*command, *arguments, *pinned, "click"])
        except UnavailableError:
            # A version may have no file for the Python that apt offers.
            _run([*command, *arguments, *versions, "click"])
        for wheel in (to / "wheels").iterdir():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(to)
        shutil.rmtree(to / "wheels")

    @contextlib.contextmanager
    def _apt(self, to: Path, architecture: str = "") -> Iterator[Callable[..., None]]:
        """Yield a function that runs apt-get with its own lists, for one architecture."""
        if not all(map(shutil.which, ("apt-get", "dpkg", "dpkg-deb"))):
            raise UnavailableError(
                "qemu-user-static and arm64 packages are unpacked with apt-get and dpkg-deb, which "
                "are not on this machine"
            )
        architecture = architecture or dpkg_architecture()
        folder = to / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        configuration = folder / "apt.conf"
        configuration.write_text(
            f'Dir::State "{folder}";\n'
            f'Dir::State::lists "{folder}/lists";\n'
            f'Dir::State::status "{folder}/status";\n'
            f'Dir::Cache "{folder}/cache";\n'
            f'APT::Architecture "{architecture}";\n'
            f'APT::Architectures {{ "{architecture}"; }};\n'
            'APT::Install-Recommends "false";\n'
            'APT::Sandbox::User "root";\n'  # _apt may not write to the cache of a user
            "Debug::NoLocking true;\n"
        )
        environment = os.environ | {"APT_CONFIG": str(configuration)}

        def run_apt(*arguments: str) -> None:
            _run(["apt-get", "--quiet", *arguments], cwd=to, environment=environment)

        self._report(f"reading the list of {architecture} packages (9 MB)")
        # Without the option a list that cannot be read is only a warning, and the error that
        # follows is about a package that does not exist.
        run_apt("update", "-o", "APT::Update::Error-Mode=any")
        yield run_apt
        shutil.rmtree(folder)


def dpkg_architecture() -> str:
    """Return Debian's name of this machine's architecture, such as ``amd64``."""
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _list_qemu_names(architecture: str) -> tuple[str, str]:
    return f"qemu-{architecture}-static", f"qemu-{architecture}"


def make_environment() -> dict[str, str]:
    """Return the environment of a process that computes what is compared."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONNOUSERSITE": "1",
    }


def _python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _site_packages() -> Path:
    return Path(sysconfig.get_path("purelib"))


def _find_own_packages() -> list[Path]:
    """Return the folders of this project's packages and of their metadata."""
    specs = map(importlib.util.find_spec, OWN_PACKAGES)
    folders = [Path(spec.origin).parent for spec in specs if spec and spec.origin]
    return [*folders, *_site_packages().glob("emotion_edge-*.dist-info")]


def _make_arm_root(root: Path, system: Path, chip: Chip) -> Path:
    """Make the root folder in which a process on an ARM core finds its files.

    Without a ``/proc/cpuinfo`` of its own the process would read the host's, in which onnxruntime
    finds no ARM core: from 1.28 on it crashes.

    Args:
        root: The folder to make.
        system: The folder of the unpacked Debian packages.
        chip: The core to describe.
    """
    root.mkdir()
    for path in system.iterdir():
        (root / path.name).symlink_to(path)
    implementer, part = chip.part
    fields = {
        "BogoMIPS": "100.00",
        "Features": chip.features,
        "CPU implementer": implementer,
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": part,
        "CPU revision": "0",
    }
    lines = "".join(f"{name}\t: {value}\n" for name, value in fields.items())
    # As many cores as /sys lists.
    text = "".join(f"processor\t: {cpu}\n{lines}\n" for cpu in range(os.cpu_count() or 1))
    model = root / "proc" / "device-tree" / "model"
    model.parent.mkdir(parents=True)
    model.write_text("QEMU user mode\0")
    (root / "proc" / "cpuinfo").write_text(text)
    return root


def _arm_python(root: Path) -> Path:
    return (root / "usr" / "bin" / "python3").resolve()


def _unpack(package: Path, to: Path) -> None:
    _run(["dpkg-deb", "--extract", str(package), str(to)])


def _run(
    command: list[str], *, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    """Run a command without its output.

    Raises:
        UnavailableError: It failed, with its reason.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{command[0]} took more than {error.timeout:g} s") from error
    except OSError as error:
        raise UnavailableError(f"{command[0]} cannot be started ({error.strerror})") from error
    if done.returncode:
        name = "pip" if "pip" in command else command[0]
        raise UnavailableError(f"{name} failed ({_find_reason(done.stderr or done.stdout)})")


def _find_reason(output: str) -> str:
    """Return the last line of a program's output, or what apt could not fetch."""
    lines = output.strip().splitlines() or ["no message"]
    # apt's last line only adds that it ignored them.
    return next((line for line in lines if line.startswith("E: Failed to fetch")), lines[-1])


def _write_script(path: Path, command: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)
