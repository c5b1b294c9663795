// @ts-check
// Explains why a picture cannot be read. Browsers give no reason, and Firefox shows a file that is cut
// off or damaged as a picture with a gray rest.

const HEAD_BYTES = 1024; // an SVG file may begin with comments
const CUT_OFF = "The file is cut off; it ends before the picture does.";
const [PNG_HEADER_BYTES, PNG_CHUNK_BYTES] = [8, 12]; // of a chunk: length, name, checksum
const [JPEG_MARKER, JPEG_END, JPEG_SCAN] = [0xff, 0xd9, 0xda];
const GIF_BLOCKS = { image: 0x2c, extension: 0x21 };
const HEIC_BRANDS = ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"];

/**
 * Return the kind of a file, by its first bytes.
 *
 * @param {Uint8Array} head
 */
function findKind(head) {
  const text = String.fromCharCode(...head.subarray(0, HEAD_BYTES));
  if (text.startsWith("\xff\xd8\xff")) return "JPEG";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (/^GIF8[79]a/.test(text)) return "GIF";
  if (/^RIFF....WEBP/s.test(text)) return "WebP";
  if (/^BM.{12}[\x0c-\x7c]\0\0\0/s.test(text)) return "BMP";
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return "TIFF";
  if (/^(\xff\x0a|\0\0\0\x0cJXL )/.test(text)) return "JPEG XL";
  if (/^(\xff\x4f\xff\x51|\0\0\0\x0cjP {2})/.test(text)) return "JPEG 2000";
  if (text.slice(4, 8) === "ftyp") {
    const brand = text.slice(8, 12);
    if (HEIC_BRANDS.includes(brand)) return "HEIC";
    return brand.startsWith("avi") ? "AVIF" : "video";
  }
  if (text.startsWith("%PDF")) return "PDF";
  if (text.startsWith("8BPS")) return "Photoshop";
  if (text.startsWith("\x1aE\xdf\xa3")) return "video";
  if (/^(\xef\xbb\xbf)?\s*<[^]*<?svg\b/i.test(text)) return "SVG";
  return undefined;
}

/**
 * Return why a file that the browser may decode is not a whole picture.
 *
 * @param {Blob} blob
 * @returns {Promise<string | undefined>} One sentence; undefined where nothing was found.
 */
export async function findDamage(blob) {
  let bytes;
  try {
    bytes = new Uint8Array(await blob.arrayBuffer());
  } catch {
    return "The file cannot be opened; it was moved, changed or is not allowed.";
  }
  if (bytes.length === 0) return "The file is empty.";
  /** @type {Record<string, ((bytes: Uint8Array) => boolean) | undefined>} */
  const checks = { JPEG: hasJpegEnd, PNG: hasPngEnd, GIF: hasGifImage };
  const kind = findKind(bytes) ?? "";
  if (checks[kind]?.(bytes) === false) return CUT_OFF;
  if (kind === "PNG" && !hasPngChecksums(bytes)) {
    return "The PNG file is damaged; its data do not have the checksum in the file.";
  }
  return undefined;
}

/**
 * Return why the browser could not decode a file.
 *
 * @param {Blob} blob
 * @returns {Promise<string | undefined>} One sentence; undefined where nothing is known.
 */
export async function explainFailure(blob) {
  const kind = findKind(new Uint8Array(await blob.slice(0, HEAD_BYTES).arrayBuffer()));
  if (kind === undefined) return undefined;
  if (kind === "video") return "A video, not a picture.";
  if (["HEIC", "TIFF", "JPEG XL", "JPEG 2000", "AVIF", "PDF", "Photoshop", "SVG"].includes(kind)) {
    const article = ["AVIF", "SVG"].includes(kind) ? "An" : "A";
    return `${article} ${kind} file, which this browser cannot read; save the picture as JPEG or PNG.`;
  }
  return `The ${kind} file is damaged, or larger than this browser can read.`;
}

/**
 * Return whether the marker of the end follows the first scan, as libjpeg needs it.
 *
 * @param {Uint8Array} bytes
 */
function hasJpegEnd(bytes) {
  const view = new DataView(bytes.buffer);
  let position = 2;
  while (position + 4 <= bytes.length && bytes[position] === JPEG_MARKER) {
    if (bytes[position + 1] === JPEG_SCAN) break;
    // A marker may follow bytes of 0xff.
    position += bytes[position + 1] === JPEG_MARKER ? 1 : 2 + view.getUint16(position + 2);
  }
  for (;;) {
    position = bytes.indexOf(JPEG_MARKER, position);
    if (position < 0) return false;
    if (bytes[position + 1] === JPEG_END) return true;
    position++;
  }
}

/**
 * Return whether all chunks up to the last are there.
 *
 * @param {Uint8Array} bytes
 */
function hasPngEnd(bytes) {
  const view = new DataView(bytes.buffer);
  for (let position = PNG_HEADER_BYTES; position + 8 <= bytes.length; ) {
    if (String.fromCharCode(...bytes.subarray(position + 4, position + 8)) === "IEND") return true;
    position += PNG_CHUNK_BYTES + view.getUint32(position);
  }
  return false;
}

/**
 * Return whether the chunks that make the picture have the checksums in the file.
 *
 * @param {Uint8Array} bytes A PNG that is not cut off.
 */
function hasPngChecksums(bytes) {
  const view = new DataView(bytes.buffer);
  for (let position = PNG_HEADER_BYTES; position + PNG_CHUNK_BYTES <= bytes.length; ) {
    const end = position + 8 + view.getUint32(position);
    const name = String.fromCharCode(...bytes.subarray(position + 4, position + 8));
    const isCritical = ["IHDR", "PLTE", "IDAT"].includes(name);
    if (isCritical && computeCrc(bytes, position + 4, end) !== view.getUint32(end)) return false;
    if (name === "IEND") return true;
    position = end + 4;
  }
  return true;
}

/** @type {Uint32Array | undefined} */
let crcTable;

/**
 * Compute the CRC-32 of PNG (ISO 3309).
 *
 * @param {Uint8Array} bytes
 * @param {number} start
 * @param {number} end
 */
function computeCrc(bytes, start, end) {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, value) => {
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value;
  });
  let crc = -1;
  for (let i = start; i < end; i++) crc = crcTable[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/**
 * Return whether the first image is there; only that one is read.
 *
 * @param {Uint8Array} bytes
 */
function hasGifImage(bytes) {
  /** @param {number} flags */
  const getTableBytes = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let position = 13 + getTableBytes(bytes[10]);
  let isImage = false;
  while (position < bytes.length && !isImage) {
    isImage = bytes[position] === GIF_BLOCKS.image;
    if (!isImage && bytes[position] !== GIF_BLOCKS.extension) return false;
    position += isImage ? 11 + getTableBytes(bytes[position + 9]) : 2;
    while (position < bytes.length && bytes[position] !== 0) position += 1 + bytes[position];
    if (position >= bytes.length) return false;
    position++;
  }
  return isImage;
}
