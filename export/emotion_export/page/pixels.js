// @ts-check
// From a picture to its pixels, as in emotion_runtime/pictures/preprocessing.py: orientation, alpha on
// white, gray (ITU-R 601-2), central square, antialiased bilinear resize.

import { explainFailure, findDamage } from "./damage.js";
import { toGray } from "./gray.js";
import { BILINEAR, reduce, resizePart } from "./resample.js";
import { findWebpOrientation, orient, turnsWebp } from "./orientation.js";

/** @typedef {import("./resample.js").Raster} Raster */
/** @typedef {import("./detector.js").Box} Box */

/**
 * A decoded picture, whose pixels are not read yet.
 *
 * @typedef {object} Picture
 * @property {ImageBitmap} bitmap
 * @property {number} width Of the upright picture, in pixels.
 * @property {number} height Of the upright picture, in pixels.
 * @property {number} orientation By which the pixels are still to be turned, 1 to 8, as in EXIF.
 * @property {boolean} isJpeg Whether Python decodes it at reduced scale.
 */

const CANVAS_TOLERANCE = 1; // of 255; a noise of one step does not affect the network
const STRIP_PIXELS = 2 ** 20; // are read from a canvas at once
export const MAX_PIXELS = 64_000_000; // are read of one picture, as in emotion_runtime
const JPEG_FACTORS = [8, 4, 2]; // by which libjpeg reduces
const JPEG_MAGIC = [0xff, 0xd8, 0xff];

const UNREADABLE = "Not a picture that this browser can read.";
export const ALTERED =
  "This browser alters picture data; allow canvas data for this site, then reload the page.";

/** A picture that this browser cannot decode. */
export class UnreadableError extends Error {}

/**
 * Decode an image file.
 *
 * @param {Blob} blob
 * @returns {Promise<Picture>}
 * @throws {UnreadableError} The browser cannot decode it; the message is for the user.
 */
export async function decode(blob) {
  const damage = await findDamage(blob);
  if (damage) throw new UnreadableError(damage);
  let bitmap, head;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    head = new Uint8Array(await blob.slice(0, 16).arrayBuffer());
  } catch {
    throw new UnreadableError((await explainFailure(blob)) ?? UNREADABLE);
  }
  const isJpeg = JPEG_MAGIC.every((byte, index) => head[index] === byte);
  const picture = { ...wrapBitmap(bitmap), isJpeg };
  const orientation = await findWebpOrientation(blob, head);
  if (orientation === 1 || (await turnsWebp())) return picture;
  const [width, height] = orientation > 4 ? [bitmap.height, bitmap.width] : [bitmap.width, bitmap.height];
  return { ...picture, width, height, orientation };
}

/**
 * Return a bitmap, such as a frame of a camera, as a picture.
 *
 * @param {ImageBitmap} bitmap
 * @returns {Picture}
 */
export const wrapBitmap = (bitmap) => ({
  bitmap,
  width: bitmap.width,
  height: bitmap.height,
  orientation: 1,
  isJpeg: false,
});

/**
 * Read the network's input: the central square, gray, resized.
 *
 * @param {Picture} picture
 * @param {number} size Side in pixels.
 * @returns {Uint8Array} size × size.
 */
export function readFace(picture, size) {
  const { width, height } = picture;
  // At least twice the size remains for the resize below, as in Python.
  const factor = chooseFactor(picture, 2 * size, 2 * size);
  const whole = { width: Math.ceil(width / factor), height: Math.ceil(height / factor) };
  const side = Math.min(whole.width, whole.height);
  const left = Math.floor((whole.width - side) / 2);
  const top = Math.floor((whole.height - side) / 2);
  // The filter uses some pixels beyond the square.
  const margin = Math.ceil(side / size) + 1;
  const x = Math.max(0, left - margin);
  const y = Math.max(0, top - margin);
  const area = {
    x: x * factor,
    y: y * factor,
    width: Math.min(width, (left + side + margin) * factor) - x * factor,
    height: Math.min(height, (top + side + margin) * factor) - y * factor,
  };
  const part = readPixels(picture, area, factor, 1);
  /** @type {import("./resample.js").Edges} */
  const edges = [left, top, left + side, top + side];
  const { data } = resizePart(part, size, size, BILINEAR, edges, whole, { x, y });
  return new Uint8Array(data);
}

