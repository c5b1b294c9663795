"""Turns by multiples of 90 degrees, of pictures whose file does not record their orientation."""

from __future__ import annotations

from PIL import Image

from emotion_runtime.faces.detection import Box

TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180)


def turn_size(size: tuple[int, int], turn: Image.Transpose) -> tuple[int, int]:
    """Return width and height of a picture after a turn."""
    return size if turn == Image.Transpose.ROTATE_180 else (size[1], size[0])


def turn_box_back(box: Box, turn: Image.Transpose | None, width: int, height: int) -> Box:
    """Return a box of a turned picture in pixels of the picture before the turn.

    Args:
        box: In pixels of the turned picture.
        turn: The turn, anticlockwise; None for no turn.
        width: Width of the picture before the turn, in pixels.
        height: Height of the picture before the turn, in pixels.
    """
    x, y, across, down = box
    if turn == Image.Transpose.ROTATE_90:  # moves a point (x, y) to (y, width - x)
        return Box(width - y - down, x, down, across)
    if turn == Image.Transpose.ROTATE_270:  # moves a point (x, y) to (height - y, x)
        return Box(y, height - x - across, down, across)
    if turn == Image.Transpose.ROTATE_180:
        return Box(width - x - across, height - y - down, across, down)
    return box
