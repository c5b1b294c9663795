// Classify faces with a model file: node classify.js MODEL PICTURE...
// Needs `npm install` in this folder. docs/model-format.md specifies the file.

import { readFileSync } from "node:fs";
import sharp from "sharp";

process.env.ORT_DISABLE_TELEMETRY ??= "1"; // has to be set before the import
const { InferenceSession, Tensor } = (await import("onnxruntime-node")).default;

/** Yield [number, bytes] of the length-delimited fields of a protobuf message. */
function* readFields(bytes) {
  let at = 0;
  const readVarint = () => {
    let [value, scale, byte] = [0, 1, 0];
    do {
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const tag = readVarint();
    const [number, wireType] = [Math.floor(tag / 8), tag % 8];
    if (wireType === 0) readVarint();
    else {
      const length = { 1: 8, 2: 0, 5: 4 }[wireType] || readVarint();
      if (wireType === 2) yield [number, bytes.subarray(at, at + length)];
      at += length;
    }
  }
}

/** Return the metadata of emotion-edge; onnxruntime's JavaScript API does not give access to them. */
function readMetadata(bytes) {
  const metadata = {};
  for (const [number, entry] of readFields(bytes)) {
    if (number !== 14) continue; // metadata_props of ModelProto
    const { 1: key, 2: value } = Object.fromEntries(readFields(entry));
    metadata[key.toString().replace(/^emotion_edge\./, "")] = value?.toString() ?? "";
  }
  return metadata;
}

/** Return a picture upright, on white, and gray (ITU-R 601-2). */
async function readGray(file) {
  const { data, info } = await sharp(file, { ignoreIcc: true })
    .autoOrient()
    .toColourspace("srgb")
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const pixels = new Uint8Array(info.width * info.height);
  for (let i = 0, j = 0; i < pixels.length; i++, j += 4) {
    const onWhite = (value) => Math.round((value * data[j + 3] + 255 * (255 - data[j + 3])) / 255);
    const [red, green, blue] = [onWhite(data[j]), onWhite(data[j + 1]), onWhite(data[j + 2])];
    pixels[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return { width: info.width, height: info.height, pixels };
}

/**
 * Resize one axis with a triangle filter, antialiased; the result is transposed.
 * Two calls return the bytes of Pillow's BILINEAR: each pass is rounded to bytes.
 */
function resizeAndTranspose({ width, height, pixels }, begin, side, size) {
  const one = 2 ** 22; // fixed point
  const scale = side / size;
  const spread = Math.max(scale, 1);
  const resized = new Uint8Array(height * size);
  for (let index = 0; index < size; index++) {
    const centre = begin + (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - spread + 0.5));
    const end = Math.min(width, Math.trunc(centre + spread + 0.5));
    const weights = [];
    for (let x = start; x < end; x++) weights.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) / spread)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const factors = weights.map((weight) => Math.trunc((weight / total) * one + 0.5));
    for (let y = 0; y < height; y++) {
      const sum = factors.reduce((sum, factor, i) => sum + pixels[y * width + start + i] * factor, one / 2);
      resized[index * height + y] = Math.min(255, Math.trunc(sum / one));
    }
  }
  return { width: height, height: size, pixels: resized };
}

/** Return the means of blocks of factor × factor pixels. */
function reduce({ width, height, pixels }, factor) {
  const [columns, rows] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const [sums, counts] = [new Uint32Array(columns * rows), new Uint32Array(columns * rows)];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const block = Math.floor(y / factor) * columns + Math.floor(x / factor);
      sums[block] += pixels[i];
      counts[block]++;
    }
  }
  return { width: columns, height: rows, pixels: Uint8Array.from(sums, (sum, i) => Math.round(sum / counts[i])) };
}

/** Return the central square of a picture as size × size bytes. */
async function readFace(path, size) {
  const file = readFileSync(path);
  let gray = await readGray(file);
  // The toolkit decodes large JPEGs at reduced scale, which is close to the means of blocks.
  const isJpeg = file[0] === 0xff && file[1] === 0xd8;
  const factor = [8, 4, 2].find((factor) => Math.min(gray.width, gray.height) >= factor * 2 * size);
  if (isJpeg && factor) gray = reduce(gray, factor);
  if (gray.width === size && gray.height === size) return gray.pixels;
  const side = Math.min(gray.width, gray.height);
  const narrow = resizeAndTranspose(gray, Math.floor((gray.width - side) / 2), side, size);
  return resizeAndTranspose(narrow, Math.floor((gray.height - side) / 2), side, size).pixels;
}

const [path, ...pictures] = process.argv.slice(2);
if (pictures.length === 0) {
  console.error("Usage: node classify.js MODEL PICTURE...");
  process.exit(2);
}
const model = readFileSync(path);
const metadata = readMetadata(model);
if (!["1", "2"].includes(metadata.contract_version)) {
  console.error(`${path}: its contract version is ${metadata.contract_version}, not 1 or 2.`);
  process.exit(1);
}
const labels = JSON.parse(metadata.labels);
const { size } = JSON.parse(metadata.input);
const minConfidence = Math.fround(metadata.min_confidence);
const otherThreshold = Math.fround(metadata.other_threshold ?? 1); // 1: no face is "other"
const session = await InferenceSession.create(model, { intraOpNumThreads: 1 });

// A closed pipe, such as that of head, is no error.
process.stdout.on("error", (error) => process.exit(error.code === "EPIPE" ? 0 : 1));

for (const picture of pictures) {
  try {
    const pixels = new Tensor("uint8", await readFace(picture, size), [1, 1, size, size]);
    const outputs = await session.run({ pixels });
    const probabilities = outputs.probabilities.data;
    let confidence = Math.max(...probabilities);
    let label = labels[probabilities.indexOf(confidence)];
    if (confidence < minConfidence) label = "uncertain";
    const other = outputs.other?.data[0];
    if (otherThreshold < 1 && other >= otherThreshold) [label, confidence] = ["other", other];
    console.log([picture, label, confidence.toFixed(6)].join("\t"));
  } catch (error) {
    console.error(`${picture}: ${error.message}`);
    process.exitCode = 1;
  }
}
