// @ts-check
// The library of the page, for other pages too: finds faces and classifies their expressions.
//
//   import { EmotionEdge } from "./emotion-edge.js";
//   const edge = await EmotionEdge.open({ model: "./edge-int8.onnx" });
//   const { label, confidence } = await edge.classify(blob);
//
// All computation runs in a worker (worker.js), so that the page stays responsive. Nothing is sent
// to a server. Field names are those of the JSON lines of emotion-infer.

/**
 * A picture: an encoded file, or decoded pixels. It is neither changed nor closed.
 *
 * @typedef {Blob | ImageBitmap | ImageData | HTMLCanvasElement | OffscreenCanvas | HTMLImageElement
 *   | HTMLVideoElement} Picture
 */

/**
 * Called while files are loaded.
 *
 * @callback OnProgress
 * @param {{file: string, loaded: number, total: number | null}} progress Name of the file, its bytes
 *   so far, and all of its bytes; null where the server does not state them.
 * @returns {void}
 */

/**
 * The result of one face.
 *
 * @typedef {object} Prediction
 * @property {string} label The most probable class; "other" where the face shows none of the labels,
 *   "uncertain" below the confidence threshold of the model file.
 * @property {number} confidence Probability of the most probable class, 0 to 1; of "other" the value
 *   of `other`.
 * @property {Record<string, number>} probabilities Probability of each class; they add up to 1,
 *   whatever `other` is.
 * @property {number} [other] Probability that the face shows none of the labels, 0 to 1; only for
 *   model files with this output.
 * @property {Uint8Array} pixels Input of the network: gray, `edge.model.size` squared, row by row.
 */

/**
 * The result of `classify`.
 *
 * @typedef {Prediction & {width: number, height: number,
 *   milliseconds: {read: number, network: number}}} PicturePrediction Width and height of the upright
 *   picture in pixels, and the time to read the picture and to run the network.
 */

/**
 * The result of one face of a photograph.
 *
 * @typedef {Prediction & {box: [number, number, number, number], detection_confidence: number,
 *   warning: string | null}} FacePrediction The bounding box is x, y, width and height in whole pixels
 *   of the upright picture, clipped to it. The warning is "small face" where the face has fewer than
 *   24 pixels of height in the decoded picture, so that its label is less reliable.
 */

/**
 * The faces of a photograph, from left to right.
 *
 * @typedef {FacePrediction[] & {width: number, height: number, smallestFace: number,
 *   turn: 0 | 90 | 180 | 270}} Faces Width and height of the upright photograph, and the height of the
 *   smallest face that was searched for, in pixels; the degrees by which the photograph was turned
 *   anticlockwise to find the faces.
 */

/**
 * One face in one frame of a video. Its probabilities are averaged over the frames before.
 *
 * @typedef {Omit<FacePrediction, "detection_confidence"> & {face: number,
 *   detection_confidence: number | null}} FrameFace `face` is the number of the face in the video,
 *   from 1. In a frame that was not searched, the box is predicted and `detection_confidence` is null.
 */

/**
 * One frame of a video.
 *
 * @typedef {object} WatchedFrame
 * @property {number} frame Number of the frame, from 0; frames that were not processed in time are
 *   not counted.
 * @property {number} time Seconds since the first frame.
 * @property {number} width Width of the frame in pixels.
 * @property {number} height Height of the frame in pixels.
 * @property {FrameFace[]} faces The faces, from left to right.
 * @property {boolean} searched Whether faces were detected in this frame, or boxes carried on.
 * @property {number} detectionSide Long side of the picture in which faces are detected, in pixels.
 * @property {number} milliseconds Time to process the frame.
 * @property {number} framesPerSecond Frames a second, over the last second.
 */

/**
 * What is known about the model file.
 *
 * @typedef {object} Model
 * @property {string | null} name Name of the file without its suffix; null for an ArrayBuffer.
 * @property {string | null} digest SHA-256 of the file, hexadecimal; null where the browser computes
 *   none (a page over plain http).
 * @property {string[]} labels Names of the classes.
 * @property {number} size Side of the network's input in pixels.
 * @property {string} network Name of the network.
 * @property {string} precision Such as "int8".
 * @property {number} minConfidence Below this confidence the label is "uncertain".
 * @property {number} [otherThreshold] From this value of `other` on the label is "other".
 * @property {string[]} otherClasses Classes that `other` consists of.
 */

