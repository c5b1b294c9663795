// Runs the page's contract.js in Node.js: node contract_reader.mjs CONTRACT.mjs < REQUEST.json
// The request is {files: [base64]} or {fuzz: base64, seed, count}; the reply goes to stdout.

import { existsSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const module = await import(pathToFileURL(process.argv[2]));
const request = JSON.parse(readFileSync(0, "utf8"));

/** Read a file; returns {contract} or {error}, and throws what no person could read. */
function read(bytes) {
  try {
    const { golden, ...contract } = module.readContract(bytes);
    return { contract: { ...contract, inputs: golden.shape[0] } };
  } catch (error) {
    if (error.constructor !== Error || !/^The model file['s]* .*\.$/su.test(error.message)) throw error;
    if (error.message.length > 300) throw new Error(`A sentence of ${error.message.length} letters`);
    return { error: error.message };
  }
}

/** Change bytes at random, but by a seed: single ones, cuts, lengths, copies of a part. */
function* mutations(bytes, seed, count) {
  let state = seed;
  const below = (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  for (let i = 0; i < count; i++) {
    let changed = bytes.slice();
    for (let times = 1 + below(3); times > 0; times--) {
      const at = below(changed.length);
      switch (below(5)) {
        case 0:
          changed[at] = below(256);
          break;
        case 1:
          changed[at] ^= 1 << below(8);
          break;
        case 2: // a varint that does not end
          changed.fill(255, at, at + 1 + below(12));
          break;
        case 3:
          changed = changed.slice(0, at + 1);
          break;
        case 4:
          changed.copyWithin(at, below(changed.length), below(changed.length));
      }
    }
    yield changed;
  }
}

const decoded = (text) => Uint8Array.from(Buffer.from(text, "base64"));
let reply;
if (request.files) {
  reply = request.files.map((file) => read(decoded(file)));
} else {
  reply = { accepted: 0, refused: 0 };
  for (const bytes of mutations(decoded(request.fuzz), request.seed, request.count)) {
    reply[read(bytes).error ? "refused" : "accepted"]++;
  }
}
const { RESERVED_LABELS: reserved, MAX_MODEL_BYTES: limit } = module;
// maxRSS includes the peak of the parent process; VmHWM does not.
const status = existsSync("/proc/self/status") ? readFileSync("/proc/self/status", "utf8") : "";
const kibibytes = status.match(/VmHWM:\s+(\d+)/)?.[1] ?? process.resourceUsage().maxRSS;
const megabytes = Number(kibibytes) / 1024;
process.stdout.write(JSON.stringify({ reply, reserved, limit, megabytes }));
