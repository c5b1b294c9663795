"""Ctrl-C and requests to end: one sentence, no traceback, and no temporary file left.

A command starts with `exit_on_interrupt`, for the time of its imports: an exception in the middle
of an import becomes a traceback, or "ImportError: initialization failed", and there is nothing to
clean up yet. Before it writes anything it calls `raise_on_signals`.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells report it


class Terminated(BaseException):
    """SIGTERM or SIGHUP came. Like KeyboardInterrupt, no ``except Exception`` catches it.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_is_command = False
_interrupted = False


def exit_on_interrupt() -> None:
    """Make Ctrl-C end the process at once, with one sentence and exit code 130.

    Does nothing where the caller ignores Ctrl-C (a job in the background), or has a handler.
    """
    global _is_command
    _is_command = True
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def raise_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP exceptions, so that temporary files are removed.

    Only in a process that `exit_on_interrupt` made a command, and not under torchrun, which ends
    its processes by SIGTERM while they wait for each other outside of Python. A second signal of
    the same kind ends the process at once.
    """
    if not _is_command:
        return
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, _interrupt)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    process = os.getpid()

    def terminate(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != process:
            os.kill(os.getpid(), number)  # a forked worker: it has nothing to clean up
        raise Terminated(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Who ignores a signal (nohup) is asked no more.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, terminate)


def was_interrupted() -> bool:
    """Return whether Ctrl-C came, also where an import turned it into another exception."""
    return _interrupted


def ignore_interrupts_at_exit() -> None:
    """Let Ctrl-C end a process that has finished its work without a word."""
    if _is_command and signal.getsignal(signal.SIGINT) in (_exit, _interrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exit(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted.\n")
    os._exit(INTERRUPTED)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt
