"""Draw text that reads from bottom to top, such as the label of a vertical axis."""

from __future__ import annotations

from PIL import Image, ImageDraw

from emotion_runtime.drawing.fonts import Font


def draw_vertical_text(
    image: Image.Image,
    text: str,
    position: tuple[int, int],
    *,
    font: Font,
    pixels: int,
    colour: str,
    background: str,
) -> None:
    """Draw text turned by 90 degrees into an RGB image.

    Args:
        image: The image to draw into.
        text: One line of text.
        position: Left edge and vertical centre of the text, in pixels.
        font: Font of the text.
        pixels: Size of the font, in pixels.
        colour: Colour of the text.
        background: Colour around the text.
    """
    pillow_font = font.get_font(pixels)
    box = ImageDraw.Draw(image).textbbox((0, 0), text, pillow_font)
    strip = Image.new("RGB", (round(box[2]) + 2, round(box[3]) + 2), background)
    ImageDraw.Draw(strip).text((0, 0), text, colour, pillow_font)
    turned = strip.rotate(90, expand=True)
    image.paste(turned, (position[0], position[1] - turned.height // 2))
