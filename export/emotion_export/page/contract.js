// @ts-check
// Reads the metadata of a model file from the bytes of the ONNX file, because onnxruntime-web does
// not give access to them. Keys and rules are those of emotion_runtime/model/contract.py and
// emotion_runtime/labels.py. The file may be hostile: this reader needs no more memory than a small
// multiple of its size, and every error message is a sentence for the user.

export const MAX_MODEL_BYTES = 256 * 1024 ** 2;

const PREFIX = "emotion_edge.";
const VERSION = "1";
const OTHER_VERSION = "2"; // of files with the output "other"
/** @type {Record<string, string>} */
const INPUT = { colour: "gray-itu-r-601-2", resize: "bilinear-antialias", aspect: "crop-central-square" };
const DEFAULT_SIZE = 48;
const MAX_SIZE = 1024;
const MAX_GOLDEN_INPUTS = 1000;
const MAX_LABEL_BYTES = 200;

export const RESERVED_LABELS = [
  ..."path label confidence error other uncertain x y width height detection_confidence warning".split(" "),
  ..."time frame face box probabilities unreadable".split(" "),
  "no face",
];

// Field numbers in onnx.proto.
const METADATA_PROPS = 14; // of ModelProto
const [KEY, VALUE] = [1, 2]; // of StringStringEntryProto

/**
 * Inputs with their outputs at export.
 *
 * @typedef {object} Golden
 * @property {number[]} shape Of the inputs.
 * @property {Uint8Array} pixels The inputs.
 * @property {number[][]} logits The outputs.
 * @property {number} tolerance Largest difference of a logit.
 * @property {number} [meanTolerance] Largest mean difference.
 * @property {number[]} [other] The output "other".
 * @property {Uint8Array} [probe] The reference picture, as the training read it.
 */

/**
 * What a model file states about itself.
 *
 * @typedef {object} Contract
 * @property {string[]} labels
 * @property {number} size Side of the input in pixels.
 * @property {string} network
 * @property {string} precision
 * @property {number} minConfidence
 * @property {number} temperature
 * @property {number} [otherThreshold] Missing in files without the output "other".
 * @property {string[]} otherClasses
 * @property {Golden} golden
 */

/** @typedef {Map<string, string>} Values Metadata by name. */

/**
 * Read the contract of a model file.
 *
 * @param {Uint8Array} bytes The whole file.
 * @returns {Contract}
 * @throws {Error} The file has no contract, or a damaged one; the message is for the user.
 */
export function readContract(bytes) {
  const values = readMetadata(bytes);
  const version = values.get("contract_version");
  if (version === undefined) throw new Error("The model file has no emotion-edge contract.");
  if (version !== VERSION && version !== OTHER_VERSION) {
    throw new Error(
      `The model file has contract version ${shorten(version)}; this page reads versions ` +
        `${VERSION} and ${OTHER_VERSION}.`,
    );
  }
  const size = readInputSize(readJson(values, "input"));
  const labels = checkLabels(readJson(values, "labels"));
  const temperature = readNumber(values, "temperature");
  const minConfidence = readNumber(values, "min_confidence");
  if (!(temperature > 0)) throw makeDamagedError("temperature");
  if (!(minConfidence >= 0 && minConfidence <= 1)) throw makeDamagedError("min_confidence");
  const other = version === OTHER_VERSION ? readOtherOutput(values, labels) : { otherClasses: [] };
  const checked = readGolden(readJson(values, "golden"), size, labels.length);
  if (other.otherClasses.length > 0 && checked.other === undefined) throw makeDamagedError("golden");
  return {
    labels,
    size,
    network: readText(values, "network"),
    precision: readText(values, "precision"),
    minConfidence,
    temperature,
    ...other,
    golden: checked,
  };
}

/**
 * Read the threshold and the classes of the output "other".
 *
 * @param {Values} values
 * @param {string[]} labels
 * @returns {{otherThreshold: number, otherClasses: string[]}}
 */
function readOtherOutput(values, labels) {
  const otherThreshold = readNumber(values, "other_threshold");
  const otherClasses = readJson(values, "other_classes");
  if (!(otherThreshold >= 0 && otherThreshold <= 1)) throw makeDamagedError("other_threshold");
  if (!Array.isArray(otherClasses) || otherClasses.length < 1) throw makeDamagedError("other_classes");
  checkLabels([...labels, ...otherClasses]);
  return { otherThreshold, otherClasses };
}

