// @ts-check
// The orientation of pictures (EXIF 2.32, tag 0x0112): 1 is upright, 2 to 8 are turned or mirrored.
// Browsers turn JPEG and PNG files themselves, but not all of them turn WebP files, as Pillow does.

/** @typedef {import("./resample.js").Raster} Raster */

const ORIENTATION_TAG = 0x0112;
const MAX_CHUNKS = 1000; // of a WebP file; each costs a read
const MAX_EXIF_BYTES = 2 ** 20;
const EXIF_FLAG = 8; // in the header of a WebP file
const [BYTE, SHORT, LONG] = [1, 3, 4]; // types of TIFF

// 2×1 pixels with the orientation 6: upright, it is higher than wide.
const TURNED_WEBP =
  "UklGRlIAAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TBEAAAAvAQAAAAdQjyLXo/+BiOh/AABFWElGGgAAAE1NACoAAAAI" +
  "AAEBEgADAAAAAQAGAAAAAAAA";

/** @type {Promise<boolean> | undefined} */
let turning;

/** Return whether this browser turns a WebP file by its orientation. */
export function turnsWebp() {
  turning ??= (async () => {
    const bytes = Uint8Array.from(atob(TURNED_WEBP), (one) => one.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const isUpright = bitmap.height > bitmap.width;
    bitmap.close();
    return isUpright;
  })();
  return turning;
}

/**
 * Return the orientation in a WebP file, 1 to 8; 1 for other files.
 *
 * @param {Blob} blob
 * @param {Uint8Array} head The first bytes.
 */
export async function findWebpOrientation(blob, head) {
  const read = async (/** @type {number} */ start, /** @type {number} */ length) =>
    new DataView(await blob.slice(start, start + length).arrayBuffer());
  const getName = (/** @type {DataView} */ view, /** @type {number} */ at) =>
    String.fromCharCode(...[0, 1, 2, 3].map((index) => view.getUint8(at + index)));
  if (head.length < 16) return 1;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (getName(view, 0) !== "RIFF" || getName(view, 8) !== "WEBP" || getName(view, 12) !== "VP8X") {
    return 1;
  }
  let position = 12;
  for (let count = 0; count < MAX_CHUNKS && position + 8 <= blob.size; count++) {
    const chunk = await read(position, 9);
    const [name, length] = [getName(chunk, 0), chunk.getUint32(4, true)];
    if (count === 0 && !(chunk.byteLength > 8 && chunk.getUint8(8) & EXIF_FLAG)) return 1;
    if (name === "EXIF") {
      return parseExif(await read(position + 8, Math.min(length, MAX_EXIF_BYTES))) ?? 1;
    }
    position += 8 + length + (length % 2);
  }
  return 1;
}

/**
 * Return the orientation in EXIF; undefined without a valid one.
 *
 * @param {DataView} view EXIF, with or without the prefix of JPEG.
 * @returns {number | undefined}
 */
export function parseExif(view) {
  try {
    let start = 0;
    while (view.getUint32(start) === 0x45786966 && view.getUint16(start + 4) === 0) start += 6;
    const order = view.getUint16(start);
    if (order !== 0x4949 && order !== 0x4d4d) return undefined;
    const isLittle = order === 0x4949;
    const directory = start + view.getUint32(start + 4, isLittle);
    const count = view.getUint16(directory, isLittle);
    let found;
    for (let index = 0, entry = directory + 2; index < count; index++, entry += 12) {
      if (entry + 12 > view.byteLength) break; // truncated; a value found before is kept
      if (view.getUint16(entry, isLittle) !== ORIENTATION_TAG) continue;
      const type = view.getUint16(entry + 2, isLittle);
      if (view.getUint32(entry + 4, isLittle) !== 1) continue;
      if (type === BYTE) found = view.getUint8(entry + 8);
      if (type === SHORT) found = view.getUint16(entry + 8, isLittle);
      if (type === LONG) found = view.getUint32(entry + 8, isLittle);
    }
    return found !== undefined && found >= 1 && found <= 8 ? found : undefined;
  } catch {
    return undefined; // truncated
  }
}

/**
 * Turn or mirror a picture upright.
 *
 * @param {Raster} image
 * @param {number} orientation 1 to 8.
 * @returns {Raster}
 */
export function orient(image, orientation) {
  if (orientation === 1) return image;
  const { data, width, height, channels } = image;
  const [right, bottom] = [width - 1, height - 1];
  /** @type {Record<number, (x: number, y: number) => [column: number, row: number]>} */
  const sources = {
    2: (x, y) => [right - x, y],
    3: (x, y) => [right - x, bottom - y],
    4: (x, y) => [x, bottom - y],
    5: (x, y) => [y, x],
    6: (x, y) => [y, bottom - x],
    7: (x, y) => [right - y, bottom - x],
    8: (x, y) => [right - y, x],
  };
  const find = sources[orientation];
  const [across, down] = orientation > 4 ? [height, width] : [width, height];
  const turned = new Uint8Array(data.length);
  // The place of a pixel is a linear function: the steps to the right and down are constant.
  const place = (/** @type {number} */ x, /** @type {number} */ y) => {
    const [column, row] = find(x, y);
    return (row * width + column) * channels;
  };
  const [origin, xStep, yStep] = [place(0, 0), place(1, 0) - place(0, 0), place(0, 1) - place(0, 0)];
  for (let y = 0, to = 0; y < down; y++) {
    for (let x = 0, from = origin + y * yStep; x < across; x++, from += xStep) {
      for (let channel = 0; channel < channels; channel++) turned[to++] = data[from + channel];
    }
  }
  return { data: turned, width: across, height: down, channels };
}
