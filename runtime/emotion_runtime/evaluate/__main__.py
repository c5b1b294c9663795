"""Entry point of the command ``emotion-eval``, also ``python -m emotion_runtime.evaluate``."""

from __future__ import annotations


def run() -> None:
    """Run the command."""
    from emotion_runtime.command_line.signals import exit_on_interrupt

    exit_on_interrupt()  # before any other import
    from emotion_runtime.command_line.streams import open_standard_streams

    open_standard_streams()
    from emotion_runtime.cpus import limit_blas_threads

    limit_blas_threads()
    from emotion_runtime.evaluate.cli import main

    main(prog_name="emotion-eval")


if __name__ == "__main__":
    run()
