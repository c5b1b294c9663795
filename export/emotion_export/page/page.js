// The user interface. emotion-edge.js does the work, results.js shows it, live.js shows the camera.

import { EmotionEdge } from "./emotion-edge.js";
import { LiveCamera } from "./live.js";
import { ALTERED } from "./pixels.js";
import { formatPercent, make, Results } from "./results.js";

// Averages of many faces, drawn by scripts/draw_page_pictures.py; offered where the model has the
// label. The first is classified at the start.
const SAMPLES = [
  ["happy_01.png", "happy"],
  ["sad_03.png", "sad"],
  ["surprise_02.png", "surprise"],
  ["neutral_01.png", "neutral"],
  ["sad_08.png", "sad"],
  ["surprise_04.png", "surprise"],
];
const SCENE = "scene.webp";

const byId = (id) => document.getElementById(id);
const status = byId("status");
let edge;
let isStopped = "stopped" in document.body.dataset; // by start.js
let detectorIsKept = false;

allowOwnScripts();
const results = new Results(keepDetector);
const camera = new LiveCamera({
  onHint: showHint,
  onPicture: (blob, name) => results.add([{ blob, name }]),
  onFaces: keepDetector,
});

/** Allow the page's own worker, and no other script, where the browser enforces trusted types. */
function allowOwnScripts() {
  const own = new URL("./", import.meta.url).href;
  try {
    window.trustedTypes?.createPolicy("default", {
      createScriptURL: (url) => (new URL(url, location.href).href.startsWith(own) ? url : null),
    });
  } catch {
    // The server's policy allows none of this name. Only where it also requires trusted types does
    // the worker not start, and EmotionEdge.open gives the reason.
  }
}

async function openModel() {
  const loaded = new Map(); // file → bytes
  let opened;
  try {
    opened = await EmotionEdge.open({
      model: new URL(document.body.dataset.model, location.href),
      onProgress: (progress) => showProgress(loaded, progress),
    });
    checkBuild(opened);
  } catch (error) {
    if (error.message === ALTERED) offerCanvasPermission();
    byId("loading").hidden = true;
    opened?.close();
    isStopped = true;
    results.clear(); // pictures that were dropped meanwhile
    return showStatus(error.message, "bad");
  }
  edge = opened;
  showModel();
  results.open(edge);
  camera.open(edge);
  showSamples();
  document.body.dataset.ready = "true";
}

/** Refuse the model file of another build: its results would be shown under this one's name. */
function checkBuild({ model: { digest } }) {
  if (digest === null || digest === document.body.dataset.sha256) return;
  // The browser may have kept the page itself of an earlier build; a reload requests it from the server.
  const [{ type }] = performance.getEntriesByType("navigation");
  if (type !== "reload") location.reload();
  throw new Error(
    "The model file is not the one that this page was made for: a new version is being uploaded, " +
      "or only some of its files came from the server. Reload the page in a moment.",
  );
}

/** Show the bytes that are loaded: first of model and runtime, later of the face detector. */
function showProgress(loaded, { file, loaded: bytes, total }) {
  if (edge) {
    const hint = byId("hint");
    if (hint.textContent && hint.className !== "faint") return; // a message stays
    const of = total ? ` of ${formatMegabytes(total)}` : "";
    const text = `Loading the face detector: ${formatMegabytes(bytes)}${of} MB`;
    return showHint(bytes === total ? "" : text, "faint");
  }
  loaded.set(file, bytes);
  const all = Number(document.body.dataset.bytes);
  const sum = Math.min(all, [...loaded.values()].reduce((a, b) => a + b, 0));
  Object.assign(byId("loading"), { hidden: false, max: all, value: sum });
  showStatus(`Loading the model: ${formatMegabytes(sum)} of ${formatMegabytes(all)} MB`, "");
}

const formatMegabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** Read a canvas of the page itself, so that the browser offers to allow canvas data for the site. */
function offerCanvasPermission() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
  canvas.getContext("2d").getImageData(0, 0, 16, 16);
}

/** Show the model and the results of its checks, and enable the controls. */
function showModel() {
  const { model, labels, selfTest } = edge;
  const { network, pixels } = selfTest;
  const names = [...labels];
  let rule = "";
  if (model.otherThreshold !== undefined) {
    names.push(`other (${model.otherClasses.join(", ")})`);
    rule =
      " The percentages of the labels add up to 100; other is computed apart, and a face where it is " +
      `${formatPercent(model.otherThreshold)} or more gets none of the labels.`;
  }
  byId("about").textContent =
    `Model: ${model.name}, a network ${model.network} in ${model.precision}; labels ` +
    `${names.join(" · ")}; input ${model.size}×${model.size} gray pixels.${rule}`;
  const kinds = pixels.map(({ kind }) => kind).join(", ");
  const largest = Math.max(...pixels.map(({ difference }) => difference));
  byId("checked").textContent =
    `${network.inputs} golden inputs get the same labels as at export, with logits within ` +
    `${network.difference.toPrecision(2)}. Reference pictures (${kinds}) are read as in training, ` +
    `within ${largest} of 255.`;
  byId("loading").hidden = true;
  byId("checks").hidden = false;
  byId("file").disabled = false;
  showStatus("Self-test passed in this browser", "good");
}

