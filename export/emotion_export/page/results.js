// The list of results: a queue of pictures, the newest result first, counts, and a filter.

import { looksLikePhotograph } from "./emotion-edge.js";
import { findWebpOrientation, turnsWebp } from "./orientation.js";
import { formatCsv } from "./table.js";

const UNSURE = "unsure"; // shown for the label "uncertain"
const NO_FACE = "no face";
const UNREADABLE = "unreadable";
// The list is renewed so often, and with so many rows at once: each renewal lays out the page.
const RENEWAL_MILLISECONDS = 250;
const ROWS_AT_ONCE = 25;
const SECONDS_UNTIL_LEFT = 2; // before the time left is estimated

const byId = (id) => document.getElementById(id);

/** Create an element. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const formatPercent = (share) => `${(100 * share).toFixed(1)} %`;

/** Return the colour of a label, as a class of style.css; those without one are gray. */
export const getColour = (labels, label) => {
  const index = labels.indexOf(label);
  return index < 0 ? "colour-none" : `colour-${index % 7}`;
};

/** Return the words for a result, and whether they are a label of the model. */
export function describe({ label, confidence, probabilities }, labels) {
  if (label === "other") return { text: "none of the labels", share: confidence, isNamed: false };
  if (label === "uncertain") {
    const best = labels.reduce((a, b) => (probabilities[b] > probabilities[a] ? b : a));
    return { text: `${UNSURE}, most likely ${best}`, share: confidence, isNamed: false };
  }
  return { text: label, share: confidence, isNamed: true };
}

/** Return the probabilities as a list of bars. */
export function makeBars({ probabilities, other }, labels) {
  const list = make("dl", { className: "bars" });
  const rows = labels.map((label) => [label, probabilities[label]]);
  if (other !== undefined) rows.push(["other", other]);
  for (const [label, share] of rows) {
    const bar = make("span", { className: `bar ${getColour(labels, label)}` });
    bar.style.setProperty("--share", share);
    bar.setAttribute("aria-hidden", "true");
    list.append(make("dt", { textContent: label }), make("dd", {}, bar, formatPercent(share)));
  }
  return list;
}

export class Results {
  /** @param {() => void} onFaces Called when the detector has been used. */
  constructor(onFaces) {
    this._onFaces = onFaces;
    this._entries = []; // {name, blob, item, faces, error, isExample, outcomes}, the oldest first
    this._waiting = [];
    this._finished = []; // not in the list yet
    this._isRunning = false;
    this._filter = undefined;
    this._stop = new AbortController();
    this._list = byId("list");
    byId("save").onclick = () => this.save();
    byId("clear").onclick = () => this.clear();
  }

  /** Start to classify pictures with an open model. */
  open(edge) {
    this._edge = edge;
    this._started = performance.now();
    this._run();
  }

  /**
   * Add pictures.
   *
   * @param {{name: string, blob?: Blob, error?: string, isExample?: boolean}[]} pictures
   */
  add(pictures) {
    if (pictures.length === 0) return;
    if (!pictures[0].isExample) this._removeExample();
    if (!this._isRunning && this._waiting.length + this._finished.length === 0) this._startBatch();
    for (const picture of pictures) {
      this._entries.push(picture);
      this._waiting.push(picture);
    }
    this._total += pictures.length;
    this._show();
    this._run();
  }

  /** Remove everything, and cancel what runs. */
  clear() {
    this._stop.abort();
    this._stop = new AbortController();
    for (const entry of this._entries) entry.release?.();
    this._entries = [];
    this._waiting = [];
    this._finished = [];
    this._filter = undefined;
    this._list.replaceChildren();
    this._startBatch();
    this._showNow();
    byId("results").hidden = true;
  }

  /** Save the list as CSV. Pictures that are not finished are marked. */
  save() {
    const entries = this._entries.filter(({ isExample }) => !isExample);
    const csv = formatCsv(entries.length ? entries : this._entries, this._edge.model);
    const link = make("a", { href: URL.createObjectURL(new Blob([csv], { type: "text/csv" })) });
    link.download = "expressions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may show a dialog first
  }

  get isEmpty() {
    return this._entries.every(({ isExample }) => isExample);
  }

  _startBatch() {
    this._total = 0;
    this._done = 0;
    this._started = performance.now();
  }

  _removeExample() {
    const example = this._entries.find(({ isExample }) => isExample);
    if (!example) return;
    if (!example.faces && !example.error) this._total--; // it runs, and is not counted
    this._finished = this._finished.filter((entry) => entry !== example);
    example.item?.remove();
    example.release?.();
    this._entries.splice(this._entries.indexOf(example), 1);
  }

  _run() {
    // One after the other, so that the list has the order of the files; the worker does so too.
    if (this._edge && !this._isRunning && this._waiting.length > 0) {
      this._process(this._waiting.shift(), this._stop.signal);
    }
  }

