/* Charts, drawn from the table below them for the available width, and redrawn when that or the table changes. */
"use strict";

const NAMES = { likes: "Likes", gone: "Taken back", views: "Views", rate: "Likes per 100 views" };
const [HEAD, FOOT] = [8, 26];

function svg(tag, attributes = {}, content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, each] of Object.entries(attributes)) made.setAttribute(name, each);
  if (content !== undefined) made.textContent = content;
  return made;
}

/* ---- What is drawn: the rows of the table, null for unknown figures. */
function numbersOf(table) {
  const value = (cell) => (!cell || cell.dataset.value === "" ? null : Number(cell.dataset.value));
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cells = [...row.cells];
    const [long, likes, gone, views, before] = cells.filter((cell) => !cell.dataset.more);
    const more = Object.fromEntries(cells.filter((cell) => cell.dataset.more).map((cell) => [cell.dataset.more, value(cell)]));
    const read = { likes: value(likes), gone: value(gone), views: value(views), before: value(before), more };
    read.rate = read.views ? (read.likes / read.views) * 100 : null;
    return { ...read, long: long.textContent, short: row.dataset.short, longBefore: row.dataset.before };
  });
  return { rows, metric: table.dataset.metric, goingOn: "goingOn" in table.dataset, compared: rows.some((row) => row.before !== null) };
}

const written = (value, metric) => (value === null ? DASH : metric === "rate" ? value.toFixed(1) : whole(value));

/* What each kind of chart shows: `now`, `before` and `down` return a row's value, `text` what the tooltip says. */
const KINDS = {
  line({ rows, metric, goingOn, compared }) {
    const before = (row) => `Before: ${written(row.before, metric)}${row.longBefore && ` (${row.longBefore})`}`;
    return {
      label: NAMES[metric], rows, goingOn,
      now: (row) => row[metric],
      before: compared ? (row) => row.before : undefined,
      text: (row) => [row.long, `${NAMES[metric]}: ${written(row[metric], metric)}`, ...(compared ? [before(row)] : [])],
      unit: (value) => (metric === "rate" ? String(value) : compact(value)),
    };
  },
  updown: ({ rows, goingOn }) => ({
    label: "Likes and taken back", rows, goingOn, bars: true, gutter: 48, unit: compact,
    now: (row) => row.likes,
    down: (row) => row.gone,
    text: (row) => [row.long, `${whole(row.likes)} likes`, `${whole(row.gone)} taken back`],
  }),
  more: ({ rows, goingOn }, { of }) => ({
    label: of, rows, goingOn, bars: true, gutter: 48, unit: compact,
    now: (row) => row.more[of],
    down: (row) => row.more["un" + of] ?? 0,
    text: (row) => [row.long, `${whole(row.more[of])} ${of}`, ...(row.more["un" + of] ? [`${whole(row.more["un" + of])} taken back`] : [])],
  }),
  views: ({ rows, goingOn }) => ({
    label: "Views", rows, goingOn, bars: true, gutter: 48, unit: compact,
    now: (row) => row.views,
    text: (row) => [row.long, `${whole(row.views)} views`],
  }),
};

/* ---- Measures */
function steps(most, many, whole) {
  const raw = most / many || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10, 20].map((each) => each * Math.max(power, whole ? 1 : 0)).find((each) => each >= raw && (whole ? Number.isInteger(each) : each >= 1 || most < 5));
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

const pen = document.createElement("canvas").getContext("2d");
function widthOf(content) {
  pen.font = "12px " + getComputedStyle(document.body).fontFamily;
  return Math.ceil(pen.measureText(content).width);
}

/* The layout, in pixels. */
function layOut(options, width, height) {
  const { rows } = options;
  const most = Math.max(1, ...rows.flatMap((row) => [options.now(row) ?? 0, options.before?.(row) ?? 0]));
  const low = options.down ? Math.max(0, ...rows.map(options.down)) : 0;
  const whole = rows.every((row) => Number.isInteger(options.now(row) ?? 0));
  const ups = steps(most, height < 130 ? 2 : 4, whole);
  const downs = low >= ups[1] * 0.5 ? Array.from({ length: Math.ceil(low / ups[1]) }, (_, index) => -(index + 1) * ups[1]) : [];
  const marks = [...downs.reverse(), ...ups];
  const [top, bottom] = [ups.at(-1), Math.min(marks[0], -low * 1.1)];
  const left = Math.max(options.gutter ?? 0, 10 + Math.max(...marks.map((mark) => widthOf(options.unit(Math.abs(mark))))));
  const slot = (width - left) / rows.length;
  const between = (width - left - 10) / Math.max(1, rows.length - 1);
  return {
    width, height, left, slot, marks,
    x: options.bars ? (index) => left + slot * (index + 0.5) : (index) => left + 5 + between * index,
    y: (value) => HEAD + ((height - HEAD - FOOT) * (top - value)) / (top - bottom),
    nearest: (at) => Math.round(options.bars ? (at - left) / slot - 0.5 : (at - left - 5) / between),
  };
}

