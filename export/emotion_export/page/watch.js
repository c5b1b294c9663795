// @ts-check
// Follows the faces of a video or camera, frame by frame, as emotion_runtime/video/prediction.py does.
// For speed, faces are detected in a reduced picture, and it is not turned.

import { clipBox, cropGrayFace, findCropArea, RELIABLE_FACE_PIXELS } from "./finder.js";
import { Picture } from "./pixels.js";
import { predictBox, Tracker } from "./tracker.js";

/** @typedef {import("./detector.js").Box} Box */
/** @typedef {{detected: Box, box: Box, confidence: number | null, pixels: Uint8Array}} Face */

const LARGE_VIEW_PIXELS = 320; // long side of the picture in which faces are detected
const SMALL_VIEW_PIXELS = 240; // where frames take long
const SLOW_MILLISECONDS = 80; // of a frame, from which on the small one is used
const FAST_MILLISECONDS = 30; // of a frame, up to which the large one is used again
const FRAMES_TIMED = 3; // the median of so many decides

export class Watch {
  /**
   * @param {import("./network.js").Network} network
   * @param {import("./detector.js").Detector} detector
   * @param {{detectEvery: number, threshold: number}} options
   */
  constructor(network, detector, { detectEvery, threshold }) {
    this._network = network;
    this._detector = detector;
    this._detectEvery = detectEvery;
    this._threshold = threshold;
    this._tracker = new Tracker();
    this._frames = 0;
    this._side = LARGE_VIEW_PIXELS;
    /** @type {number[]} Milliseconds of the last frames that were searched. */
    this._times = [];
  }

  /**
   * Process a frame.
   *
   * @param {ImageBitmap} bitmap
   * @param {number} time Time of the frame in seconds; increases from call to call.
   */
  async process(bitmap, time) {
    const started = performance.now();
    const frame = this._frames++;
    const searched = frame % this._detectEvery === 0;
    const picture = Picture.fromBitmap(bitmap);
    const side = this._side;
    const { faces, tracks } = await (searched
      ? this._search(picture, time)
      : this._follow(picture, time));
    const milliseconds = performance.now() - started;
    if (searched) this._choose(milliseconds);
    const predictions = faces.map(({ box, confidence, pixels }, index) => ({
      ...this._network.interpret(Float32Array.from(tracks[index].values)),
      box: [box.x, box.y, box.width, box.height],
      detection_confidence: confidence,
      warning: box.height < RELIABLE_FACE_PIXELS ? "small face" : null,
      face: tracks[index].number,
      pixels,
    }));
    const { width, height } = picture;
    return { frame, time, width, height, faces: predictions, searched, detectionSide: side, milliseconds };
  }

  /**
   * Detect the faces of a frame.
   *
   * @param {Picture} picture
   * @param {number} time
   */
  async _search(picture, time) {
    const view = picture.readReduced(this._side);
    const [xScale, yScale] = [picture.width / view.width, picture.height / view.height];
    const detections = await this._detector.detect(view, this._threshold);
    /** @type {Face[]} */
    const faces = [];
    for (const { box, confidence } of detections) {
      const detected = {
        x: box.x * xScale,
        y: box.y * yScale,
        width: box.width * xScale,
        height: box.height * yScale,
      };
      const face = this._crop(picture, detected, confidence);
      if (face) faces.push(face);
    }
    faces.sort((one, two) => one.detected.x - two.detected.x);
    const values = await this._network.compute(faces.map((face) => face.pixels));
    const boxes = faces.map((face) => face.detected);
    return { faces, tracks: this._tracker.update(time, boxes, values) };
  }

  /**
   * Carry the boxes of the last frame on.
   *
   * @param {Picture} picture
   * @param {number} time
   */
  async _follow(picture, time) {
    const faces = [];
    const tracks = [];
    for (const track of this._tracker.current) {
      const face = this._crop(picture, predictBox(track, time), null);
      if (face === null) continue; // it left the picture
      faces.push(face);
      tracks.push(track);
    }
    const values = await this._network.compute(faces.map((face) => face.pixels));
    this._tracker.follow(time, tracks, values);
    return { faces, tracks };
  }

  /**
   * Crop a face; null where its box lies outside of the frame.
   *
   * @param {Picture} picture
   * @param {Box} detected
   * @param {number | null} confidence
   * @returns {Face | null}
   */
  _crop(picture, detected, confidence) {
    const box = clipBox(detected, picture);
    if (box === null) return null;
    const area = findCropArea(picture, detected);
    const gray = picture.readGrayPart(area);
    const moved = { ...detected, x: detected.x - area.x, y: detected.y - area.y };
    return { detected, box, confidence, pixels: cropGrayFace(gray, moved, this._network.contract.size) };
  }

  /**
   * Choose the size of the picture in which faces are detected, by the time of the last frames.
   *
   * @param {number} milliseconds
   */
  _choose(milliseconds) {
    this._times = [...this._times, milliseconds].slice(-FRAMES_TIMED);
    if (this._times.length < FRAMES_TIMED) return;
    const median = [...this._times].sort((one, two) => one - two)[FRAMES_TIMED >> 1];
    if (median > SLOW_MILLISECONDS) this._side = SMALL_VIEW_PIXELS;
    if (median < FAST_MILLISECONDS) this._side = LARGE_VIEW_PIXELS;
  }
}
