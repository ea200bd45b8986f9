/* The page's one websocket: wishes are sent on each new connection, news comes in. */
"use strict";

/* An unanswered handshake, and silence that a ping does not break, end a connection, too. */
const [HANDSHAKE_MS, SILENCE_MS, PONG_MS] = [5_000, 15_000, 5_000];

function follow(wishes, on) {
  const link = document.getElementById("link");
  const say = (state, text) => {
    link.className = "state " + state;
    link.textContent = text;
  };
  let failures = 0;
  let socket = null;
  let timer;
  link.hidden = false;
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
    if (event?.code === 1008) return say("bad", event.reason);
    failures += 1;
    if (failures > 3) say("bad", "Not connected: live figures are out of date");
    else say("wait", "Reconnecting");
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
      fresh = new WebSocket(location.origin.replace(/^http/, "ws") + BASE + "/v1/live");
    } catch {
      return end();
    }
    socket = fresh;
    const ifCurrent = (work) => (event) => socket === fresh && work(event);
    fresh.onopen = ifCurrent(() => {
      follow.live = true;
      for (const wish of wishes()) follow.send(wish);
      say("", "Live");
      listen();
    });
    fresh.onmessage = ifCurrent((message) => {
      failures = 0;
      listen();
      const news = JSON.parse(message.data);
      on[news.type]?.(news);
    });
    fresh.onclose = ifCurrent(end);
    // If a policy forbids the connection, some browsers fire no close event; in all other cases it follows, with its reason.
    fresh.onerror = ifCurrent(() => wait(1_000, end));
    wait(HANDSHAKE_MS, end);
  };
  follow.live = false;
  follow.send = (wish) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(wish));
  addEventListener("online", connect);
  connect();
}

/* Rewrites what the template took from the daemon's status, from a newer one. */
const found = (known, path) => path.split(".").reduce((value, name) => value?.[name], known);
function freshen(known) {
  for (const place of document.querySelectorAll("[data-live]")) {
    const value = found(known, place.dataset.live);
    const form = place.dataset.as;
    const content = value === undefined || value === null ? DASH : form === "text" ? String(value) : FORMATS[form](value);
    if (place.textContent !== content) place.textContent = content;
  }
  for (const bar of document.querySelectorAll("progress[data-live-value]")) bar.value = found(known, bar.dataset.liveValue) ?? 0;
  for (const place of document.querySelectorAll("[data-live-state]")) {
    const state = found(known, place.dataset.liveState);
    if (!state || place.textContent === state) continue;
    place.textContent = state;
    place.className = "state " + ({ running: "", starting: "wait", backoff: "wait", failed: "bad" }[state] ?? "off");
  }
}
