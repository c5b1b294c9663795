"""Shortcuts for a fast suite: trainings and exports are shared, and figures are not drawn.

A test of a figure, a training or a conversion does not use them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from filelock import FileLock
from PIL import Image


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills once in a run of pytest, also with several workers.

    Args:
        factory: pytest's own fixture, whose folder belongs to one worker.
        name: The folder's name.
        make: Called with the folder, which does not exist yet.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@contextlib.contextmanager
def blank_figures() -> Iterator[None]:
    """Make matplotlib save pictures of one pixel: drawing takes longer than a small training."""
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")

    def save(figure: Figure, target: Any, **options: object) -> None:
        if hasattr(target, "write"):
            target.write(buffer.getvalue())
        else:
            Path(target).write_bytes(buffer.getvalue())

    with mock.patch.object(Figure, "savefig", save):
        yield


_programs: dict[tuple[str, ...], bytes] = {}


class _Program:
    """The part of torch's ONNXProgram that the export uses."""

    def __init__(self, serialised: bytes) -> None:
        import onnx

        self.model_proto = onnx.load_from_string(serialised)


@contextlib.contextmanager
def conversions_once() -> Iterator[None]:
    """Convert each network once in a process, for each combination of weights and options."""
    import torch

    from emotion_train.networks.face_network import FaceNetwork

    convert = torch.onnx.export

    def export(network: Any, arguments: Any, **options: Any) -> Any:
        if not isinstance(getattr(network, "network", None), FaceNetwork):
            return convert(network, arguments, **options)
        weights = hashlib.sha256()
        for value in network.state_dict().values():
            weights.update(value.numpy().tobytes())
        named = [f"{name}={options[name]}" for name in sorted(options)]
        shapes = [str(tuple(one.shape)) for one in arguments]
        key = (repr(network), str(network.temperature), weights.hexdigest(), *shapes, *named)
        if key not in _programs:
            program = convert(network, arguments, **options)
            if program is None:
                return None
            _programs[key] = program.model_proto.SerializeToString()
        return _Program(_programs[key])

    with mock.patch.object(torch.onnx, "export", export):
        yield