/**
 * Read the RGB pixels at reduced scale where Python does so.
 *
 * @param {Picture} picture
 * @param {number} minScale Least scale that is needed.
 * @returns {Raster}
 */
export function readRgb(picture, minScale) {
  const { width, height } = picture;
  const factor = chooseFactor(picture, Math.ceil(width * minScale), Math.ceil(height * minScale));
  return readPixels(picture, { x: 0, y: 0, width, height }, factor, 3);
}

/**
 * Read the RGB pixels of a frame, reduced by the browser.
 *
 * @param {Picture} picture
 * @param {number} side Longest side of the result, in pixels.
 * @returns {Raster}
 */
export function readReduced({ bitmap, width, height }, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const reduced = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  const reader = new StripReader(bitmap, reduced.width, reduced.height);
  const rgba = reader.read(0, 0, reduced.height, { width, height });
  return { data: dropAlpha(rgba), ...reduced, channels: 3 };
}

/**
 * Return by how much Python reduces a JPEG while it decodes it: 1, 2, 4 or 8.
 *
 * @param {Picture} picture
 * @param {number} minWidth Width that is needed, in pixels.
 * @param {number} minHeight Height that is needed, in pixels.
 */
function chooseFactor({ width, height, isJpeg }, minWidth, minHeight) {
  if (!isJpeg) return 1;
  const largest = Math.min(Math.floor(width / minWidth), Math.floor(height / minHeight));
  return JPEG_FACTORS.find((factor) => factor <= largest) ?? 1;
}

/**
 * Read a part of a picture, reduced by a whole factor.
 *
 * @param {Picture} picture
 * @param {Box} area In pixels of the upright picture.
 * @param {number} factor Pixels of a side that become one.
 * @param {1 | 3} channels 1 for gray, 3 for RGB.
 * @returns {Raster}
 * @throws {Error} The browser alters pixels or has not enough memory; the message is for the user.
 */
export function readPixels(picture, area, factor, channels) {
  const { bitmap, orientation } = picture;
  if (orientation !== 1) {
    const stored = { ...picture, width: bitmap.width, height: bitmap.height, orientation: 1 };
    const whole = readPixels(stored, { x: 0, y: 0, width: bitmap.width, height: bitmap.height }, 1, channels);
    return cut(orient(whole, orientation), area);
  }
  const width = Math.ceil(area.width / factor);
  const height = Math.ceil(area.height / factor);
  checkPixels(width, height);
  const data = allocate(width * height * channels, picture);
  const rows = factor * Math.max(1, Math.floor(STRIP_PIXELS / area.width / factor));
  const reader = new StripReader(bitmap, area.width, Math.min(rows, area.height));
  for (let top = 0; top < area.height; top += rows) {
    const count = Math.min(rows, area.height - top);
    const rgba = reader.read(area.x, area.y + top, count);
    const offset = (top / factor) * width * channels;
    if (factor === 1) {
      if (channels === 1) toGray(rgba, 4, data, offset);
      else dropAlpha(rgba, data, offset);
    } else {
      const strip = channels === 1 ? toGray(rgba) : dropAlpha(rgba);
      const raster = { data: strip, width: area.width, height: count, channels };
      data.set(reduce(raster, factor, factor).data, offset);
    }
  }
  return { data, width, height, channels };
}

/**
 * @param {number} width
 * @param {number} height
 */
function checkPixels(width, height) {
  if (width * height > MAX_PIXELS) {
    throw new Error(
      `The picture has ${width}×${height} pixels; at most ${MAX_PIXELS / 1e6} million are read.`,
    );
  }
}

/**
 * @param {number} length
 * @param {Picture} picture
 */
function allocate(length, { width, height }) {
  try {
    return new Uint8Array(length);
  } catch {
    throw new Error(`The picture is too large for this browser (${width}×${height} pixels).`);
  }
}