  async _process(entry, signal) {
    this._isRunning = true;
    try {
      await (entry.error === undefined && this._classify(entry, signal));
    } catch (error) {
      entry.release?.();
      if (!signal.aborted) entry.error = error.message;
    }
    this._isRunning = false;
    if (!signal.aborted && this._entries.includes(entry)) {
      this._done++;
      this._finished.push(entry);
      this._show(this._waiting.length === 0);
    }
    this._run();
  }

  async _classify(entry, signal) {
    entry.url = URL.createObjectURL(entry.blob);
    entry.release = () => URL.revokeObjectURL(entry.url);
    let size = await readSize(entry.url);
    signal.throwIfAborted();
    let result;
    if (size === undefined) {
      // The server's policy may forbid the page to show it, or it cannot be read.
      result = await this._edge.classify(entry.blob, { signal });
      size = [result.width, result.height];
    }
    if (looksLikePhotograph(...size)) {
      entry.faces = await this._edge.faces(entry.blob, { signal });
      const shown = await turnUpright(entry.blob);
      if (shown !== entry.blob) {
        entry.release();
        entry.url = URL.createObjectURL(shown);
      }
      this._onFaces();
    } else {
      entry.faces = [result ?? (await this._edge.classify(entry.blob, { signal }))];
      entry.release();
    }
  }

  /** Add finished pictures to the list, each at its top. */
  _insert(entries) {
    if (entries.length === 0) return; // perhaps before the model is open
    const { labels } = this._edge;
    for (const entry of entries) {
      const outcomes = entry.faces?.map(({ label }) => (label === "uncertain" ? UNSURE : label));
      entry.outcomes = entry.error ? [UNREADABLE] : outcomes.length ? outcomes : [NO_FACE];
      const isPhotograph = entry.faces?.smallestFace !== undefined;
      const render = entry.error ? renderError : isPhotograph ? renderPhotograph : renderFace;
      entry.item = render(entry, labels);
      entry.item.hidden = this._isHidden(entry);
    }
    this._list.prepend(...entries.map(({ item }) => item).reverse());
  }

  _isHidden({ outcomes }) {
    return this._filter !== undefined && !outcomes.includes(this._filter);
  }

  _setFilter(filter) {
    this._filter = filter;
    for (const entry of this._entries) if (entry.item) entry.item.hidden = this._isHidden(entry);
    this._showFilters();
  }

  /** Show new results, progress and counts: not too often, but the last results at once. */
  _show(isLast = false) {
    if (this._timer !== undefined && !isLast) return;
    clearTimeout(this._timer);
    const elapsed = isLast ? Infinity : performance.now() - (this._shown ?? -Infinity);
    this._timer = setTimeout(
      () => {
        this._timer = undefined;
        this._insert(this._finished.splice(0, ROWS_AT_ONCE));
        this._showNow();
        this._shown = performance.now();
        if (this._finished.length > 0) this._show();
      },
      Math.max(0, RENEWAL_MILLISECONDS - elapsed),
    );
  }

  _showNow() {
    const hasEntries = this._entries.length > 0;
    if (hasEntries) byId("results").hidden = false;
    byId("clear").disabled = !hasEntries;
    byId("save").disabled = !hasEntries || !this._edge; // the columns are the labels of the model
    const left = this._total - this._done + this._finished.length;
    byId("busy").hidden = left === 0;
    if (left > 0) {
      const done = this._total - left;
      Object.assign(byId("progress"), { max: this._total, value: done });
      byId("left").textContent = `${done} of ${this._total} pictures${this._estimate(left)}`;
      byId("finished").textContent = "";
    } else if (hasEntries) {
      byId("finished").textContent = `${this._done} ${this._done === 1 ? "picture is" : "pictures are"} finished.`;
    }
    this._showFilters();
  }

  _estimate(left) {
    const seconds = (performance.now() - this._started) / 1000;
    if (this._done === 0 || seconds < SECONDS_UNTIL_LEFT) return "";
    const rest = Math.ceil((seconds * left) / this._done);
    return rest < 90 ? `, about ${rest} s left` : `, about ${Math.ceil(rest / 60)} min left`;
  }

  /** Show the number of faces for each label, as buttons that show only these. */
  _showFilters() {
    const counts = new Map();
    for (const { outcomes } of this._entries) {
      for (const outcome of outcomes ?? []) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    }
    const { labels = [] } = this._edge ?? {};
    const order = [...labels, "other", UNSURE, NO_FACE, UNREADABLE].filter((one) => counts.has(one));
    const focused = document.activeElement?.dataset?.filter;
    const all = [...counts.values()].reduce((a, b) => a + b, 0);
    const buttons = order.map((outcome) => this._makeFilter(outcome, outcome, counts.get(outcome)));
    if (order.length > 1) buttons.unshift(this._makeFilter("all", undefined, all));
    else buttons.length = 0;
    byId("filters").replaceChildren(...buttons);
    if (focused) buttons.find((button) => button.dataset.filter === focused)?.focus();
  }

