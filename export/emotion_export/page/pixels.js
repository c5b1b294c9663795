// @ts-check
// From a picture to its pixels, as in emotion_runtime/pictures/preprocessing.py: orientation, alpha on
// white, gray (ITU-R 601-2), central square, antialiased bilinear resize.

import { dropAlpha, toGray } from "./colours.js";
import { explainFailure, findDamage } from "./damage.js";
import { decodeJpeg, readJpegHeader } from "./jpeg.js";
import { findWebpOrientation, orient, turnsWebp } from "./orientation.js";
import { BILINEAR, reduce, resizePart } from "./resample.js";

/** @typedef {import("./resample.js").Raster} Raster */
/** @typedef {import("./detector.js").Box} Box */
/** @typedef {import("./jpeg.js").Header} JpegHeader */

const CANVAS_TOLERANCE = 1; // of 255; a noise of one step does not affect the network
const STRIP_PIXELS = 2 ** 20; // are read from a canvas at once
export const MAX_PIXELS = 64_000_000; // are read of one picture, as in emotion_runtime
const JPEG_FACTORS = [8, 4, 2]; // by which libjpeg reduces

const UNREADABLE = "Not a picture that this browser can read.";
export const ALTERED =
  "This browser alters picture data; allow canvas data for this site, then reload the page.";

/** A picture that this browser cannot decode. */
export class UnreadableError extends Error {}

/** A picture, decoded as far as its pixels are needed. */
export class Picture {
  /**
   * Open an image file.
   *
   * @param {Blob} blob
   * @returns {Promise<Picture>}
   * @throws {UnreadableError} The browser cannot decode it; the message is for the user.
   */
  static async open(blob) {
    const damage = await findDamage(blob);
    if (damage) throw new UnreadableError(damage);
    const head = new Uint8Array(await blob.slice(0, 16).arrayBuffer());
    if (head[0] === 0xff && head[1] === 0xd8) {
      const bytes = new Uint8Array(await blob.arrayBuffer());
      const header = readJpegHeader(bytes);
      if (header) {
        const size = turnSize(header, header.orientation);
        return new Picture(size, { blob, jpeg: { bytes, header } });
      }
    }
    const bitmap = await decodeBlob(blob);
    const orientation = await findWebpOrientation(blob, head);
    if (orientation === 1 || (await turnsWebp())) return Picture.fromBitmap(bitmap);
    return new Picture(turnSize(bitmap, orientation), { bitmap, orientation });
  }

  /**
   * Return a bitmap, such as a frame of a camera, as a picture.
   *
   * @param {ImageBitmap} bitmap
   */
  static fromBitmap(bitmap) {
    return new Picture(bitmap, { bitmap });
  }

  /**
   * @param {{width: number, height: number}} size Of the upright picture, in pixels.
   * @param {object} source
   * @param {Blob} [source.blob]
   * @param {{bytes: Uint8Array, header: JpegHeader}} [source.jpeg]
   * @param {ImageBitmap} [source.bitmap] The decoded picture.
   * @param {number} [source.orientation] By which the bitmap is still to be turned, 1 to 8.
   */
  constructor({ width, height }, { blob, jpeg, bitmap, orientation = 1 }) {
    this.width = width;
    this.height = height;
    this._blob = blob;
    this._jpeg = jpeg;
    this._bitmap = bitmap;
    this._orientation = orientation;
  }

  /** Free the memory of the decoded picture. */
  close() {
    this._bitmap?.close();
  }

  /**
   * Read the network's input: the central square, gray, resized.
   *
   * @param {number} size Side in pixels.
   * @returns {Promise<Uint8Array>} size × size.
   */
  async readFace(size) {
    // At least twice the size remains for the resize below, as in Python.
    const factor = this._chooseFactor(2 * size, 2 * size);
    const decoded = await this._decodeJpeg(factor, 1);
    const width = Math.ceil(this.width / factor);
    const height = Math.ceil(this.height / factor);
    const side = Math.min(width, height);
    const left = Math.floor((width - side) / 2);
    const top = Math.floor((height - side) / 2);
    let part = decoded;
    let [x, y] = [0, 0];
    if (part === null) {
      // The filter uses some pixels beyond the square.
      const margin = Math.ceil(side / size) + 1;
      [x, y] = [Math.max(0, left - margin), Math.max(0, top - margin)];
      const area = {
        x: x * factor,
        y: y * factor,
        width: Math.min(this.width, (left + side + margin) * factor) - x * factor,
        height: Math.min(this.height, (top + side + margin) * factor) - y * factor,
      };
      part = readBitmap(await this._getBitmap(), this._orientation, area, factor, 1);
    }
    /** @type {import("./resample.js").Edges} */
    const edges = [left, top, left + side, top + side];
    const whole = { width, height };
    const { data } = resizePart(part, size, size, BILINEAR, edges, whole, { x, y });
    return new Uint8Array(data);
  }

