// What one sees: pictures in, a list of answers out. The network runs in worker.js.

import { ALTERED } from "./pixels.js";

const byId = (id) => document.getElementById(id);
const [status, list, save, clear] = ["status", "list", "save", "clear"].map(byId);
const [file, drop, camera, video, stop] = ["file", "drop", "camera", "video", "stop"].map(byId);
const rows = []; // {name, result} or {name, error}, in the order of the list
let labels = [];
let hasOther = false; // whether the model has the output "other"

// ---- the worker, one promise for each message

const waiting = new Map();
let number = 0;
let worker;

function ask(message, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject });
    worker.postMessage({ id: number, ...message }, transfer);
  });
}

function start() {
  if (typeof WebAssembly === "undefined") {
    return say("This browser has no WebAssembly, which the network needs. Try another one.", "bad");
  }
  if (typeof OffscreenCanvas === "undefined") {
    return say("This browser has no OffscreenCanvas, which reading pictures needs. Update it.", "bad");
  }
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    say("The network could not be started here. Is the folder complete, and served over http?", "bad");
    for (const { reject } of waiting.values()) reject(new Error("The network stopped; reload the page."));
    waiting.clear();
  };
  ask({ model: new URL(document.body.dataset.model, location.href).href }).then(opened, (error) => {
    if (error.message === ALTERED) offerCanvasData();
    say(error.message, "bad");
  });
}

/** Read a canvas of the page itself: where a browser can allow that for a site, it offers it. */
function offerCanvasData() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
  canvas.getContext("2d").getImageData(0, 0, 16, 16);
}

function opened({ contract, network, pixels }) {
  labels = contract.labels;
  hasOther = contract.otherThreshold !== undefined;
  const names = hasOther ? [...labels, `other (${contract.otherClasses.join(", ")})`] : labels;
  byId("about").textContent =
    `${contract.network}, ${contract.precision}, ${names.join(" · ")}, ${contract.size}×${contract.size} gray`;
  const kinds = pixels.map(({ kind }) => kind).join(", ");
  const furthest = Math.max(...pixels.map(({ difference }) => difference));
  say(
    `Checked in this browser: ${network.inputs} golden faces get the labels that they got at ` +
      `export, logits within ${network.difference.toPrecision(2)}. Reference pictures (${kinds}) ` +
      `are read as in training, within ${furthest} of 255.`,
    "good",
  );
  for (const control of [file, camera]) control.disabled = false;
  document.body.dataset.ready = "true";
}

function say(text, kind) {
  status.textContent = text;
  status.className = kind;
}

// ---- pictures in

async function classify(name, message, transfer) {
  const row = { name };
  rows.push(row);
  const item = list.appendChild(document.createElement("li"));
  item.textContent = `${name} …`;
  try {
    row.result = await ask(message, transfer);
  } catch (error) {
    row.error = error.message;
  }
  if (!rows.includes(row)) return; // the list was cleared in the meantime
  item.replaceChildren(...(row.error ? failed(row) : shown(row)));
  for (const button of [save, clear]) button.disabled = false;
}

const classifyFiles = (files) => {
  for (const one of files) classify(one.name, { blob: one });
};

function shown({ name, result }) {
  const canvas = document.createElement("canvas");
  const side = Math.sqrt(result.pixels.length);
  canvas.width = canvas.height = side;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "what the network saw");
  const data = new ImageData(side, side);
  result.pixels.forEach((value, i) => data.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(data, 0, 0);
  const head = document.createElement("p");
  head.append(strong(result.label), ` ${percent(result.confidence)} `, small(name));
  const bars = document.createElement("dl");
  const shares = labels.map((label) => [label, result.probabilities[label]]);
  if (hasOther) shares.push(["other", result.other]);
  for (const [label, share] of shares) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    const meter = document.createElement("meter");
    term.textContent = label;
    meter.value = share;
    meter.setAttribute("aria-label", `${label} ${percent(share)}`);
    value.append(meter, ` ${percent(share)}`);
    bars.append(term, value);
  }
  const { read, network } = result.milliseconds;
  const time = small(`${network.toFixed(1)} ms, and ${read.toFixed(1)} ms to read it`);
  const words = document.createElement("div");
  words.append(head, bars, time);
  if (photograph(result.size)) {
    words.append(small("This looks like a whole photograph; crop the face, or the answer is wrong."));
  }
  return [canvas, words];
}

