// @ts-check
// The computation, in a worker thread: opens the model, runs the self-test, reads and classifies
// pictures. emotion-edge.js sends the requests.

import { MAX_MODEL_BYTES } from "./contract.js";
import { Detector } from "./detector.js";
import { fetchFile } from "./files.js";
import { computeDecodingScale, findFaces } from "./finder.js";
import { Network } from "./network.js";
import { ALTERED, drawProbe, largestDifference, Picture, UnreadableError } from "./pixels.js";
import { loadRuntime } from "./runtime.js";
import { Watch } from "./watch.js";

const REFERENCE = new URL("./reference.json.gz", import.meta.url).href;
const PROBE_TOLERANCE = 1; // of 255, as in emotion_runtime/model/self_test.py

/** @type {any} onnxruntime-web. */
let ort;
/** @type {Network} */
let network;
/** @type {string | ArrayBuffer | Uint8Array} */
let detectorSource;
/** @type {Detector | undefined} Opened when it is first needed. */
let detector;
/** @type {Map<number, Watch>} Videos that are followed, by number. */
const watches = new Map();
let lastWatch = 0;

/** @param {{file: string, loaded: number, total: number | null}} progress */
const reportProgress = (progress) => self.postMessage({ progress });

/**
 * Return the bytes of a file, given by its address or its content.
 *
 * @param {string | ArrayBuffer | Uint8Array} source
 * @param {string} name Its name in messages.
 */
async function readSource(source, name) {
  if (typeof source === "string") return fetchFile(source, name, MAX_MODEL_BYTES, reportProgress);
  const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  if (bytes.length > MAX_MODEL_BYTES) {
    throw new Error(`The ${name} is larger than ${MAX_MODEL_BYTES / 1024 ** 2} MB, which is the limit.`);
  }
  return bytes;
}

/** @param {{model: string | ArrayBuffer, detector: string | ArrayBuffer, runtime: string}} sources */
async function open(sources) {
  checkCompilation();
  let bytes, reference;
  [bytes, reference, ort] = await Promise.all([
    readSource(sources.model, "model file"),
    fetchFile(REFERENCE, "reference pictures", MAX_MODEL_BYTES),
    loadRuntime(sources.runtime, reportProgress),
  ]);
  detectorSource = sources.detector;
  network = await Network.open(ort, bytes);
  const { golden, ...contract } = network.contract;
  const digest = await computeDigest(bytes);
  const pixels = await checkPixels(reference, golden.probe);
  return { model: { digest, ...contract }, selfTest: { network: await network.check(), pixels } };
}

/** Refuse a Content-Security-Policy under which onnxruntime-web cannot run. */
function checkCompilation() {
  try {
    new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])); // an empty module
  } catch {
    throw new Error(
      "WebAssembly is forbidden here: the server's Content-Security-Policy must allow 'wasm-unsafe-eval' " +
        "as a source of scripts.",
    );
  }
}

/** @returns {Promise<Detector>} */
async function getDetector() {
  detector ??= await Detector.open(ort, await readSource(detectorSource, "face detector"));
  return detector;
}

/**
 * Return the hexadecimal SHA-256; null in a page over plain http, where browsers compute none.
 *
 * @param {Uint8Array} bytes
 */
