"""The arithmetic of a training."""

from __future__ import annotations

import torch

from emotion_train.training.cpu_features import has_matrix_unit

PRECISION_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a precision.

    Args:
        name: A name in `emotion_train.recipe.PRECISIONS`; ``auto`` is bf16 on CPUs with AMX, fp32
            on others, bf16 (else fp16) on CUDA.
        device: The device of the training.
    """
    if name != "auto":
        return next(dtype for dtype, known in PRECISION_NAMES.items() if known == name)
    if device.type != "cuda":
        return torch.bfloat16 if has_matrix_unit() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