/** @param {string} name */
function makeDamagedError(name) {
  return new Error(`The model file's contract is damaged: ${name} is missing or malformed.`);
}

/**
 * @param {Values} values
 * @param {string} name
 */
function readText(values, name) {
  const value = values.get(name);
  if (value === undefined) throw makeDamagedError(name);
  return value;
}

/**
 * @param {Values} values
 * @param {string} name
 */
function readJson(values, name) {
  let value;
  try {
    value = JSON.parse(readText(values, name));
  } catch {
    throw makeDamagedError(name);
  }
  if (typeof value !== "object" || value === null) throw makeDamagedError(name);
  return value;
}

/**
 * Read a finite number as JSON writes it.
 *
 * @param {Values} values
 * @param {string} name
 */
function readNumber(values, name) {
  const written = readText(values, name);
  if (!/^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i.test(written)) throw makeDamagedError(name);
  const value = Number(written);
  if (!Number.isFinite(value)) throw makeDamagedError(name);
  return value;
}

/** @param {any} values */
function readInputSize(values) {
  if (Array.isArray(values)) throw makeDamagedError("input");
  /** @type {Record<string, any>} */
  const input = { size: DEFAULT_SIZE, ...INPUT, ...values };
  for (const [name, value] of Object.entries(input)) {
    if (name === "size") continue;
    if (!Object.hasOwn(INPUT, name)) throw makeDamagedError("input");
    if (value !== INPUT[name]) {
      throw new Error(
        `The model file needs ${name} ${shorten(value)}, which this page does not support.`,
      );
    }
  }
  if (!Number.isInteger(input.size) || input.size < 1 || input.size > MAX_SIZE) {
    throw new Error(
      `The model file needs pictures of size ${shorten(input.size)}; ` +
        `this page supports 1 to ${MAX_SIZE}.`,
    );
  }
  return input.size;
}

/**
 * @param {any} labels
 * @returns {string[]}
 */
function checkLabels(labels) {
  if (!Array.isArray(labels) || labels.length < 2) throw makeDamagedError("labels");
  const seen = new Set();
  for (const label of labels) {
    if (typeof label !== "string") throw makeDamagedError("labels");
    const problem = findLabelProblem(label);
    if (problem) throw new Error(`The model file has a class "${shorten(label)}": ${problem}.`);
    const folded = foldCase(label);
    if (seen.has(folded)) {
      throw new Error(`The model file has the class "${shorten(label)}" twice.`);
    }
    seen.add(folded);
  }
  return labels;
}

/**
 * Return why no class may have this name; undefined if it may.
 *
 * @param {string} label
 */
function findLabelProblem(label) {
  if (/^\p{White_Space}*$/u.test(label)) return "the name is empty";
  if (/^\p{White_Space}|\p{White_Space}$/u.test(label)) return "it begins or ends with a space";
  if (RESERVED_LABELS.includes(foldCase(label))) return "the name is reserved";
  if (label === "." || label === "..") return "it names a folder of the file system";
  if (/[/\\]/.test(label)) return "it contains a path separator";
  if (/[\p{Cc}\p{Cs}]/u.test(label)) return "it contains a control character or half a character";
  const visible = removeJoiners(label);
  if (/[\p{Cf}\p{Zl}\p{Zp}]/u.test(visible)) return "it contains an invisible character";
  if (visible === "") return "the name is empty";
  if (new TextEncoder().encode(label).length > MAX_LABEL_BYTES) {
    return `it is longer than ${MAX_LABEL_BYTES} bytes`;
  }
}

// For emoji and Indic scripts; invisible alone.
/** @param {string} label */
const removeJoiners = (label) => label.replace(/[\u200c\u200d]/g, "");

// Upper case first, so that "ß" and "ss" are one name, as in Python's casefold.
/** @param {string} label */
const foldCase = (label) => removeJoiners(label).normalize("NFC").toUpperCase().toLowerCase();

/**
 * @param {any} values
 * @param {number} size
 * @param {number} classes
 * @returns {Golden}
 */
