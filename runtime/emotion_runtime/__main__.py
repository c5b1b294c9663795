"""Entry point of the command ``emotion-infer``, also as ``python -m emotion_runtime``."""

from __future__ import annotations

import gc


def run() -> None:
    """Run the command with little garbage collection.

    Imports create a hundred thousand objects that live as long as the process. Collecting garbage
    among them repeatedly, and once more at exit, takes a sixth of the time of a one-picture run.
    """
    from emotion_runtime.command_line.signals import exit_on_interrupt

    exit_on_interrupt()  # before any other import
    gc.set_threshold(100_000, 20, 100)
    try:
        from emotion_runtime.command_line.streams import open_standard_streams

        open_standard_streams()
        from emotion_runtime.cpus import limit_blas_threads

        limit_blas_threads()
        from emotion_runtime.infer.cli import main

        main(prog_name="emotion-infer")
    finally:
        gc.freeze()


if __name__ == "__main__":
    run()
