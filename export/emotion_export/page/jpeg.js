// @ts-check
// Decodes JPEGs with WebCodecs (ImageDecoder), where the browser has it. Like Python it takes gray from
// the luminance in the file, and decodes large pictures at a reduced scale, which is faster.

import { dropAlpha, toGray } from "./colours.js";
import { parseExif } from "./orientation.js";

/** @typedef {import("./resample.js").Raster} Raster */
/** @typedef {{width: number, height: number, orientation: number}} Header As stored, not turned. */

const EXIF_PREFIX = 0x45786966; // "Exif"
const APP1 = 0xe1;
const START_OF_SCAN = 0xda;
// Markers of frames: baseline, extended, progressive and others, but not of tables.
const isFrame = (/** @type {number} */ marker) =>
  marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);

/**
 * Read size and orientation from the segments of a JPEG (ITU-T T.81, annex B).
 *
 * @param {Uint8Array} bytes
 * @returns {Header | null} null for other files, and for damaged ones.
 */
export function readJpegHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 4 || view.getUint16(0) !== 0xffd8) return null;
  let orientation = 1;
  for (let position = 2; position + 9 <= bytes.length; ) {
    if (bytes[position] !== 0xff) return null;
    const marker = bytes[position + 1];
    if (marker === 0xff) {
      position++; // a fill byte
      continue;
    }
    if (marker === START_OF_SCAN) return null;
    const length = view.getUint16(position + 2);
    if (isFrame(marker)) {
      const [height, width] = [view.getUint16(position + 5), view.getUint16(position + 7)];
      return width > 0 && height > 0 ? { width, height, orientation } : null;
    }
    if (marker === APP1 && view.getUint32(position + 4) === EXIF_PREFIX) {
      const end = Math.min(bytes.length, position + 2 + length);
      const exif = new DataView(view.buffer, view.byteOffset + position + 4, end - position - 4);
      orientation = parseExif(exif) ?? 1;
    }
    position += 2 + length;
  }
  return null;
}

/**
 * Decode a JPEG, reduced by a whole factor.
 *
 * @param {Uint8Array} bytes
 * @param {Header} header
 * @param {number} factor 1, 2, 4 or 8: pixels of a side that become one.
 * @param {1 | 3} channels 1 for gray, 3 for RGB.
 * @returns {Promise<Raster | null>} The stored picture, not turned; null where this browser cannot
 *   decode it in this way.
 */
export async function decodeJpeg(bytes, header, factor, channels) {
  const ImageDecoder = /** @type {any} */ (globalThis).ImageDecoder;
  // From planes of luminance and chrominance at full size, a browser computes RGB as it does elsewhere.
  if (ImageDecoder === undefined || (channels === 3 && factor === 1)) return null;
  const [width, height] = [Math.ceil(header.width / factor), Math.ceil(header.height / factor)];
  // One more, because browsers round the scale down to eighths.
  const desired = factor === 1 ? {} : { desiredWidth: width + 1, desiredHeight: height + 1 };
  let decoder, frame;
  try {
    decoder = new ImageDecoder({
      type: "image/jpeg",
      data: bytes,
      colorSpaceConversion: "none",
      preferAnimation: false,
      ...desired,
    });
    frame = (await decoder.decode()).image;
    if (frame.codedWidth !== width || frame.codedHeight !== height) return null;
    const buffer = new Uint8Array(frame.allocationSize());
    const [{ offset, stride }] = await frame.copyTo(buffer);
    return convertFrame(buffer.subarray(offset), stride, frame.format, { width, height, channels });
  } catch {
    return null; // the usual way gives the reason
  } finally {
    frame?.close();
    decoder?.close();
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {number} stride Bytes of a row.
 * @param {string} format As in WebCodecs.
 * @param {{width: number, height: number, channels: 1 | 3}} size
 * @returns {Raster | null}
 */
function convertFrame(bytes, stride, format, { width, height, channels }) {
  const isLuminance = /^I4(20|22|44)$|^NV12$/.test(format);
  if (!(isLuminance && channels === 1) && !/^(RGB|BGR)[AX]$/.test(format)) return null;
  const length = isLuminance ? width : 4 * width;
  let rows = bytes.subarray(0, length * height);
  if (stride !== length) {
    rows = new Uint8Array(length * height);
    for (let y = 0; y < height; y++) {
      rows.set(bytes.subarray(y * stride, y * stride + length), y * length);
    }
  }
  if (isLuminance) return { data: rows, width, height, channels };
  if (format.startsWith("BGR")) {
    for (let i = 0; i < rows.length; i += 4) [rows[i], rows[i + 2]] = [rows[i + 2], rows[i]];
  }
  return { data: channels === 1 ? toGray(rows) : dropAlpha(rows), width, height, channels };
}
