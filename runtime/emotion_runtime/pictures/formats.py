"""The supported picture formats: recognised by their first bytes, each opened by one decoder.

`PIL.Image.open` tries every format that it knows. Some of those pass the file to another program
(EPS to Ghostscript), load parts from elsewhere, or have decoders in Python that take quadratic
time. Only the formats listed here are opened, whatever the name of the file is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import IO

from PIL import Image, ImageFile

from emotion_runtime.pictures.decoder_messages import silence_libtiff_if_requested
from emotion_runtime.pictures.limits import Refusal

HEAD_BYTES = 32  # enough to recognise a format

# Pillow's name of each format, and the module of Pillow that reads it.
_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "DIB": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "PPM": "PpmImagePlugin",
    "PCX": "PcxImagePlugin",
    "TGA": "TgaImagePlugin",
}
HEIF = "HEIF"  # read by the package pillow-heif
FORMAT_NAMES = "JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, JPEG 2000, PNM, PCX, TGA, HEIC"

# Formats that a build of Pillow may lack, with their names in `PIL.features`.
_OPTIONAL_FEATURES = {
    "WEBP": "webp",
    "AVIF": "avif",
    "JPEG2000": "jpg_2000",
    "JPEG": "jpg",
    "PNG": "zlib",
}

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"}
_HEIF_BRANDS |= {b"msf1", b"mif2"}
_DIB_HEADERS = {12, 40, 52, 56, 64, 108, 124}


def recognise_format(head: bytes) -> str | None:
    """Return Pillow's name of a file's format, by its first bytes.

    Args:
        head: The first `HEAD_BYTES` bytes, or all of a shorter file.

    Returns:
        The name; None where the format is not supported. TGA has no signature, so that a file that
        could be one gives ``"TGA"``; its decoder checks the header.
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, len(head), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        return HEIF if brands & _HEIF_BRANDS else None
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3] in b" \t\n\v\f\r#":
        return "PPM"
    if head[:1] == b"\n" and head[1:2] in b"\0\2\3\5" and head[2:3] in b"\0\1":
        return "PCX"
    if int.from_bytes(head[:4], "little") in _DIB_HEADERS:
        return "DIB"
    # Types of colour map and picture that TGA has; below, bits per pixel.
    is_tga = len(head) >= 18 and head[1] in (0, 1) and head[2] in (1, 2, 3, 9, 10, 11)
    return "TGA" if is_tga and head[16] in (1, 8, 16, 24, 32) else None


_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
)


def open_format(kind: str, file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture of a known format; its pixels are decoded when they are needed.

    `PIL.Image.open` is not used: it also tries other formats, loads all of Pillow's decoders for
    that, and warns by a limit that belongs to the calling program.

    Args:
        kind: The format, from `recognise_format`.
        file: Seekable, at any position. It must stay open until the pixels are decoded.

    Raises:
        Refusal: The decoder of this format is not installed.
        Exception: Any exception of the decoder, for a damaged file.
    """
    if kind == HEIF:
        return _open_heif(file)
    file.seek(0)
    try:
        importlib.import_module(f"PIL.{_PLUGINS[kind]}")
    except ModuleNotFoundError:
        _refuse_missing(kind)
    if kind in ("WEBP", "AVIF", "JPEG2000"):
        from PIL import features

        if not features.check(_OPTIONAL_FEATURES[kind]):
            _refuse_missing(kind)
    if kind == "TIFF":
        silence_libtiff_if_requested()
    image: ImageFile.ImageFile = Image.OPEN[kind][0](file, "")
    return image


def _refuse_missing(kind: str) -> None:
    hint = "; Pillow 11.3 and newer have it" if kind == "AVIF" else ""
    raise Refusal(f"this Pillow cannot read {kind}{hint}")


def _open_heif(file: IO[bytes]) -> ImageFile.ImageFile:
    try:
        as_plugin = importlib.import_module("pillow_heif.as_plugin")
    except ImportError as error:
        raise Refusal(
            "a HEIC picture needs the package pillow-heif: pip install pillow-heif"
        ) from error
    file.seek(0)
    # Not registered with Pillow, which would change what the calling program opens.
    open_image: Callable[[IO[bytes], str], ImageFile.ImageFile] = as_plugin.HeifImageFile
    return open_image(file, "")
