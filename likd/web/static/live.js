/* The one websocket of a page: wishes go out on each connection, news come in. */
"use strict";

/* A handshake that is not answered and a silence that a ping does not break are the end of a connection, too. */
const [HANDSHAKE_MS, SILENCE_MS, PONG_MS] = [5_000, 15_000, 5_000];

function follow(wishes, on) {
  const link = document.getElementById("link");
  const say = (state, text) => {
    link.className = "link " + state;
    link.textContent = text;
  };
  let failures = 0;
  let socket = null;
  let timer;
  const wait = (delay, work) => {
    clearTimeout(timer);
    timer = setTimeout(work, delay);
  };
  const drop = () => {
    const old = socket;
    socket = null;
    follow.live = false;
    old?.close();
  };
  const end = (event) => {
    clearTimeout(timer);
    drop();
    if (event?.code === 1008) return say("off", event.reason);
    failures += 1;
    say("off", failures > 3 ? "no websocket: figures are old" : "connecting again");
    wait(Math.min(15_000, 500 * 2 ** failures) * (0.5 + Math.random() / 2), connect);
  };
  const listen = () =>
    wait(SILENCE_MS, () => {
      follow.send({ op: "ping" });
      wait(PONG_MS, end);
    });
  const connect = () => {
    drop();
    let fresh;
    try {
      fresh = new WebSocket(location.origin.replace(/^http/, "ws") + document.documentElement.dataset.base + "/v1/live");
    } catch {
      return end();
    }
    socket = fresh;
    const ifCurrent = (work) => (event) => socket === fresh && work(event);
    fresh.onopen = ifCurrent(() => {
      follow.live = true;
      for (const wish of wishes()) follow.send(wish);
      say("on", "live");
      listen();
    });
    fresh.onmessage = ifCurrent((message) => {
      failures = 0;
      listen();
      const news = JSON.parse(message.data);
      on[news.type]?.(news);
    });
    fresh.onclose = ifCurrent(end);
    // Some browsers tell of no end where a policy forbids the connection; of all others it follows with its reason.
    fresh.onerror = ifCurrent(() => wait(1_000, end));
    wait(HANDSHAKE_MS, end);
  };
  follow.live = false;
  follow.send = (wish) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(wish));
  addEventListener("online", connect);
  connect();
}

/* Numbers are written as the page is: a system without a locale knows no thousands separators. */
const LANGUAGE = document.documentElement.lang || "en";
const number = (value, digits = 0) =>
  value >= 1e6
    ? new Intl.NumberFormat(LANGUAGE, { notation: "compact", maximumFractionDigits: 2 }).format(value)
    : new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: digits }).format(value);

function text(name, value) {
  for (const place of document.querySelectorAll(`[data-text="${name}"]`)) place.textContent = value;
}

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}
