"""Check the wheel and the sdist of a release: python scripts/check_release.py dist.

Each is installed alone into a new virtual environment, outside of the checkout. There the self-test
of every released model runs, a drawn picture is classified, and the version is compared.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CHECK = """
import emotion_models, emotion_runtime
import numpy as np
assert emotion_runtime.__version__ == {version!r}, emotion_runtime.__version__
assert {folder!r} in emotion_runtime.__file__, emotion_runtime.__file__
for name in emotion_models.names():
    picture = np.full((100, 80), 128, np.uint8)
    print(name, emotion_runtime.EmotionClassifier(name).predict(picture).label)
"""


def check(package: Path) -> None:
    """Install a wheel or an sdist into a new environment, and run it there.

    Raises:
        subprocess.CalledProcessError: The installation, a self-test or the check failed.
    """
    version = re.split(r"-|\.tar", package.name)[1]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / ("Scripts" if os.name == "nt" else "bin")
        # A path of the caller's sources would hide a file that the package lacks.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

        def run(*command: str | Path) -> None:
            subprocess.run(command, cwd=folder, env=environment, check=True)

        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(programs / "python", *pip, package.resolve())
        code = "import emotion_models; print(*emotion_models.names())"
        names = subprocess.check_output(
            [programs / "python", "-c", code], cwd=folder, env=environment, text=True
        ).split()
        for name in names:
            run(programs / "emotion-infer", "--self-test", "-m", name)
        run(programs / "python", "-c", CHECK.format(version=version, folder=Path(folder).name))
    print(f"{package.name}: installed alone, {len(names)} self-tests passed")


def main(folder: Path) -> None:
    """Check the one wheel and the one sdist in a folder."""
    for pattern in ("*.whl", "*.tar.gz"):
        found = sorted(folder.glob(pattern))
        if len(found) != 1:
            sys.exit(f"{folder}: {len(found)} files {pattern}, not one; empty it and build again.")
        check(found[0])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