/** Reads strips of a bitmap on white, through one canvas. */
class StripReader {
  /**
   * @param {ImageBitmap} bitmap
   * @param {number} width Of the strips, in pixels.
   * @param {number} rows Of the highest strip.
   */
  constructor(bitmap, width, rows) {
    this.bitmap = bitmap;
    this.width = width;
    this.rows = rows;
    // An extra row of known pixels shows whether the browser alters what is read from a canvas. It
    // may start to do so at any time.
    this.known = makeKnownRow(width);
    try {
      const canvas = new OffscreenCanvas(width, rows + 1);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      if (context === null) throw new Error("no context");
      context.fillStyle = "white";
      context.imageSmoothingQuality = "medium"; // for reduced frames; the default skips pixels
      context.putImageData(new ImageData(this.known, width, 1), 0, 0);
      this.context = context;
    } catch {
      throw this.makeError();
    }
  }

  /**
   * Return the RGBA bytes of a strip.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} rows
   * @param {{width: number, height: number}} [from] Size of the part of the bitmap; the same by
   *   default.
   */
  read(x, y, rows, from = { width: this.width, height: rows }) {
    const { bitmap, context, width, known } = this;
    let data;
    try {
      context.fillRect(0, 1, width, rows);
      context.drawImage(bitmap, x, y, from.width, from.height, 0, 1, width, rows);
      data = context.getImageData(0, 0, width, rows + 1).data;
    } catch {
      throw this.makeError();
    }
    if (largestDifference(data.subarray(0, 4 * width), known) > CANVAS_TOLERANCE) {
      throw new Error(ALTERED);
    }
    return data.subarray(4 * width);
  }

  makeError() {
    return new Error(
      this.width > 16_000
        ? `The picture is too large for this browser (${this.bitmap.width}×${this.bitmap.height} pixels).`
        : "This browser does not allow the page to read pictures; allow canvas data for this site.",
    );
  }
}

/**
 * Return a row of opaque pixels with many different values, always the same.
 *
 * @param {number} width
 */
function makeKnownRow(width) {
  const row = new Uint8ClampedArray(4 * width);
  for (let i = 0; i < row.length; i++) row[i] = i % 4 === 3 ? 255 : (i * 37 + 11) % 256;
  return row;
}

/**
 * @param {Uint8ClampedArray} rgba
 * @param {Uint8Array} [rgb] Receives the result.
 * @param {number} [offset] Where in `rgb`.
 */
function dropAlpha(rgba, rgb = new Uint8Array((rgba.length / 4) * 3), offset = 0) {
  for (let i = 0, j = offset; i < rgba.length; i += 4, j += 3) {
    rgb[j] = rgba[i];
    rgb[j + 1] = rgba[i + 1];
    rgb[j + 2] = rgba[i + 2];
  }
  return rgb;
}

/**
 * @param {Raster} raster
 * @param {Box} area
 * @returns {Raster}
 */
function cut({ data, width, channels }, area) {
  const part = new Uint8Array(area.width * area.height * channels);
  for (let row = 0; row < area.height; row++) {
    const from = ((area.y + row) * width + area.x) * channels;
    part.set(data.subarray(from, from + area.width * channels), row * area.width * channels);
  }
  return { data: part, width: area.width, height: area.height, channels };
}

/**
 * Return the largest absolute difference of two arrays of equal length.
 *
 * @param {ArrayLike<number>} first
 * @param {ArrayLike<number>} second
 */
export function largestDifference(first, second) {
  let largest = 0;
  for (let i = 0; i < first.length; i++) {
    largest = Math.max(largest, Math.abs(first[i] - second[i]));
  }
  return largest;
}

/** Draw the probe picture of emotion_runtime/model/self_test.py, RGBA. It must never change. */
export function drawProbe() {
  const [width, height] = [131, 101];
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += 4) {
      rgba[i] = (Math.floor(x / 5) + Math.floor(y / 7)) % 2 === 0 ? 230 : 20;
      rgba[i + 1] = (x * 2 + y) % 256;
      rgba[i + 2] = (x - 65) ** 2 + (y - 50) ** 2 < 900 ? 250 : (x * y) % 128;
      rgba[i + 3] = 255;
    }
  }
  return { rgba, width, height };
}
