"""Check the types of the library emotion-edge.js, and renew its declarations for TypeScript.

    python scripts/javascript_types.py            # fails where the declarations are out of date
    python scripts/javascript_types.py --write    # writes emotion-edge.d.ts

npm downloads TypeScript.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

TYPESCRIPT = "typescript@5.9.3"
PAGE = Path(__file__).parents[1] / "export" / "emotion_export" / "page"
DECLARATIONS = PAGE / "emotion-edge.d.ts"
_HEADER = "// Written by scripts/javascript_types.py from emotion-edge.js.\n"
_EXIT_NO_NPM = 3


@click.command(help=__doc__.splitlines()[0])
@click.option("--write", is_flag=True, help="Write the declarations.")
def main(write: bool) -> None:
    """Check the types, and compare or write the declarations."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed, which downloads TypeScript", file=sys.stderr)
        raise SystemExit(_EXIT_NO_NPM)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefer-offline"]
        if subprocess.run([*install, "--prefix", scratch, TYPESCRIPT], check=False).returncode:
            print(f"npm cannot download {TYPESCRIPT}", file=sys.stderr)
            raise SystemExit(_EXIT_NO_NPM)
        node = shutil.which("node") or "node"
        compiler = [node, str(folder / "node_modules" / "typescript" / "bin" / "tsc")]
        project = [*compiler, "--project", str(PAGE)]
        if subprocess.run(project, check=False).returncode:
            raise SystemExit("the types of emotion-edge.js or of a module that it needs are wrong")
        emit = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir"]
        subprocess.run([*project, *emit, str(folder / "made")], check=True)
        made = _HEADER + (folder / "made" / DECLARATIONS.name).read_text(encoding="utf-8")
    if write:
        DECLARATIONS.write_text(made, encoding="utf-8")
    elif not DECLARATIONS.exists() or DECLARATIONS.read_text(encoding="utf-8") != made:
        raise SystemExit(
            f"{DECLARATIONS.name} is out of date; renew it with "
            f"python scripts/javascript_types.py --write"
        )


if __name__ == "__main__":
    main()
