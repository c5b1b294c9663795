// @ts-check
// The conversion to gray, as Pillow's convert("L") does it (ITU-R 601-2, integer weights).

/**
 * Convert colour bytes to gray bytes.
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
