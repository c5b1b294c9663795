// The user interface: pictures in, a list of results out. emotion-edge.js does the work.

import { EmotionEdge, looksLikePhotograph } from "./emotion-edge.js";
import { ALTERED } from "./pixels.js";

const byId = (id) => document.getElementById(id);
const [status, list, save, clear] = ["status", "list", "save", "clear"].map(byId);
const [file, drop, camera, video, stop] = ["file", "drop", "camera", "video", "stop"].map(byId);
const rows = []; // {name, result} or {name, error}, in the order of the list
let labels = [];
let hasOther = false; // whether the model has the output "other"

/** @type {EmotionEdge} */
let edge;

async function openModel() {
  try {
    edge = await EmotionEdge.open({ model: new URL(document.body.dataset.model, location.href) });
    showModel();
  } catch (error) {
    if (error.message === ALTERED) offerCanvasPermission();
    showStatus(error.message, "bad");
  }
}

/** Read a canvas of the page itself, so that the browser offers to allow canvas data for the site. */
function offerCanvasPermission() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
  canvas.getContext("2d").getImageData(0, 0, 16, 16);
}

/** Show the model and the results of its checks, and enable the controls. */
function showModel() {
  const { model } = edge;
  const { network, pixels } = edge.selfTest;
  labels = edge.labels;
  hasOther = model.otherThreshold !== undefined;
  const names = hasOther ? [...labels, `other (${model.otherClasses.join(", ")})`] : labels;
  byId("about").textContent =
    `${model.network}, ${model.precision}, ${names.join(" · ")}, ${model.size}×${model.size} gray`;
  const kinds = pixels.map(({ kind }) => kind).join(", ");
  const largest = Math.max(...pixels.map(({ difference }) => difference));
  showStatus(
    `Self-test passed in this browser: ${network.inputs} golden inputs get the same labels as at ` +
      `export, with logits within ${network.difference.toPrecision(2)}. Reference pictures ` +
      `(${kinds}) are read as in training, within ${largest} of 255.`,
    "good",
  );
  for (const control of [file, camera]) control.disabled = false;
  document.body.dataset.ready = "true";
}

function showStatus(text, kind) {
  status.textContent = text;
  status.className = kind;
}

// ---- classification

async function classify(name, picture) {
  const row = { name };
  rows.push(row);
  const item = list.appendChild(document.createElement("li"));
  item.textContent = `${name} …`;
  try {
    row.result = await edge.classify(picture);
  } catch (error) {
    row.error = error.message;
  }
  if (!rows.includes(row)) return; // the list was cleared meanwhile
  item.replaceChildren(...(row.error ? renderError(row) : renderResult(row)));
  for (const button of [save, clear]) button.disabled = false;
}

const classifyFiles = (files) => {
  for (const one of files) classify(one.name, one);
};

function renderResult({ name, result }) {
  const canvas = document.createElement("canvas");
  const side = Math.sqrt(result.pixels.length);
  canvas.width = canvas.height = side;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "the input of the network");
  const data = new ImageData(side, side);
  result.pixels.forEach((value, i) => data.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(data, 0, 0);
  const head = document.createElement("p");
  head.append(makeStrong(result.label), ` ${formatPercent(result.confidence)} `, makeSmall(name));
  const bars = document.createElement("dl");
  const probabilities = labels.map((label) => [label, result.probabilities[label]]);
  if (hasOther) probabilities.push(["other", result.other]);
  for (const [label, probability] of probabilities) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    const meter = document.createElement("meter");
    term.textContent = label;
    meter.value = probability;
    meter.setAttribute("aria-label", `${label} ${formatPercent(probability)}`);
    value.append(meter, ` ${formatPercent(probability)}`);
    bars.append(term, value);
  }
  const { read, network } = result.milliseconds;
  const time = makeSmall(`${network.toFixed(1)} ms for the network, ${read.toFixed(1)} ms to read the picture`);
  const words = document.createElement("div");
  words.append(head, bars, time);
  if (looksLikePhotograph(result.width, result.height)) {
    words.append(makeSmall("This looks like a whole photograph. Crop it to the face for a correct result."));
  }
  return [canvas, words];
}

function renderError({ name, error }) {
  const words = document.createElement("p");
  words.className = "bad";
  words.append(`${name}: ${error}`);
  return [words];
}

const formatPercent = (share) => `${(100 * share).toFixed(1)}%`;
const makeStrong = (text) => Object.assign(document.createElement("strong"), { textContent: text });
const makeSmall = (text) => Object.assign(document.createElement("small"), { textContent: text });

// ---- export as CSV

/** Return the list as CSV for spreadsheets, with a byte-order mark. */
function formatCsv() {
  const lines = [["path", "label", "confidence", ...labels, ...(hasOther ? ["other"] : []), "error"]];
  for (const { name, result, error } of rows) {
    const probabilities = labels.map((label) => result?.probabilities[label].toFixed(6) ?? "");
    if (hasOther) probabilities.push(result?.other.toFixed(6) ?? "");
    const problem = result ? "" : (error ?? "Not finished when the list was saved.");
    lines.push([name, result?.label ?? "", result?.confidence.toFixed(6) ?? "", ...probabilities, problem]);
  }
  return "\ufeff" + lines.map((line) => line.map(formatCsvCell).join(",") + "\n").join("");
}

/** Quote a cell. One that a spreadsheet would run as a formula gets an apostrophe. */
function formatCsvCell(value) {
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

save.onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([formatCsv()], { type: "text/csv" }));
  link.download = "expressions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may show a dialog first
};

clear.onclick = () => {
  rows.length = 0;
  list.replaceChildren();
  for (const button of [save, clear]) button.disabled = true;
};

// ---- files and the camera

file.onchange = () => {
  classifyFiles(file.files);
  file.value = ""; // so that the same file can be chosen again
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
let isOpening = false; // a second click must not open a second stream, which would never be stopped
camera.onclick = async () => {
  if (isOpening) return;
  try {
    if (!stream) {
      isOpening = true;
      await openCamera();
    } else {
      const side = Math.min(video.videoWidth, video.videoHeight);
      const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
      const bitmap = await createImageBitmap(video, x, y, side, side);
      await classify(`camera ${new Date().toLocaleTimeString()}`, bitmap);
      bitmap.close();
    }
  } catch (error) {
    stopCamera(`The camera cannot be used: ${describeCameraError(error)}.`);
  } finally {
    isOpening = false;
  }
};
stop.onclick = () => stopCamera("");

async function openCamera() {
  if (!navigator.mediaDevices) throw new Error("the page was not opened over https");
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

function describeCameraError(error) {
  if (error.name === "NotAllowedError") return "it was not allowed";
  if (error.name === "NotFoundError") return "there is none";
  if (error.name === "NotReadableError") return "another program uses it";
  return error.message;
}

openModel();
