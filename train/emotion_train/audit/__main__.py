"""Entry point of ``emotion-audit`` and ``python -m emotion_train.audit``."""

from __future__ import annotations


def run() -> None:
    """Run the command."""
    from emotion_runtime.command_line.signals import exit_on_interrupt

    exit_on_interrupt()  # before any other import
    from emotion_runtime.command_line.streams import open_standard_streams

    open_standard_streams()
    from emotion_train.audit.cli import main

    main(prog_name="emotion-audit")


if __name__ == "__main__":
    run()
