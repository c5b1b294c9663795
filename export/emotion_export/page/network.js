// @ts-check
// The network in its onnxruntime session: runs it, interprets its outputs, compares the golden inputs.

import { readContract } from "./contract.js";
import { largestDifference } from "./pixels.js";

const SUM_TOLERANCE = 0.01; // of the probabilities of a face, for a softmax in half precision

export class Network {
  /**
   * Open a model file.
   *
   * @param {any} ort The module onnxruntime-web.
   * @param {Uint8Array} bytes The file.
   * @returns {Promise<Network>}
   * @throws {Error} The file cannot be used; the message is for the user.
   */
  static async open(ort, bytes) {
    const contract = readContract(bytes);
    try {
      const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
      return new Network(ort, contract, session);
    } catch (error) {
      throw new Error(
        "The model file is damaged, or needs features that this browser does not have " +
          `(${getFirstLine(error)}).`,
      );
    }
  }

  /**
   * @param {any} ort
   * @param {import("./contract.js").Contract} contract
   * @param {any} session
   */
  constructor(ort, contract, session) {
    this.contract = contract;
    this._ort = ort;
    this._session = session;
  }

  /** Number of values of a face that `compute` returns: the classes, and `other` if the file has it. */
  get columns() {
    return this.contract.labels.length + (this.contract.otherThreshold === undefined ? 0 : 1);
  }

  /**
   * Run the network on faces.
   *
   * @param {Uint8Array[]} faces Gray pixels of each face, size × size.
   * @returns {Promise<Float32Array[]>} For each face the probability of each class; with one more
   *   value for `other` in files that have this output.
   */
  async compute(faces) {
    if (faces.length === 0) return [];
    const { labels, size } = this.contract;
    const pixels = new Uint8Array(faces.length * size * size);
    faces.forEach((face, index) => pixels.set(face, index * size * size));
    const outputs = await this._run(pixels, [faces.length, 1, size, size]);
    return faces.map((_, index) => {
      const row = new Float32Array(this.columns);
      row.set(outputs.probabilities.subarray(index * labels.length, (index + 1) * labels.length));
      if (outputs.other) row[labels.length] = outputs.other[index];
      return row;
    });
  }

  /**
   * Return the prediction for the values of a face, as `EmotionClassifier.interpret` does.
   *
   * @param {ArrayLike<number>} values As `compute` returns them.
   */
  interpret(values) {
    const { labels, minConfidence, otherThreshold } = this.contract;
    const probabilities = Array.from(values).slice(0, labels.length);
    const total = probabilities.reduce((sum, one) => sum + one, 0);
    if (!(Math.abs(total - 1) <= SUM_TOLERANCE)) {
      throw new Error(
        "The network returns numbers that are not probabilities; the model file is damaged.",
      );
    }
    let confidence = Math.max(...probabilities);
    // In float32, the precision of the outputs: its 0.9 is slightly less than that of the contract.
    const isCertain = confidence >= Math.fround(minConfidence);
    let label = isCertain ? labels[probabilities.indexOf(confidence)] : "uncertain";
    const named = Object.fromEntries(labels.map((name, index) => [name, probabilities[index]]));
    if (otherThreshold === undefined) return { label, confidence, probabilities: named };
    const other = Math.min(values[labels.length], 1);
    // At a threshold of 1 no face is "other".
    if (otherThreshold < 1 && other >= Math.fround(otherThreshold)) {
      [label, confidence] = ["other", other];
    }
    return { label, confidence, probabilities: named, other };
  }

  /**
   * Run the golden inputs, and compare the outputs with those at export.
   *
   * @returns {Promise<{inputs: number, difference: number}>} Number of inputs, and the largest
   *   difference of a logit.
   * @throws {Error} The outputs differ by more than the tolerance.
   */
  async check() {
    const { golden, labels, temperature } = this.contract;
    const { shape, pixels, logits, tolerance, meanTolerance = Infinity } = golden;
    const [inputs, classes] = [shape[0], labels.length];
    const outputs = await this._run(pixels, shape);
    let difference = 0;
    let total = 0;
    let flips = 0;
    logits.forEach((expected, row) => {
      const actual = Array.from(outputs.logits.subarray(row * classes, (row + 1) * classes));
      difference = Math.max(difference, largestDifference(expected, actual));
      expected.forEach((logit, column) => (total += Math.abs(logit - actual[column])));
      const isSame =
        actual.indexOf(Math.max(...actual)) === expected.indexOf(Math.max(...expected));
      if (!isSame) flips++;
    });
    const mean = total / (inputs * classes);
    if (flips > 0 || !(difference <= tolerance && mean <= meanTolerance)) {
      throw new Error(
        `This browser does not compute the results of the export: ${flips} of ${inputs} labels ` +
          `differ, logits by up to ${difference.toPrecision(2)} (allowed ${tolerance}), with a ` +
          `mean of ${mean.toPrecision(2)}. Do not trust its results.`,
      );
    }
    if (outputs.other && golden.other) {
      const otherDifference = largestDifference(golden.other, outputs.other);
      // As in emotion_runtime/model/outputs.py: follows from the tolerance of the logits.
      const allowed = Math.max(tolerance / (2 * temperature), 1e-6);
      if (!(otherDifference <= allowed)) {
        throw new Error(
          'This browser does not compute the results of the export: the output "other" differs ' +
            `by up to ${otherDifference.toPrecision(2)} (allowed ${allowed.toPrecision(2)}). Do ` +
            "not trust its results.",
        );
      }
    }
    return { inputs, difference };
  }

  /**
   * Run the network on uint8 pixels, and return its outputs, all finite.
   *
   * @param {Uint8Array} pixels
   * @param {number[]} shape
   * @returns {Promise<Record<string, Float32Array>>}
   */
  async _run(pixels, shape) {
    let outputs;
    try {
      outputs = await this._session.run({ pixels: new this._ort.Tensor("uint8", pixels, shape) });
    } catch (error) {
      throw new Error(`The network cannot be run here (${getFirstLine(error)}).`);
    }
    const { labels, otherThreshold } = this.contract;
    /** @type {Record<string, number>} */
    const columns = { logits: labels.length, probabilities: labels.length };
    if (otherThreshold !== undefined) columns.other = 1;
    /** @type {Record<string, Float32Array>} */
    const found = {};
    for (const [name, width] of Object.entries(columns)) {
      const data = outputs[name]?.data;
      if (!(data instanceof Float32Array) || data.length !== shape[0] * width) {
        throw new Error(`The network's output ${name} is missing or has a wrong size.`);
      }
      if (!data.every(Number.isFinite)) {
        throw new Error(`The network's output ${name} is not finite; the model file is damaged.`);
      }
      found[name] = data;
    }
    return found;
  }
}

/**
 * Return the first line of an error: WebAssembly throws numbers, and onnxruntime long texts.
 *
 * @param {any} error
 */
export const getFirstLine = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 200);
