// @ts-check
// Resizes pictures with the arithmetic of Pillow, so that the bytes are the same. The filter of a
// canvas depends on the browser. Follows Resample.c and Reduce.c of Pillow, and Image.resize.

/**
 * Bytes of a picture, row by row.
 *
 * @typedef {object} Raster
 * @property {Uint8Array | Uint8ClampedArray} data `channels` bytes for each pixel.
 * @property {number} width In pixels.
 * @property {number} height In pixels.
 * @property {number} channels 1 for gray, 3 for RGB.
 */

/** @typedef {[left: number, top: number, right: number, bottom: number]} Edges */

const PRECISION = 2 ** 22; // 1 in fixed point: 32 bits, less 8 for the pixel and 2 of headroom

/** @typedef {{support: number, weigh: (x: number) => number}} Filter */

/** @type {Filter} */
export const BILINEAR = { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) };
/** @type {Filter} */
export const BOX = { support: 0.5, weigh: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };

/**
 * Resize a part of a picture, as `Image.resize` of Pillow does.
 *
 * @param {Raster} source
 * @param {number} width Of the result, in pixels.
 * @param {number} height Of the result, in pixels.
 * @param {Filter} filter
 * @param {Edges} [box] Edges of the part, in pixels of `source`; the whole by default.
 * @param {number} [reducingGap] First average whole pixels, down to this many times the size.
 * @returns {Raster} `source` itself where nothing changes.
 */
export function resize(source, width, height, filter, box, reducingGap) {
  let edges = box ?? [0, 0, source.width, source.height];
  if (isWhole(source, width, height, edges)) return source;
  if (reducingGap !== undefined) {
    const [across, down] = [edges[2] - edges[0], edges[3] - edges[1]];
    const x = Math.trunc(across / width / reducingGap) || 1;
    const y = Math.trunc(down / height / reducingGap) || 1;
    if (x > 1 || y > 1) {
      // The pixels that the filter may use beyond the edges.
      const margin = filter.support - 0.5;
      const [left, top, right, bottom] = [
        Math.max(0, Math.trunc(edges[0] - margin * (across / width))),
        Math.max(0, Math.trunc(edges[1] - margin * (down / height))),
        Math.min(source.width, Math.ceil(edges[2] + margin * (across / width))),
        Math.min(source.height, Math.ceil(edges[3] + margin * (down / height))),
      ];
      source = reduce(source, x, y, [left, top, right, bottom]);
      edges = [
        (edges[0] - left) / x,
        (edges[1] - top) / y,
        (edges[2] - left) / x,
        (edges[3] - top) / y,
      ];
    }
  }
  return resample(source, width, height, filter, edges);
}

/**
 * Resize a part of a picture of which only some pixels are at hand: as `resize` does of the whole.
 *
 * @param {Raster} source The pixels at hand; all that the filter uses.
 * @param {number} width Of the result, in pixels.
 * @param {number} height Of the result, in pixels.
 * @param {Filter} filter
 * @param {Edges} box Edges of the part, in pixels of the whole picture.
 * @param {{width: number, height: number}} whole Size of the whole picture.
 * @param {{x: number, y: number}} origin Where `source` begins in it.
 * @returns {Raster}
 */
export function resizePart(source, width, height, filter, box, whole, origin) {
  if (isWhole({ ...source, ...whole }, width, height, box)) return source;
  return resample(source, width, height, filter, box, whole, origin);
}

/**
 * @param {Raster} source
 * @param {number} width
 * @param {number} height
 * @param {Edges} edges
 */
function isWhole(source, width, height, [left, top, right, bottom]) {
  return (
    [source.width, right].every((one) => one === width) &&
    [source.height, bottom].every((one) => one === height) &&
    left === 0 &&
    top === 0
  );
}

/**
 * Average whole pixels, as `Image.reduce` of Pillow does.
 *
 * @param {Raster} source
 * @param {number} xFactor Pixels of a row that become one.
 * @param {number} yFactor Pixels of a column that become one.
 * @param {Edges} [box] Edges of the part, whole pixels.
 * @returns {Raster}
 */
export function reduce(source, xFactor, yFactor, box) {
  const { data, channels } = source;
  const [left, top, right, bottom] = box ?? [0, 0, source.width, source.height];
  const width = Math.ceil((right - left) / xFactor);
  const height = Math.ceil((bottom - top) / yFactor);
  const reduced = new Uint8Array(width * height * channels);
  const sums = new Uint32Array(width * channels);
  const rowLength = source.width * channels;
  for (let y = 0; y < height; y++) {
    const first = top + y * yFactor;
    const last = Math.min(first + yFactor, bottom);
    sums.fill(0);
    for (let row = first; row < last; row++) {
      let from = row * rowLength + left * channels;
      for (let x = 0, to = 0; x < width; x++, to += channels) {
        const stop = row * rowLength + Math.min(left + (x + 1) * xFactor, right) * channels;
        if (channels === 1) {
          let sum = 0;
          while (from < stop) sum += data[from++];
          sums[to] += sum;
        } else {
          let [red, green, blue] = [0, 0, 0];
          for (; from < stop; from += 3) {
            red += data[from];
            green += data[from + 1];
            blue += data[from + 2];
          }
          sums[to] += red;
          sums[to + 1] += green;
          sums[to + 2] += blue;
        }
      }
    }
    const rows = last - first;
    for (let x = 0, to = y * width * channels, at = 0; x < width; x++) {
      const count = rows * (Math.min(left + (x + 1) * xFactor, right) - left - x * xFactor);
      const [multiplier, half] = [computeMultiplier(count), Math.floor(count / 2)];
      for (let channel = 0; channel < channels; channel++) {
        reduced[to++] = ((sums[at++] + half) * multiplier) / 2 ** 24; // rounded down
      }
    }
  }
  return { data: reduced, width, height, channels };
}

