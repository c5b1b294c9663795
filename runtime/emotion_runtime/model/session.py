"""Open model files in onnxruntime: without telemetry, with a fixed number of threads.

Every other module imports onnxruntime through this one, so that its telemetry is off before it is
imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import emotion_models
from emotion_runtime.counts import MAX_THREADS, check_count
from emotion_runtime.errors import ModelFileError, format_reason, is_lack_of_memory
from emotion_runtime.model.model_file import is_ort, read_model
from emotion_runtime.model.onnx_graph import find_graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"

_PACKAGE = Path(emotion_models.__file__).parent


def import_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off, and return the module.

    From version 1.29 on, onnxruntime on Linux writes an identifier of the device to
    ``~/.cache/Microsoft`` and looks up a host to report to as soon as it is imported, unless
    ``ORT_DISABLE_TELEMETRY=1`` is set. This function sets the variable, unless the user has set
    it. If the user's code has already imported onnxruntime, the identifier has been written; then
    the events are switched off through onnxruntime's API.
    """
    if TELEMETRY_VARIABLE not in os.environ:
        os.environ[TELEMETRY_VARIABLE] = "1"
        imported = sys.modules.get("onnxruntime")
        # `sys.modules` has None where an import is forbidden.
        switch_off = getattr(imported, "disable_telemetry_events", None)
        if switch_off is not None:
            switch_off()
    import onnxruntime

    return onnxruntime


class Session:
    """A model file opened in onnxruntime, for use in threads, forked children and pickles.

    A forked child opens the bytes again at its first call: a lock of onnxruntime that another
    thread of the parent held would stay locked in the child forever, and the child does not have
    the threads of onnxruntime's pool. A pickle contains the path and the digest of the file; the
    file must be the same where it is unpickled.

    Args:
        path: The path that `data` was read from.
        data: The bytes of the file, from `model_file.read_model`.
        threads: onnxruntime's threads for one call.
        provider: Execution provider of onnxruntime.

    Raises:
        ModelFileError: onnxruntime cannot open it, or lacks the provider.
    """

    def __init__(
        self, path: Path, data: bytes, threads: int = 1, provider: str = "CPUExecutionProvider"
    ) -> None:
        self.path, self.threads, self.provider = path, threads, provider
        self._absolute_path = Path(path).absolute()  # before the current folder changes
        self._data = data  # not copied: onnxruntime's session refers to them too
        self._ort_session: Any = self._open()
        _open_sessions.add(self)

    def run(
        self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """Run the network and return the named outputs.

        Args:
            outputs: Names of the outputs.
            inputs: Name → array of each input.

        Raises:
            ModelFileError: onnxruntime cannot run the network.
        """
        try:
            values: list[NDArray[np.float32]] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:  # onnxruntime's errors have no common public base
            reason = "not enough memory" if is_lack_of_memory(error) else format_reason(error)
            raise ModelFileError(f"{self.path}: cannot be run ({reason}).") from error
        return values

    def metadata(self) -> dict[str, str]:
        """Return the ``metadata_props`` of the file.

        Raises:
            ModelFileError: They are not UTF-8.
        """
        try:
            return dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self.path}: its metadata are not UTF-8; export the model again."
            ) from error

    def inputs(self) -> dict[str, tuple[str, list[Any]]]:
        """Return the type and shape of each input, by name.

        Raises:
            ModelFileError: A name is not UTF-8.
        """
        return self._describe_tensors("get_inputs")

    def outputs(self) -> dict[str, tuple[str, list[Any]]]:
        """Return the type and shape of each output, by name.

        Raises:
            ModelFileError: A name is not UTF-8.
        """
        return self._describe_tensors("get_outputs")

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the file that was opened."""
        import hashlib  # not at start-up: loading OpenSSL takes milliseconds

        return hashlib.sha256(self._data).hexdigest()

    def graph_sha256(self) -> str | None:
        """Return the hexadecimal SHA-256 of the graph in an ONNX file.

        None for a file in onnxruntime's own format, which encodes the graph differently.
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
        # Without a lock, which another thread could hold during a fork. Two threads of a forked
        # child may open a session each; one of them is kept.
        if self._ort_session is None:
            self._ort_session = self._open()
        return self._ort_session

    def _abandon(self) -> None:
        """Abandon the parent's session in a forked child, without destroying it."""
        import ctypes

        if self._ort_session is not None:
            # Destroying it would wait for threads that the child does not have. One reference too
            # many keeps it alive even when the process ends.
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
        # Set explicitly: onnxruntime counts the cores of the machine, not of the container.
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that spin between calls would drain the battery and slow the decoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Read the bytes as the format that was checked.
        file_format = "ORT" if is_ort(self._data) else "ONNX"
        options.add_session_config_entry("session.load_model_format", file_format)
        # Errors are raised; on stderr they would contain unescaped names from the file.
        options.log_severity_level = 4
        providers = list(dict.fromkeys([self.provider, "CPUExecutionProvider"]))
        try:
            session = onnxruntime.InferenceSession(
                self._data,
                sess_options=options,
                providers=providers,
                enable_fallback=0,  # fallback prints to stdout and runs on another provider
            )
        except Exception as error:  # onnxruntime's errors have no common public base
            if is_lack_of_memory(error):
                raise ModelFileError(f"{self.path}: not enough memory to open it.") from error
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

    def _describe_tensors(self, method: str) -> dict[str, tuple[str, list[Any]]]:
        try:
            return {one.name: (one.type, one.shape) for one in getattr(self._session, method)()}
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{self.path}: the name of an input or output is not UTF-8."
            ) from error

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Return the session itself, which never changes and is safe to share between threads."""
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the digest, so that a worker opens the file itself."""
        path = self._absolute_path
        if path.is_relative_to(_PACKAGE):  # the package may be installed elsewhere there
            path = path.relative_to(_PACKAGE)
        return _open_unpickled, (path, self.sha256(), self.threads, self.provider)


_open_sessions: WeakSet[Session] = WeakSet()


def _abandon_sessions() -> None:
    for session in _open_sessions:
        session._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_sessions)


def _open_unpickled(path: Path, sha256: str, threads: int, provider: str) -> Session:
    """Open the file of a pickled session.

    Raises:
        ModelFileError: The file is missing, or its content has changed.
    """
    session = open_session(path if path.is_absolute() else _PACKAGE / path, threads, provider)
    if session.sha256() != sha256:
        raise ModelFileError(
            f"{session.path}: not the file that was pickled; its content has changed since."
        )
    return session


def open_session(path: Path, threads: int = 1, provider: str = "CPUExecutionProvider") -> Session:
    """Read, check and open a model file.

    Args:
        path: An ONNX file, or one in onnxruntime's own format.
        threads: onnxruntime's threads for one call, at least 1.
        provider: Execution provider of onnxruntime, such as ``"CPUExecutionProvider"``.

    Raises:
        ModelFileError: The file cannot be read, is not a model that this toolkit runs, or
            onnxruntime cannot open it or lacks the provider.
        ValueError: `threads` is less than 1, or more than `MAX_THREADS`.
        TypeError: `threads` is not an integer.
    """
    threads = check_count("threads", threads, MAX_THREADS)
    return Session(path, read_model(path), threads, provider)
