/* Formats numbers and times for people like likd/web/figures.py, whatever the browser's language. */
"use strict";

const DASH = "–";
const PERCENT_MAX = 999;
const SIZES = [
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "K"],
];

const groups = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");
const whole = (count) => (count < 0 ? "-" : "") + groups(String(Math.abs(Math.trunc(count))));

/* From 10,000 on, only the first three digits, truncated and never rounded up. */
function compact(count) {
  const positive = Math.abs(Math.trunc(count));
  if (positive < 10_000) return whole(count);
  const [size, letter] = SIZES.find(([least]) => positive >= least);
  const digits = positive < 10 * size ? 2 : positive < 100 * size ? 1 : 0;
  const cut = String(Math.floor(positive / (size / 10 ** digits)));
  const fraction = cut.slice(cut.length - digits).replace(/0+$/, "");
  return (count < 0 ? "-" : "") + groups(cut.slice(0, cut.length - digits)) + (digits && fraction ? "." + fraction : "") + letter;
}

function perHundred(part, total) {
  if (total <= 0) return DASH;
  const tenths = Math.floor((part * 1000) / total);
  return `${groups(String(Math.floor(tenths / 10)))}.${tenths % 10}`;
}

function change(now, before) {
  if (before <= 0) return now > 0 ? "new" : DASH;
  const percent = Math.floor((200 * (now - before) + before) / (2 * before));
  if (percent > PERCENT_MAX) return `+>${PERCENT_MAX}%`;
  return (percent > 0 ? "+" : percent < 0 ? "−" : "") + Math.abs(percent) + "%";
}

const rate = (perSecond) => (perSecond >= 100 ? compact(perSecond) : perSecond.toFixed(1).replace(/\.0$/, ""));

function duration(seconds) {
  const total = Math.floor(seconds);
  const [days, hours, minutes] = [total / 86_400, (total / 3600) % 24, (total / 60) % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${total} s`;
}

const milliseconds = (time) => `${time} ms`;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
function moment(at) {
  const time = new Date(Math.floor(at) * 1000);
  return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]} ${time.toISOString().slice(11, 19)}`;
}

function size(count) {
  for (const [power, unit] of [[4, "TiB"], [3, "GiB"], [2, "MiB"], [1, "KiB"]]) {
    if (count >= 1024 ** power) return `${(count / 1024 ** power).toFixed(1)} ${unit}`;
  }
  return `${count} B`;
}

const FORMATS = { compact, whole, per_hundred: perHundred, change, rate, duration, milliseconds, moment, size };
