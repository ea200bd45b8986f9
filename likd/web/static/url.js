/* The page of a URL: its counts are live. */
"use strict";

const url = document.getElementById("address").dataset.url;

function showCounts({ counts: [row] }) {
  if (!row || row.problem) return;
  heard();
  const known = { ...row, per_hundred: perHundred(row.likes, row.impressions) };
  for (const place of document.querySelectorAll("[data-count]")) {
    const value = known[place.dataset.count];
    if (value === undefined) continue;
    place.textContent = typeof value === "number" ? FORMATS[place.dataset.as ?? "compact"](value) : value;
    if (value >= 10_000) place.title = whole(value);
  }
}

/* Without a websocket, counts are polled. */
async function readCounts() {
  const response = await fetch(`${BASE}/v1/counts?` + new URLSearchParams({ url }));
  if (response.ok) showCounts(await response.json());
}

follow(() => [{ op: "watch", urls: [url] }], { snapshot: showCounts, changes: showCounts });
setInterval(() => document.hidden || follow.live || readCounts().catch(() => {}), REFRESH_MS);