function failed({ name, error }) {
  const words = document.createElement("p");
  words.className = "bad";
  words.append(`${name}: ${error}`);
  return [words];
}

const photograph = ([width, height]) =>
  Math.min(width, height) >= 128 && Math.max(width, height) > 1.25 * Math.min(width, height);
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const strong = (text) => Object.assign(document.createElement("strong"), { textContent: text });
const small = (text) => Object.assign(document.createElement("small"), { textContent: text });

// ---- the list out

/** Return the list as CSV for a spreadsheet: UTF-8 with a byte-order mark. */
function csv() {
  const lines = [["path", "label", "confidence", ...labels, ...(hasOther ? ["other"] : []), "error"]];
  for (const { name, result, error } of rows) {
    const shares = labels.map((label) => result?.probabilities[label].toFixed(6) ?? "");
    if (hasOther) shares.push(result?.other.toFixed(6) ?? "");
    const missing = result ? "" : (error ?? "Not finished when the list was saved.");
    lines.push([name, result?.label ?? "", result?.confidence.toFixed(6) ?? "", ...shares, missing]);
  }
  return "\ufeff" + lines.map((line) => line.map(cell).join(",") + "\n").join("");
}

/** A cell that a spreadsheet would take for a formula gets an apostrophe before it. */
function cell(value) {
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

save.onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "expressions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a browser may ask where to save first
};

clear.onclick = () => {
  rows.length = 0;
  list.replaceChildren();
  for (const button of [save, clear]) button.disabled = true;
};

// ---- choosing, dropping, pasting, the camera

file.onchange = () => {
  classifyFiles(file.files);
  file.value = ""; // the same file may be chosen again
};
drop.ondragover = (event) => {
  event.preventDefault();
  drop.classList.add("over");
};
drop.ondragleave = () => drop.classList.remove("over");
drop.ondrop = (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (document.body.dataset.ready) classifyFiles(event.dataTransfer.files);
};

let stream;
let opening = false; // a second click must not open a second stream, which nothing would stop
camera.onclick = async () => {
  if (opening) return;
  try {
    if (!stream) {
      opening = true;
      await openCamera();
    } else {
      const side = Math.min(video.videoWidth, video.videoHeight);
      const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
      const bitmap = await createImageBitmap(video, x, y, side, side);
      await classify(`camera ${new Date().toLocaleTimeString()}`, { bitmap }, [bitmap]);
    }
  } catch (error) {
    stopCamera(`The camera cannot be used: ${reason(error)}.`);
  } finally {
    opening = false;
  }
};
stop.onclick = () => stopCamera("");

async function openCamera() {
  if (!navigator.mediaDevices) throw new Error("the page is not served over https");
  stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  for (const track of stream.getTracks()) {
    track.onended = () => stopCamera("The camera was unplugged or taken away.");
  }
  video.srcObject = stream;
  await video.play();
  video.hidden = stop.hidden = false;
  camera.textContent = "Take a picture";
  byId("hint").textContent = "Fill the square with the face.";
}

function stopCamera(hint) {
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  video.hidden = stop.hidden = true;
  camera.textContent = "Use the camera";
  byId("hint").textContent = hint;
}

function reason(error) {
  if (error.name === "NotAllowedError") return "it was not allowed";
  if (error.name === "NotFoundError") return "there is none";
  if (error.name === "NotReadableError") return "another program uses it";
  return error.message;
}

start();
