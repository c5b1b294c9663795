// @ts-check
// Loads onnxruntime-web from its folder.

/**
 * Load onnxruntime-web.
 *
 * @param {string} folder Address of its folder, with a slash at the end.
 * @param {(progress: {file: string, loaded: number, total: number | null}) => void} _onProgress
 * @returns {Promise<any>} The module.
 * @throws {Error} It cannot be loaded.
 */
export async function loadRuntime(folder, _onProgress) {
  let ort;
  try {
    ort = await import(`${folder}ort.wasm.min.mjs`);
  } catch {
    throw new Error(
      "The network could not be started. Is the folder complete, and is the page opened over http?",
    );
  }
  // On an ordinary static host the page is not cross-origin isolated, so WebAssembly has one thread.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = folder;
  return ort;
}
