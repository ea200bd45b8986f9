/* The one websocket of a page: wishes go out on each connection, news come in. */
"use strict";

function follow(wishes, on) {
  const link = document.getElementById("link");
  const say = (state, text) => {
    link.className = "link " + state;
    link.textContent = text;
  };
  let failures = 0;
  const connect = () => {
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/v1/live");
    socket.onopen = () => {
      for (const wish of wishes()) socket.send(JSON.stringify(wish));
      say("on", "live");
      follow.send = (wish) => socket.send(JSON.stringify(wish));
    };
    socket.onmessage = (message) => {
      failures = 0;
      const news = JSON.parse(message.data);
      on[news.type]?.(news);
    };
    socket.onclose = (event) => {
      follow.send = () => {};
      if (event.code === 1008) return say("off", event.reason);
      failures += 1;
      say("off", "connecting again");
      setTimeout(connect, Math.min(15_000, 500 * 2 ** failures) * (0.5 + Math.random() / 2));
    };
  };
  follow.send = () => {};
  connect();
}

const number = (value, digits = 0) =>
  value >= 1e6
    ? new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 2 }).format(value)
    : new Intl.NumberFormat(undefined, { maximumFractionDigits: digits }).format(value);

function text(name, value) {
  for (const place of document.querySelectorAll(`[data-text="${name}"]`)) place.textContent = value;
}

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}