  /**
   * Read the RGB pixels, at reduced scale where Python does so.
   *
   * @param {number} minScale Least scale that is needed.
   * @returns {Promise<Raster>}
   */
  async readRgb(minScale) {
    const { width, height } = this;
    const factor = this._chooseFactor(Math.ceil(width * minScale), Math.ceil(height * minScale));
    const decoded = await this._decodeJpeg(factor, 3);
    if (decoded) return decoded;
    return readBitmap(await this._getBitmap(), this._orientation, { x: 0, y: 0, width, height }, factor, 3);
  }

  /**
   * Read a part of a picture that is a bitmap, gray.
   *
   * @param {Box} area In pixels.
   * @returns {Raster}
   */
  readGrayPart(area) {
    if (!this._bitmap) throw new TypeError("only of bitmaps");
    return readBitmap(this._bitmap, this._orientation, area, 1, 1);
  }

  /**
   * Read the RGB pixels of a picture that is a bitmap, reduced by the browser.
   *
   * @param {number} side Longest side of the result, in pixels.
   * @returns {Raster}
   */
  readReduced(side) {
    if (!this._bitmap) throw new TypeError("only of bitmaps");
    const scale = Math.min(1, side / Math.max(this.width, this.height));
    const width = Math.max(1, Math.round(this.width * scale));
    const height = Math.max(1, Math.round(this.height * scale));
    const rgba = new StripReader(this._bitmap, width, height).read(0, 0, height, this);
    return { data: dropAlpha(rgba), width, height, channels: 3 };
  }

  /** @returns {Promise<ImageBitmap>} */
  async _getBitmap() {
    if (this._bitmap) return this._bitmap;
    this._bitmap = await decodeBlob(/** @type {Blob} */ (this._blob));
    // Not all browsers turn it.
    const isTurned = this._bitmap.width === this.width && this._bitmap.height === this.height;
    if (this._jpeg && !isTurned) this._orientation = this._jpeg.header.orientation;
    return this._bitmap;
  }

  /**
   * Return by how much Python reduces a JPEG while it decodes it: 1, 2, 4 or 8.
   *
   * @param {number} minWidth Width that is needed, in pixels.
   * @param {number} minHeight Height that is needed, in pixels.
   */
  _chooseFactor(minWidth, minHeight) {
    if (!this._jpeg) return 1;
    const { width, height } = this;
    const largest = Math.min(Math.floor(width / minWidth), Math.floor(height / minHeight));
    return JPEG_FACTORS.find((factor) => factor <= largest) ?? 1;
  }

  /**
   * Decode a JPEG and turn it upright; null where the browser cannot decode it as Python does.
   *
   * @param {number} factor
   * @param {1 | 3} channels
   */
  async _decodeJpeg(factor, channels) {
    if (!this._jpeg) return null;
    const { bytes, header } = this._jpeg;
    checkPixels(Math.ceil(header.width / factor), Math.ceil(header.height / factor));
    const raster = await decodeJpeg(bytes, header, factor, channels);
    return raster && orient(raster, header.orientation);
  }
}

/** @param {Blob} blob */
async function decodeBlob(blob) {
  try {
    return await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    throw new UnreadableError((await explainFailure(blob)) ?? UNREADABLE);
  }
}

/**
 * @param {{width: number, height: number}} size
 * @param {number} orientation
 */
const turnSize = ({ width, height }, orientation) =>
  orientation > 4 ? { width: height, height: width } : { width, height };

/**
 * Read a part of a bitmap, reduced by a whole factor.
 *
 * @param {ImageBitmap} bitmap
 * @param {number} orientation By which it is to be turned.
 * @param {Box} area In pixels of the upright picture.
 * @param {number} factor Pixels of a side that become one.
 * @param {1 | 3} channels 1 for gray, 3 for RGB.
 * @returns {Raster}
 * @throws {Error} The browser alters pixels or has not enough memory; the message is for the user.
 */
function readBitmap(bitmap, orientation, area, factor, channels) {
  if (orientation !== 1) {
    const stored = { x: 0, y: 0, width: bitmap.width, height: bitmap.height };
    return cut(orient(readBitmap(bitmap, 1, stored, 1, channels), orientation), area);
  }
  const width = Math.ceil(area.width / factor);
  const height = Math.ceil(area.height / factor);
  checkPixels(width, height);
  const data = allocate(width * height * channels, bitmap);
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
 * @param {ImageBitmap} bitmap
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
