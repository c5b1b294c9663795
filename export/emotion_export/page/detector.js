// @ts-check
// The face detector in its onnxruntime session, as emotion_runtime/faces/retinaface.py: RetinaFace
// with a MobileNet 0.25 backbone (Deng et al., 2020).

import { getFirstLine } from "./network.js";

/** @typedef {{x: number, y: number, width: number, height: number}} Box In pixels. */
/** @typedef {{box: Box, confidence: number}} Detection */

// At each point of three grids, squares of two sizes: stride and sides in pixels.
const GRIDS = [
  { stride: 8, sides: [16, 32] },
  { stride: 16, sides: [64, 128] },
  { stride: 32, sides: [256, 512] },
];
const [CENTRE_VARIANCE, SIZE_VARIANCE] = [0.1, 0.2].map(Math.fround);
const MAX_IOU = 0.4; // intersection over union of two boxes that are two faces
const MAX_VIEW_CANDIDATES = 5000; // candidates of one view that are compared with each other

/** Under this confidence of the best face, a picture is also searched turned. */
export const UPRIGHT_CONFIDENCE = 0.97;

export class Detector {
  /**
   * Open the file of the detector.
   *
   * @param {any} ort The module onnxruntime-web.
   * @param {Uint8Array} bytes
   * @returns {Promise<Detector>}
   * @throws {Error} It cannot be opened; the message is for the user.
   */
  static async open(ort, bytes) {
    let session;
    try {
      session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    } catch (error) {
      throw new Error(`The face detector is damaged (${getFirstLine(error)}).`);
    }
    const names = [...session.inputNames, ...session.outputNames];
    if (!["pixels", "loc", "conf"].every((name) => names.includes(name))) {
      throw new Error("The face detector has another form than retinaface.onnx; use that file.");
    }
    return new Detector(ort, session);
  }

  /**
   * @param {any} ort
   * @param {any} session
   */
  constructor(ort, session) {
    this._ort = ort;
    this._session = session;
  }

  /**
   * Find the faces of RGB pixels, by descending confidence.
   *
   * @param {import("./resample.js").Raster} picture RGB.
   * @param {number} threshold Confidence threshold, 0 to 1.
   * @returns {Promise<Detection[]>}
   */
  async detect({ data, width, height }, threshold) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.length);
    const pixels = new this._ort.Tensor("uint8", bytes, [1, height, width, 3]);
    let outputs;
    try {
      outputs = await this._session.run({ pixels });
    } catch (error) {
      throw new Error(`The face detector cannot be run here (${getFirstLine(error)}).`);
    }
    return decodeDetections(outputs.loc.data, outputs.conf.data, width, height, threshold);
  }
}

/**
 * Return the faces in the outputs of the detector, by descending confidence.
 *
 * @param {Float32Array} offsets Four for each anchor, of centre and size, in units of its side.
 * @param {Float32Array} confidences Two for each anchor: no face, face.
 * @param {number} width Of the picture, in pixels.
 * @param {number} height Of the picture, in pixels.
 * @param {number} threshold Confidence threshold, 0 to 1.
 * @returns {Detection[]}
 */
export function decodeDetections(offsets, confidences, width, height, threshold) {
  const fround = Math.fround; // the runtime computes in float32
  const found = [];
  const least = fround(threshold);
  let anchor = 0;
  for (const { stride, sides } of GRIDS) {
    const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        for (const side of sides) {
          const confidence = confidences[2 * anchor + 1];
          const at = 4 * anchor++;
          if (!(confidence >= least)) continue;
          const shift = (/** @type {number} */ centre, /** @type {number} */ offset) =>
            fround(centre + fround(fround(offset * CENTRE_VARIANCE) * side));
          const x = shift((column + 0.5) * stride, offsets[at]);
          const y = shift((row + 0.5) * stride, offsets[at + 1]);
          const extend = (/** @type {number} */ offset) =>
            fround(fround(Math.exp(fround(offset * SIZE_VARIANCE))) * side);
          const [across, down] = [extend(offsets[at + 2]), extend(offsets[at + 3])];
          const box = { x: fround(x - across / 2), y: fround(y - down / 2), width: across, height: down };
          if (!Object.values(box).every(Number.isFinite) || !(across > 0 && down > 0)) continue;
          found.push({ box, confidence });
        }
      }
    }
  }
  return suppressOverlaps(found, MAX_VIEW_CANDIDATES);
}

/**
 * Return the faces that remain after greedy non-maximum suppression, by descending confidence.
 *
 * @param {Detection[]} detections
 * @param {number} [limit] Only so many of the most confident are compared.
 * @returns {Detection[]}
 */
export function suppressOverlaps(detections, limit = Infinity) {
  if (detections.length < 2) return detections;
  let left = [...detections].sort((one, two) => two.confidence - one.confidence);
  if (left.length > limit) left = left.slice(0, limit);
  const kept = [];
  while (left.length > 0) {
    const [first, ...others] = left;
    kept.push(first);
    left = others.filter(({ box }) => !overlaps(first.box, box));
  }
  return kept;
}

/**
 * @param {Box} one
 * @param {Box} two
 */
function overlaps(one, two) {
  const shared = computeShared(one, two);
  return shared > MAX_IOU * (one.width * one.height + two.width * two.height - shared);
}

/**
 * Return the intersection over union of two boxes, 0 to 1.
 *
 * @param {Box} one
 * @param {Box} two
 */
export function computeIou(one, two) {
  const shared = computeShared(one, two);
  return shared / (one.width * one.height + two.width * two.height - shared);
}

/**
 * @param {Box} one
 * @param {Box} two
 */
function computeShared(one, two) {
  const width = Math.min(one.x + one.width, two.x + two.width) - Math.max(one.x, two.x);
  const height = Math.min(one.y + one.height, two.y + two.height) - Math.max(one.y, two.y);
  return Math.max(0, width) * Math.max(0, height);
}
