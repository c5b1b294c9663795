// What one sees: pictures in, a list of answers out. The network runs in worker.js.

const byId = (id) => document.getElementById(id);
const [status, list, save, clear] = ["status", "list", "save", "clear"].map(byId);
const [file, drop, camera, video, stop] = ["file", "drop", "camera", "video", "stop"].map(byId);
const rows = []; // {name, result} or {name, error}, in the order of the list
let labels = [];

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
  };
  ask({ model: new URL(document.body.dataset.model, location.href).href }).then(opened, (error) => {
    say(`The model cannot be opened: ${error.message}`, "bad");
  });
}

function opened({ contract, proof }) {
  labels = contract.labels;
  byId("about").textContent =
    `${contract.network}, ${contract.precision}, ${labels.join(" · ")}, ${contract.size}×${contract.size} gray`;
  if (!proof.passed) {
    return say(
      `This browser does not compute what was proven: ${proof.flips} of ${proof.inputs} labels ` +
        `differ, logits by up to ${proof.difference.toPrecision(2)} (allowed ${proof.tolerance}), ` +
        `pixels by up to ${proof.pixelDifference} of 255. Its answers are not to be trusted.`,
      "bad",
    );
  }
  say(
    `Proven here: ${proof.inputs} golden faces, every label the same, logits within ` +
      `${proof.difference.toPrecision(2)} of the proof's, and pictures are read as in training.`,
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
    // The browser's own words say nothing to a person.
    row.error = /decode|source image/i.test(error.message)
      ? "not a picture that this browser can read"
      : error.message;
  }
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
  for (const [label, share] of Object.entries(result.probabilities)) {
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
  words.append(`${name}: ${error}.`);
  return [words];
}

const photograph = ([width, height]) =>
  Math.min(width, height) >= 128 && Math.max(width, height) > 1.25 * Math.min(width, height);
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const strong = (text) => Object.assign(document.createElement("strong"), { textContent: text });
const small = (text) => Object.assign(document.createElement("small"), { textContent: text });

// ---- the list out

function csv() {
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [["path", "label", "confidence", ...labels, "error"]];
  for (const { name, result, error } of rows) {
    const shares = labels.map((label) => result?.probabilities[label].toFixed(6) ?? "");
    const confidence = result?.confidence.toFixed(6) ?? "";
    lines.push([quoted(name), result?.label ?? "", confidence, ...shares, quoted(error ?? "")]);
  }
  return lines.map((line) => line.join(",") + "\n").join("");
}

save.onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "expressions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
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
camera.onclick = async () => {
  try {
    if (!stream) {
      if (!navigator.mediaDevices) throw new Error("the page is not served over https");
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
      video.srcObject = stream;
      await video.play();
      video.hidden = stop.hidden = false;
      camera.textContent = "Take a picture";
      byId("hint").textContent = "Fill the square with the face.";
    } else {
      const side = Math.min(video.videoWidth, video.videoHeight);
      const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
      const bitmap = await createImageBitmap(video, x, y, side, side);
      await classify(`camera ${new Date().toLocaleTimeString()}`, { bitmap }, [bitmap]);
    }
  } catch (error) {
    byId("hint").textContent = `The camera cannot be used: ${reason(error)}.`;
  }
};
stop.onclick = () => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = undefined;
  video.hidden = stop.hidden = true;
  camera.textContent = "Use the camera";
  byId("hint").textContent = "";
};

function reason(error) {
  if (error.name === "NotAllowedError") return "it was not allowed";
  if (error.name === "NotFoundError") return "there is none";
  if (error.name === "NotReadableError") return "another program uses it";
  return error.message;
}

start();
