"""Entry point of ``python -m emotion_runtime.ray``."""

from __future__ import annotations

from emotion_runtime.ray.cli import run

if __name__ == "__main__":
    run()
