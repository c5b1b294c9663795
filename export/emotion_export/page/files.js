// @ts-check
// Loads files, with a limit and with progress; every error message is a sentence for the user.

/** @typedef {(progress: {file: string, loaded: number, total: number | null}) => void} OnProgress */

/**
 * Load a file. One that is compressed with gzip is decompressed: few static hosts compress the files
 * of models themselves.
 *
 * @param {string} url
 * @param {string} name Its name in messages, such as "model file".
 * @param {number} limit Largest number of bytes, decompressed.
 * @param {OnProgress} [onProgress] Called with the bytes as they are sent.
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {Error} It cannot be loaded, is damaged, or is larger.
 */
export async function fetchFile(url, name, limit, onProgress) {
  const loaded = await join(readChunks(url, name, onProgress), name, limit);
  // Not by its suffix: a host that knows .gz sends it so that the browser decompresses it.
  if (loaded[0] !== 0x1f || loaded[1] !== 0x8b) return loaded;
  const stream = new Blob([loaded]).stream().pipeThrough(new DecompressionStream("gzip"));
  return join(readStream(stream, `The ${name} is damaged or cut off.`), name, limit);
}

/**
 * Load a file in parts.
 *
 * @param {string} url
 * @param {string} name Its name in messages.
 * @param {OnProgress} [onProgress]
 * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>}
 * @throws {Error} It cannot be loaded.
 */
export async function* readChunks(url, name, onProgress = () => {}) {
  let response;
  try {
    // Check with the server that the kept copy is still the same: many hosts state no lifetime, and
    // browsers then keep a file for days. A page of a new build would run the model of the old one.
    response = await fetch(url, { cache: "no-cache" });
  } catch {
    throw new Error(`The ${name} cannot be loaded; is there a connection to the server?`);
  }
  if (!response.ok || !response.body) {
    throw new Error(`The ${name} cannot be loaded (${response.status}).`);
  }
  if (response.headers.get("content-type")?.startsWith("text/html")) {
    throw new Error(`The ${name} cannot be loaded; the server sends a web page in its place.`);
  }
  const file = decodeURIComponent(new URL(url).pathname.split("/").pop() ?? "");
  // The stated length is that of the compressed file where the server compresses it.
  const stated = response.headers.get("content-encoding") ? null : response.headers.get("content-length");
  const total = stated === null ? null : Number(stated);
  let loaded = 0;
  const lost = `The connection was lost while the ${name} was loaded; reload the page.`;
  for await (const chunk of readStream(response.body, lost)) {
    loaded += chunk.length;
    onProgress({ file, loaded, total });
    yield chunk;
  }
}

/**
 * Yield the chunks of a stream.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @param {string} problem The message where it fails.
 * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>}
 */
async function* readStream(stream, problem) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new Error(problem);
      });
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // where the caller stopped early
  }
}

/**
 * Join chunks.
 *
 * @param {AsyncIterable<Uint8Array<ArrayBuffer>>} stream
 * @param {string} name
 * @param {number} limit
 */
async function join(stream, name, limit) {
  const chunks = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > limit) {
      throw new Error(`The ${name} is larger than ${limit / 1024 ** 2} MB, the limit of this page.`);
    }
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
