"""Checks of the type, shape and range of each part of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from emotion_runtime.labels import check_labels
from emotion_train.recipe import SIZES

MAX_CLASSES = 1000
MAX_AVERAGE_FACES = 100_000
_MAX_PLAIN_VALUES = 200_000  # numbers and texts in `metrics` and `training`, each
_MAX_DEPTH = 20

_DTYPES = frozenset(
    (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.uint8,
        torch.bool,
    )
)


def check_parts(values: dict[str, Any]) -> None:
    """Check the parts of a checkpoint.

    Args:
        values: Parts by name, as in `Checkpoint`; not all need to be there.

    Raises:
        ValueError: A part has the wrong type, shape or range. The message is one sentence without
            a full stop.
    """
    for tensor in _walk_tensors(values):
        _check_tensor(tensor)
    for name, value in values.items():
        check = _CHECKS.get(name)
        if check is not None:
            check(name, value, values)


def _check_tensor(tensor: Tensor) -> None:
    plain = (
        type(tensor) is Tensor and tensor.layout is torch.strided and tensor.device.type == "cpu"
    )
    if not plain or tensor.dtype not in _DTYPES:
        raise ValueError("it holds a tensor of a kind that no checkpoint has")
    # With a stride of 0, four bytes can be a tensor of terabytes, which a copy would allocate.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("it holds a tensor that claims to be larger than its data")


def _walk_tensors(values: object) -> Iterator[Tensor]:
    """Yield the tensors in lists and dictionaries; visit each container once."""
    seen: set[int] = set()
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _check_labels(name: str, value: Any, _: dict[str, Any]) -> None:
    if not isinstance(value, list):
        raise ValueError(f"its {name} are no list")
    if not 2 <= len(value) <= MAX_CLASSES:
        raise ValueError(f"it has {len(value):,} {name}; 2 to {MAX_CLASSES:,} are possible")
    check_labels(value)


def _check_weights(name: str, value: Any, _: dict[str, Any]) -> None:
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items()
    ):
        raise ValueError(f"its {name} are not tensors by name")
    for tensor in value.values():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"its {name} are not all finite numbers")


def _make_number_check(low: float, high: float, kind: type = float) -> Callable[..., None]:
    def check(name: str, value: Any, _: dict[str, Any]) -> None:
        allowed = isinstance(value, int if kind is int else (int, float))
        if not allowed or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"its {name} is no number from {low:g} to {high:g}")

    return check


def _check_json(name: str, value: Any, _: dict[str, Any]) -> None:
    """Check that a dictionary contains JSON values only, within limits of size and depth."""
    if not isinstance(value, dict):
        raise ValueError(f"its {name} are no dictionary")
    waiting: list[tuple[object, int]] = [(value, 0)]
    count = 0
    while waiting:
        one, depth = waiting.pop()
        count += 1
        if count > _MAX_PLAIN_VALUES or depth > _MAX_DEPTH:
            raise ValueError(f"its {name} are larger or deeper than those of any run")
        if isinstance(one, dict):
            if not all(isinstance(key, str) for key in one):
                raise ValueError(f"its {name} have a key that is no text")
            waiting.extend((part, depth + 1) for part in one.values())
        elif isinstance(one, list | tuple):
            waiting.extend((part, depth + 1) for part in one)
        elif isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"its {name} hold a number that is not finite")
        elif one is not None and not isinstance(one, str | int | float):
            raise ValueError(f"its {name} hold more than text and numbers")


def _check_average_faces(name: str, value: Any, values: dict[str, Any]) -> None:
    size = values.get("size", 48)
    if not isinstance(value, Tensor) or value.dtype is not torch.uint8:
        raise ValueError(f"its {name} are no 8-bit pixels")
    if value.numel() and (
        value.ndim != 4
        or tuple(value.shape[1:]) != (1, size, size)
        or len(value) > MAX_AVERAGE_FACES
    ):
        raise ValueError(f"its {name} are no pictures of {size}×{size} pixels")


def _check_probe(name: str, value: Any, values: dict[str, Any]) -> None:
    size = values.get("size", 48)
    if not isinstance(value, Tensor) or value.dtype is not torch.uint8:
        raise ValueError(f"its {name} is no 8-bit picture")
    if value.numel() and tuple(value.shape) != (size, size):
        raise ValueError(f"its {name} is no picture of {size}×{size} pixels")


def _allow_none(check: Callable[..., None]) -> Callable[..., None]:
    def checked(name: str, value: Any, values: dict[str, Any]) -> None:
        if value is not None:
            check(name, value, values)

    return checked


def _check_dictionary(name: str, value: Any, _: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"its {name} is no dictionary")


_CHECKS: dict[str, Callable[..., None]] = {
    "size": _make_number_check(*SIZES, kind=int),
    "labels": _check_labels,
    "weights": _check_weights,
    "temperature": _make_number_check(1e-6, 1e6),
    "min_confidence": _make_number_check(0.0, 1.0),
    "metrics": _check_json,
    "training": _check_json,
    "average_faces": _check_average_faces,
    "probe": _check_probe,
    "multiply_adds": _allow_none(_make_number_check(0, 1e18, kind=int)),
    "resume": _allow_none(_check_dictionary),
}
