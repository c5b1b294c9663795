// From a picture to the pixels of the network, as in emotion_runtime/pictures/preprocessing.py:
// EXIF orientation, alpha on white, gray (ITU-R 601-2), central square, antialiased bilinear resize.
// The filter of a canvas depends on the browser, so the resize is implemented here. It follows the
// fixed-point arithmetic of Pillow's Resample.c and returns the same bytes.

const PRECISION = 2 ** 22; // 1 in fixed point: 32 bits, less 8 for the pixel and 2 of headroom
const CANVAS_TOLERANCE = 1; // of 255; a noise of one step does not affect the network
const SAFE_CANVAS_PIXELS = 2 ** 24; // every browser allows so many in a canvas

export const UNREADABLE = "Not a picture that this browser can read.";
export const ALTERED =
  "This browser alters picture data; allow canvas data for this site, then reload the page.";

/**
 * Decode an image file.
 *
 * @param {Blob} blob
 * @returns {Promise<{gray: Uint8Array, width: number, height: number}>} At full resolution.
 * @throws {Error} The browser cannot decode it, or alters the pixels; the message is for the user.
 */
export async function decode(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(UNREADABLE);
  }
  return fromBitmap(bitmap);
}

/** Convert a bitmap, such as a frame of a camera, as `decode` does, and close it. */
export function fromBitmap(bitmap) {
  const { width, height } = bitmap;
  try {
    return { gray: toGray(drawAndRead(bitmap, width, height)), width, height };
  } finally {
    bitmap.close();
  }
}

/** Draw a bitmap on white and return its RGBA bytes. */
function drawAndRead(bitmap, width, height) {
  let data;
  try {
    // An extra row of known pixels shows whether the browser alters what is read from a canvas. It
    // may start to do so at any time.
    const canvas = new OffscreenCanvas(width, height + 1);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    context.putImageData(new ImageData(makeKnownRow(width), width, 1), 0, height);
    data = context.getImageData(0, 0, width, height + 1).data;
  } catch {
    throw new Error(
      width * height > SAFE_CANVAS_PIXELS
        ? `The picture is too large for this browser (${width}×${height} pixels).`
        : "This browser does not allow the page to read pictures; allow canvas data for this site.",
    );
  }
  const row = data.subarray(4 * width * height);
  if (largestDifference(row, makeKnownRow(width)) > CANVAS_TOLERANCE) throw new Error(ALTERED);
  return data.subarray(0, 4 * width * height);
}

/** Return a row of opaque pixels with many different values, always the same. */
function makeKnownRow(width) {
  const row = new Uint8ClampedArray(4 * width);
  for (let i = 0; i < row.length; i++) row[i] = i % 4 === 3 ? 255 : (i * 37 + 11) % 256;
  return row;
}

/** Return the largest absolute difference of two arrays of equal length. */
export function largestDifference(first, second) {
  let largest = 0;
  for (let i = 0; i < first.length; i++) {
    largest = Math.max(largest, Math.abs(first[i] - second[i]));
  }
  return largest;
}

/** Convert RGBA bytes to gray bytes with the integer weights of Pillow's convert("L"). */
export function toGray(rgba) {
  const gray = new Uint8Array(rgba.length / 4);
  for (let i = 0, j = 0; i < gray.length; i++, j += 4) {
    gray[i] = (rgba[j] * 19595 + rgba[j + 1] * 38470 + rgba[j + 2] * 7471 + 0x8000) >> 16;
  }
  return gray;
}

/** Crop the central square of gray bytes and resize it to size × size bytes. */
export function fit({ gray, width, height }, size) {
  if (width === size && height === size) return gray;
  const side = Math.min(width, height);
  const left = Math.floor((width - side) / 2);
  const top = Math.floor((height - side) / 2);
  const columns = computeCoefficients(width, left, side, size);
  const rows = computeCoefficients(height, top, side, size);
  // First all rows to the new width, then the columns to the new height, each rounded to bytes.
  const first = rows[0].start;
  const last = rows[size - 1].start + rows[size - 1].weights.length;
  const narrow = new Uint8Array((last - first) * size);
  for (let y = first; y < last; y++) {
    for (let x = 0; x < size; x++) {
      narrow[(y - first) * size + x] = computeWeightedSum(gray, y * width, 1, columns[x]);
    }
  }
  const small = new Uint8Array(size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      small[y * size + x] = computeWeightedSum(narrow, x - first * size, size, rows[y]);
    }
  }
  return small;
}

function computeWeightedSum(bytes, offset, step, { start, weights }) {
  let total = PRECISION / 2; // to round
  for (let i = 0; i < weights.length; i++) {
    total += bytes[offset + (start + i) * step] * weights[i];
  }
  return Math.min(255, Math.max(0, Math.floor(total / PRECISION)));
}

/** Return for each of `size` output pixels the first input pixel and the weights from there on. */
function computeCoefficients(length, begin, side, size) {
  const scale = side / size;
  const spread = Math.max(scale, 1); // half width of the triangle filter; no blur when enlarging
  return Array.from({ length: size }, (_, index) => {
    const centre = begin + (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - spread + 0.5));
    const end = Math.min(length, Math.trunc(centre + spread + 0.5));
    const values = [];
    for (let x = start; x < end; x++) {
      values.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) / spread)));
    }
    const total = values.reduce((a, b) => a + b, 0);
    const weights = values.map((value) => Math.floor((value / total) * PRECISION + 0.5));
    return { start, weights };
  });
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
