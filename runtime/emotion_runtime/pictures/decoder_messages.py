"""Silence the messages of decoders about damaged pictures, in commands only.

libtiff prints warnings and errors itself. Its handlers belong to the whole process, so that a
program which imports this library keeps them and only a command removes them. A damaged picture
still gives an error. Redirecting the file descriptor instead would also hide the messages of
Python and onnxruntime.
"""

from __future__ import annotations

_silence_requested = False


def silence_decoders() -> None:
    """Silence decoders in this process from now on."""
    global _silence_requested
    _silence_requested = True


def silence_messages() -> None:
    """Silence decoders, and what Pillow logs and warns about, in this process from now on.

    A picture that cannot be read is a result with an error, which has the reason.
    """
    import logging
    import warnings

    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    silence_decoders()


def silence_libtiff_if_requested() -> None:
    """Remove libtiff's handlers of warnings and errors, if `silence_decoders` was called.

    They are looked up through Pillow's own module, which finds the libtiff that Pillow uses. Where
    the platform does not export these functions, the messages stay.
    """
    global _silence_requested
    if not _silence_requested:
        return
    _silence_requested = False
    import contextlib
    import ctypes

    from PIL import _imaging

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
            handler = getattr(library, name)
            handler.restype, handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            handler(None)
