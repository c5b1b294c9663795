"""Pack the library emotion-edge.js with its model file as an npm package.

    emotion-page edge-int8 -o page
    python scripts/pack_npm.py page -o .          # emotion-edge-VERSION.tgz

The package is complete: its code, the model file of the page, the face detector and
onnxruntime-web. It has no dependencies. The same page gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import click

import emotion_models
import emotion_runtime
from emotion_export.page.build import DETECTOR_FILE, MODULE_FILES, RUNTIME_FILES
from emotion_runtime.atomic import name_in_errors, write_atomically
from emotion_runtime.command_line.commands import handle_errors
from emotion_runtime.errors import OutputError

_ROOT = Path(__file__).parents[1]
_PAGE_SOURCES = _ROOT / "export" / "emotion_export" / "page"
_REFERENCE_FILE = "reference.json.gz"
_TYPES_FILE = "emotion-edge.d.ts"
_README = """# emotion-edge

Facial expression recognition in the browser: finds faces in pictures, photographs and camera
frames, and classifies their expressions. The pictures stay on the device. `EmotionEdge.open` runs
the self-test of the model file, and fails in a browser that computes something else.

```html
<script type="module">
  import {{ EmotionEdge }} from "./node_modules/emotion-edge/emotion-edge.js";
  const edge = await EmotionEdge.open({{ model: "./node_modules/emotion-edge/{model}" }});
  const faces = await edge.faces(document.querySelector("img"));
  console.log(faces.map((face) => `${{face.label}} ${{face.confidence.toFixed(2)}}`));
</script>
```

The files must be served over http or https, as they are: the worker, the model file, the face
detector and onnxruntime-web lie beside `emotion-edge.js`. With a bundler, copy this folder to the
files that your site serves unchanged, and import it by its address:

```js
const library = new URL("/emotion-edge/emotion-edge.js", location.href).href;
const {{ EmotionEdge }} = await import(/* @vite-ignore */ /* webpackIgnore: true */ library);
```

onnxruntime-web is licensed under the MIT
License, Copyright (c) Microsoft Corporation; the licence of the face detector is in
`detector/README.md`.
"""


def pack(page: Path) -> bytes:
    """Return the npm package of a page, as .tgz.

    Args:
        page: A folder that emotion-page wrote.

    Raises:
        OutputError: The folder is not such a page.
    """
    models = sorted(page.glob("*.onnx*"))
    names = [*MODULE_FILES, *RUNTIME_FILES.values(), DETECTOR_FILE, _REFERENCE_FILE]
    missing = [name for name in names if not (page / name).is_file()]
    if missing or len(models) != 1:
        lacking = missing[0] if missing else "its model file"
        raise OutputError(f"{page}: has no {lacking}; write the page with emotion-page first.")
    files = {name: (page / name).read_bytes() for name in (*names, models[0].name)}
    files[_TYPES_FILE] = (_PAGE_SOURCES / _TYPES_FILE).read_bytes()
    files["LICENSE"] = (_ROOT / "LICENSE").read_bytes()
    files["detector/README.md"] = emotion_models.card_path("retinaface").read_bytes()
    files["README.md"] = _README.format(model=models[0].name).encode()
    files["package.json"] = json.dumps(_describe(), indent=2).encode()
    return _make_archive(files)


def _describe() -> dict[str, object]:
    return {
        "name": "emotion-edge",
        "version": emotion_runtime.__version__,
        "description": "Facial expression recognition in the browser, with a verified model file",
        "keywords": ["emotion recognition", "facial expression", "face detection", "onnx"],
        "license": "MIT",
        "type": "module",
        "main": "./emotion-edge.js",
        "types": f"./{_TYPES_FILE}",
        "exports": {
            ".": {"types": f"./{_TYPES_FILE}", "default": "./emotion-edge.js"},
            "./*": "./*",
        },
        "sideEffects": False,
    }


def _make_archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"package/{name}")  # npm expects this folder
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(buffer.getvalue(), mtime=0)


@click.command(help=__doc__.splitlines()[0])
@click.argument("page", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder of the package.  [default: the current folder]",
)
@handle_errors()
def main(page: Path, output: Path) -> None:
    """Write emotion-edge-VERSION.tgz."""
    package = pack(page)
    target = output / f"emotion-edge-{emotion_runtime.__version__}.tgz"
    with name_in_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    with write_atomically(target) as path:
        path.write_bytes(package)
    print(target)


if __name__ == "__main__":
    main()
