"use strict";

const SAMPLES = 120;
const lines = new Map();

for (const canvas of document.querySelectorAll("canvas[data-line]")) lines.set(canvas.dataset.line, { canvas, values: [] });

function sample(name, value) {
  const line = lines.get(name);
  line.values.push(value);
  if (line.values.length > SAMPLES) line.values.shift();
  draw(line);
}

function draw({ canvas, values }) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, Number(canvas.getAttribute("height-css") ?? canvas.height)];
  if (!canvas.hasAttribute("height-css")) canvas.setAttribute("height-css", canvas.height);
  canvas.style.height = height + "px";
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const most = Math.max(1e-9, ...values);
  const color = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  const step = width / (Math.max(20, values.length) - 1);
  const at = (index) => [width - (values.length - 1 - index) * step, height - 2 - (values[index] / most) * (height - 6)];
  pen.beginPath();
  values.forEach((_, index) => pen.lineTo(...at(index)));
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.strokeStyle = color;
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(at(0)[0], height);
  pen.globalAlpha = 0.12;
  pen.fillStyle = color;
  pen.fill();
}

function rank(id, rows, shown) {
  const list = document.getElementById(id);
  const most = Math.max(...rows.map((row) => row.value), 1e-9);
  document.getElementById(id + "-empty").hidden = rows.length > 0;
  rows.forEach((row, index) => {
    let item = list.children[index];
    if (!item) {
      item = element("li");
      item.append(element("progress"), element("a"), element("b"));
      list.append(item);
    }
    const [bar, link, figure] = item.children;
    bar.value = row.value / most;
    bar.setAttribute("aria-hidden", "true");
    link.textContent = row.url.replace(/^https?:\/\//, "");
    link.href = document.documentElement.dataset.base + "/url?url=" + encodeURIComponent(row.url);
    figure.textContent = shown(row.value);
  });
  while (list.children.length > rows.length) list.lastChild.remove();
}

function span(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

function showStatus({ status, tree }) {
  for (const [name, value] of Object.entries(status.rates)) {
    if (!lines.has(name)) continue;
    document.querySelector(`[data-rate="${name}"]`).textContent = number(value, value < 100 ? 1 : 0);
    sample(name, value);
  }
  sample("lag", status.store.lag_seconds);
  text("lag", number(status.store.lag_seconds, 1) + " s");
  text("tolerance", number(status.store.write_tolerance));
  text("store", `${status.store.kind}: ${status.store.fault ?? "ok"}, ${number(status.tables.rows_waiting)} rows wait`);
  text("uptime", span(status.uptime_seconds));
  text("table", `${status.tables.open} (${number(status.tables.open_urls)} URLs)`);
  text("disk", number((status.disk_free_bytes ?? 0) / 2 ** 30, 1) + " GiB");
  const refused = Object.values(status.totals.requests_refused).reduce((sum, n) => sum + n, 0);
  const kinds = { ...status.totals.by_kind, "requests refused": refused };
  const place = document.getElementById("kinds");
  for (const [kind, count] of Object.entries(kinds)) {
    let card = place.querySelector(`[data-kind="${kind}"]`);
    if (!card) {
      card = element("article", "card");
      card.dataset.kind = kind;
      card.append(element("h2", "", kind in status.totals.by_kind ? kind + "s since the start" : kind), element("p", "figure"));
      place.append(card);
    }
    card.lastChild.textContent = number(count);
  }
  showTree(tree);
}

function showTree(tree) {
  const place = document.getElementById("tree");
  if (!place.firstChild) {
    const root = element("div");
    root.append(element("span", "node", tree.name));
    place.append(root, element("ul"));
  }
  const list = place.lastChild;
  tree.children.forEach((child, index) => {
    let item = list.children[index];
    if (!item) {
      item = element("li");
      item.append(element("span", "node"), element("span", "facts"));
      list.append(item);
    }
    const [node, facts] = item.children;
    node.textContent = child.name;
    node.dataset.state = child.state;
    const known = [child.state];
    if (child.queue !== undefined) known.push(`${number(child.queue)} ${child.name === "live hub" ? "watched" : "waiting"}`);
    if (child.restarts) known.push(`${child.restarts} restarts`);
    const pool = child.counters;
    if (pool) known.push(`${number(pool.leased)} of ${number(pool.counters)} counters leased`, `${pool.hung} hung`, `${pool.worn} worn`);
    facts.textContent = known.join(" · ");
    if (child.last_fault) facts.append(" · ", element("span", "bad", child.last_fault));
    if (pool) swarm(item, pool);
  });
}

/* One square for each counter, while that says more than a figure. */
function swarm(item, pool) {
  let place = item.querySelector(".swarm");
  if (!place) {
    place = element("span", "swarm");
    place.setAttribute("aria-hidden", "true");
    item.append(place);
  }
  const many = Math.min(pool.counters, 400);
  while (place.children.length < many) place.append(element("i"));
  while (place.children.length > many) place.lastChild.remove();
  const scale = many / Math.max(1, pool.counters);
  const [busy, leased] = [Math.ceil(pool.busy * scale), Math.ceil(pool.leased * scale)];
  Array.from(place.children).forEach((square, index) => {
    square.className = index < busy ? "busy" : index < leased ? "leased" : "";
  });
}

const by = document.getElementById("by");
by.addEventListener("change", () => follow.send({ op: "watch_top", by: by.value, limit: 10 }));

follow(() => [{ op: "watch_status" }, { op: "watch_hot", limit: 10 }, { op: "watch_top", by: by.value, limit: 10 }], {
  status: showStatus,
  hot: ({ hot }) => rank("hot", hot.map(({ url, rate }) => ({ url, value: rate })), (rate) => number(rate, rate < 100 ? 1 : 0) + "/s"),
  top: ({ by: name, top }) => rank("top", top.map((row) => ({ url: row.url, value: row[name] })), (value) => number(value)),
});
