/* The engine's page: live figures, the last two minutes of the fastest ones, and squares for counters. */
"use strict";

const SAMPLES = 120;
const minis = [...document.querySelectorAll("[data-mini]")].map((box) => ({ box, values: [] }));

function drawMini({ box, values }) {
  const [width, height] = [box.clientWidth, box.clientHeight];
  if (!values.length || width < 20) return;
  const limit = Number(box.dataset.limit ?? 0);
  const most = Math.max(1e-9, limit * 1.1, ...values) * 1.08;
  const [step, first] = [width / (SAMPLES - 1), SAMPLES - values.length];
  const y = (value) => (height - 2 - (value / most) * (height - 4)).toFixed(1);
  const line = "M" + values.map((value, index) => `${((first + index) * step).toFixed(1)} ${y(value)}`).join("L");
  const picture = svg("svg", { width, height, "aria-hidden": "true" });
  picture.append(svg("path", { class: "area", d: `${line}L${width} ${height}L${first * step} ${height}z` }));
  picture.append(svg("path", { class: "now", d: line }));
  if (limit) picture.append(svg("line", { class: "limit", x1: 0, x2: width, y1: y(limit), y2: y(limit) }));
  box.replaceChildren(picture);
}

const swarm = document.getElementById("swarm");
const SQUARE = 9;
function drawSwarm({ counters, leased, busy }) {
  const across = Math.floor(swarm.clientWidth / SQUARE);
  const many = Math.min(across * 3, counters);
  if (many <= 0) return;
  const each = counters / many;
  while (swarm.children.length < many) swarm.append(svg("rect", { width: 7, height: 7, rx: 2 }));
  while (swarm.children.length > many) swarm.lastChild.remove();
  [...swarm.children].forEach((square, index) => {
    square.setAttribute("x", (index % across) * SQUARE);
    square.setAttribute("y", Math.floor(index / across) * SQUARE);
    square.setAttribute("class", index < Math.ceil(busy / each) ? "busy" : index < Math.ceil(leased / each) ? "leased" : "");
  });
  const height = Math.ceil(many / across) * SQUARE;
  swarm.setAttribute("height", height);
  swarm.style.height = height + "px";
  document.getElementById("square").textContent = each > 1.5 ? `each square is ${compact(Math.round(each))} counters` : "each square is a counter";
}

let pool = null;
function showStatus(known) {
  heard();
  freshen(known);
  pool = known.status.pool;
  drawSwarm(pool);
  for (const mini of minis) {
    mini.values.push(found(known, mini.box.dataset.mini) ?? 0);
    if (mini.values.length > SAMPLES) mini.values.shift();
    drawMini(mini);
  }
}

const sizes = new ResizeObserver(() => {
  minis.forEach(drawMini);
  if (pool) drawSwarm(pool);
});
for (const { box } of minis) sizes.observe(box);
sizes.observe(swarm);

follow(() => [{ op: "watch_status" }], { status: showStatus });
