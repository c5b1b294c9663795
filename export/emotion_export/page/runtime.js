// @ts-check
// Loads onnxruntime-web from its folder, as build.py writes it.

import { readChunks } from "./files.js";
import { LzmaDecoder } from "./lzma.js";

const MAX_RUNTIME_BYTES = 64 * 1024 ** 2; // the file has 11.9 MB
const INCOMPLETE =
  "The network could not be started. Is the folder complete, and is the page opened over http?";
// The smallest WebAssembly module with an instruction of SIMD (wasm-feature-detect, Apache-2.0).
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253,
  98, 11,
];

/**
 * Load onnxruntime-web.
 *
 * @param {string} folder Address of its folder, with a slash at the end.
 * @param {import("./files.js").OnProgress} onProgress
 * @returns {Promise<any>} The module.
 * @throws {Error} It cannot be loaded, or the browser lacks a feature.
 */
export async function loadRuntime(folder, onProgress) {
  if (!WebAssembly.validate(new Uint8Array(SIMD))) {
    throw new Error(
      "This browser has no WebAssembly SIMD, which the network needs. Update the browser.",
    );
  }
  const [ort, program] = await Promise.all([
    import(`${folder}ort.wasm.min.js`).catch(() => {
      throw new Error(INCOMPLETE);
    }),
    loadProgram(`${folder}ort-wasm-simd-threaded.wasm.lzma`, onProgress),
  ]);
  ort.env.logLevel = "error"; // it warns that a browser does not name its CPU
  // On an ordinary static host the page is not cross-origin isolated, so WebAssembly has one thread.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = program;
  // Many hosts send files that end in .mjs with a type that browsers refuse.
  ort.env.wasm.wasmPaths = { mjs: `${folder}ort-wasm-simd-threaded.js` };
  return ort;
}

/**
 * Load the WebAssembly program, and decompress it while it is loaded.
 *
 * @param {string} url
 * @param {import("./files.js").OnProgress} onProgress
 */
async function loadProgram(url, onProgress) {
  const decoder = new LzmaDecoder(MAX_RUNTIME_BYTES);
  for await (const chunk of readChunks(url, "WebAssembly file", onProgress)) {
    decode(() => decoder.push(chunk));
  }
  return decode(() => decoder.finish());
}

/**
 * Call a function of the decoder, and name the file in its error.
 *
 * @template T
 * @param {() => T} call
 */
function decode(call) {
  try {
    return call();
  } catch {
    throw new Error("The WebAssembly file is damaged or cut off; reload the page.");
  }
}