/* ---- Drawing */
function axes(picture, options, place) {
  for (const mark of place.marks) {
    const at = Math.round(place.y(mark));
    picture.append(svg("line", { class: mark ? "rule" : "rule zero", x1: place.left, x2: place.width, y1: at, y2: at }));
    picture.append(svg("text", { x: place.left - 8, y: place.y(mark) + 4, "text-anchor": "end" }, options.unit(Math.abs(mark))));
  }
  const { rows } = options;
  const widest = Math.max(...rows.map((row) => widthOf(row.short))) + 18;
  const every = Math.max(1, Math.ceil((widest * rows.length) / (place.width - place.left)));
  rows.forEach((row, index) => {
    if ((rows.length - 1 - index) % every) return;
    const half = widthOf(row.short) / 2;
    const middle = Math.min(Math.max(place.x(index), place.left + half - 6), place.width - half);
    picture.append(svg("text", { x: middle, y: place.height - 6, "text-anchor": "middle" }, row.short));
  });
}

/* A bar with rounded corners at its far end. */
function bar(left, from, thick, tall) {
  const r = Math.min(3, thick / 2, Math.abs(tall));
  const [s, to] = [Math.sign(tall), from + tall];
  return `M${left} ${from}V${to - s * r}Q${left} ${to} ${left + r} ${to}H${left + thick - r}Q${left + thick} ${to} ${left + thick} ${to - s * r}V${from}z`;
}

function bars(picture, options, place) {
  const thick = Math.max(1, Math.min(40, place.slot * 0.66));
  const zero = place.y(0);
  options.rows.forEach((row, index) => {
    const open = options.goingOn && index === options.rows.length - 1 ? " open" : "";
    const [up, down] = [options.now(row) ?? 0, options.down?.(row) ?? 0];
    const left = place.x(index) - thick / 2;
    if (up) picture.append(svg("path", { class: "up" + open, d: bar(left, zero - 0.5, thick, Math.min(-1, place.y(up) - zero + 0.5)) }));
    if (down) picture.append(svg("path", { class: "dn" + open, d: bar(left, zero + 1.5, thick, Math.max(1, place.y(-down) - zero - 1.5)) }));
  });
}

function lines(picture, options, place) {
  const { rows } = options;
  const last = rows.length - 1;
  const at = (of, index) => `${place.x(index).toFixed(1)} ${place.y(of(rows[index])).toFixed(1)}`;
  // An unknown figure is a gap.
  const stretches = (of, from = 0, to = last) => {
    const found = [];
    for (let index = from; index <= to; index += 1) {
      if (of(rows[index]) === null) continue;
      if (found.at(-1)?.at(-1) === index - 1) found.at(-1).push(index);
      else found.push([index]);
    }
    return found;
  };
  const path = (of, ...ends) => stretches(of, ...ends).map((some) => "M" + some.map((index) => at(of, index)).join("L")).join("");
  const open = options.goingOn && last > 0;
  for (const some of stretches(options.now)) {
    const ground = `L${place.x(some.at(-1))} ${place.y(0)}L${place.x(some[0])} ${place.y(0)}z`;
    picture.append(svg("path", { class: "area", d: "M" + some.map((index) => at(options.now, index)).join("L") + ground }));
  }
  if (options.before) picture.append(svg("path", { class: "then", d: path(options.before) }));
  picture.append(svg("path", { class: "now", d: path(options.now, 0, open ? last - 1 : last) }));
  if (open) picture.append(svg("path", { class: "now part", d: path(options.now, last - 1, last) }));
  rows.forEach((row, index) => {
    const alone = options.now(rows[index - 1] ?? row) === null && options.now(rows[index + 1] ?? row) === null;
    if ((rows.length > 12 && !alone) || options.now(row) === null) return;
    picture.append(svg("circle", { class: "dot", cx: place.x(index), cy: place.y(options.now(row)), r: 3.25 }));
  });
}

