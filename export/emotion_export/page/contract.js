// What a model file says of itself: its metadata_props, read from the ONNX file's own bytes, since
// onnxruntime-web does not hand them out. Keys and rules are those of emotion_runtime/contract.py
// and emotion_runtime/labels.py. The file may come from anywhere: nothing that it holds makes this
// reader use more memory than a small multiple of the file, or throw anything but a sentence.

export const MAX_MODEL_BYTES = 256 * 1024 ** 2;

const PREFIX = "emotion_edge.";
const VERSION = "1";
const OTHER_VERSION = "2"; // of files with the output "other"
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
 * Read the contract of a model file.
 *
 * @param {Uint8Array} bytes The whole file.
 * @returns {{labels: string[], size: number, network: string, precision: string,
 *   minConfidence: number, temperature: number, otherThreshold: number | undefined, otherClasses: string[],
 *   golden: object}} otherThreshold is undefined in files without the output "other".
 * @throws {Error} Its message is a sentence for a person.
 */
export function readContract(bytes) {
  const values = metadata(bytes);
  const version = values.get("contract_version");
  if (version === undefined) throw new Error("The model file has no emotion-edge contract.");
  if (version !== VERSION && version !== OTHER_VERSION) {
    throw new Error(
      `The model file has contract version ${shortened(version)}; this page reads versions ` +
        `${VERSION} and ${OTHER_VERSION}.`,
    );
  }
  const size = inputSize(json(values, "input"));
  const labels = checkLabels(json(values, "labels"));
  const temperature = number(values, "temperature");
  const minConfidence = number(values, "min_confidence");
  if (!(temperature > 0)) throw damaged("temperature");
  if (!(minConfidence >= 0 && minConfidence <= 1)) throw damaged("min_confidence");
  const other = version === OTHER_VERSION ? otherOutput(values, labels) : { otherClasses: [] };
  const checked = golden(json(values, "golden"), size, labels.length);
  if (other.otherClasses.length > 0 && checked.other === undefined) throw damaged("golden");
  return {
    labels,
    size,
    network: text(values, "network"),
    precision: text(values, "precision"),
    minConfidence,
    temperature,
    ...other,
    golden: checked,
  };
}

/** Read what the file tells of its output "other". */
function otherOutput(values, labels) {
  const otherThreshold = number(values, "other_threshold");
  const otherClasses = json(values, "other_classes");
  if (!(otherThreshold >= 0 && otherThreshold <= 1)) throw damaged("other_threshold");
  if (!Array.isArray(otherClasses) || otherClasses.length < 1) throw damaged("other_classes");
  checkLabels([...labels, ...otherClasses]);
  return { otherThreshold, otherClasses };
}

function damaged(name) {
  return new Error(`The model file's contract is damaged: ${name} is missing or malformed.`);
}

function text(values, name) {
  const value = values.get(name);
  if (value === undefined) throw damaged(name);
  return value;
}

function json(values, name) {
  let value;
  try {
    value = JSON.parse(text(values, name));
  } catch {
    throw damaged(name);
  }
  if (typeof value !== "object" || value === null) throw damaged(name);
  return value;
}

/** Read a decimal number as Python's repr writes it; NaN and infinity are none. */
function number(values, name) {
  const written = text(values, name).trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(written)) throw damaged(name);
  const value = Number(written);
  if (!Number.isFinite(value)) throw damaged(name);
  return value;
}

function inputSize(given) {
  if (Array.isArray(given)) throw damaged("input");
  const input = { size: DEFAULT_SIZE, ...INPUT, ...given };
  for (const [name, value] of Object.entries(input)) {
    if (name === "size") continue;
    if (!Object.hasOwn(INPUT, name)) throw damaged("input");
    if (value !== INPUT[name]) {
      throw new Error(
        `The model file wants ${name} ${shortened(value)}, which this page does not do.`,
      );
    }
  }
  if (!Number.isInteger(input.size) || input.size < 1 || input.size > MAX_SIZE) {
    throw new Error(
      `The model file wants pictures of size ${shortened(input.size)}; ` +
        `this page takes 1 to ${MAX_SIZE}.`,
    );
  }
  return input.size;
}

function checkLabels(labels) {
  if (!Array.isArray(labels) || labels.length < 2) throw damaged("labels");
  const seen = new Set();
  for (const label of labels) {
    if (typeof label !== "string") throw damaged("labels");
    const problem = labelProblem(label);
    if (problem) throw new Error(`The model file has a class "${shortened(label)}": ${problem}.`);
    const plain = caseless(label);
    if (seen.has(plain)) {
      throw new Error(`The model file has the class "${shortened(label)}" twice.`);
    }
    seen.add(plain);
  }
  return labels;
}