function showStatus(text, kind) {
  status.textContent = text;
  status.className = kind;
}

function showHint(text, kind = "") {
  Object.assign(byId("hint"), { textContent: text, className: kind });
}

// ---- pictures to try

function showSamples() {
  const known = [...edge.labels, ...edge.model.otherClasses];
  const samples = SAMPLES.filter(([, label]) => known.includes(label));
  if (!edge.labels.includes(samples[0]?.[1])) return;
  const items = samples.map(([file, label]) => makeSample(file, `an average of ${label} faces`));
  items.push(makeSample(SCENE, "a picture with several faces"));
  document.querySelector("#samples ul").replaceChildren(...items);
  byId("samples").hidden = false;
  if (results.isEmpty) addSample(samples[0][0], `an average of ${samples[0][1]} faces`, true);
}

function makeSample(file, text) {
  const image = make("img", { src: `pictures/${file}`, alt: text });
  const button = make("button", { type: "button", title: text }, image);
  button.onclick = () => addSample(file, file, false);
  return make("li", {}, button);
}

async function addSample(file, name, isExample) {
  try {
    const response = await fetch(new URL(`pictures/${file}`, import.meta.url));
    if (!response.ok) throw new Error(`The picture cannot be loaded (${response.status}).`);
    const blob = await response.blob();
    if (!isExample || results.isEmpty) results.add([{ name, blob, isExample }]);
  } catch {
    showHint("The sample cannot be loaded; is there a connection to the server?");
  }
}

// ---- files: chosen, dropped anywhere, pasted

const addFiles = (files) => results.add(Array.from(files, (blob) => ({ name: blob.name, blob })));

byId("file").onchange = ({ target }) => {
  addFiles(target.files);
  target.value = ""; // so that the same file can be chosen again
};

let depth = 0; // of nested elements under the pointer, each with its own dragenter and dragleave
const showTarget = (change) => {
  depth = Math.max(0, depth + change);
  byId("target").hidden = depth === 0;
};
window.addEventListener("dragenter", () => showTarget(1));
window.addEventListener("dragleave", () => showTarget(-1));
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => {
  event.preventDefault();
  showTarget(-Infinity);
  takeTransfer(event.dataTransfer);
});
window.addEventListener("paste", (event) => takeTransfer(event.clipboardData));

/** Add what was dropped or pasted: files, the files of folders, or a link. */
async function takeTransfer(transfer) {
  if (isStopped) return showHint("The model cannot be used here, so no picture is read.");
  // Read before the first await: afterwards the browser has emptied it.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = Array.from(transfer.files);
  const link = transfer.getData("text/uri-list") || transfer.getData("text/plain");
  showHint("");
  if (entries.some(({ isDirectory }) => isDirectory)) {
    const found = [];
    showHint("Reading the folder …", "faint");
    for (const entry of entries) await readEntry(entry, found);
    showHint("");
    if (found.length === 0) return showHint("The folder has no files.");
    results.add(found);
  } else if (files.length > 0) {
    addFiles(files);
  } else if (link) {
    await addLink(link.split("\n")[0].trim());
  } else {
    showHint("That is neither a picture nor a link.");
  }
}

/** Add the files of a dropped folder and its folders to `found`. */
async function readEntry(entry, found) {
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    try {
      found.push({ name, blob: await new Promise((...settle) => entry.file(...settle)) });
    } catch {
      found.push({ name, error: "The file cannot be opened." });
    }
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    let some; // 100 at a time
    try {
      some = await new Promise((...settle) => reader.readEntries(...settle));
    } catch {
      found.push({ name, error: "The folder cannot be read." });
      return;
    }
    if (some.length === 0) return;
    for (const one of some) await readEntry(one, found);
  }
}

/** Add the picture of a link, where it can be loaded from this server or is in the link itself. */
async function addLink(link) {
  let url;
  try {
    url = new URL(link);
  } catch {
    return showHint("That is neither a picture nor a link.");
  }
  const name =
    url.protocol === "data:" ? "dropped picture" : decodeName(url.pathname.split("/").pop()) || url.host;
  if (url.origin !== location.origin && url.protocol !== "data:") {
    const place = url.host ? `${url.host} is another server` : `${url.protocol} is another place`;
    return showHint(
      `${place}, from which this page loads nothing; save the picture and choose the file, or copy ` +
        "the picture itself and paste it here.",
    );
  }
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error();
    results.add([{ name, blob: await response.blob() }]);
  } catch {
    showHint(`${name} cannot be loaded.`);
  }
}

/** Return a part of an address as people write it; unchanged where it is not encoded in UTF-8. */
function decodeName(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// ---- offline

/** Keep the page for use without a connection. Browsers allow it over https and on localhost. */
async function keepPage() {
  const workers = navigator.serviceWorker;
  if (!workers || !edge) return;
  try {
    await workers.register("service-worker.js");
    await workers.ready;
    byId("offline").textContent =
      "This page also works without a connection now; the search for faces does so once it has been used.";
  } catch {
    // Private windows refuse; the page works, but not offline.
  }
}

function keepDetector() {
  if (detectorIsKept) return;
  detectorIsKept = true;
  navigator.serviceWorker?.ready.then(({ active }) => active.postMessage("later"));
}

if (!isStopped) openModel().then(keepPage);