/* What the pointer or the keyboard is on: read out as a slider's value, shown above the plot so that it hides nothing. */
class Cursor {
  constructor(box) {
    this.box = box;
    this.handle = make("div", "cursor");
    this.handle.tabIndex = 0;
    this.handle.setAttribute("role", "slider");
    this.tip = make("div", "tip");
    this.tip.hidden = true;
    box.append(this.handle, this.tip);
    this.handle.onpointermove = this.handle.onpointerdown = (event) =>
      this.show(this.place.nearest(event.clientX - box.getBoundingClientRect().left));
    this.handle.onpointerleave = this.handle.onblur = () => this.hide();
    this.handle.onfocus = () => this.handle.matches(":focus-visible") && this.show(this.chosen);
    this.handle.onkeydown = (event) => this.move(event);
  }

  attach(options, place, picture) {
    const last = options.rows.length - 1;
    // Stay on the current piece; by default it is the last.
    this.chosen = Math.min(this.shown ? this.chosen : last, last);
    [this.options, this.place] = [options, place];
    this.marked = svg("g");
    picture.append(this.marked);
    this.handle.setAttribute("aria-label", options.label);
    this.handle.setAttribute("aria-valuemin", 1);
    this.handle.setAttribute("aria-valuemax", options.rows.length);
    if (this.shown) this.show(this.chosen);
    else this.say();
  }

  say() {
    this.handle.setAttribute("aria-valuenow", this.chosen + 1);
    this.handle.setAttribute("aria-valuetext", this.options.text(this.options.rows[this.chosen]).join(", "));
  }

  show(index) {
    const { options, place } = this;
    this.chosen = Math.max(0, Math.min(options.rows.length - 1, index));
    this.shown = true;
    this.say();
    const [row, x] = [options.rows[this.chosen], place.x(this.chosen)];
    const hair = { class: "hair", x1: Math.round(x) + 0.5, x2: Math.round(x) + 0.5, y1: HEAD, y2: place.height - FOOT };
    this.marked.replaceChildren(svg("line", hair));
    const dot = (name, value, r) => value !== null && this.marked.append(svg("circle", { class: name, cx: x, cy: place.y(value), r }));
    if (!options.bars && options.before) dot("dot then", options.before(row), 3.5);
    if (!options.bars) dot("dot", options.now(row), 4.5);
    const [first, ...rest] = options.text(row);
    this.tip.replaceChildren(make("b", "", first), ...rest.map((line) => make("div", "", line)));
    this.tip.hidden = false;
    const across = Math.min(Math.max(0, x - this.tip.offsetWidth / 2), place.width - this.tip.offsetWidth);
    this.tip.style.transform = `translate(${Math.round(across)}px, ${2 - this.tip.offsetHeight}px)`;
  }

  hide() {
    this.shown = false;
    this.tip.hidden = true;
    this.marked.replaceChildren();
  }

  move(event) {
    const last = this.options.rows.length - 1;
    const to = {
      ArrowLeft: this.chosen - 1, ArrowDown: this.chosen - 1, ArrowRight: this.chosen + 1, ArrowUp: this.chosen + 1,
      PageDown: this.chosen - 7, PageUp: this.chosen + 7, Home: 0, End: last,
    }[event.key];
    if (event.key === "Escape") this.hide();
    if (to === undefined) return;
    event.preventDefault();
    this.show(to);
  }
}

const cursors = new WeakMap();
function draw(box) {
  const table = document.querySelector("[data-numbers]");
  const [width, height] = [box.clientWidth, box.clientHeight];
  const options = KINDS[box.dataset.chart](numbersOf(table), box.dataset);
  if (width < 40 || !options.rows.length) return;
  const place = layOut(options, width, height);
  const picture = svg("svg", { width, height, "aria-hidden": "true" });
  axes(picture, options, place);
  (options.bars ? bars : lines)(picture, options, place);
  if (!cursors.has(box)) cursors.set(box, new Cursor(box));
  cursors.get(box).attach(options, place, picture);
  box.querySelector("svg")?.remove();
  box.prepend(picture);
  if (box.dataset.chart === "line") box.closest(".plot").dataset.tone = { likes: "like", gone: "gone", views: "view", rate: "rate" }[table.dataset.metric];
}

const charts = [...document.querySelectorAll("[data-chart]")];
const watcher = new ResizeObserver((entries) => entries.forEach(({ target }) => draw(target)));
for (const box of charts) watcher.observe(box);
document.addEventListener("parts", () => charts.forEach(draw));
