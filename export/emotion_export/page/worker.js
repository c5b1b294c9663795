// The network, off the page's own thread: opens the model, checks it here, and classifies pictures.

import * as ort from "./ort/ort.wasm.min.mjs";
import { MAX_MODEL_BYTES, readContract } from "./contract.js";
import { ALTERED, decode, drawProbe, fit, fromBitmap, largestDifference, UNREADABLE } from "./pixels.js";

const REFERENCE = new URL("./reference.json", import.meta.url).href;
const PROBE_TOLERANCE = 1; // of 255, as emotion_runtime/probe.py
// A page of any static host is not cross-origin isolated, and gets one thread.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

let contract, session;

async function open(url) {
  const bytes = await load(url, "model file", MAX_MODEL_BYTES);
  contract = readContract(bytes);
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Error(
      `The model file is damaged, or needs what this browser does not have (${firstLine(error)}).`,
    );
  }
  const pixels = await checkPixels();
  return { contract: { ...contract, golden: undefined }, pixels, network: await checkNetwork() };
}

/** Fetch a file of this page, and stop where it is larger than it may be. */
async function load(url, name, limit) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`The ${name} cannot be loaded; is the page still served?`);
  }
  if (!response.ok) throw new Error(`The ${name} cannot be loaded (${response.status}).`);
  const chunks = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new Error(`The ${name} was cut off while it was loaded; reload the page.`);
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
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/**
 * Run the golden inputs: does this browser compute what the exporter computed?
 *
 * @returns {Promise<{inputs: number, difference: number}>} How many, and the largest difference
 *   of a logit.
 * @throws {Error} It does not.
 */
async function checkNetwork() {
  const { shape, pixels, logits, tolerance, meanTolerance = Infinity } = contract.golden;
  const [inputs, classes] = [shape[0], contract.labels.length];
  const outputs = await run(pixels, shape);
  let difference = 0;
  let sum = 0;
  let flips = 0;
  logits.forEach((wanted, row) => {
    const got = Array.from(outputs.logits.subarray(row * classes, (row + 1) * classes));
    difference = Math.max(difference, largestDifference(wanted, got));
    sum += wanted.reduce((total, logit, column) => total + Math.abs(logit - got[column]), 0);
    flips += got.indexOf(Math.max(...got)) !== wanted.indexOf(Math.max(...wanted));
  });
  const mean = sum / (inputs * classes);
  if (flips > 0 || !(difference <= tolerance && mean <= meanTolerance)) {
    throw new Error(
      `This browser computes other results than the exporter did: ${flips} of ${inputs} labels ` +
        `differ, logits by up to ${difference.toPrecision(2)} (allowed ${tolerance}), by ` +
        `${mean.toPrecision(2)} in the mean. Its results are not to be trusted.`,
    );
  }
  if (outputs.other) {
    const off = largestDifference(contract.golden.other, outputs.other);
    // As emotion_runtime/model/outputs.py: what the logits' tolerance allows.
    const allowed = Math.max(tolerance / (2 * contract.temperature), 1e-6);
    if (!(off <= allowed)) {
      throw new Error(
        `This browser computes other results than the exporter did: the output "other" differs by ` +
          `up to ${off.toPrecision(2)} (allowed ${allowed.toPrecision(2)}). Its results are not to ` +
          "be trusted.",
      );
    }
  }
  return { inputs, difference };
}

/**
 * Read the reference pictures in the same way as a person's files and camera.
 *
 * Compared at full resolution is each kind of file and a frame of a camera; at the network's size,
 * the reference picture that the model file carries.
 *
 * @returns {Promise<{kind: string, difference: number}[]>} Largest differences of a gray pixel,
 *   of 255.
 * @throws {Error} A picture is read otherwise than in training.
 */
