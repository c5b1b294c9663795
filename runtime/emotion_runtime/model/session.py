"""onnxruntime as this toolkit uses it: telemetry off, threads stated, nothing but the bytes given.

Every other module gets onnxruntime from here, so that no import of it comes before its telemetry
is off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import emotion_models
from emotion_runtime.counts import check_count
from emotion_runtime.errors import ModelFileError, format_reason
from emotion_runtime.model.model_file import is_ort, read_model
from emotion_runtime.model.onnx_graph import find_graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"

_PACKAGE = Path(emotion_models.__file__).parent


def import_onnxruntime() -> Any:
    """Return the module onnxruntime, imported with its telemetry off.

    Since 1.29 onnxruntime on Linux writes an identifier of the device to
    ``~/.cache/Microsoft`` and looks for a host to report to as soon as it is imported, unless
    ``ORT_DISABLE_TELEMETRY=1`` is set before. It is set here where the user has not set it
    otherwise. Where the user's own code imported onnxruntime before, its files are written
    already; then its events are switched off through its API.
    """
    if TELEMETRY_VARIABLE not in os.environ:
        os.environ[TELEMETRY_VARIABLE] = "1"
        imported = sys.modules.get("onnxruntime")
        # Set to None by those who forbid an import.
        switch_off = getattr(imported, "disable_telemetry_events", None)
        if switch_off is not None:
            switch_off()
    import onnxruntime

    return onnxruntime


class Session:
    """A model file opened in onnxruntime; may be used from threads, forked and pickled.

    A forked child opens the file's bytes anew at its first call: a lock of onnxruntime that
    another thread held in the parent would stay locked in the child for ever, and the threads
    of its pool are not there. A pickle holds the path and the digest of the file, which must be
    the same where it is unpickled.

    Args:
        path: The file, or where `data` came from.
        data: Its bytes, checked by `model_file.read_model`.
        threads: Threads of onnxruntime for one call.
        provider: Where onnxruntime runs it.

    Raises:
        ModelFileError: onnxruntime cannot open it, or lacks the provider.
    """

    def __init__(
        self, path: Path, data: bytes, threads: int = 1, provider: str = "CPUExecutionProvider"
    ) -> None:
        self.path, self.threads, self.provider = path, threads, provider
        self._data = data  # onnxruntime's own object keeps them too: no copy
        self._ort_session: Any = self._open()
        _open_sessions.add(self)

    def run(
        self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Run the network.

        Raises:
            ModelFileError: onnxruntime cannot run it.
        """
        try:
            values: list[NDArray[np.float32]] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:  # onnxruntime's errors share no public base
            raise ModelFileError(f"{self.path}: cannot be run ({format_reason(error)}).") from error
        return values

    def metadata(self) -> dict[str, str]:
        """Return the ``metadata_props`` of the file.

        Raises:
            ModelFileError: They are no UTF-8.
        """
        try:
            return dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self.path}: its metadata are not UTF-8; export the model again."
            ) from error

    def inputs(self) -> dict[str, tuple[str, list[Any]]]:
        """Return name → type and shape of each input.

        Raises:
            ModelFileError: A name is no UTF-8.
        """
        return self._describe_tensors("get_inputs")

    def outputs(self) -> dict[str, tuple[str, list[Any]]]:
        """Return name → type and shape of each output.

        Raises:
            ModelFileError: A name is no UTF-8.
        """
        return self._describe_tensors("get_outputs")

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the file that was opened."""
        import hashlib  # OpenSSL takes milliseconds that a single picture need not wait for

        return hashlib.sha256(self._data).hexdigest()

    def graph_sha256(self) -> str | None:
        """Return the hexadecimal SHA-256 of the graph, as it lies in the ONNX file.

        None of a file in onnxruntime's own format, which holds the graph in another form.
        """
        if is_ort(self._data):
            return None
        import hashlib

        digest = hashlib.sha256()
        for part in find_graph(self._data):
            digest.update(part)
        return digest.hexdigest()

    @property
    def _session(self) -> Any:
        # Two threads of a forked child at once may open two, and one is kept: a lock could be
        # held in another thread when the process forks.
        if self._ort_session is None:
            self._ort_session = self._open()
        return self._ort_session

    def _abandon(self) -> None:
        """Leave the parent's session alone, in a forked child: neither use it nor end it."""
        import ctypes

        if self._ort_session is not None:
            # Ending it would wait for threads that the child does not have. With one reference
            # more than there are, not even the end of the process ends it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._ort_session))
            self._ort_session = None

    def _open(self) -> Any:
        onnxruntime = import_onnxruntime()
        available = onnxruntime.get_available_providers()
        if self.provider not in available:
            raise ModelFileError(
                f"this onnxruntime has no provider {self.provider}; it has {', '.join(available)}."
            )
        options = onnxruntime.SessionOptions()
        # Stated, not left to onnxruntime: it counts the machine's cores, not the container's.
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # A pool that spins between calls burns a device's battery and the decoder's CPU.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The format that was checked is the one that is read.
        kind = "ORT" if is_ort(self._data) else "ONNX"
        options.add_session_config_entry("session.load_model_format", kind)
        # Errors are raised; the same written to stderr would hold names from the file, unescaped.
        options.log_severity_level = 4
        providers = list(dict.fromkeys([self.provider, "CPUExecutionProvider"]))
        try:
            session = onnxruntime.InferenceSession(
                self._data,
                sess_options=options,
                providers=providers,
                enable_fallback=0,  # which prints to stdout, and runs elsewhere than was told
            )
        except Exception as error:  # onnxruntime's errors share no public base
            raise ModelFileError(
                f"{self.path}: not a model that onnxruntime {onnxruntime.__version__} can open "
                f"({format_reason(error)})."
            ) from error
        if self.provider not in session.get_providers():
            raise ModelFileError(
                f"onnxruntime cannot start the provider {self.provider} on this machine; it "
                f"offers {', '.join(session.get_providers())}."
            )
        return session

    def _describe_tensors(self, which: str) -> dict[str, tuple[str, list[Any]]]:
        try:
            return {one.name: (one.type, one.shape) for one in getattr(self._session, which)()}
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self.path}: the name of an input or output is not UTF-8."
            ) from error

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Return the session itself: it never changes, and may be used from threads."""
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the digest, so that a worker opens the file itself."""
        path = Path(self.path).absolute()
        shipped = path.is_relative_to(_PACKAGE)  # wherever the other one is installed
        where = path.relative_to(_PACKAGE) if shipped else path
        return _open_unpickled, (where, self.sha256(), self.threads, self.provider)


_open_sessions: WeakSet[Session] = WeakSet()


def _abandon_sessions() -> None:
    for session in _open_sessions:
        session._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_sessions)


def _open_unpickled(path: Path, sha256: str, threads: int, provider: str) -> Session:
    """Open the file that was pickled.

    Raises:
        ModelFileError: It is not there, or is another one.
    """
    session = open_session(path if path.is_absolute() else _PACKAGE / path, threads, provider)
    if session.sha256() != sha256:
        raise ModelFileError(
            f"{session.path}: not the file that was pickled; its content has changed since."
        )
    return session


def open_session(path: Path, threads: int = 1, provider: str = "CPUExecutionProvider") -> Session:
    """Open a model file as the device wants it.

    Args:
        path: An ONNX file, or one in onnxruntime's own format.
        threads: Threads of onnxruntime for one call, at least 1.
        provider: Where onnxruntime runs it, such as ``"CPUExecutionProvider"``.

    Raises:
        ModelFileError: The file cannot be read, is no model that this toolkit runs, onnxruntime
            cannot open it, or lacks the provider.
        ValueError: `threads` is less than 1.
        TypeError: `threads` is no integer.
    """
    threads = check_count("threads", threads)
    return Session(path, read_model(path), threads, provider)