/** @param {number} count */
const computeMultiplier = (count) => Math.trunc(Math.fround(2 ** 32 / (256 * count)));

/**
 * Resize with a filter, first the rows, then the columns, each rounded to bytes.
 *
 * @param {Raster} source
 * @param {number} width
 * @param {number} height
 * @param {Filter} filter
 * @param {Edges} box
 * @param {{width: number, height: number}} [whole] As in `resizePart`.
 * @param {{x: number, y: number}} [origin] As in `resizePart`.
 * @returns {Raster}
 */
function resample(source, width, height, filter, box, whole = source, origin = { x: 0, y: 0 }) {
  const [left, top, right, bottom] = box.map(Math.fround); // Pillow's are float32
  const rows = computeWeights(whole.height, top, bottom, height, filter, origin.y);
  const first = rows[0].start;
  const last = rows[height - 1].start + rows[height - 1].weights.length;
  let narrow = source;
  let offset = 0;
  if (width !== whole.width || left !== 0 || right !== width) {
    const columns = computeWeights(whole.width, left, right, width, filter, origin.x);
    narrow = resampleRows(source, columns, first, last);
    offset = first;
  }
  if (height === whole.height && top === 0 && bottom === height) return narrow;
  return resampleColumns(narrow, rows, offset);
}

/**
 * @param {Raster} source
 * @param {Weights[]} columns Weights for each column of the result.
 * @param {number} first The first row.
 * @param {number} last The row after the last.
 * @returns {Raster}
 */
function resampleRows({ data, width, channels }, columns, first, last) {
  const narrow = new Uint8Array((last - first) * columns.length * channels);
  let to = 0;
  for (let y = first; y < last; y++) {
    for (const { start, weights } of columns) {
      let from = (y * width + start) * channels;
      if (channels === 1) {
        let sum = PRECISION / 2;
        for (let i = 0; i < weights.length; i++) sum += data[from + i] * weights[i];
        narrow[to++] = toByte(sum);
      } else {
        let [red, green, blue] = [PRECISION / 2, PRECISION / 2, PRECISION / 2];
        for (let i = 0; i < weights.length; i++, from += 3) {
          const weight = weights[i];
          red += data[from] * weight;
          green += data[from + 1] * weight;
          blue += data[from + 2] * weight;
        }
        narrow[to++] = toByte(red);
        narrow[to++] = toByte(green);
        narrow[to++] = toByte(blue);
      }
    }
  }
  return { data: narrow, width: columns.length, height: last - first, channels };
}

/**
 * @param {Raster} source
 * @param {Weights[]} rows Weights for each row of the result.
 * @param {number} offset Number of the first row of `source`.
 * @returns {Raster}
 */
function resampleColumns({ data, width, channels }, rows, offset) {
  const length = width * channels;
  const result = new Uint8Array(rows.length * length);
  const sums = new Float64Array(length);
  rows.forEach(({ start, weights }, y) => {
    sums.fill(PRECISION / 2);
    for (let i = 0; i < weights.length; i++) {
      const from = (start - offset + i) * length;
      const weight = weights[i];
      for (let x = 0; x < length; x++) sums[x] += data[from + x] * weight;
    }
    for (let x = 0; x < length; x++) result[y * length + x] = toByte(sums[x]);
  });
  return { data: result, width, height: rows.length, channels };
}

/** @param {number} sum In fixed point. */
const toByte = (sum) => Math.min(255, Math.max(0, Math.floor(sum / PRECISION)));

/** @typedef {{start: number, weights: Float64Array}} Weights First pixel, and the weights from there. */

/**
 * Return the first input pixel and the weights of each output pixel.
 *
 * @param {number} length Of the input.
 * @param {number} begin Of the part of the input, float32.
 * @param {number} end Of the part of the input, float32.
 * @param {number} size Of the output.
 * @param {Filter} filter
 * @param {number} origin Number of the first input pixel at hand.
 * @returns {Weights[]}
 */
function computeWeights(length, begin, end, size, filter, origin) {
  const scale = Math.fround(end - begin) / size;
  const spread = Math.max(scale, 1); // no blur when enlarging
  const support = filter.support * spread;
  const step = 1 / spread;
  return Array.from({ length: size }, (_, index) => {
    const centre = begin + (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const stop = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = new Float64Array(Math.max(0, stop - start));
    let total = 0;
    for (let i = 0; i < weights.length; i++) {
      weights[i] = filter.weigh((start + i - centre + 0.5) * step);
      total += weights[i];
    }
    if (total !== 0) {
      for (let i = 0; i < weights.length; i++) {
        weights[i] = Math.floor((weights[i] / total) * PRECISION + 0.5);
      }
    }
    return { start: start - origin, weights };
  });
}
