// The network, off the page's own thread: opens the model, proves it, and answers pictures.

import * as ort from "./ort/ort.wasm.min.mjs";
import { readContract } from "./contract.js";
import { decode, drawProbe, fit, fromSource, toGray } from "./pixels.js";

const PROBE_TOLERANCE = 1; // of 255, as emotion_runtime/probe.py
// A page of any static host is not cross-origin isolated, and gets one thread.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

let contract, session;

async function open(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The model file cannot be loaded (${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  contract = readContract(bytes);
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return { contract: { ...contract, golden: undefined }, proof: await prove() };
}

/** Run the golden inputs: does this browser compute what the proof computed? */
async function prove() {
  const { shape, pixels, logits, tolerance, probe } = contract.golden;
  const outputs = await session.run({ pixels: new ort.Tensor("uint8", pixels, shape) });
  const classes = contract.labels.length;
  let difference = 0;
  let flips = 0;
  logits.forEach((wanted, row) => {
    const got = Array.from(outputs.logits.data.slice(row * classes, (row + 1) * classes));
    wanted.forEach((value, column) => {
      difference = Math.max(difference, Math.abs(value - got[column]));
    });
    flips += got.indexOf(Math.max(...got)) !== wanted.indexOf(Math.max(...wanted));
  });
  let pixelDifference = 0;
  if (probe) {
    const { rgba, width, height } = drawProbe();
    const read = fit({ gray: toGray(rgba), width, height }, contract.size);
    pixelDifference = Math.max(...read.map((value, index) => Math.abs(value - probe[index])));
  }
  const passed = flips === 0 && difference <= tolerance && pixelDifference <= PROBE_TOLERANCE;
  return { passed, inputs: shape[0], difference, tolerance, flips, pixelDifference };
}

async function answer({ blob, bitmap }) {
  const started = performance.now();
  const picture = blob ? await decode(blob) : fromSource(bitmap, bitmap.width, bitmap.height);
  bitmap?.close();
  const pixels = fit(picture, contract.size);
  const read = performance.now();
  const input = new ort.Tensor("uint8", pixels, [1, 1, contract.size, contract.size]);
  const { probabilities } = await session.run({ pixels: input });
  const done = performance.now();
  const shares = Array.from(probabilities.data);
  const confidence = Math.max(...shares);
  const likeliest = contract.labels[shares.indexOf(confidence)];
  return {
    label: confidence >= contract.minConfidence ? likeliest : "uncertain",
    confidence,
    probabilities: Object.fromEntries(contract.labels.map((name, i) => [name, shares[i]])),
    pixels,
    size: [picture.width, picture.height],
    milliseconds: { read: read - started, network: done - read },
  };
}

// One message after the other: two calls into one session at a time are refused.
let last = Promise.resolve();
self.onmessage = ({ data: { id, model, ...picture } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: model ? await open(model) : await answer(picture) });
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
