/* Refreshes parts of a page: every few seconds, and when a link or form leads to the same page. */
"use strict";

const REFRESH_MS = 5_000;
/* After this long without news nothing is requested: by then the store has everything that came with the last news. */
const NEWS_MS = 20_000;
/* Days begin and end even without news. */
const QUIET_MS = 60_000;
let asking = null;
let newsAt = performance.now();
let takenAt = performance.now();

/* There is news about what the page shows. */
function heard() {
  newsAt = performance.now();
}

/* Replace parts with those of the page at `address`. Fails if it can't be loaded or is a different page. */
async function take(address) {
  asking?.abort();
  const mine = (asking = new AbortController());
  try {
    const response = await fetch(address, { headers: { Accept: "text/html" }, signal: mine.signal });
    const there = new URL(response.url).pathname === new URL(address).pathname;
    if (!response.ok || !there) throw new Error(`status ${response.status}`);
    takenAt = performance.now();
    exchange(new DOMParser().parseFromString(await response.text(), "text/html"));
  } finally {
    if (asking === mine) asking = null;
  }
}

function exchange(fresh) {
  // A different page is here now, as after the first like.
  if (fresh.getElementById("main")?.dataset.page !== document.getElementById("main").dataset.page) return location.reload();
  for (const old of document.querySelectorAll("[data-part]")) {
    const part = fresh.querySelector(`[data-part="${old.dataset.part}"]`);
    if (!part) continue;
    show(part);
    if (part.isEqualNode(old)) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const at = focused && [...old.querySelectorAll("a, button, [tabindex]")].indexOf(focused);
    for (const { name } of [...old.attributes]) if (!part.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of part.attributes) old.setAttribute(name, value);
    old.replaceChildren(...part.childNodes);
    if (focused) old.querySelectorAll("a, button, [tabindex]")[at]?.focus({ preventScroll: true });
  }
  document.title = fresh.title;
  document.dispatchEvent(new Event("parts"));
}

/* If its parts can't be replaced, simply go to the page. */
async function go(address, { replace = false } = {}) {
  try {
    await take(address);
    history[replace ? "replaceState" : "pushState"](null, "", address);
  } catch (error) {
    if (error.name !== "AbortError") location.href = address;
  }
}

document.addEventListener("click", (event) => {
  const plain = !event.defaultPrevented && event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  const link = plain && event.target.closest("[data-soft] a[href]");
  if (!link || link.hash || link.pathname !== location.pathname) return;
  event.preventDefault();
  go(link.href);
});

function addressOf(form) {
  const address = new URL(form.action);
  address.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value)).toString();
  return address.href;
}

let typing;
for (const form of document.querySelectorAll("form[data-soft]")) {
  const search = (options) => {
    clearTimeout(typing);
    go(addressOf(form), options);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, 250, { replace: true });
  });
}

addEventListener("popstate", () => take(location.href).catch(() => location.reload()));

/* Whatever fails is requested again. */
function refresh() {
  const now = performance.now();
  const deaf = typeof follow === "undefined" || !follow.live;
  if (document.hidden || asking || !(deaf || now - newsAt < NEWS_MS || now - takenAt > QUIET_MS)) return;
  take(location.href).catch(() => {});
}
setInterval(refresh, REFRESH_MS);
document.addEventListener("visibilitychange", () => document.hidden || (heard(), refresh()));
