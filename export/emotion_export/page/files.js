// @ts-check
// Loads files, with a limit and with progress; every error message is a sentence for the user.

/**
 * Load a file.
 *
 * @param {string} url
 * @param {string} name Its name in messages, such as "model file".
 * @param {number} limit Largest number of bytes.
 * @param {(progress: {file: string, loaded: number, total: number | null}) => void} [onProgress]
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {Error} It cannot be loaded, or is larger.
 */
export async function fetchFile(url, name, limit, onProgress = () => {}) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error(`The ${name} cannot be loaded; is the server still running?`);
  }
  if (!response.ok || !response.body) {
    throw new Error(`The ${name} cannot be loaded (${response.status}).`);
  }
  const file = decodeURIComponent(new URL(url).pathname.split("/").pop() ?? "");
  // The stated length is that of the compressed file where the server compresses it.
  const stated = response.headers.get("content-encoding") ? null : response.headers.get("content-length");
  const total = stated === null ? null : Number(stated);
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
    onProgress({ file, loaded: length, total });
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
