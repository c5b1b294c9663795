// Runs the network in a worker thread: opens the model, runs the self-test, classifies pictures.

import * as ort from "./ort/ort.wasm.min.mjs";
import { MAX_MODEL_BYTES, readContract } from "./contract.js";
import { ALTERED, decode, drawProbe, fit, fromBitmap, largestDifference, UNREADABLE } from "./pixels.js";

const REFERENCE = new URL("./reference.json", import.meta.url).href;
const PROBE_TOLERANCE = 1; // of 255, as in emotion_runtime/model/self_test.py
// On an ordinary static host the page is not cross-origin isolated, so WebAssembly has one thread.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

let contract, session;

async function openModel(url) {
  const bytes = await fetchFile(url, "model file", MAX_MODEL_BYTES);
  contract = readContract(bytes);
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Error(
      `The model file is damaged, or needs features that this browser does not have (${getFirstLine(error)}).`,
    );
  }
  const pixels = await checkPixels();
  return { contract: { ...contract, golden: undefined }, pixels, network: await checkNetwork() };
}

/** Fetch a file of this page, up to a limit of bytes. */
async function fetchFile(url, name, limit) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`The ${name} cannot be loaded; is the server still running?`);
  }
  if (!response.ok) throw new Error(`The ${name} cannot be loaded (${response.status}).`);
  const chunks = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new Error(`The connection was lost while the ${name} was loaded; reload the page.`);
    });
    if (done) break;
    length += value.length;
    if (length > limit) {
      reader.cancel().catch(() => {});
      throw new Error(`The ${name} is larger than ${limit / 1024 ** 2} MB, the limit of this page.`);
    }
    chunks.push(value);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/**
 * Run the golden inputs, and compare the outputs with those at export.
 *
 * @returns {Promise<{inputs: number, difference: number}>} Number of inputs, and the largest
 *   difference of a logit.
 * @throws {Error} The outputs differ by more than the tolerance.
 */
async function checkNetwork() {
  const { shape, pixels, logits, tolerance, meanTolerance = Infinity } = contract.golden;
  const [inputs, classes] = [shape[0], contract.labels.length];
  const outputs = await run(pixels, shape);
  let difference = 0;
  let total = 0;
  let flips = 0;
  logits.forEach((expected, row) => {
    const actual = Array.from(outputs.logits.subarray(row * classes, (row + 1) * classes));
    difference = Math.max(difference, largestDifference(expected, actual));
    expected.forEach((logit, column) => (total += Math.abs(logit - actual[column])));
    flips += actual.indexOf(Math.max(...actual)) !== expected.indexOf(Math.max(...expected));
  });
  const mean = total / (inputs * classes);
  if (flips > 0 || !(difference <= tolerance && mean <= meanTolerance)) {
    throw new Error(
      `This browser does not compute the results of the export: ${flips} of ${inputs} labels ` +
        `differ, logits by up to ${difference.toPrecision(2)} (allowed ${tolerance}), with a mean ` +
        `of ${mean.toPrecision(2)}. Do not trust its results.`,
    );
  }
  if (outputs.other) {
    const otherDifference = largestDifference(contract.golden.other, outputs.other);
    // As in emotion_runtime/model/outputs.py: follows from the tolerance of the logits.
    const allowed = Math.max(tolerance / (2 * contract.temperature), 1e-6);
    if (!(otherDifference <= allowed)) {
      throw new Error(
        `This browser does not compute the results of the export: the output "other" differs by ` +
          `up to ${otherDifference.toPrecision(2)} (allowed ${allowed.toPrecision(2)}). Do not ` +
          "trust its results.",
      );
    }
  }
  return { inputs, difference };
}

/**
 * Read the reference pictures as the user's files and camera are read, and compare the pixels.
 *
 * Each kind of file and a frame of the camera are compared at full resolution, and the reference
 * picture of the model file at the size of the network.
 *
 * @returns {Promise<{kind: string, difference: number}[]>} Largest difference of a gray pixel, of
 *   255, for each kind.
 * @throws {Error} A picture has other pixels than in training.
 */
async function checkPixels() {
  const bytes = await fetchFile(REFERENCE, "reference pictures", MAX_MODEL_BYTES);
  const { side, pictures } = JSON.parse(new TextDecoder().decode(bytes));
  const checks = [];
  const check = (kind, picture, size, expected, tolerance, message) => {
    const difference = largestDifference(fit(picture, size), expected);
    if (!(difference <= tolerance)) throw new Error(message ?? describeDifference(kind, difference, tolerance));
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
  const { probe } = contract.golden; // earlier files have no reference picture
  if (probe) check("a resized picture", lossless.picture, contract.size, probe, PROBE_TOLERANCE);
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
  const pixels = fit(picture, contract.size);
  const read = performance.now();
  const outputs = await run(pixels, [1, 1, contract.size, contract.size]);
  const done = performance.now();
  const probabilities = Array.from(outputs.probabilities);
  let confidence = Math.max(...probabilities);
  const bestLabel = contract.labels[probabilities.indexOf(confidence)];
  // In float32, like the outputs: there 0.9 is a little less than in the contract.
  let label = confidence >= Math.fround(contract.minConfidence) ? bestLabel : "uncertain";
  const other = outputs.other?.[0];
  const threshold = contract.otherThreshold; // at 1 no face is "other"
  if (other !== undefined && threshold < 1 && other >= Math.fround(threshold)) {
    [label, confidence] = ["other", other];
  }
  return {
    label,
    confidence,
    other,
    probabilities: Object.fromEntries(contract.labels.map((name, i) => [name, probabilities[i]])),
    pixels,
    size: [picture.width, picture.height],
    milliseconds: { read: read - started, network: done - read },
  };
}

/** Run the network on uint8 pixels, and return its outputs, all finite. */
async function run(pixels, shape) {
  let outputs;
  try {
    outputs = await session.run({ pixels: new ort.Tensor("uint8", pixels, shape) });
  } catch (error) {
    throw new Error(`The network cannot be run here (${getFirstLine(error)}).`);
  }
  const columns = { logits: contract.labels.length, probabilities: contract.labels.length };
  if (contract.otherThreshold !== undefined) columns.other = 1;
  const found = {};
  for (const [name, width] of Object.entries(columns)) {
    const data = outputs[name]?.data;
    if (!(data instanceof Float32Array) || data.length !== shape[0] * width) {
      throw new Error(`The network's output ${name} is missing or has a wrong size.`);
    }
    if (!data.every(Number.isFinite)) {
      throw new Error(`The network's output ${name} is not finite; the model file is damaged.`);
    }
    found[name] = data;
  }
  return found;
}

// WebAssembly throws numbers, and onnxruntime long texts.
const getFirstLine = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 200);

// One message after another, because a session refuses two calls at the same time.
let last = Promise.resolve();
self.onmessage = ({ data: { id, model, ...picture } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: model ? await openModel(model) : await classify(picture) });
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
