// The computation, in a worker thread: opens the model, runs the self-test, reads and classifies
// pictures. emotion-edge.js sends the requests.

import { MAX_MODEL_BYTES } from "./contract.js";
import { fetchFile } from "./files.js";
import { Network } from "./network.js";
import { ALTERED, decode, drawProbe, fit, fromBitmap, largestDifference, UNREADABLE } from "./pixels.js";
import { loadRuntime } from "./runtime.js";

const REFERENCE = new URL("./reference.json", import.meta.url).href;
const PROBE_TOLERANCE = 1; // of 255, as in emotion_runtime/model/self_test.py

/** @type {Network} */
let network;

const reportProgress = (progress) => self.postMessage({ progress });

/** Return the bytes of a file, given by its address or its content. */
async function readSource(source, name) {
  if (typeof source === "string") return fetchFile(source, name, MAX_MODEL_BYTES, reportProgress);
  const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  if (bytes.length > MAX_MODEL_BYTES) {
    throw new Error(`The ${name} is larger than ${MAX_MODEL_BYTES / 1024 ** 2} MB, the limit of this page.`);
  }
  return bytes;
}

async function open({ model, runtime }) {
  const [bytes, ort] = await Promise.all([
    readSource(model, "model file"),
    loadRuntime(runtime, reportProgress),
  ]);
  network = await Network.open(ort, bytes);
  const { golden, ...contract } = network.contract;
  const digest = await computeDigest(bytes);
  const pixels = await checkPixels(golden.probe);
  return { model: { digest, ...contract }, selfTest: { network: await network.check(), pixels } };
}

/** Return the hexadecimal SHA-256; null in a page over plain http, where browsers compute none. */
async function computeDigest(bytes) {
  if (!crypto.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Read the reference pictures as the user's files and camera are read, and compare the pixels.
 *
 * Each kind of file and a frame of the camera are compared at full resolution, and the reference
 * picture of the model file at the size of the network.
 *
 * @param {Uint8Array | undefined} probe Pixels of the reference picture; earlier files have none.
 * @returns {Promise<{kind: string, difference: number}[]>} Largest difference of a gray pixel, of
 *   255, for each kind.
 * @throws {Error} A picture has other pixels than in training.
 */
async function checkPixels(probe) {
  const bytes = await fetchFile(REFERENCE, "reference pictures", MAX_MODEL_BYTES);
  const { side, pictures } = JSON.parse(new TextDecoder().decode(bytes));
  const checks = [];
  const check = (kind, picture, size, expected, tolerance, message) => {
    const difference = largestDifference(fit(picture, size), expected);
    if (!(difference <= tolerance)) {
      throw new Error(message ?? describeDifference(kind, difference, tolerance));
    }
    checks.push({ kind, difference });
  };
  let lossless; // the first picture; only a browser that alters pixels can change it
  for (const { kind, tolerance, data, pixels } of pictures) {
    const picture = await decode(new Blob([decodeBase64(data)])).catch((error) => {
      throw error.message === UNREADABLE ? new Error(`This browser cannot read ${kind}.`) : error;
    });
    const expected = decodeBase64(pixels);
    check(kind, picture, side, expected, tolerance, lossless ? undefined : ALTERED);
    lossless ??= { picture, expected, tolerance };
  }
  const { rgba, width, height } = drawProbe();
  const frame = fromBitmap(await createImageBitmap(new ImageData(rgba, width, height)));
  check("a frame of a camera", frame, side, lossless.expected, lossless.tolerance, ALTERED);
  if (probe) check("a resized picture", lossless.picture, network.contract.size, probe, PROBE_TOLERANCE);
  return checks;
}

function describeDifference(kind, difference, tolerance) {
  return (
    `This browser reads ${kind} differently than the training did: pixels differ by up to ` +
    `${difference} of 255 (allowed ${tolerance}). Do not trust its results.`
  );
}

const decodeBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

async function classify({ blob, bitmap }) {
  const started = performance.now();
  const picture = blob ? await decode(blob) : fromBitmap(bitmap);
  const pixels = fit(picture, network.contract.size);
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
}

async function faces() {
  throw new Error("Faces are not found yet.");
}

const methods = { open, classify, faces };
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
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
    cancelled.delete(id);
  });
};
