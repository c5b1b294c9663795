// @ts-check
// Conversions of colours, byte by byte.

/**
 * Convert colours to gray, as Pillow's convert("L") does (ITU-R 601-2, integer weights).
 *
 * @param {Uint8Array | Uint8ClampedArray} colours Red, green, blue, and perhaps alpha, of each pixel.
 * @param {number} [channels] 3 or 4 bytes for each pixel.
 * @param {Uint8Array} [gray] Receives the result.
 * @param {number} [offset] Where in `gray`.
 * @returns {Uint8Array}
 */
export function toGray(colours, channels = 4, gray = new Uint8Array(colours.length / channels), offset = 0) {
  for (let i = offset, j = 0; j < colours.length; i++, j += channels) {
    gray[i] = (colours[j] * 19595 + colours[j + 1] * 38470 + colours[j + 2] * 7471 + 0x8000) >> 16;
  }
  return gray;
}

/**
 * Convert RGBA to RGB.
 *
 * @param {Uint8Array | Uint8ClampedArray} rgba
 * @param {Uint8Array} [rgb] Receives the result.
 * @param {number} [offset] Where in `rgb`.
 * @returns {Uint8Array}
 */
export function dropAlpha(rgba, rgb = new Uint8Array((rgba.length / 4) * 3), offset = 0) {
  for (let i = 0, j = offset; i < rgba.length; i += 4, j += 3) {
    rgb[j] = rgba[i];
    rgb[j + 1] = rgba[i + 1];
    rgb[j + 2] = rgba[i + 2];
  }
  return rgb;
}
