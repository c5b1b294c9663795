"""The worker's side of `worker_pool`: it runs in a process of its own.

A worker ends with its parent, also when that is killed: its pipe closes, and on Linux the kernel
kills it (``PR_SET_PDEATHSIG``). This module does not import numpy, which the environment that
`run_worker` sets must precede.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emotion_runtime.errors import format_reason

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

END = b""  # sent to a worker in place of a task


def run_worker(connection: Connection[Any, Any], parent: int) -> None:
    """Work on what the parent sends, until it sends `END` or ends.

    First it sends a pickle of what to call first, or None, and of the function.

    Args:
        connection: The pipe to the parent.
        parent: Id of the parent, with which the kernel kills this process; 0 for not.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent(parent)
    # numpy's libraries would start a thread for each core, in each worker.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        tasks = _receive_tasks(connection)
        initialise, function = pickle.loads(tasks())
        if initialise is not None:
            initialise()
        function.take_counts()  # those of the parent, which were pickled too
        import gc

        gc.freeze()  # what was imported stays
    except Exception as error:  # noqa: BLE001  a thread cannot start, or what the pickle raises
        connection.send_bytes(pickle.dumps(("refused", format_reason(error))))
        return
    connection.send_bytes(pickle.dumps(("ready",)))
    stop = threading.Event()
    while task := tasks():
        try:
            batches, alone = pickle.loads(task)
            if alone:
                for item in batches[0]:
                    _send(connection, "result", function([item], stop), function.take_counts())
            else:
                begun = time.perf_counter()
                results = [function(batch, stop) for batch in batches]
                seconds = time.perf_counter() - begun
                _send(connection, "results", results, function.take_counts(), seconds)
        except Exception as error:  # noqa: BLE001  raised again in the parent
            _send_error(connection, error)


def _send(connection: Connection[Any, Any], *message: object) -> None:
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _send_error(connection: Connection[Any, Any], error: Exception) -> None:
    import traceback

    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  an exception that cannot be pickled
        error = RuntimeError(format_reason(error))
    _send(connection, "error", error, trace)


def _receive_tasks(connection: Connection[Any, Any]) -> Callable[[], bytes]:
    """Return a function that waits for the next task, and returns its pickle or `END`.

    A thread reads the pipe. It never makes the parent wait, and it ends the process with the
    parent, whatever that process is doing.
    """
    from queue import SimpleQueue

    tasks: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        try:
            while True:
                tasks.put(task := connection.recv_bytes())
                if task == END:
                    return
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=read, name="tasks", daemon=True).start()
    return tasks.get


def _die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent ends; on Linux, if `parent` is not 0."""
    if not parent or sys.platform != "linux":
        return
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, of <linux/prctl.h>
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    # Where memory runs out, the kernel should end a worker, which is replaced, not its parent.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    if os.getppid() != parent:
        os._exit(1)