/**
 * The result of the self-test.
 *
 * @typedef {object} SelfTest
 * @property {{inputs: number, difference: number}} network Number of golden inputs, and the largest
 *   difference of a logit from the export's.
 * @property {{kind: string, difference: number}[]} pixels Largest difference of a gray pixel, of 255,
 *   from the training's, for each kind of picture.
 */

const DETECT_EVERY = 3; // frames of a video, of which one is searched
const RATE_SECONDS = 1; // over which the frame rate is averaged

/** A model file in a worker that passed its self-test in this browser. */
export class EmotionEdge {
  /** @type {Client} */
  #client;

  /**
   * Create it with `EmotionEdge.open`.
   *
   * @private
   * @param {Client} client
   * @param {Model} model
   * @param {SelfTest} selfTest
   */
  constructor(client, model, selfTest) {
    this.#client = client;
    /** What is known about the model file. */
    this.model = model;
    /** Names of the classes, in the order of the model. */
    this.labels = model.labels;
    /** The result of the self-test. */
    this.selfTest = selfTest;
  }

  /**
   * Load a model file, and run its self-test in this browser.
   *
   * @param {object} options
   * @param {string | URL | ArrayBuffer | Uint8Array} options.model Address or content of the model file.
   * @param {string | URL | ArrayBuffer | Uint8Array} [options.detector] Address or content of the face
   *   detector; detector/retinaface.onnx.gz beside this file by default. Loaded when it is first needed.
   * @param {string | URL} [options.runtime] Address of the folder with onnxruntime-web; ort/ beside
   *   this file by default.
   * @param {OnProgress} [options.onProgress]
   * @param {AbortSignal} [options.signal] Ends the loading.
   * @returns {Promise<EmotionEdge>}
   * @throws {Error} The browser lacks a feature, a file cannot be loaded, is damaged or has an unknown
   *   contract version, or the self-test fails; the message is one sentence for the user.
   */
  static async open({ model, detector, runtime, onProgress, signal }) {
    if (model === undefined) throw new TypeError("Give the address of the model file as model.");
    checkBrowser();
    signal?.throwIfAborted();
    let worker;
    try {
      worker = startWorker();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`This page is not allowed to start the worker of the network (${reason}).`);
    }
    const client = new Client(worker, onProgress);
    const stop = () => client.close(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const opened = await client.request("open", {
        model: toSource(model),
        detector: toSource(detector ?? new URL("./detector/retinaface.onnx.gz", import.meta.url)),
        runtime: toAddress(runtime ?? new URL("./ort/", import.meta.url)),
      });
      return new EmotionEdge(client, { name: getName(model), ...opened.model }, opened.selfTest);
    } catch (error) {
      client.close();
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /**
   * Classify a picture of one face, as `emotion-infer` does: its central square is the face.
   *
   * @param {Picture} picture
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<PicturePrediction>}
   * @throws {Error} The picture cannot be read; the message is one sentence for the user.
   */
  async classify(picture, { signal } = {}) {
    return this.#send("classify", picture, {}, signal);
  }

  /**
   * Find and classify the faces of a photograph, as `emotion-infer --faces` does.
   *
   * @param {Picture} picture
   * @param {object} [options]
   * @param {number} [options.threshold] Confidence threshold of the detector, 0 to 1; 0.6 by default.
   * @param {number} [options.minFace] Height in pixels of the smallest face to search for, at least
   *   12; by default 40, in large pictures more.
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<Faces>} The faces from left to right; empty where there is none.
   * @throws {Error} The picture or the detector cannot be read; the message is one sentence for the
   *   user.
   */
  async faces(picture, { threshold = 0.6, minFace, signal } = {}) {
    if (!(threshold >= 0 && threshold <= 1)) {
      throw new RangeError(`threshold must be from 0 to 1, not ${threshold}`);
    }
    if (minFace !== undefined && !(minFace >= 12 && minFace < Infinity)) {
      throw new RangeError(`minFace must be at least 12, not ${minFace}`);
    }
    const options = { threshold, minFace };
    const { faces, ...about } = await this.#send("faces", picture, options, signal);
    return Object.assign(faces, about);
  }

  /**
   * Follow the faces of a playing video or camera, frame by frame. Frames that come while one is
   * processed are left out. It ends with the video, by `break`, or when `signal` aborts.
   *
   * Faces are detected in one of `detectEvery` frames, in a picture reduced to 320 pixels (240 where
   * frames take over 80 ms); between them boxes move on at constant velocity.
   *
   * @param {HTMLVideoElement} video
   * @param {object} [options]
   * @param {number} [options.detectEvery] Detect faces in one frame of this many; 3 by default.
   * @param {number} [options.threshold] Confidence threshold of the detector, 0 to 1; 0.6 by default.
   * @param {AbortSignal} [options.signal]
   * @returns {AsyncGenerator<WatchedFrame, void, void>}
   * @throws {Error} The detector cannot be read; the message is one sentence for the user.
   */
  async *watch(video, { detectEvery = DETECT_EVERY, threshold = 0.6, signal } = {}) {
    if (!(Number.isInteger(detectEvery) && detectEvery >= 1)) {
      throw new RangeError(`detectEvery must be a whole number from 1, not ${detectEvery}`);
    }
    if (!(threshold >= 0 && threshold <= 1)) {
      throw new RangeError(`threshold must be from 0 to 1, not ${threshold}`);
    }
    const watch = await this.#client.request("startWatch", { detectEvery, threshold });
    /** @type {number[]} */
    const times = [];
    let started;
    try {
      while (await waitForFrame(video, signal)) {
        const bitmap = await createImageBitmap(video);
        const now = performance.now();
        started ??= now;
        const frame = await this.#client.request(
          "watchFrame",
          { watch, bitmap, time: (now - started) / 1000 },
          [bitmap],
        );
        if (signal?.aborted) return;
        times.push(performance.now());
        while (times[0] < now - 1000 * RATE_SECONDS) times.shift();
        const elapsed = times[times.length - 1] - times[0];
        yield { ...frame, framesPerSecond: elapsed ? (1000 * (times.length - 1)) / elapsed : 0 };
      }
    } finally {
      this.#client.request("stopWatch", { watch }).catch(() => {}); // it may be closed
    }
  }