async function computeDigest(bytes) {
  if (!crypto.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Read the reference pictures as the user's files and camera are read, and compare the pixels.
 *
 * Each kind of file and a frame of the camera are compared at full resolution, and the reference
 * picture of the model file at the size of the network.
 *
 * @param {Uint8Array} reference The file of the reference pictures.
 * @param {Uint8Array | undefined} probe Pixels of the reference picture; earlier files have none.
 * @returns {Promise<{kind: string, difference: number}[]>} Largest difference of a gray pixel, of
 *   255, for each kind.
 * @throws {Error} A picture has other pixels than in training.
 */
async function checkPixels(reference, probe) {
  const { side, pictures } = JSON.parse(new TextDecoder().decode(reference));
  /** @type {{kind: string, difference: number}[]} */
  const checks = [];
  /**
   * @param {string} kind
   * @param {Picture} picture
   * @param {number} size
   * @param {Uint8Array} expected
   * @param {number} tolerance
   * @param {string} [message]
   */
  const check = async (kind, picture, size, expected, tolerance, message) => {
    const difference = largestDifference(await picture.readFace(size), expected);
    if (!(difference <= tolerance)) {
      throw new Error(message ?? describeDifference(kind, difference, tolerance));
    }
    checks.push({ kind, difference });
  };
  /** @type {{blob: Blob, expected: Uint8Array, tolerance: number} | undefined} */
  let lossless; // the first picture; only a browser that alters pixels can change it
  for (const { kind, tolerance, data, pixels } of pictures) {
    const expected = decodeBase64(pixels);
    const blob = new Blob([decodeBase64(data)]);
    await usePicture({ blob }, (picture) =>
      check(kind, picture, side, expected, tolerance, lossless ? undefined : ALTERED),
    ).catch((error) => {
      throw error instanceof UnreadableError ? new Error(`This browser cannot read ${kind}.`) : error;
    });
    lossless ??= { blob, expected, tolerance };
  }
  if (lossless === undefined) throw new Error("The reference pictures are damaged.");
  const { blob, expected, tolerance } = lossless;
  const { rgba, width, height } = drawProbe();
  const bitmap = await createImageBitmap(new ImageData(rgba, width, height));
  await usePicture({ bitmap }, (frame) =>
    check("a frame of a camera", frame, side, expected, tolerance, ALTERED),
  );
  if (probe) {
    await usePicture({ blob }, (picture) =>
      check("a resized picture", picture, network.contract.size, probe, PROBE_TOLERANCE),
    );
  }
  return checks;
}

/**
 * @param {string} kind
 * @param {number} difference
 * @param {number} tolerance
 */
function describeDifference(kind, difference, tolerance) {
  return (
    `This browser reads ${kind} differently than the training did: pixels differ by up to ` +
    `${difference} of 255 (allowed ${tolerance}). Do not trust its results.`
  );
}

/** @param {string} text */
const decodeBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

/**
 * @param {{blob?: Blob, bitmap?: ImageBitmap}} source
 * @param {(picture: Picture) => any} use
 */
async function usePicture({ blob, bitmap }, use) {
  const picture = blob
    ? await Picture.open(blob)
    : Picture.fromBitmap(/** @type {ImageBitmap} */ (bitmap));
  try {
    return await use(picture);
  } finally {
    picture.close();
  }
}

/** @param {{blob?: Blob, bitmap?: ImageBitmap}} source */
async function classify(source) {
  const started = performance.now();
  return usePicture(source, async (picture) => {
    const pixels = await picture.readFace(network.contract.size);
    const read = performance.now();
    const [values] = await network.compute([pixels]);
    const done = performance.now();
    return {
      ...network.interpret(values),
      pixels,
      width: picture.width,
      height: picture.height,
      milliseconds: { read: read - started, network: done - read },
    };
  });
}

/** @param {{blob?: Blob, bitmap?: ImageBitmap, threshold: number, minFace?: number}} request */
async function faces({ threshold, minFace, ...source }) {
  const opened = await getDetector();
  return usePicture(source, async (picture) => {
    const { width, height } = picture;
    const image = await picture.readRgb(computeDecodingScale(picture, minFace));
    const detect = opened.detect.bind(opened);
    const options = { threshold, minFace };
    const found = await findFaces(image, picture, network.contract.size, detect, options);
    const values = await network.compute(found.faces.map((face) => face.pixels));
    const predictions = found.faces.map(({ box, confidence, pixels, small }, index) => ({
      ...network.interpret(values[index]),
      box: [box.x, box.y, box.width, box.height],
      detection_confidence: confidence,
      warning: small ? "small face" : null,
      pixels,
    }));
    return { ...found, faces: predictions, width, height };
  });
}

/** @param {{detectEvery: number, threshold: number}} options */
async function startWatch(options) {
  watches.set(++lastWatch, new Watch(network, await getDetector(), options));
  return lastWatch;
}

/** @param {{watch: number, bitmap: ImageBitmap, time: number}} request */
async function watchFrame({ watch, bitmap, time }) {
  try {
    return await watches.get(watch)?.process(bitmap, time);
  } finally {
    bitmap.close();
  }
}

/** @param {{watch: number}} request */
const stopWatch = ({ watch }) => watches.delete(watch);

/** @type {Record<string, (values: any) => any>} */
const methods = { open, classify, faces, startWatch, watchFrame, stopWatch };
/** @type {Set<number>} */
const cancelled = new Set();

// One message after another, because a session refuses two calls at the same time.
let last = Promise.resolve();
self.onmessage = ({ data: { id, method, ...values } }) => {
  if (method === "cancel") return cancelled.add(id);
  last = last.then(async () => {
    if (cancelled.delete(id)) return values.bitmap?.close();
    try {
      self.postMessage({ id, result: await methods[method](values) });
    } catch (error) {
      self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
    cancelled.delete(id);
  });
};
