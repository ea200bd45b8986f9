"use strict";

const url = document.getElementById("address").dataset.url;
const unit = document.getElementById("unit");
const NAMES = ["impressions", "likes", "unlikes"];

function showCounts({ counts }) {
  for (const [name, value] of Object.entries(counts[0])) {
    const place = document.querySelector(`[data-count="${name}"]`);
    if (place) place.textContent = number(value, 1);
  }
}

/* Without a websocket counts are asked for. */
async function readCounts() {
  const response = await fetch(document.documentElement.dataset.base + "/v1/counts?" + new URLSearchParams({ url }));
  if (response.ok) showCounts(await response.json());
}

async function showHistory() {
  if (!follow.live) await readCounts();
  const query = new URLSearchParams({ url, unit: unit.value });
  const response = await fetch(document.documentElement.dataset.base + "/v1/history?" + query);
  if (!response.ok) return;
  const { history } = await response.json();
  chart(history);
}

function chart(rows) {
  const [width, height, left, bottom] = [960, 240, 48, 24];
  const most = Math.max(1, ...rows.flatMap((row) => NAMES.map((name) => row[name] ?? 0)));
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Counts over time" });
  const x = (index) => left + (index * (width - left)) / rows.length;
  const y = (value) => (height - bottom) * (1 - value / most) + 4 * (value / most);
  for (const part of [0, 0.5, 1]) {
    const value = Math.round(most * part);
    svg.append(svgElement("line", { class: "rule", x1: left, x2: width, y1: y(value), y2: y(value) }));
    svg.append(svgElement("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  const wide = (width - left) / rows.length;
  rows.forEach((row, index) => {
    NAMES.forEach((name, order) => {
      const value = row[name] ?? 0;
      if (!value) return;
      const bar = { class: name, x: x(index) + (wide * order) / 3, y: y(value), width: Math.max(1, wide / 3 - 0.5), height: height - bottom - y(value) };
      const made = svgElement("rect", bar);
      made.append(svgElement("title", {}, `${when(row.time)}: ${number(value)} ${name}`));
      svg.append(made);
    });
    if (index % Math.ceil(rows.length / 8) === 0) {
      svg.append(svgElement("text", { x: x(index), y: height - 6 }, when(row.time)));
    }
  });
  document.getElementById("chart").replaceChildren(svg);
  const legend = document.getElementById("legend");
  legend.replaceChildren(
    ...NAMES.map((name) => element("span", name, `■ ${number(rows.reduce((sum, row) => sum + (row[name] ?? 0), 0))} ${name}`)),
  );
}

function when(time) {
  const format = unit.value === "day" ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(undefined, format).format(new Date(time * 1000));
}

function svgElement(tag, attributes, content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (content !== undefined) made.textContent = content;
  return made;
}

unit.addEventListener("change", showHistory);
follow(() => [{ op: "watch", urls: [url] }], { snapshot: showCounts, changes: showCounts });
/* What fails is asked for again. */
const look = () => document.hidden || showHistory().catch(() => {});
setInterval(look, 5000);
look();
