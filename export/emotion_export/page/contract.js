// What a model file says of itself: its metadata_props, read from the ONNX file's own bytes, since
// onnxruntime-web does not hand them out. The keys are those of emotion_runtime/contract.py.

const PREFIX = "emotion_edge.";
const VERSION = "1";
const INPUT = { colour: "gray-itu-r-601-2", resize: "bilinear-antialias", aspect: "crop-central-square" };
const METADATA_PROPS = 14; // field number in onnx.proto's ModelProto

/** Read the contract; throws an Error whose message is a sentence for a person. */
export function readContract(bytes) {
  const values = metadata(bytes);
  const version = values.get(PREFIX + "contract_version");
  if (version === undefined) throw new Error("The model file has no emotion-edge contract.");
  if (version !== VERSION) {
    throw new Error(`The model file keeps contract version ${version}; this page knows ${VERSION}.`);
  }
  const text = (name) => {
    const value = values.get(PREFIX + name);
    if (value === undefined) throw new Error(`The model file's contract lacks ${name}.`);
    return value;
  };
  const json = (name) => JSON.parse(text(name));
  const input = json("input");
  for (const [name, value] of Object.entries(INPUT)) {
    if (input[name] !== value) {
      throw new Error(`The model file asks for ${name} ${input[name]}, which this page does not do.`);
    }
  }
  return {
    labels: json("labels"),
    size: input.size,
    network: text("network"),
    precision: text("precision"),
    minConfidence: Number(text("min_confidence")),
    metrics: json("metrics"),
    training: json("training"),
    golden: golden(json("golden")),
  };
}

function golden({ shape, pixels, logits, tolerance, probe }) {
  return { shape, pixels: fromBase64(pixels), logits, tolerance, probe: probe && fromBase64(probe) };
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Walk the fields of a ModelProto (protobuf's wire format) and collect its metadata_props. */
function metadata(bytes) {
  const found = new Map();
  for (const { field, value } of fields(bytes)) {
    if (field !== METADATA_PROPS) continue;
    const pair = ["", ""];
    for (const part of fields(value)) pair[part.field - 1] = new TextDecoder().decode(part.value);
    found.set(...pair);
  }
  return found;
}

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      if (at >= bytes.length) throw new Error("The model file is damaged.");
      const byte = bytes[at++];
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (wire === 0) {
      varint();
    } else if (wire === 1 || wire === 5) {
      at += wire === 1 ? 8 : 4;
    } else if (wire === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new Error("The model file is damaged.");
      yield { field, value: bytes.subarray(at, at + length) };
      at += length;
    } else {
      throw new Error("The model file is not ONNX.");
    }
  }
}
