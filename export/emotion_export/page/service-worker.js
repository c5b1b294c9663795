// Keeps the files of this build, so that the page works without a connection. While there is one,
// every file comes from the server: a new build replaces this one with the next load.

// Address → SHA-256; build.py fills it in.
const FILES = {};
const LATER = "detector/"; // loaded when the first photograph needs it, and kept from then on
const SCOPE = new URL("./", location.href).href;
const PREFIX = `emotion-edge ${SCOPE} `; // other pages of this server have their own
const INDEX = "index.html";

/** Return the name of the cache: it changes with any file of the build. */
async function getCacheName() {
  const text = new TextEncoder().encode(JSON.stringify(FILES));
  return PREFIX + (await computeDigest(text));
}

async function computeDigest(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Load a file of this build and keep it. The browser usually has it already. */
async function keep(file) {
  const cache = await caches.open(await getCacheName());
  const url = SCOPE + file;
  if (await cache.match(url)) return;
  for (const mode of ["force-cache", "reload"]) {
    const response = await fetch(url, { cache: mode });
    const copy = response.clone();
    if (response.ok && (await computeDigest(await response.arrayBuffer())) === FILES[file]) {
      return cache.put(url, copy);
    }
  }
  throw new Error(`${file} is not that of this build.`); // the next visit tries again
}

async function install() {
  for (const file of Object.keys(FILES)) {
    if (!file.startsWith(LATER)) await keep(file);
  }
  await self.skipWaiting();
}

async function removeEarlierBuilds() {
  const current = await getCacheName();
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== current) await caches.delete(name);
  }
  await self.clients.claim();
}

async function load({ url, mode, redirect }, file) {
  try {
    // By its address: a request of a navigation cannot be changed. Without no-cache, a browser may
    // take a file of an earlier build that it has kept.
    return await fetch(url, { cache: "no-cache", redirect, mode: mode === "navigate" ? "same-origin" : mode });
  } catch (error) {
    const cache = await caches.open(await getCacheName());
    const kept = await cache.match(SCOPE + file);
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(removeEarlierBuilds()));
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || !(origin + pathname).startsWith(SCOPE)) return;
  const file = (origin + pathname).slice(SCOPE.length) || INDEX;
  if (Object.hasOwn(FILES, file)) event.respondWith(load(event.request, file));
});
// The page has used the detector: keep it too.
self.addEventListener("message", (event) => {
  const later = Object.keys(FILES).filter((file) => file.startsWith(LATER));
  if (event.data === "later") event.waitUntil(Promise.all(later.map(keep)));
});