function readGolden(values, size, classes) {
  const { shape, pixels, logits, tolerance, mean_tolerance: meanTolerance, probe, other } = values;
  const inputs = Array.isArray(logits) ? logits.length : 0;
  const expectedShape = [inputs, 1, size, size];
  const isValid =
    inputs >= 1 &&
    inputs <= MAX_GOLDEN_INPUTS &&
    Array.isArray(shape) &&
    shape.length === expectedShape.length &&
    expectedShape.every((length, axis) => shape[axis] === length) &&
    logits.every(
      (/** @type {any} */ row) => Array.isArray(row) && row.length === classes && row.every(Number.isFinite),
    ) &&
    Number.isFinite(tolerance) &&
    tolerance >= 0 &&
    (meanTolerance === undefined || (Number.isFinite(meanTolerance) && meanTolerance >= 0)) &&
    (other === undefined ||
      (Array.isArray(other) && other.length === inputs && other.every((one) => one >= 0 && one <= 1)));
  if (!isValid) throw makeDamagedError("golden");
  return {
    shape,
    pixels: decodeBase64(pixels, inputs * size * size),
    logits,
    tolerance,
    meanTolerance,
    other,
    // Earlier files have no reference picture.
    probe: probe === undefined ? undefined : decodeBase64(probe, size * size),
  };
}

/**
 * @param {any} encoded
 * @param {number} length
 */
function decodeBase64(encoded, length) {
  // Check the length first, so that nothing too long is decoded.
  if (typeof encoded !== "string" || encoded.length !== 4 * Math.ceil(length / 3)) {
    throw makeDamagedError("golden");
  }
  let binary;
  try {
    binary = atob(encoded);
  } catch {
    throw makeDamagedError("golden");
  }
  if (binary.length !== length) throw makeDamagedError("golden");
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** @param {any} value */
function shorten(value) {
  if (typeof value === "object" && value !== null) return "that is a list or an object";
  const string = String(value);
  return string.length > 60 ? `${string.slice(0, 60)}…` : string;
}

/**
 * Return the metadata_props of a ModelProto that have our prefix, by name without the prefix.
 *
 * @param {Uint8Array} bytes
 * @returns {Values}
 */
function readMetadata(bytes) {
  const found = new Map();
  for (const { field, value } of readFields(bytes)) {
    if (field !== METADATA_PROPS) continue;
    /** @type {Uint8Array} */
    let key = new Uint8Array();
    /** @type {Uint8Array} */
    let content = new Uint8Array();
    for (const part of readFields(value)) {
      if (part.field === KEY) key = part.value;
      if (part.field === VALUE) content = part.value;
    }
    if (key.length > 100) continue; // not one of ours
    const name = decodeUtf8(key);
    if (name.startsWith(PREFIX)) found.set(name.slice(PREFIX.length), decodeUtf8(content));
  }
  return found;
}

/** @param {Uint8Array} bytes */
function decodeUtf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error("The model file is damaged: its metadata are not UTF-8.");
  }
}

/**
 * Yield the length-delimited fields of a protobuf message, and skip the others.
 *
 * @param {Uint8Array} bytes
 * @returns {Generator<{field: number, value: Uint8Array}, void, void>}
 */
function* readFields(bytes) {
  const makeTruncatedError = () => new Error("The model file is damaged or cut off.");
  let position = 0;
  const readVarint = () => {
    // At most ten bytes. Above 2 ** 53 the value is not exact, but too large for any length here.
    for (let value = 0, factor = 1, count = 0; count < 10; factor *= 128, count++) {
      if (position >= bytes.length) throw makeTruncatedError();
      const byte = bytes[position++];
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
    throw new Error("The model file is not ONNX.");
  };
  while (position < bytes.length) {
    const key = readVarint();
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (field < 1 || field >= 2 ** 29) throw new Error("The model file is not ONNX.");
    if (wire === 0) {
      readVarint();
    } else if (wire === 1 || wire === 5) {
      position += wire === 1 ? 8 : 4;
      if (position > bytes.length) throw makeTruncatedError();
    } else if (wire === 2) {
      const length = readVarint();
      if (length > bytes.length - position) throw makeTruncatedError();
      yield { field, value: bytes.subarray(position, position + length) };
      position += length;
    } else {
      throw new Error("The model file is not ONNX.");
    }
  }
}
