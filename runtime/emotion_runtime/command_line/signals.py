"""Handle Ctrl-C and SIGTERM: one sentence, no traceback, and no temporary files left behind.

A command calls `exit_on_interrupt` before its imports: an exception during an import would become
a traceback or "ImportError: initialization failed", and there is nothing to clean up yet. It calls
`raise_on_signals` before it writes anything.
"""

from __future__ import annotations

# The C part of `signal`: importing `signal` takes milliseconds, during which Ctrl-C would give
# a traceback.
import _signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False  # `typing.TYPE_CHECKING`, without the time of that import
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

INTERRUPTED_EXIT_CODE = 130  # exit code: 128 + SIGINT, as shells report it


class Terminated(BaseException):
    """SIGTERM or SIGHUP was received. As with KeyboardInterrupt, ``except Exception`` misses it.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_is_command = False
_was_interrupted = False


def exit_on_interrupt() -> None:
    """Make Ctrl-C end the process at once, with one sentence and exit code 130.

    Do nothing where the caller ignores Ctrl-C (a background job) or has a handler.
    """
    global _is_command
    _is_command = True
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _exit_interrupted)


def raise_on_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP raise exceptions, so that temporary files are removed.

    Only where `exit_on_interrupt` was called before. SIGTERM and SIGHUP are left alone under
    torchrun, which ends its processes by SIGTERM while they wait for each other outside of
    Python. A second SIGTERM ends the process at once.
    """
    if not _is_command:
        return
    import sys

    if _signal.getsignal(_signal.SIGINT) is _exit_interrupted:
        _signal.signal(_signal.SIGINT, _raise_interrupt)
        sys.unraisablehook = _resend_dropped_signal
    if hasattr(_signal, "SIGCHLD") and _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        # The caller ignores it, and so would this process: how a worker ended could not be found.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    global _raising_process
    _raising_process = os.getpid()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(_signal, name, None)
        # A signal that the caller ignores (nohup) stays ignored.
        if number is not None and _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, _raise_terminated)


def was_interrupted() -> bool:
    """Return whether Ctrl-C was pressed, even if an import turned it into another exception."""
    return _was_interrupted


def ignore_interrupts_at_exit() -> None:
    """Make Ctrl-C end the process silently, once its work is finished."""
    if _is_command and _signal.getsignal(_signal.SIGINT) in (_exit_interrupted, _raise_interrupt):
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _exit_interrupted(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted.\n")
    os._exit(INTERRUPTED_EXIT_CODE)


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    global _was_interrupted
    _was_interrupted = True
    raise KeyboardInterrupt


_raising_process = 0  # id of the process that raises; workers that it forked do not


def _raise_terminated(number: int, _frame: FrameType | None) -> None:
    _signal.signal(number, _signal.SIG_DFL)
    if os.getpid() != _raising_process:
        os.kill(os.getpid(), number)  # a forked worker has nothing to clean up
    raise Terminated(number)


def _resend_dropped_signal(unraisable: Any) -> None:
    """Send a signal again whose exception was dropped because an object was being deleted."""
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