async function checkPixels() {
  const bytes = await load(REFERENCE, "reference pictures", MAX_MODEL_BYTES);
  const { side, pictures } = JSON.parse(new TextDecoder().decode(bytes));
  const checks = [];
  const check = (kind, picture, size, wanted, tolerance, sentence) => {
    const difference = largestDifference(fit(picture, size), wanted);
    if (!(difference <= tolerance)) throw new Error(sentence ?? otherwise(kind, difference, tolerance));
    checks.push({ kind, difference });
  };
  let plain; // the first one, without loss: nothing but noise makes it differ
  for (const { kind, tolerance, data, pixels } of pictures) {
    const picture = await decode(new Blob([fromBase64(data)])).catch((error) => {
      throw error.message === UNREADABLE ? new Error(`This browser cannot read ${kind}.`) : error;
    });
    const wanted = fromBase64(pixels);
    check(kind, picture, side, wanted, tolerance, plain ? undefined : ALTERED);
    plain ??= { picture, wanted, tolerance };
  }
  const { rgba, width, height } = drawProbe();
  const frame = fromBitmap(await createImageBitmap(new ImageData(rgba, width, height)));
  check("a frame of a camera", frame, side, plain.wanted, plain.tolerance, ALTERED);
  const { probe } = contract.golden; // files of before there was a reference picture have none
  if (probe) check("a resized picture", plain.picture, contract.size, probe, PROBE_TOLERANCE);
  return checks;
}

function otherwise(kind, difference, tolerance) {
  return (
    `This browser reads ${kind} otherwise than it was read in training: pixels differ by up to ` +
    `${difference} of 255 (allowed ${tolerance}). Its results are not to be trusted.`
  );
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

async function classify({ blob, bitmap }) {
  const started = performance.now();
  const picture = blob ? await decode(blob) : fromBitmap(bitmap);
  const pixels = fit(picture, contract.size);
  const read = performance.now();
  const outputs = await run(pixels, [1, 1, contract.size, contract.size]);
  const done = performance.now();
  const shares = Array.from(outputs.probabilities);
  let confidence = Math.max(...shares);
  const likeliest = contract.labels[shares.indexOf(confidence)];
  // As the network computes: its 0.9 is a little less than that of the contract.
  let label = confidence >= Math.fround(contract.minConfidence) ? likeliest : "uncertain";
  const other = outputs.other?.[0];
  const threshold = contract.otherThreshold; // at 1 no face is "other"
  if (other !== undefined && threshold < 1 && other >= Math.fround(threshold)) {
    [label, confidence] = ["other", other];
  }
  return {
    label,
    confidence,
    other,
    probabilities: Object.fromEntries(contract.labels.map((name, i) => [name, shares[i]])),
    pixels,
    size: [picture.width, picture.height],
    milliseconds: { read: read - started, network: done - read },
  };
}

/** Run the network on uint8 pixels; returns its outputs, each number of them finite. */
async function run(pixels, shape) {
  let outputs;
  try {
    outputs = await session.run({ pixels: new ort.Tensor("uint8", pixels, shape) });
  } catch (error) {
    throw new Error(`The network cannot be run here (${firstLine(error)}).`);
  }
  const columns = { logits: contract.labels.length, probabilities: contract.labels.length };
  if (contract.otherThreshold !== undefined) columns.other = 1;
  const found = {};
  for (const [name, width] of Object.entries(columns)) {
    const data = outputs[name]?.data;
    if (!(data instanceof Float32Array) || data.length !== shape[0] * width) {
      throw new Error(`The network's output ${name} is missing, or is not of the labels' number.`);
    }
    if (!data.every(Number.isFinite)) {
      throw new Error(`The network's output ${name} is not finite; the model file is damaged.`);
    }
    found[name] = data;
  }
  return found;
}

// WebAssembly throws numbers, and onnxruntime texts of many lines.
const firstLine = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 200);

// One message after the other: two calls into one session at a time are refused.
let last = Promise.resolve();
self.onmessage = ({ data: { id, model, ...picture } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: model ? await open(model) : await classify(picture) });
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
