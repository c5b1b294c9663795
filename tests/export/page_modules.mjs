// Runs modules of the page in Node.js: node page_modules.mjs FOLDER < REQUEST.json
// The request has one of the lists resize, detections and tracking; the reply goes to stdout.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(join(process.argv[2], name)));
const { BILINEAR, BOX, reduce, resize } = await load("resample.js");
const { decodeDetections } = await load("detector.js");
const { Tracker } = await load("tracker.js");
const { looksLikePhotograph } = await load("emotion-edge.js");

const decode = (text) => Uint8Array.from(Buffer.from(text, "base64"));
const encode = (bytes) => Buffer.from(bytes).toString("base64");
const floats = (text) => new Float32Array(decode(text).buffer);

const request = JSON.parse(readFileSync(0, "utf8"));
const reply = {
  resize: request.resize?.map(({ data, width, height, channels, size, filter, box, gap, factor }) => {
    const source = { data: decode(data), width, height, channels };
    if (factor) return encode(reduce(source, ...factor).data);
    const chosen = { BILINEAR, BOX }[filter];
    return encode(resize(source, ...size, chosen, box, gap ?? undefined).data);
  }),
  detections: request.detections?.map(({ loc, conf, width, height, threshold }) =>
    decodeDetections(floats(loc), floats(conf), width, height, threshold),
  ),
  tracking: request.tracking?.map((frames) => {
    const tracker = new Tracker();
    return frames.map(({ time, boxes, values, searched }) => {
      if (searched) tracker.update(time, boxes, values);
      else tracker.follow(time, tracker.current, values);
      return tracker.current.map(({ number, box, values: averages }) => ({ number, box, averages }));
    });
  }),
  photographs: request.photographs?.map(([width, height]) => looksLikePhotograph(width, height)),
};
process.stdout.write(JSON.stringify(reply));
