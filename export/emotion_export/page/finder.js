// @ts-check
// Finds the faces of photographs and crops them, as emotion_runtime/faces/finder.py, tiling.py,
// turning.py and cropping.py do.

import { suppressOverlaps, UPRIGHT_CONFIDENCE } from "./detector.js";
import { toGray } from "./colours.js";
import { orient } from "./orientation.js";
import { BILINEAR, BOX, resize } from "./resample.js";

/** @typedef {import("./detector.js").Box} Box */
/** @typedef {import("./detector.js").Detection} Detection */
/** @typedef {import("./resample.js").Raster} Raster */
/** @typedef {{width: number, height: number}} Size In pixels. */
/** @typedef {(view: Raster, threshold: number) => Promise<Detection[]>} Detect */

/**
 * @typedef {object} Face
 * @property {Box} box Bounding box in whole pixels of the upright picture, clipped to it.
 * @property {Box} detected Box of the detector; it may extend beyond the edges.
 * @property {number} confidence Confidence of the detector, 0 to 1.
 * @property {Uint8Array} pixels Input of the network.
 * @property {boolean} small Whether it is less than 24 pixels high in the decoded picture.
 */

export const DETECTION_THRESHOLD = 0.6;
const DEFAULT_MIN_FACE_PIXELS = 40; // height, in pictures of up to 1,280 × 800 pixels
export const RELIABLE_FACE_PIXELS = 24; // in height; labels of smaller faces are wrong more often
// Side of the cropped square over the geometric mean of the box's sides.
const FRAMING = 1.13;

// A view is a picture as it is passed to the detector. Lengths are of the long side, in pixels.
const SINGLE_VIEW_PIXELS = 640; // up to here one view shows small and large faces
const OVERVIEW_PIXELS = 192; // the last of several views: shows faces too large in the others
const TURNED_VIEW_PIXELS = 480; // the view of a turned picture
const MIN_VIEW_PIXELS = 160; // smaller pictures are enlarged to this
const ENLARGED_PIXELS = 576; // smaller pictures are enlarged to this, up to `MAX_ENLARGEMENT`
const MAX_ENLARGEMENT = 3;
const RELIABLE_HEIGHT_PIXELS = 28; // height of a face in a view
const MAX_ASPECT_RATIO = 1.6; // long side over short side; longer pictures count as panoramas
const SIZE_TOLERANCE = 0.05; // relative difference of sizes up to which a picture is not resized
const REDUCING_GAP = 1.01;
const MIN_BOX_FACTOR = 1.5; // reduction from which on the average of whole pixels is enough
const MIN_TURNED_CONFIDENCE = 0.8;
const TILE_PIXELS = 2048; // side of a square that is searched at once
const MAX_FACE_PIXELS = 400; // side of a face in one view; of larger ones, parts are detected
const MARGIN_PIXELS = MAX_FACE_PIXELS / 2 - MAX_FACE_PIXELS / 20; // of a tile

const TURNS = /** @type {const} */ ([90, 270, 180]); // degrees, anticlockwise
/** @typedef {0 | 90 | 180 | 270} Turn */

/**
 * Find the faces of a picture, from left to right.
 *
 * @param {Raster} image The upright RGB picture, perhaps decoded at reduced scale.
 * @param {Size} fullSize Upright size of the picture in its file.
 * @param {number} size Side of the crops in pixels.
 * @param {Detect} detect
 * @param {{threshold?: number, minFace?: number}} [options]
 * @returns {Promise<{faces: Face[], turn: Turn, smallestFace: number}>} The faces; the turn after which
 *   they were found; the height in pixels of the smallest face that was searched for.
 */
export async function findFaces(image, fullSize, size, detect, options = {}) {
  const search = new Search(detect, options.threshold ?? DETECTION_THRESHOLD, options.minFace);
  const { detections, turn } = await search.detectTurned(image, fullSize);
  const searched = turnRaster(image, turn);
  const [xScale, yScale] = [fullSize.width / image.width, fullSize.height / image.height];
  const faces = [];
  for (const { box: detected, confidence } of detections) {
    const box = scaleBox(turnBoxBack(detected, turn, image), xScale, yScale);
    const clipped = clipBox(box, fullSize);
    if (clipped === null) continue; // it touched the edge in the reduced picture
    const pixels = cropFace(searched, detected, size);
    const small = detected.height < RELIABLE_FACE_PIXELS;
    faces.push({ box: clipped, detected: box, confidence, pixels, small });
  }
  faces.sort((one, two) => one.detected.x - two.detected.x);
  const smallestFace = Math.ceil(computeMinFace(fullSize, options.minFace));
  return { faces, turn: faces.length > 0 ? turn : 0, smallestFace };
}

