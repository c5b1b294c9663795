"""What the three commands share: their common options, and how they fail."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

from emotion_runtime import __version__
from emotion_runtime.errors import EmotionEdgeError
from emotion_runtime.silence import silence_decoders

P = ParamSpec("P")
R = TypeVar("R")

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Say more, and show a traceback where one would help."
)


def version_option(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a command ``--version``."""
    return click.version_option(__version__, prog_name=name, message="%(prog)s %(version)s")


def say(message: str) -> None:
    """Write a message for a person to standard error; results alone go to standard output."""
    click.echo(message, err=True)


def fail(message: str) -> NoReturn:
    """End the command with one sentence and exit code 1."""
    say(f"error: {message}")
    sys.exit(1)


def guarded(extra: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn the toolkit's own errors into one sentence and exit code 1.

    Args:
        extra: The extra that holds the command's heavy packages; a missing one is answered with
            the line that installs it.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            # Pillow warns of odd metadata; the pixels decide, and damage is an answer of its own.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            # So does libtiff, on standard error itself.
            silence_decoders()
            try:
                return command(*args, **kwargs)
            except EmotionEdgeError as error:
                if kwargs.get("verbose"):
                    raise
                fail(str(error))
            except ModuleNotFoundError as error:
                # By name: a broken install of one of our own modules must not look like an extra.
                missing = (error.name or "").partition(".")[0]
                if extra is None or missing.startswith("emotion_"):
                    raise
                fail(
                    f"this command needs {missing}, which is not installed; run\n"
                    f"  pip install 'emotion-edge[{extra}]'"
                )
            except KeyboardInterrupt:
                fail("interrupted.")

        return run

    return decorate
