/* <like-button url="https://example.com/page"></like-button>: a like button with a live count. No dependencies.

   Attributes: url (default: the page's canonical URL), server (default: where this script comes from), label
   (default "Like"), impression (count a view when the button is seen), theme ("light" or "dark").
   Parts for CSS: button, icon, count. Properties: --likd-color, --likd-active, --likd-background, --likd-border,
   --likd-radius, --likd-font, --likd-size. Events: "like" and "unlike", with { url, count }. */
(() => {
  "use strict";
  if (customElements.get("like-button")) return;

  const script = document.currentScript || document.querySelector('script[src*="likd.js"]');
  const home = script ? new URL(".", script.src).href.replace(/\/$/, "") : location.origin;

  const POLL_MS = 10_000;
  const RETRY_MS = 1_000;
  const RETRY_MS_MAX = 60_000;
  const SOCKET_FAILURES_MAX = 3;
  const READ_MAX = 16;
  const QUEUE_MAX = 200;

  /* What the browser remembers, for this site: an id for its visitor, what is liked, what is still to be sent. */
  const memory = {
    read(name, otherwise) {
      try {
        return JSON.parse(localStorage.getItem("likd:" + name)) ?? otherwise;
      } catch {
        return otherwise;
      }
    },
    write(name, value) {
      try {
        localStorage.setItem("likd:" + name, JSON.stringify(value));
      } catch {
        // Private windows may keep nothing: the page works without.
      }
    },
    get actor() {
      let actor = this.read("actor", null);
      if (!actor) {
        actor = random();
        this.write("actor", actor);
      }
      return (this.known ??= actor);
    },
    liked(url) {
      return Boolean(this.read("liked", {})[url]);
    },
    remember(url, liked) {
      const all = this.read("liked", {});
      if (liked) all[url] = 1;
      else delete all[url];
      this.write("liked", all);
    },
  };

  function random() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /* One server, shared by all its buttons: live counts in, likes out. */
  class Server {
    static all = new Map();

    static at(base) {
      if (!this.all.has(base)) this.all.set(base, new Server(base));
      return this.all.get(base);
    }

    constructor(base) {
      this.base = base;
      this.buttons = new Map();
      this.socket = null;
      this.failures = 0;
      this.queue = memory.read("queue " + base, []);
      this.sending = false;
      this.retries = 0;
      this.seen = [];
      addEventListener("online", () => this.wake());
      addEventListener("pagehide", () => this.sendImpressions());
      document.addEventListener("visibilitychange", () => {
        if (document.hidden) {
          this.sendImpressions();
          this.socket?.close();
        } else {
          this.wake();
        }
      });
      if (this.queue.length) this.send();
    }

    add(button) {
      const buttons = this.buttons.get(button.url) ?? new Set();
      this.buttons.set(button.url, buttons.add(button));
      if (this.socket?.readyState === WebSocket.OPEN) {
        if (buttons.size === 1) this.socket.send(JSON.stringify({ op: "watch", urls: [button.url] }));
        else this.read([button.url]);
      } else {
        queueMicrotask(() => this.connect());
      }
    }

    remove(button, url) {
      const buttons = this.buttons.get(url);
      buttons?.delete(button);
      if (buttons?.size === 0) {
        this.buttons.delete(url);
        if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ op: "unwatch", urls: [url] }));
      }
      if (!this.buttons.size) this.socket?.close();
    }

    wake() {
      this.failures = this.retries = 0;
      this.connect();
      this.send();
    }

    connect() {
      if (this.socket || !this.buttons.size || document.hidden) return;
      if (this.failures >= SOCKET_FAILURES_MAX) return this.poll();
      const socket = new WebSocket(this.base.replace(/^http/, "ws") + "/v1/live");
      this.socket = socket;
      socket.onopen = () => socket.send(JSON.stringify({ op: "watch", urls: [...this.buttons.keys()] }));
      socket.onmessage = (message) => {
        this.failures = 0;
        const news = JSON.parse(message.data);
        if (news.counts) this.show(news.counts);
      };
      socket.onclose = () => {
        this.socket = null;
        this.failures += 1;
        this.later(() => this.connect(), this.failures);
      };
    }

    /* Without a websocket: ask again and again, and try the websocket once in a while. */
    async poll() {
      if (this.polling || document.hidden || !this.buttons.size) return;
      this.polling = true;
      await this.read([...this.buttons.keys()]);
      setTimeout(() => {
        this.polling = false;
        if (Math.random() < 0.1) this.failures = 0;
        this.connect();
      }, POLL_MS);
    }

    async read(urls) {
      for (let begin = 0; begin < urls.length; begin += READ_MAX) {
        const query = new URLSearchParams(urls.slice(begin, begin + READ_MAX).map((url) => ["url", url]));
        try {
          const response = await fetch(`${this.base}/v1/counts?${query}`, { credentials: "omit" });
          if (!response.ok) continue;
          const { counts } = await response.json();
          this.show(counts.map((row, index) => ({ ...row, url: urls[begin + index] })));
        } catch {
          return;
        }
      }
    }

    show(rows) {
      for (const row of rows) for (const button of this.buttons.get(row.url) ?? []) button.show(row.net);
    }

    /* Likes are kept until the server has them: a key makes each count once, however often it is sent. */
    push(kind, url) {
      this.queue = this.queue.filter((item) => item.sending || item.event.url !== url);
      this.queue.push({ key: random(), event: { kind, url, actor: memory.actor } });
      this.queue = this.queue.slice(-QUEUE_MAX);
      this.keep();
      this.send();
    }

    keep() {
      memory.write("queue " + this.base, this.queue.map(({ key, event }) => ({ key, event })));
    }

    pending(url) {
      return this.queue.findLast((item) => item.event.url === url);
    }

    async send() {
      if (this.sending) return;
      this.sending = true;
      while (this.queue.length) {
        const item = this.queue[0];
        item.sending = true;
        let response = null;
        try {
          response = await fetch(this.base + "/v1/events", {
            method: "POST",
            headers: { "Content-Type": "text/plain", "Idempotency-Key": item.key },
            body: JSON.stringify(item.event),
            credentials: "omit",
            keepalive: true,
          });
        } catch {
          // Offline, or the server is away.
        }
        if (!response || response.status >= 500 || response.status === 429) {
          item.sending = false;
          this.later(() => this.send(), ++this.retries, Number(response?.headers.get("Retry-After")) || 0);
          break;
        }
        this.retries = 0;
        this.queue.shift();
        this.keep();
        if (!response.ok) {
          // The server will never take it: show what is true.
          memory.remember(item.event.url, item.event.kind !== "like");
        }
        for (const button of this.buttons.get(item.event.url) ?? []) button.settled();
        await this.read([item.event.url]);
      }
      this.sending = false;
    }

    later(work, failures, seconds = 0) {
      const most = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** failures);
      setTimeout(work, Math.max(seconds * 1000, most * (0.5 + Math.random() / 2)));
    }

    /* Views are sent together when the page has a moment, at the latest when it goes. */
    impression(url) {
      if (!this.seen.length) setTimeout(() => this.sendImpressions(), 1000);
      this.seen.push(JSON.stringify({ kind: "impression", url }));
    }

    sendImpressions() {
      if (!this.seen.length) return;
      const lines = this.seen.splice(0).join("\n");
      navigator.sendBeacon(this.base + "/v1/events", new Blob([lines], { type: "text/plain" }));
    }
  }

  const style = new CSSStyleSheet();
  style.replaceSync(`
    :host { display: inline-block; --color: #3b3f46; --line: #d3d7de; --field: #fff; --on: #d6336c; }
    @media (prefers-color-scheme: dark) {
      :host(:not([theme="light"])) { --color: #dfe3ea; --line: #454b55; --field: #1e2228; --on: #ff6b9a; }
    }
    :host([theme="dark"]) { --color: #dfe3ea; --line: #454b55; --field: #1e2228; --on: #ff6b9a; }
    :host([hidden]) { display: none; }
    button {
      display: inline-flex; align-items: center; gap: .45em; padding: .4em .8em; cursor: pointer;
      font: 600 var(--likd-size, 1rem)/1.25 var(--likd-font, system-ui, sans-serif);
      font-variant-numeric: tabular-nums; color: var(--likd-color, var(--color));
      background: var(--likd-background, var(--field)); border: 1px solid var(--likd-border, var(--line));
      border-radius: var(--likd-radius, 999px); -webkit-tap-highlight-color: transparent;
    }
    button:hover { border-color: var(--likd-active, var(--on)); }
    button:focus-visible { outline: 3px solid var(--likd-active, var(--on)); outline-offset: 2px; }
    svg { width: 1.15em; height: 1.15em; fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
    button[aria-pressed="true"] svg {
      fill: var(--likd-active, var(--on)); stroke: var(--likd-active, var(--on));
    }
    @media (prefers-reduced-motion: no-preference) {
      button { transition: border-color .15s; }
      svg { transition: fill .15s, stroke .15s; }
      button[aria-pressed="true"].now svg { animation: pop .35s ease-out; }
    }
    @keyframes pop { 40% { transform: scale(1.35); } 70% { transform: scale(.92); } }
  `);

  const template = document.createElement("template");
  template.innerHTML = `<button type="button" part="button" aria-pressed="false">
    <svg part="icon" viewBox="0 0 24 24" aria-hidden="true"><path
      d="M12 20.7 4.3 13a5.2 5.2 0 0 1 7.3-7.4l.4.4.4-.4a5.2 5.2 0 0 1 7.3 7.4z"/></svg>
    <span part="count" aria-hidden="true">·</span></button>`;

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const visible = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      visible.unobserve(entry.target);
      entry.target.server.impression(entry.target.url);
    }
  });

  class LikeButton extends HTMLElement {
    static observedAttributes = ["url", "server", "label"];

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open", delegatesFocus: true });
      root.adoptedStyleSheets = [style];
      root.append(template.content.cloneNode(true));
      this.face = root.querySelector("button");
      this.number = root.querySelector("span");
      this.face.addEventListener("click", () => this.toggle());
      this.count = null;
      this.shown = null;
    }

    connectedCallback() {
      this.url = absolute(this.getAttribute("url")) ?? canonical();
      this.server = Server.at((this.getAttribute("server") ?? home).replace(/\/$/, ""));
      this.server.add(this);
      if (this.hasAttribute("impression")) visible.observe(this);
      addEventListener("storage", (this.onstorage = () => this.draw()));
      this.draw();
    }

    disconnectedCallback() {
      this.server.remove(this, this.url);
      visible.unobserve(this);
      removeEventListener("storage", this.onstorage);
    }

    attributeChangedCallback(name, before, now) {
      if (!this.isConnected || !this.server || before === now) return;
      if (name !== "label") {
        this.disconnectedCallback();
        this.count = this.shown = null;
        this.connectedCallback();
      }
      this.draw();
    }

    get liked() {
      return memory.liked(this.url);
    }

    toggle() {
      const liked = !this.liked;
      memory.remember(this.url, liked);
      this.server.push(liked ? "like" : "unlike", this.url);
      this.face.classList.add("now");
      for (const button of this.server.buttons.get(this.url) ?? []) button.draw();
      this.dispatchEvent(
        new CustomEvent(liked ? "like" : "unlike", {
          bubbles: true,
          composed: true,
          detail: { url: this.url, count: this.expected },
        }),
      );
    }

    /* What the server says; while a like of ours is on its way, it may or may not have it yet. */
    show(count) {
      if (this.server.pending(this.url)) {
        this.news = count;
        this.count ??= count;
      } else {
        this.count = count;
      }
      this.draw();
    }

    settled() {
      if (this.server.pending(this.url)) return;
      // It is counted: what is read next has it.
      this.count = this.news ?? this.count;
      this.news = null;
    }

    /* The count as it will be once the server has what was pressed here. */
    get expected() {
      const pending = this.server.pending(this.url);
      return Math.max(0, (this.count ?? 0) + (pending ? (pending.event.kind === "like" ? 1 : -1) : 0));
    }

    draw() {
      const label = this.getAttribute("label") ?? "Like";
      const liked = this.liked;
      this.face.setAttribute("aria-pressed", String(liked));
      if (this.count === null && !this.server?.pending(this.url)) {
        this.face.setAttribute("aria-label", label);
        return;
      }
      const count = this.expected;
      this.face.setAttribute("aria-label", `${label}, ${count.toLocaleString()}`);
      this.face.title = count.toLocaleString();
      this.roll(count);
    }

    roll(count) {
      const from = this.shown;
      if (from === count) return;
      this.shown = count;
      cancelAnimationFrame(this.frame);
      if (from === null || still.matches || document.hidden) {
        this.number.textContent = compact(count);
        return;
      }
      const began = performance.now();
      const step = (now) => {
        const part = Math.min(1, (now - began) / 400);
        const eased = 1 - (1 - part) ** 3;
        this.number.textContent = compact(Math.round(from + (count - from) * eased));
        if (part < 1) this.frame = requestAnimationFrame(step);
      };
      this.frame = requestAnimationFrame(step);
    }
  }

  function absolute(url) {
    return url === null ? null : new URL(url, document.baseURI).href;
  }

  function canonical() {
    return document.querySelector('link[rel="canonical"]')?.href ?? location.href.split("#")[0];
  }

  function compact(count) {
    return new Intl.NumberFormat(document.documentElement.lang || undefined, {
      notation: count < 10_000 ? "standard" : "compact",
      maximumFractionDigits: 1,
    }).format(count);
  }

  customElements.define("like-button", LikeButton);
})();
