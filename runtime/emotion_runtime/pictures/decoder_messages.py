"""Whether the lines that C libraries write to standard error are kept back: in commands only.

libtiff prints warnings and errors by itself. Its handlers hold for a whole process, so a program
that imports this library keeps them; a command takes them away. Damage still is the picture's own
error. A redirection of the file descriptor would also hide what Python and onnxruntime report.
"""

from __future__ import annotations

_silence_requested = False


def silence_decoders() -> None:
    """Keep decoders silent from now on, in this process."""
    global _silence_requested
    _silence_requested = True


def silence_libtiff_if_requested() -> None:
    """Take libtiff's writers of warnings and errors away, where `silence_decoders` was called.

    They are found through Pillow's own module, so that it is the libtiff that Pillow uses. Where
    the platform does not show its functions, the lines stay.
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