  /** End the worker; what is not finished is rejected. */
  close() {
    this.#client.close();
  }

  /**
   * Pass a picture to the worker.
   *
   * @param {string} method
   * @param {Picture} picture
   * @param {object} options
   * @param {AbortSignal | undefined} signal
   */
  async #send(method, picture, options, signal) {
    signal?.throwIfAborted();
    if (picture instanceof Blob) {
      return this.#client.request(method, { blob: picture, ...options }, [], signal);
    }
    let bitmap;
    try {
      // Of an ImageBitmap too: a transferred one would be lost for the caller.
      bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none" });
    } catch (error) {
      if (error instanceof TypeError) {
        throw new TypeError("A picture is a Blob, an ImageBitmap, ImageData, a canvas or an image.");
      }
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`The picture cannot be read (${reason}).`);
    }
    signal?.throwIfAborted();
    return this.#client.request(method, { bitmap, ...options }, [bitmap], signal);
  }
}

/**
 * Return whether a picture of this size is probably a whole photograph, not the crop of a face, by
 * the rule of the hint of `emotion-infer`.
 *
 * @param {number} width
 * @param {number} height
 */
export function looksLikePhotograph(width, height) {
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  return short >= 384 || (short >= 128 && long > 1.25 * short);
}

/** Sends requests to the worker, and keeps a promise for each. */
class Client {
  /** @type {Map<number, {resolve: (result: any) => void, reject: (reason: unknown) => void}>} */
  #waiting = new Map();
  #lastId = 0;
  #worker;
  /** @type {unknown} Why no request is taken; undefined while it runs. */
  #stopped;

