"""Entry points of the commands; ``python -m emotion_export`` runs ``emotion-export``."""

from __future__ import annotations


def run() -> None:
    """Run ``emotion-export``."""
    _prepare()
    from emotion_export.cli import main

    main(prog_name="emotion-export")


def run_verify() -> None:
    """Run ``emotion-verify``."""
    _prepare()
    from emotion_export.verify_cli import main

    main(prog_name="emotion-verify")


def run_page() -> None:
    """Run ``emotion-page``."""
    _prepare()
    from emotion_runtime.cpus import limit_blas_threads

    limit_blas_threads()
    from emotion_export.page_cli import main

    main(prog_name="emotion-page")


def _prepare() -> None:
    from emotion_runtime.command_line.signals import exit_on_interrupt

    exit_on_interrupt()  # before any other import
    from emotion_runtime.command_line.streams import open_standard_streams

    open_standard_streams()


if __name__ == "__main__":
    run()