/**
 * Return the least scale at which a picture may be decoded for the search.
 *
 * @param {Size} fullSize
 * @param {number} [minFace]
 */
export function computeDecodingScale(fullSize, minFace) {
  return chooseScales(fullSize, minFace)[0] * (1 - SIZE_TOLERANCE);
}

/** A search for faces with its settings. */
class Search {
  /**
   * @param {Detect} detect
   * @param {number} threshold
   * @param {number} [minFace]
   */
  constructor(detect, threshold, minFace) {
    this.detect = detect;
    this.threshold = threshold;
    this.minFace = minFace;
  }

  /**
   * Detect faces, if necessary in the turned picture.
   *
   * @param {Raster} image
   * @param {Size} fullSize
   * @returns {Promise<{detections: Detection[], turn: Turn}>} In pixels of the turned picture.
   */
  async detectTurned(image, fullSize) {
    const detections = await this.detectAtScales(image, fullSize, chooseScales(fullSize, this.minFace));
    const confidence = findMaxConfidence(detections);
    if (confidence > UPRIGHT_CONFIDENCE) return { detections, turn: 0 };
    const turn = await this.findBestTurn(image, confidence);
    if (turn === 0) return { detections, turn };
    const size = turnSize(fullSize, turn);
    const scales = chooseScales(size, this.minFace);
    const turned = await this.detectAtScales(turnRaster(image, turn), size, scales);
    return findMaxConfidence(turned) > confidence
      ? { detections: turned, turn }
      : { detections, turn: 0 };
  }

  /**
   * Return the turn with the most confident face in a small view; 0 where none shows a better one.
   *
   * @param {Raster} image
   * @param {number} confidence The face must have more confidence than this.
   * @returns {Promise<Turn>}
   */
  async findBestTurn(image, confidence) {
    const scale = Math.min(1, TURNED_VIEW_PIXELS / Math.max(image.width, image.height));
    const size = scaleSize(image, scale);
    const view = resizeView(image, size);
    /** @type {Turn} */
    let best = 0;
    let highest = Math.max(MIN_TURNED_CONFIDENCE, this.threshold, confidence);
    for (const turn of TURNS) {
      const turned = turnRaster(view, turn);
      const found = findMaxConfidence(await this.detectAtScales(turned, turned, [1]));
      if (found > highest) [best, highest] = [turn, found];
    }
    return best;
  }

  /**
   * Detect the faces of `image` in views at each of the scales of its full size.
   *
   * @param {Raster} image
   * @param {Size} fullSize
   * @param {number[]} scales
   * @returns {Promise<Detection[]>} In pixels of `image`.
   */
  async detectAtScales(image, fullSize, scales) {
    const detections = [];
    let source = image;
    for (const scale of scales) {
      let size = scaleSize(fullSize, scale);
      if (isNearSize(source, size)) {
        size = { width: source.width, height: source.height };
      } else if (cutTiles(size).length === 1) {
        source = resizeView(source, size); // the next view, which is smaller, is made of this one
      }
      const [xScale, yScale] = [image.width / size.width, image.height / size.height];
      for (const { box, confidence } of await this.detectInTiles(source, size)) {
        if (confidence < this.threshold) continue;
        // The next view shows the whole face.
        if (scale !== scales[scales.length - 1] && box.height > MAX_FACE_PIXELS) continue;
        if (clipBox(box, size) === null) continue;
        detections.push({ box: scaleBox(box, xScale, yScale), confidence });
      }
    }
    return suppressOverlaps(detections);
  }

  /**
   * Detect the faces of `image` resized to `size`, tile by tile where that is large.
   *
   * @param {Raster} image
   * @param {Size} size
   * @returns {Promise<Detection[]>} In pixels of `size`.
   */
  async detectInTiles(image, size) {
    const [xScale, yScale] = [image.width / size.width, image.height / size.height];
    const found = [];
    for (const { left, top, right, bottom } of cutTiles(size)) {
      /** @type {[number, number, number, number]} */
      const edges = [
        left * xScale,
        top * yScale,
        Math.min(right * xScale, image.width),
        Math.min(bottom * yScale, image.height),
      ];
      const view = resize(image, right - left, bottom - top, BILINEAR, edges, REDUCING_GAP);
      for (const { box, confidence } of await this.detect(view, this.threshold)) {
        const [x, y] = [left + box.x + box.width / 2, top + box.y + box.height / 2];
        // Near an inner edge of a tile a face may be cut off; the neighbour shows it whole.
        if (
          (left === 0 || x >= left + MARGIN_PIXELS) &&
          (top === 0 || y >= top + MARGIN_PIXELS) &&
          (right === size.width || x <= right - MARGIN_PIXELS) &&
          (bottom === size.height || y <= bottom - MARGIN_PIXELS)
        ) {
          found.push({ box: { ...box, x: left + box.x, y: top + box.y }, confidence });
        }
      }
    }
    return found;
  }
}

