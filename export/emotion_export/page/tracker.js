// @ts-check
// Follows faces from frame to frame, and averages the probabilities of each, as
// emotion_runtime/video/tracking.py does.

import { computeIou } from "./detector.js";

/** @typedef {import("./detector.js").Box} Box */

/**
 * One face over time.
 *
 * @typedef {object} Track
 * @property {number} number Number of the face, from 1; never used twice.
 * @property {Box} box Last bounding box.
 * @property {number} seen Time of that box, in seconds.
 * @property {number} found Time of the last detection, in seconds; later boxes are predicted.
 * @property {number[]} values Averaged probabilities; with one more for `other` in files that have it.
 * @property {{x: number, y: number}} velocity Of the box's centre, in pixels a second.
 */

const MIN_IOU = 0.3; // intersection over union of the boxes of one face in two frames
const MEMORY_SECONDS = 0.5; // after which a face that is not detected is forgotten
const SMOOTHING_SECONDS = 0.3; // after this time, a new expression has 63 % of the weight

export class Tracker {
  constructor() {
    /** @type {Track[]} */
    this.tracks = [];
    /** @type {Track[]} The tracks of the faces in the last frame. */
    this.current = [];
    this.count = 0; // faces so far
  }

  /**
   * Match the faces of a frame with the tracks, and update these.
   *
   * @param {number} time Time of the frame in seconds; increases from call to call.
   * @param {Box[]} boxes Boxes of the detected faces.
   * @param {ArrayLike<number>[]} values Probabilities of each face.
   * @returns {Track[]} The updated track of each face.
   */
  update(time, boxes, values) {
    this.tracks = this.tracks.filter((track) => time - track.seen <= MEMORY_SECONDS);
    const pairs = boxes.flatMap((box, face) =>
      this.tracks.map((track) => ({
        iou: Math.max(computeIou(track.box, box), computeIou(predictBox(track, time), box)),
        face,
        track,
      })),
    );
    pairs.sort((one, two) => two.iou - one.iou); // the best pair first
    /** @type {Map<number, Track>} */
    const matches = new Map();
    const used = new Set();
    for (const { iou, face, track } of pairs) {
      if (iou < MIN_IOU || matches.has(face) || used.has(track)) continue;
      matches.set(face, track);
      used.add(track);
    }
    this.current = boxes.map((box, face) => {
      const track = matches.get(face);
      if (track === undefined) return this._add(time, box, values[face]);
      average(track, time, values[face]);
      move(track, time, box);
      return track;
    });
    return this.current;
  }

  /**
   * Update tracks in a frame that was not searched, with their predicted boxes.
   *
   * @param {number} time Time of the frame in seconds.
   * @param {Track[]} tracks Tracks of `current`; the others are no longer followed.
   * @param {ArrayLike<number>[]} values Probabilities at the predicted boxes.
   */
  follow(time, tracks, values) {
    tracks.forEach((track, index) => {
      average(track, time, values[index]);
      track.box = predictBox(track, time);
      track.seen = time;
    });
    this.current = tracks;
  }

  /**
   * @param {number} time
   * @param {Box} box
   * @param {ArrayLike<number>} values
   * @returns {Track}
   */
  _add(time, box, values) {
    const track = {
      number: ++this.count,
      box,
      seen: time,
      found: time,
      values: Array.from(values),
      velocity: { x: 0, y: 0 },
    };
    this.tracks.push(track);
    return track;
  }
}

/**
 * Return the box of a track at a time, in seconds, predicted with constant velocity.
 *
 * @param {Track} track
 * @param {number} time
 * @returns {Box}
 */
export function predictBox({ box, velocity, seen }, time) {
  const elapsed = time - seen;
  return { ...box, x: box.x + velocity.x * elapsed, y: box.y + velocity.y * elapsed };
}

/**
 * Update the averaged probabilities of a track.
 *
 * @param {Track} track
 * @param {number} time
 * @param {ArrayLike<number>} values
 */
function average(track, time, values) {
  const weight = 1 - Math.exp(-(time - track.seen) / SMOOTHING_SECONDS);
  track.values = track.values.map((value, index) => value + weight * (values[index] - value));
}

/**
 * Update a track with a detected box, and estimate the velocity of its centre.
 *
 * @param {Track} track
 * @param {number} time
 * @param {Box} box
 */
function move(track, time, box) {
  const elapsed = time - track.found;
  const expected = predictBox(track, time);
  if (elapsed > 0) {
    // Half of the error of the predicted velocity, since detected boxes are noisy.
    track.velocity = {
      x: track.velocity.x + (box.x + box.width / 2 - expected.x - expected.width / 2) / elapsed / 2,
      y: track.velocity.y + (box.y + box.height / 2 - expected.y - expected.height / 2) / elapsed / 2,
    };
  }
  track.box = box;
  track.seen = track.found = time;
}
