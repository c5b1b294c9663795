"""Ctrl-C and requests to end: one sentence, no traceback, and no temporary file left.

A command starts with `exit_on_interrupt`, for the time of its imports: an exception in the middle
of an import becomes a traceback, or "ImportError: initialization failed", and there is nothing to
clean up yet. Before it writes anything it calls `raise_on_signals`.
"""

from __future__ import annotations

# Behind `signal`, whose own import takes milliseconds in which Ctrl-C would be a traceback.
import _signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False  # not from `typing`, for the same reason
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

INTERRUPTED_EXIT_CODE = 130  # exit code: 128 + SIGINT, as shells report it


class Terminated(BaseException):
    """SIGTERM or SIGHUP came. Like KeyboardInterrupt, no ``except Exception`` catches it.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_is_command = False
_was_interrupted = False


def exit_on_interrupt() -> None:
    """Make Ctrl-C end the process at once, with one sentence and exit code 130.

    Does nothing where the caller ignores Ctrl-C (a job in the background), or has a handler.
    """
    global _is_command
    _is_command = True
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _exit_interrupted)


def raise_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP exceptions, so that temporary files are removed.

    Only in a process that `exit_on_interrupt` made a command, and not under torchrun, which ends
    its processes by SIGTERM while they wait for each other outside of Python. A second SIGTERM
    ends the process at once.
    """
    if not _is_command:
        return
    import sys

    if _signal.getsignal(_signal.SIGINT) is _exit_interrupted:
        _signal.signal(_signal.SIGINT, _raise_interrupt)
        sys.unraisablehook = _resend_dropped_signal
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    global _raising_process
    _raising_process = os.getpid()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)
        # A caller that ignores the signal (nohup) wants it ignored.
        if number is not None and _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _raise_terminated)


def was_interrupted() -> bool:
    """Return whether Ctrl-C came, also where an import turned it into another exception."""
    return _was_interrupted


def ignore_interrupts_at_exit() -> None:
    """Let Ctrl-C end a process that has finished its work without a word."""
    if _is_command and _signal.getsignal(_signal.SIGINT) in (_exit_interrupted, _raise_interrupt):
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _exit_interrupted(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted.\n")
    os._exit(INTERRUPTED_EXIT_CODE)


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    global _was_interrupted
    _was_interrupted = True
    raise KeyboardInterrupt


_raising_process = 0  # the one that raises; a worker that it forked does not


def _raise_terminated(number: int, _frame: FrameType | None) -> None:
    _signal.signal(number, _signal.SIG_DFL)
    if os.getpid() != _raising_process:
        os.kill(os.getpid(), number)  # it has nothing to clean up
    raise Terminated(number)


def _resend_dropped_signal(unraisable: Any) -> None:
    """Send a signal again that came while an object was deleted: its exception was dropped."""
    import sys
    import threading

    error = unraisable.exc_value
    if isinstance(error, KeyboardInterrupt):
        number = _signal.SIGINT
    elif isinstance(error, Terminated):
        number = error.number
        _signal.signal(number, _raise_terminated)
    else:
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.01, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