/**
 * Return the scales of the views of a picture, largest first.
 *
 * @param {Size} size
 * @param {number} [minFace]
 */
function chooseScales({ width, height }, minFace) {
  const [long, short] = [Math.max(width, height), Math.min(width, height)];
  const side = computeEffectiveSide({ width, height });
  const first = RELIABLE_HEIGHT_PIXELS / computeMinFace({ width, height }, minFace);
  if (first * side <= SINGLE_VIEW_PIXELS) {
    let fitted = SINGLE_VIEW_PIXELS / side;
    if (side <= SINGLE_VIEW_PIXELS) fitted = Math.max(1, ENLARGED_PIXELS / side);
    return [Math.max(Math.min(MAX_ENLARGEMENT, fitted), MIN_VIEW_PIXELS / long, first)];
  }
  const scales = [first];
  let last = first;
  // Faces that are too large for one view are at least 50 pixels high in the next.
  while (last * side > SINGLE_VIEW_PIXELS && last * short > MAX_FACE_PIXELS) {
    last = Math.max(OVERVIEW_PIXELS / side, last / 8);
    scales.push(last);
  }
  return scales;
}

/**
 * Return the height of the smallest face to search for, in pixels.
 *
 * @param {Size} size
 * @param {number} [minFace]
 */
const computeMinFace = (size, minFace) =>
  minFace ?? Math.max(DEFAULT_MIN_FACE_PIXELS, computeEffectiveSide(size) / 32);

/**
 * Return the long side that decides about the views of a picture: of a panorama, that of a part with
 * a photograph's shape.
 *
 * @param {Size} size
 */
const computeEffectiveSide = ({ width, height }) =>
  Math.min(Math.max(width, height), MAX_ASPECT_RATIO * Math.min(width, height));

/**
 * Return the overlapping tiles of a view.
 *
 * @param {Size} size
 */
function cutTiles({ width, height }) {
  // Tiles of a long and narrow picture may be longer: they have no more pixels than a square.
  const area = TILE_PIXELS * TILE_PIXELS;
  const rows = cutSpans(height, Math.floor(area / Math.min(width, TILE_PIXELS)));
  const columns = cutSpans(width, Math.floor(area / Math.min(height, TILE_PIXELS)));
  return rows.flatMap(([top, bottom]) =>
    columns.map(([left, right]) => ({ left, top, right, bottom })),
  );
}

/**
 * Return start and end of equal spans that cover a length and overlap each other.
 *
 * @param {number} length
 * @param {number} maxSpan
 */
function cutSpans(length, maxSpan) {
  if (length <= maxSpan) return [[0, length]];
  const count = Math.ceil((length - MAX_FACE_PIXELS) / (maxSpan - MAX_FACE_PIXELS));
  const span = Math.ceil((length + (count - 1) * MAX_FACE_PIXELS) / count);
  return Array.from({ length: count }, (_, index) => {
    const start = roundHalfEven((index * (length - span)) / (count - 1));
    return [start, start + span];
  });
}

/**
 * Resize a picture for a view.
 *
 * @param {Raster} image
 * @param {Size} size
 */
function resizeView(image, { width, height }) {
  const shrinks = image.width > MIN_BOX_FACTOR * width && image.height > MIN_BOX_FACTOR * height;
  return resize(image, width, height, shrinks ? BOX : BILINEAR, undefined, REDUCING_GAP);
}

/**
 * Return the whole pixels of a picture at a scale, at least one.
 *
 * @param {Size} size
 * @param {number} scale
 */
const scaleSize = ({ width, height }, scale) => ({
  width: Math.max(1, roundHalfEven(width * scale)),
  height: Math.max(1, roundHalfEven(height * scale)),
});

/**
 * Return whether a picture of this size can stay as it is.
 *
 * @param {Size} size
 * @param {Size} wanted
 */
const isNearSize = (size, wanted) =>
  Math.abs(size.width / wanted.width - 1) <= SIZE_TOLERANCE &&
  Math.abs(size.height / wanted.height - 1) <= SIZE_TOLERANCE;

/**
 * Return a box in pixels of another size.
 *
 * @param {Box} box
 * @param {number} x
 * @param {number} y
 */
const scaleBox = (box, x, y) => ({
  x: box.x * x,
  y: box.y * y,
  width: box.width * x,
  height: box.height * y,
});

/** @param {Detection[]} detections */
const findMaxConfidence = (detections) => Math.max(0, ...detections.map((one) => one.confidence));

/**
 * Clip a box to a picture, and round it to whole pixels; null where it lies outside.
 *
 * @param {Box} box
 * @param {Size} size
 * @returns {Box | null}
 */
