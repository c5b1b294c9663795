// The live camera: boxes and bars on the picture, mirrored as in a mirror.

import { describe, formatPercent, make } from "./results.js";

const WIDTH = 640;
const HEIGHT = 480;
const SUMMARY_INTERVAL = 500; // milliseconds; faster cannot be read
// Okabe and Ito's palette for colour-blind readers, as in emotion_runtime/drawing/boxes.py.
const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00"];
const GRAY = "#bbbbbb";
const FONT_PIXELS = 15;
const SMALL_BOX = 100; // pixels of width, below which there is no percentage
const MAX_LISTED = 3; // faces with their confidence in the text below
const BAR_WIDTH = 64;
const BAR_HEIGHT = 6;
const BAR_STEP = 16;

const byId = (id) => document.getElementById(id);

export class LiveCamera {
  /**
   * @param {object} handlers
   * @param {(text: string) => void} handlers.onHint Called with one sentence, or "".
   * @param {(blob: Blob, name: string) => void} handlers.onPicture Called with each picture taken.
   * @param {() => void} handlers.onFaces Called when the detector has been used.
   */
  constructor({ onHint, onPicture, onFaces }) {
    Object.assign(this, { _onHint: onHint, _onPicture: onPicture, _onFaces: onFaces });
    this._video = byId("video");
    this._canvas = byId("overlay");
    byId("camera").onclick = () => this.start();
    byId("stop").onclick = () => this.stop();
    byId("snap").onclick = () => this._take();
    byId("devices").onchange = () => this.start(byId("devices").value);
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this._listDevices());
  }

  open(edge) {
    this._edge = edge;
    byId("camera").disabled = false;
  }

  /**
   * Open a camera and show its faces until `stop`. What was open before is stopped first, so that
   * a second click leaves no camera on.
   *
   * @param {string} [device] Which; the one on the user's side by default.
   */
  async start(device) {
    if (!this._edge || (this._session && device === undefined)) return;
    this.stop();
    const session = new AbortController();
    this._session = session;
    this._isMuted = false;
    byId("camera").disabled = true;
    const wish = device ? { deviceId: { exact: device } } : { facingMode: "user" };
    try {
      if (!navigator.mediaDevices) throw new Error("the page was not opened over https");
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { ...wish, width: { ideal: WIDTH }, height: { ideal: HEIGHT } },
      });
      session.signal.addEventListener("abort", () => stopTracks(stream));
      if (session.signal.aborted) return stopTracks(stream);
      for (const track of stream.getTracks()) {
        track.onended = () => this._end(session, "The camera was unplugged or taken away.");
        track.onmute = () => this._setMuted(session, true);
        track.onunmute = () => this._setMuted(session, false);
      }
      this._video.srcObject = stream;
      await this._video.play();
      if (session.signal.aborted) return;
      this._show(true);
      byId("snap").focus({ preventScroll: true });
      this._onHint("");
      this._listDevices(stream);
      byId("seen").textContent = "Loading the face detector …";
      for await (const frame of this._edge.watch(this._video, { signal: session.signal })) {
        this._onFaces();
        if (this._isMuted) continue; // a frame from before, or a black one
        this._draw(frame);
        this._summarise(frame);
      }
    } catch (error) {
      this._end(session, `The camera cannot be used: ${describeProblem(error)}.`);
    }
  }

  /** Stop the camera. */
  stop() {
    const wasOpen = this._session !== undefined;
    this._session?.abort();
    this._session = undefined;
    this._video.srcObject = null;
    this._show(false);
    byId("camera").disabled = !this._edge;
    if (wasOpen) this._onHint("");
  }

  _show(isLive) {
    byId("live").hidden = !isLive;
    byId("camera").hidden = isLive;
    document.body.toggleAttribute("data-live", isLive);
  }

  /** Stop the camera where `session` is still the current one, and give the reason. */
  _end(session, reason) {
    if (this._session !== session) return;
    this.stop();
    this._onHint(reason);
  }

  /** Report a camera that sends no pictures for now, and remove what the last one showed. */
  _setMuted(session, isMuted) {
    if (this._session !== session) return;
    this._isMuted = isMuted;
    this._onHint(isMuted ? "The camera sends no picture; is it switched off, covered or in use elsewhere?" : "");
    if (!isMuted) return;
    byId("seen").textContent = "";
    this._canvas.getContext("2d").clearRect(0, 0, this._canvas.width, this._canvas.height);
  }

  /** Offer the choice of a camera where there are several. */
  async _listDevices(stream = this._video.srcObject) {
    if (!stream) return;
    const current = stream.getVideoTracks()[0]?.getSettings().deviceId;
    const devices = await navigator.mediaDevices.enumerateDevices();
    const cameras = devices.filter(({ kind }) => kind === "videoinput");
    const options = cameras.map(({ deviceId, label }, index) =>
      make("option", { value: deviceId, textContent: label || `Camera ${index + 1}` }),
    );
    byId("devices").replaceChildren(...options);
    byId("devices").value = current;
    byId("choice").hidden = cameras.length < 2;
  }

  _describeFaces(faces) {
    if (faces.length === 0) return "No face found";
    if (faces.length <= MAX_LISTED) {
      const words = faces.map((face) => describe(face, this._edge.labels));
      return words.map(({ text, share }) => `${text} ${formatPercent(share)}`).join(", ");
    }
    const counts = new Map();
    for (const { label } of faces) counts.set(label, (counts.get(label) ?? 0) + 1);
    const order = [...this._edge.labels, "other", "uncertain"];
    const words = order.filter((label) => counts.has(label)).map((label) => `${label} ${counts.get(label)}`);
    return `${faces.length} faces: ${words.join(", ")}`;
  }

  _take() {
    const { videoWidth: width, videoHeight: height } = this._video;
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").drawImage(this._video, 0, 0);
    const name = `camera ${new Date().toLocaleTimeString()}.png`;
    canvas.toBlob((blob) => blob && this._onPicture(blob, name));
  }

  /** Draw boxes and bars over the video, which style.css mirrors; the text is not mirrored. */
  _draw({ width, height, faces }) {
    const canvas = this._canvas;
    const scale = canvas.clientWidth / width;
    const density = window.devicePixelRatio || 1;
    const size = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * density));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    context.textBaseline = "middle";
    const area = [width * scale, height * scale];
    const boxes = faces.map(({ box: [x, y, across, down] }) =>
      [width - x - across, y, across, down].map((one) => one * scale),
    );
    const taken = [...boxes]; // where no panel may be
    faces.forEach((face, index) => this._drawBox(context, face, boxes[index]));
    faces.forEach((face, index) => taken.push(this._drawLabel(context, face, boxes[index], area)));
    faces.forEach((face, index) => this._drawBars(context, face, boxes[index], area, taken));
  }

  /** Draw a box, with a dark line on both sides so that it is visible on any background. */
  _drawBox(context, { label }, box) {
    for (const [style, line] of [["rgb(0 0 0 / 60%)", 5], [getShade(this._edge.labels, label), 3]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.beginPath();
      context.roundRect(...box, 6);
      context.stroke();
    }
  }

  /** Draw the label of a face above its box, smaller over a small face; return its place. */
  _drawLabel(context, face, [x, y, width], [fullWidth]) {
    const { text, share } = describe(face, this._edge.labels);
    const pixels = width < SMALL_BOX ? FONT_PIXELS - 3 : FONT_PIXELS;
    context.font = `600 ${pixels}px system-ui, sans-serif`;
    const words = width < SMALL_BOX ? text : `${text} ${Math.round(100 * share)} %`;
    const size = [context.measureText(words).width + 14, pixels + 10];
    const left = Math.max(0, Math.min(x - 2, fullWidth - size[0]));
    const top = Math.max(0, y - size[1] - 4);
    const colour = getShade(this._edge.labels, face.label);
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(left, top, ...size, 5);
    context.fill();
    context.fillStyle = colour === "#0072b2" ? "#fff" : "#000";
    context.fillText(words, left + 7, top + size[1] / 2 + 1);
    return [left, top, ...size];
  }

  /** Draw the probabilities beside the box; not where they would cover another face. */
  _drawBars(context, face, [x, y, width, height], [fullWidth, fullHeight], taken) {
    const { labels } = this._edge;
    const rows = labels.map((label) => [label, face.probabilities[label]]);
    if (face.other !== undefined) rows.push(["other", face.other]);
    context.save();
    context.font = "12px system-ui, sans-serif";
    const names = Math.max(...rows.map(([label]) => context.measureText(label).width));
    const size = [names + BAR_WIDTH + 24, rows.length * BAR_STEP + 8];
    const beside = [x + width + 6, x - 6 - size[0]].map((left) => [left, y]);
    const below = [[x + (width - size[0]) / 2, y + height + 6]];
    const place = [...beside, ...below].find(
      ([left, top]) =>
        left >= 0 &&
        left + size[0] <= fullWidth &&
        top + size[1] <= fullHeight &&
        taken.every((other) => !overlap([left, top, ...size], other)),
    );
    if (place) {
      const [left, top] = place;
      taken.push([left, top, ...size]);
      context.fillStyle = "rgb(0 0 0 / 65%)";
      context.beginPath();
      context.roundRect(left, top, ...size, 5);
      context.fill();
      rows.forEach(([label, share], index) => {
        const middle = top + 4 + BAR_STEP * (index + 0.5);
        context.fillStyle = "#fff";
        context.fillText(label, left + 8, middle);
        context.fillStyle = "rgb(255 255 255 / 25%)";
        context.fillRect(left + names + 16, middle - BAR_HEIGHT / 2, BAR_WIDTH, BAR_HEIGHT);
        context.fillStyle = getShade(labels, label);
        context.fillRect(left + names + 16, middle - BAR_HEIGHT / 2, BAR_WIDTH * share, BAR_HEIGHT);
      });
    }
    context.restore();
  }

  /** Write what the frame shows as text, for everyone who does not see the boxes. */
  _summarise({ faces, framesPerSecond }) {
    const now = performance.now();
    if (now - (this._summarised ?? 0) < SUMMARY_INTERVAL) return;
    this._summarised = now;
    // The first frame has no rate yet.
    const rate = framesPerSecond > 0 ? ` · ${framesPerSecond.toFixed(0)} frames a second` : "";
    byId("seen").textContent = this._describeFaces(faces) + rate;
    this._canvas.dataset.frames = framesPerSecond.toFixed(1);
  }
}

/** Return the colour of a label; gray for what is none. */
function getShade(labels, label) {
  const index = labels.indexOf(label);
  return index < 0 ? GRAY : COLOURS[index % COLOURS.length];
}

/** Return whether two rectangles (left, top, width, height) overlap. */
function overlap([left, top, width, height], [x, y, across, down]) {
  return left < x + across && x < left + width && top < y + down && y < top + height;
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** Return why a camera cannot be used, as the second half of a sentence. */
function describeProblem({ name, message }) {
  if (name === "NotAllowedError" && document.featurePolicy?.allowsFeature("camera") === false) {
    return "the page that embeds this one, or the server's Permissions-Policy, forbids it";
  }
  if (name === "NotAllowedError") return "it was not allowed; allow it for this site in the browser";
  if (name === "NotFoundError") return "there is none";
  if (name === "OverconstrainedError") return "it is no longer there";
  if (name === "NotReadableError" || name === "AbortError") return "another program uses it";
  return message.replace(/\.$/, "");
}