  /**
   * @param {Worker} worker
   * @param {OnProgress} [onProgress]
   */
  constructor(worker, onProgress) {
    this.#worker = worker;
    worker.onmessage = ({ data: { id, result, error, progress } }) => {
      if (progress) return onProgress?.(progress);
      const { resolve, reject } = this.#waiting.get(id) ?? {};
      this.#waiting.delete(id); // undefined: it was aborted
      if (error === undefined) resolve?.(result);
      else reject?.(new Error(error));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.close(
        new Error(
          "The network could not be started. Is the folder complete, is the page opened over http, and " +
            "does its Content-Security-Policy allow workers?",
        ),
      );
    };
  }

  /**
   * @param {string} method
   * @param {object} values
   * @param {Transferable[]} [transfer]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  request(method, values, transfer = [], signal) {
    if (this.#stopped !== undefined) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const abort = () => {
        this.#waiting.delete(id);
        this.#worker.postMessage({ id, method: "cancel" });
        reject(signal?.reason);
      };
      const end = () => signal?.removeEventListener("abort", abort);
      this.#waiting.set(id, {
        resolve: (result) => (end(), resolve(result)),
        reject: (reason) => (end(), reject(reason)),
      });
      signal?.addEventListener("abort", abort, { once: true });
      this.#worker.postMessage({ id, method, ...values }, transfer);
    });
  }

  /** @param {unknown} [reason] Rejects what is not finished. */
  close(reason = new Error("The network was closed.")) {
    if (this.#stopped !== undefined) return;
    this.#stopped = reason;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }
}

/** Refuse a browser that lacks a feature, with one sentence. */
function checkBrowser() {
  if (typeof WebAssembly === "undefined") {
    throw new Error("This browser has no WebAssembly, which the network needs. Try another browser.");
  }
  if (typeof OffscreenCanvas === "undefined") {
    throw new Error(
      "This browser has no OffscreenCanvas, which is needed to read pictures. Update the browser.",
    );
  }
}

function startWorker() {
  const address = new URL("./worker.js", import.meta.url);
  if (address.origin === location.origin) {
    // In this form, bundlers find the file of the worker.
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  }
  // A worker must come from the origin of the page, but may import from elsewhere.
  const script = new Blob([`import ${JSON.stringify(address.href)};`], { type: "text/javascript" });
  const url = URL.createObjectURL(script);
  const worker = new Worker(url, { type: "module" });
  worker.addEventListener("message", () => URL.revokeObjectURL(url), { once: true });
  return worker;
}

/** @param {string | URL} address */
const toAddress = (address) => new URL(address, location.href).href;

/** @param {string | URL | ArrayBuffer | Uint8Array} source */
const toSource = (source) =>
  source instanceof ArrayBuffer || ArrayBuffer.isView(source) ? source : toAddress(source);

/**
 * Return the name of a file without its suffix; null for its content.
 *
 * @param {string | URL | ArrayBuffer | Uint8Array} source
 */
function getName(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return null;
  const path = new URL(source, location.href).pathname;
  return decodeURIComponent(path.slice(path.lastIndexOf("/") + 1)).replace(/\.onnx(\.gz)?$/, "");
}

/**
 * Wait for the next frame of a video.
 *
 * @param {HTMLVideoElement} video
 * @param {AbortSignal} [signal]
 * @returns {Promise<boolean>} Whether there is one; false at the end of the video.
 */
function waitForFrame(video, signal) {
  if (signal?.aborted || video.ended) return Promise.resolve(false);
  return new Promise((resolve) => {
    /** @type {number} */
    let handle;
    const time = video.currentTime;
    const hasCallback = "requestVideoFrameCallback" in video;
    /** @param {boolean} hasFrame */
    const finish = (hasFrame) => {
      if (hasCallback) video.cancelVideoFrameCallback(handle);
      else cancelAnimationFrame(handle);
      for (const name of ["ended", "emptied"]) video.removeEventListener(name, end);
      signal?.removeEventListener("abort", end);
      resolve(hasFrame);
    };
    const end = () => finish(false);
    const poll = () => {
      const isNew = video.readyState >= 2 && video.currentTime !== time;
      if (isNew) finish(true);
      else handle = requestAnimationFrame(poll);
    };
    for (const name of ["ended", "emptied"]) video.addEventListener(name, end);
    signal?.addEventListener("abort", end);
    handle = hasCallback
      ? video.requestVideoFrameCallback(() => finish(true))
      : requestAnimationFrame(poll);
  });
}
