"""Where the command ``emotion-infer`` (and ``python -m emotion_runtime``) begins and ends."""

from __future__ import annotations

import gc


def run() -> None:
    """Run the command, with as little garbage collection as a short process needs.

    Imports make a hundred thousand objects that live to the end. Walking them over and over while
    they are made, and once more at the exit, is a sixth of the time of a one-picture run.
    """
    from emotion_runtime.command_line.signals import exit_on_interrupt

    exit_on_interrupt()  # before any other import
    gc.set_threshold(100_000, 20, 100)
    try:
        from emotion_runtime.command_line.streams import open_standard_streams

        open_standard_streams()
        from emotion_runtime.infer.cli import main

        main(prog_name="emotion-infer")
    finally:
        gc.freeze()


if __name__ == "__main__":
    run()