  _makeFilter(text, outcome, count) {
    const number = make("b", { textContent: count.toLocaleString() });
    const button = make("button", { type: "button", className: "chip" }, `${text} `, number);
    button.dataset.filter = text;
    button.setAttribute("aria-pressed", String(this._filter === outcome));
    button.onclick = () => this._setFilter(outcome);
    return button;
  }
}

/** Return width and height of a picture, from its header; undefined where it cannot be read. */
async function readSize(url) {
  const image = new Image();
  image.src = url;
  return new Promise((resolve) => {
    image.onload = () => resolve([image.naturalWidth, image.naturalHeight]);
    image.onerror = () => resolve(undefined); // classify reports it
  });
}

/** Return a picture that the browser shows upright: not all turn WebP files by their orientation. */
async function turnUpright(blob) {
  const head = new Uint8Array(await blob.slice(0, 16).arrayBuffer());
  const orientation = await findWebpOrientation(blob, head);
  if (orientation === 1 || (await turnsWebp())) return blob;
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const canvas = make("canvas", orientation > 4 ? { width: height, height: width } : { width, height });
  const context = canvas.getContext("2d");
  const transforms = {
    2: [-1, 0, 0, 1, width, 0],
    3: [-1, 0, 0, -1, width, height],
    4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, height, 0],
    7: [0, -1, -1, 0, height, width],
    8: [0, -1, 1, 0, 0, width],
  };
  context.setTransform(...transforms[orientation]);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob((turned) => resolve(turned ?? blob)));
}

function renderFace({ name, faces: [face], isExample }, labels) {
  const time = `${face.milliseconds.network.toFixed(1)} ms for the network, ${face.milliseconds.read.toFixed(1)} ms to read the picture`;
  return make(
    "li",
    { className: isExample ? "face example" : "face" },
    drawInput(face),
    make(
      "div",
      {},
      makeHead(face, labels, isExample ? `an example: ${name}` : name),
      makeBars(face, labels),
      make("small", { textContent: time }),
    ),
  );
}

function renderPhotograph({ name, url, faces }, labels) {
  const size = [faces.width, faces.height];
  const image = make("img", { src: url, alt: "", width: size[0], height: size[1], loading: "lazy" });
  image.decoding = "async";
  const frame = make("div", { className: "frame" }, image);
  const rows = make("ol", { className: "faces" });
  faces.forEach((face, index) => {
    const colour = getColour(labels, face.label);
    const box = make("span", { className: `box ${colour}` }, make("b", { textContent: index + 1 }));
    box.setAttribute("aria-hidden", "true");
    const [x, y, width, height] = face.box;
    const place = { left: x / size[0], top: y / size[1], width: width / size[0], height: height / size[1] };
    for (const [side, share] of Object.entries(place)) box.style[side] = `${100 * share}%`;
    frame.append(box);
    const words = make("div", {}, makeHead(face, labels), makeBars(face, labels));
    if (face.warning) {
      words.append(make("small", { textContent: "A small face: its label is less reliable." }));
    }
    rows.append(make("li", {}, make("b", { textContent: index + 1 }), drawInput(face), words));
  });
  const head = make(
    "p",
    { className: "head" },
    make("span", { textContent: countFaces(faces) }),
    make("small", { textContent: name }),
  );
  const item = make("li", { className: "photograph" }, head, frame, rows);
  if (faces.length === 0) rows.remove();
  return item;
}

function countFaces({ length, turn, smallestFace }) {
  if (length === 0) return `No face of ${Math.round(smallestFace)} pixels or more found.`;
  const turned = turn ? `, in the picture turned by ${turn}°` : "";
  return `${length} ${length === 1 ? "face" : "faces"} found${turned}`;
}

function renderError({ name, error }) {
  // A name may have marks that reverse the text after it.
  const text = make("p", { className: "bad" }, make("bdi", { textContent: name }), `: ${error}`);
  return make("li", { className: "unreadable" }, text);
}

/** Return the label of a face in bold, or without emphasis the words for a face without a label. */
function makeHead(face, labels, name) {
  const { text, share, isNamed } = describe(face, labels);
  const head = make("p", { className: "head" });
  head.append(make(isNamed ? "strong" : "em", { textContent: text }), ` ${formatPercent(share)} `);
  if (name) head.append(make("small", { textContent: name }));
  return head;
}

/** Draw the input of the network. */
function drawInput({ pixels }) {
  const side = Math.sqrt(pixels.length);
  const canvas = make("canvas", { width: side, height: side });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "the input of the network");
  const data = new ImageData(side, side);
  const words = new Uint32Array(data.data.buffer);
  for (let i = 0; i < pixels.length; i++) words[i] = 0xff000000 | (pixels[i] * 0x010101);
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}