/** Say why no class may have this name, or return undefined. */
function labelProblem(label) {
  if (/^\p{White_Space}*$/u.test(label)) return "the name is empty";
  if (/^\p{White_Space}|\p{White_Space}$/u.test(label)) return "it begins or ends with a space";
  if (RESERVED_LABELS.includes(caseless(label))) return "the name is reserved";
  if (label === "." || label === "..") return "it names a folder of the file system";
  if (/[/\\]/.test(label)) return "it contains a path separator";
  if (/[\p{Cc}\p{Cs}]/u.test(label)) return "it contains a control character or half a character";
  if (new TextEncoder().encode(label).length > MAX_LABEL_BYTES) {
    return `it is longer than ${MAX_LABEL_BYTES} bytes`;
  }
}

// Upper case first, so that "ß" and "ss" are one name, as in Python's casefold.
const caseless = (label) => label.normalize("NFC").toUpperCase().toLowerCase();

function golden(given, size, classes) {
  const { shape, pixels, logits, tolerance, mean_tolerance: meanTolerance, probe, other } = given;
  const inputs = Array.isArray(logits) ? logits.length : 0;
  const wanted = [inputs, 1, size, size];
  const sound =
    inputs >= 1 &&
    inputs <= MAX_GOLDEN_INPUTS &&
    Array.isArray(shape) &&
    shape.length === wanted.length &&
    wanted.every((length, axis) => shape[axis] === length) &&
    logits.every(
      (row) => Array.isArray(row) && row.length === classes && row.every(Number.isFinite),
    ) &&
    Number.isFinite(tolerance) &&
    tolerance >= 0 &&
    (meanTolerance === undefined || (Number.isFinite(meanTolerance) && meanTolerance >= 0)) &&
    (other === undefined ||
      (Array.isArray(other) && other.length === inputs && other.every((one) => one >= 0 && one <= 1)));
  if (!sound) throw damaged("golden");
  return {
    shape,
    pixels: fromBase64(pixels, inputs * size * size),
    logits,
    tolerance,
    meanTolerance,
    other,
    // Files of before there was a reference picture have none.
    probe: probe === undefined ? undefined : fromBase64(probe, size * size),
  };
}

function fromBase64(encoded, length) {
  // The length first: what does not fit is not decoded.
  if (typeof encoded !== "string" || encoded.length !== 4 * Math.ceil(length / 3)) {
    throw damaged("golden");
  }
  let binary;
  try {
    binary = atob(encoded);
  } catch {
    throw damaged("golden");
  }
  if (binary.length !== length) throw damaged("golden");
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function shortened(value) {
  if (typeof value === "object" && value !== null) return "that is a list or an object";
  const string = String(value);
  return string.length > 60 ? `${string.slice(0, 60)}…` : string;
}

/** Walk the fields of a ModelProto and return its own metadata_props, without their prefix. */
function metadata(bytes) {
  const found = new Map();
  for (const { field, value } of fields(bytes)) {
    if (field !== METADATA_PROPS) continue;
    let [key, content] = [new Uint8Array(), new Uint8Array()];
    for (const part of fields(value)) {
      if (part.field === KEY) key = part.value;
      if (part.field === VALUE) content = part.value;
    }
    if (key.length > 100) continue; // none of ours
    const name = utf8(key);
    if (name.startsWith(PREFIX)) found.set(name.slice(PREFIX.length), utf8(content));
  }
  return found;
}

function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error("The model file is damaged: its metadata are not UTF-8.");
  }
}

/** Yield the length-delimited fields of a protobuf message; the others are skipped. */
function* fields(bytes) {
  const truncated = () => new Error("The model file is damaged or cut off.");
  let at = 0;
  const varint = () => {
    // Ten bytes at most; past 2 ** 53 the value is not exact, and too large for any length here.
    for (let value = 0, factor = 1, count = 0; count < 10; factor *= 128, count++) {
      if (at >= bytes.length) throw truncated();
      const byte = bytes[at++];
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
    throw new Error("The model file is not ONNX.");
  };
  while (at < bytes.length) {
    const key = varint();
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (field < 1 || field >= 2 ** 29) throw new Error("The model file is not ONNX.");
    if (wire === 0) {
      varint();
    } else if (wire === 1 || wire === 5) {
      at += wire === 1 ? 8 : 4;
      if (at > bytes.length) throw truncated();
    } else if (wire === 2) {
      const length = varint();
      if (length > bytes.length - at) throw truncated();
      yield { field, value: bytes.subarray(at, at + length) };
      at += length;
    } else {
      throw new Error("The model file is not ONNX.");
    }
  }
}