export function clipBox(box, { width, height }) {
  if (box.x >= width || box.y >= height || box.x + box.width <= 0 || box.y + box.height <= 0) {
    return null;
  }
  const [x, y] = [roundHalfEven(box.x), roundHalfEven(box.y)];
  const left = Math.min(Math.max(0, x), width - 1);
  const top = Math.min(Math.max(0, y), height - 1);
  const right = Math.min(Math.max(left + 1, x + roundHalfEven(box.width)), width);
  const bottom = Math.min(Math.max(top + 1, y + roundHalfEven(box.height)), height);
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/**
 * Return the pixels around a face that `cropFace` reads: whole pixels within a picture.
 *
 * @param {Size} size
 * @param {Box} box
 * @returns {Box}
 */
export function findCropArea(size, box) {
  const { side, left, top } = computeSquare(box);
  const x = Math.min(Math.max(0, Math.floor(left) - 1), size.width - 1);
  const y = Math.min(Math.max(0, Math.floor(top) - 1), size.height - 1);
  const right = Math.min(Math.max(x + 1, Math.ceil(left + side) + 1), size.width);
  const bottom = Math.min(Math.max(y + 1, Math.ceil(top + side) + 1), size.height);
  return { x, y, width: right - x, height: bottom - y };
}

/**
 * Crop the face of an RGB picture.
 *
 * @param {Raster} image RGB.
 * @param {Box} box
 * @param {number} size Side of the result in pixels.
 * @returns {Uint8Array} Gray.
 */
function cropFace(image, box, size) {
  const area = findCropArea(image, box);
  const rgb = new Uint8Array(area.width * area.height * 3);
  for (let row = 0; row < area.height; row++) {
    const from = ((area.y + row) * image.width + area.x) * 3;
    rgb.set(image.data.subarray(from, from + area.width * 3), row * area.width * 3);
  }
  const gray = { data: toGray(rgb, 3), width: area.width, height: area.height, channels: 1 };
  return cropGrayFace(gray, { ...box, x: box.x - area.x, y: box.y - area.y }, size);
}

/**
 * Cut the square around a face out of gray pixels, and resize it. Beyond the edges of the picture,
 * the edge pixels are repeated.
 *
 * @param {Raster} gray
 * @param {Box} box
 * @param {number} size Side of the result in pixels.
 * @returns {Uint8Array}
 */
export function cropGrayFace(gray, box, size) {
  const { side, left, top } = computeSquare(box);
  const [x, y] = [Math.floor(left), Math.floor(top)];
  const [width, height] = [Math.ceil(left + side) - x, Math.ceil(top + side) - y];
  const data = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const from = Math.min(Math.max(0, y + row), gray.height - 1) * gray.width;
    for (let column = 0; column < width; column++) {
      data[row * width + column] = gray.data[from + Math.min(Math.max(0, x + column), gray.width - 1)];
    }
  }
  // Bounded: the last digit of a floating-point sum may lie beyond the last pixel.
  const right = Math.min(left - x + side, width);
  const bottom = Math.min(top - y + side, height);
  const square = { data, width, height, channels: 1 };
  const { data: pixels } = resize(square, size, size, BILINEAR, [left - x, top - y, right, bottom]);
  return new Uint8Array(pixels);
}

/** @param {Box} box */
function computeSquare(box) {
  const side = Math.max(1, FRAMING * Math.sqrt(box.width * box.height));
  return { side, left: box.x + (box.width - side) / 2, top: box.y + (box.height - side) / 2 };
}

/**
 * Return the size of a picture after a turn.
 *
 * @param {Size} size
 * @param {Turn} turn
 */
const turnSize = ({ width, height }, turn) =>
  turn % 180 === 0 ? { width, height } : { width: height, height: width };

/**
 * Return a box of a turned picture in pixels of the picture before the turn.
 *
 * @param {Box} box
 * @param {Turn} turn
 * @param {Size} size Of the picture before the turn.
 * @returns {Box}
 */
function turnBoxBack({ x, y, width: across, height: down }, turn, { width, height }) {
  if (turn === 90) return { x: width - y - down, y: x, width: down, height: across };
  if (turn === 270) return { x: y, y: height - x - across, width: down, height: across };
  if (turn === 180) return { x: width - x - across, y: height - y - down, width: across, height: down };
  return { x, y, width: across, height: down };
}

/**
 * Turn a picture anticlockwise.
 *
 * @param {Raster} image
 * @param {Turn} turn
 * @returns {Raster}
 */
const turnRaster = (image, turn) => orient(image, { 0: 1, 90: 8, 180: 3, 270: 6 }[turn]);

/**
 * Round to the nearest whole number, halves to the even one, as Python does.
 *
 * @param {number} value
 */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest > 0.5 ? floor + 1 : floor;
  return floor % 2 === 0 ? floor : floor + 1;
}
