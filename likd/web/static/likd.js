/* <like-button url="https://example.com/page"></like-button>: a like button with a live count. No dependencies.

   docs/button.md has its attributes, parts, properties, states and events. From top to bottom: what the browser
   remembers (Memory), likes on their way (Outbox), the websocket (Line), views (Views), a URL (Topic), a daemon
   with all its URLs (Server), words and numbers, and the element itself (LikeButton). */
(() => {
  "use strict";
  if (customElements.get("like-button")) return;

  const script =
    document.currentScript ?? Array.from(document.scripts).find(({ src }) => /\/likd(\.\w+)?\.js(\?|$)/.test(src));
  const HOME = script?.src ? new URL(".", script.src).href : location.origin;

  const ANSWER_MS = 10_000;
  const HANDSHAKE_MS = 5_000;
  const SILENCE_MS = 15_000;
  const PONG_MS = 5_000;
  const POLL_MS = 10_000;
  const LINE_RETRY_MS_MAX = 60_000;
  const LIKE_RETRY_MS_MAX = 5_000;
  const VIEWS_MS = 1_000;
  const SYNC_MS = 50;
  const FOLLOW_MS = 500;

  const LIKE = "like";
  const PRESSES_MAX = 50;
  const ITEMS_MAX = 200;
  const LIKES_AT_ONCE = 4;
  const READ_URLS_MAX = 16;
  const READ_CHARACTERS_MAX = 8_000;
  const WATCH_URLS_MAX = 100;
  const VIEWS_AT_ONCE = 100;
  const VIEWS_BYTES_MAX = 60_000;

  const EXPECTED_URL = "expected an absolute http or https URL of at most 2048 bytes";
  const EXPECTED_SERVER = "expected an http or https address";

  function random() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /* How long to wait after that many failures; partly random, or all visitors would come back at once. */
  function pause(failures, most) {
    return Math.min(most, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
  }

  /* The last resort: values that last as long as the tab, across reloads if nobody else uses the window's name. */
  class TabStorage {
    constructor() {
      const [mark, text] = [window.name.slice(0, 5), window.name.slice(5)];
      this.named = mark === "likd:" || mark === "";
      this.values = Object(mark === "likd:" ? parsed(text) : null);
    }

    get names() {
      return Object.keys(this.values);
    }

    getItem(name) {
      return this.values[name] ?? null;
    }

    setItem(name, text) {
      this.values[name] = text;
      this.save();
    }

    removeItem(name) {
      if (!(name in this.values)) return;
      delete this.values[name];
      this.save();
    }

    save() {
      if (this.named) window.name = this.names.length ? "likd:" + JSON.stringify(this.values) : "";
    }
  }

  function parsed(text) {
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  }

  /* What the browser remembers for this site: the visitor's id, what is liked, what is still to be sent. A value that
     one storage does not take is kept in the next; one kept further down is newer. */
  class Memory {
    constructor() {
      this.places = [];
      for (const name of ["localStorage", "sessionStorage"]) {
        try {
          if (window[name]) this.places.push(window[name]);
        } catch {
          // Storage is refused.
        }
      }
      this.places.push(new TabStorage());
      this.known = new Map();
    }

    read(name) {
      const text = this.text("likd:" + name);
      const known = this.known.get(name);
      if (known?.text === text) return known.value;
      const value = text === null ? null : parsed(text);
      this.known.set(name, { text, value });
      return value;
    }

    text(name) {
      for (const place of this.places.toReversed()) {
        try {
          const text = place.getItem(name);
          if (text !== null) return text;
        } catch {
          // The next one may have it.
        }
      }
      return null;
    }

    write(name, value) {
      const text = JSON.stringify(value);
      let kept = false;
      for (const place of this.places) {
        try {
          if (kept) place.removeItem("likd:" + name);
          else place.setItem("likd:" + name, text);
          kept = true;
        } catch {
          // It is full, or refuses to store.
        }
      }
    }

    remove(name) {
      this.known.delete(name);
      for (const place of this.places) {
        try {
          place.removeItem("likd:" + name);
        } catch {
          // Then it has nothing to remove, either.
        }
      }
    }

    /* The names with that beginning, wherever they are kept. */
    names(prefix) {
      const found = new Set();
      for (const place of this.places) {
        try {
          for (const name of place.names ?? Object.keys(place)) {
            if (name.startsWith("likd:" + prefix)) found.add(name.slice(5));
          }
        } catch {
          // Then it has none.
        }
      }
      return found;
    }

    get actor() {
      if (!this.visitor) {
        this.visitor = this.read("actor") ?? random();
        this.write("actor", this.visitor);
      }
      return this.visitor;
    }

    /* How many events of a kind the visitor gave to a URL. */
    given(kind, url) {
      return Number(this.read("liked")?.[place(kind, url)] ?? 0);
    }

    remember(kind, url, given) {
      const all = { ...this.read("liked") };
      if (given) all[place(kind, url)] = given;
      else delete all[place(kind, url)];
      this.write("liked", all);
    }
  }

  function place(kind, url) {
    return kind === LIKE ? url : `${kind} ${url}`;
  }

  const memory = new Memory();

  /* Likes are kept until the server has them. Each has its own key in the browser's storage, so that tabs do not
     overwrite each other's, and because of that key it counts once, however often and by whichever tab it is sent. */
  class Outbox {
    constructor(server) {
      this.server = server;
      this.prefix = `item ${server.base} `;
      this.items = [];
      this.underway = new Set();
      this.failures = 0;
      this.adoptOld();
      this.adopt();
    }

    /* What is waiting, including what other tabs and earlier pages left. */
    adopt() {
      const items = Array.from(memory.names(this.prefix), (name) => memory.read(name)).filter((item) => item?.event);
      this.items = items.sort((one, other) => one.at - other.at);
    }

    adoptOld() {
      const name = "queue " + this.server.base;
      const old = memory.read(name);
      if (!Array.isArray(old)) return;
      old.forEach(({ key, event }, at) => memory.write(this.prefix + key, { key, event, at, tried: true }));
      memory.remove(name);
    }

    /* Send `event`, which does the `done` action or takes it back. */
    push(done, event) {
      this.adopt();
      // An event that nobody has tried to send yet is replaced by this one.
      for (const item of this.of(event.url, done)) {
        if (!item.tried && item.event.actor === event.actor) this.forget(item);
      }
      for (const item of this.items.slice(0, -ITEMS_MAX)) this.forget(item);
      const at = Math.max(Date.now(), (this.items.at(-1)?.at ?? 0) + 1);
      const item = { key: random(), done, event, at, tried: false };
      memory.write(this.prefix + item.key, item);
      this.items.push(item);
      this.send();
    }

    forget({ key }) {
      memory.remove(this.prefix + key);
      this.items = this.items.filter((item) => item.key !== key);
    }

    of(url, done) {
      // Earlier versions only liked, and did not record the kind.
      return this.items.filter((item) => item.event.url === url && (!done || done === (item.done ?? LIKE)));
    }

    /* Each URL's likes are sent in order; one that gets no answer does not hold up other URLs'. */
    send() {
      clearTimeout(this.timer);
      for (const url of new Set(this.items.map((item) => item.event.url))) {
        if (this.underway.size >= LIKES_AT_ONCE) return;
        if (!this.underway.has(url)) this.deliver(url);
      }
    }

    async deliver(url) {
      this.underway.add(url);
      try {
        for (let item; (item = this.of(url)[0]); ) if (!(await this.post(item))) return;
      } finally {
        this.underway.delete(url);
      }
      this.server.settle(url);
      this.send();
    }

    /* Whether the server has accepted or refused `item`. */
    async post(item) {
      item.tried = true;
      memory.write(this.prefix + item.key, item);
      let response = null;
      try {
        response = await fetch(this.server.base + "/v1/events", {
          method: "POST",
          headers: { "Content-Type": "text/plain", "Idempotency-Key": item.key },
          body: JSON.stringify(item.event),
          credentials: "same-origin",
          keepalive: true,
          signal: AbortSignal.timeout(ANSWER_MS),
        });
      } catch {
        // Offline, or the server is unavailable.
      }
      if (!response || response.status >= 500 || [408, 425, 429].includes(response.status)) {
        const asked = Number(response?.headers.get("Retry-After")) * 1000 || 0;
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.send(), Math.max(asked, pause(++this.failures, LIKE_RETRY_MS_MAX)));
        if (!response) this.server.reached(false);
        return false;
      }
      this.failures = 0;
      this.forget(item);
      if (!response.ok) this.server.refuseLike(item, await problemOf(response));
      return true;
    }
  }

  async function problemOf(response) {
    const { detail, expected, field } = parsed(await response.text().catch(() => "")) ?? {};
    return { status: response.status, detail: detail ?? `the server answered ${response.status}`, expected, field };
  }

  /* One websocket after another. An unanswered handshake, or silence that a ping does not break, ends one just as its
     close does. */
  class Line {
    constructor(address, { opened, heard, ended }) {
      Object.assign(this, { address, opened, heard, ended });
      this.socket = null;
      this.open = false;
      this.failures = 0;
    }

    connect() {
      if (this.socket || this.resting) return;
      let socket;
      try {
        socket = new WebSocket(this.address);
      } catch {
        // The page's policy forbids it: some browsers throw, and Chromium fires error without close.
        this.rest();
        return;
      }
      this.socket = socket;
      const ifCurrent = (work) => (event) => this.socket === socket && work(event);
      socket.onopen = ifCurrent(() => {
        this.open = true;
        this.listen();
        this.opened();
      });
      socket.onmessage = ifCurrent(({ data }) => {
        this.failures = 0;
        this.listen();
        const message = parsed(data);
        if (message) this.heard(message);
      });
      socket.onclose = socket.onerror = ifCurrent(() => this.fail());
      this.wait(HANDSHAKE_MS, () => this.fail());
    }

    say(message) {
      if (this.open && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
    }

    wait(delay, work) {
      clearTimeout(this.timer);
      this.timer = setTimeout(work, delay);
    }

    listen() {
      this.wait(SILENCE_MS, () => {
        this.say({ op: "ping" });
        this.wait(PONG_MS, () => this.fail());
      });
    }

    fail() {
      this.drop();
      this.rest();
      this.ended();
    }

    rest() {
      this.resting = setTimeout(() => {
        this.resting = null;
        this.ended();
      }, pause(++this.failures, LINE_RETRY_MS_MAX));
    }

    /* Abandon it without a close: nobody is listening at the end of a dead connection. */
    drop() {
      clearTimeout(this.timer);
      clearTimeout(this.resting);
      const socket = this.socket;
      this.socket = this.resting = null;
      this.open = false;
      socket?.close();
    }
  }

  /* Views are sent together when the page is idle, at the latest when it is left. A view of a URL that the server
     refuses would lose the others sent with it, so it waits until that is known, and in the end is sent alone. */
  class Views {
    constructor(server) {
      this.server = server;
      this.seen = [];
    }

    add(topic) {
      // Nobody is looking at a browser that a program controls.
      if (navigator.webdriver) return;
      this.seen.push(topic);
      this.later();
    }

    later() {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.send();
      }, VIEWS_MS);
    }

    send({ last = false } = {}) {
      // A prerendered page has not been seen yet.
      if (document.prerendering || (this.server.away && !last)) return this.seen.length ? this.later() : undefined;
      const views = this.seen.filter((topic) => !topic.problem);
      this.seen = [];
      const unknown = views.filter((topic) => !topic.counts);
      const portions = this.portions(views.filter((topic) => topic.counts));
      if (last) portions.push(...unknown.map((topic) => [topic]));
      else this.seen.push(...unknown);
      for (const portion of portions) {
        const lines = portion.map((topic) => topic.view).join("\n");
        // The browser has a limit for everything in flight together.
        if (!navigator.sendBeacon(this.server.base + "/v1/events", new Blob([lines], { type: "text/plain" }))) {
          this.seen.push(...portion);
        }
      }
      if (this.seen.length && !last) this.later();
    }

    portions(topics) {
      const portions = [];
      let bytes = Infinity;
      for (const topic of topics) {
        const size = new Blob([topic.view]).size + 1;
        if (bytes + size > VIEWS_BYTES_MAX || portions.at(-1).length >= VIEWS_AT_ONCE) {
          portions.push([]);
          bytes = 0;
        }
        portions.at(-1).push(topic);
        bytes += size;
      }
      return portions;
    }
  }

  /* How many events of one kind a URL got, from everyone and from this visitor. */
  class Tally {
    constructor(topic, kind) {
      this.topic = topic;
      this.kind = kind;
      this.row = null;
      this.held = null;
      this.problem = null;
    }

    /* By this visitor. */
    get given() {
      return memory.given(this.kind, this.topic.url);
    }

    set given(given) {
      memory.remember(this.kind, this.topic.url, given);
    }

    /* The count as it will be once the server has what was pressed; null while it is unknown. */
    get count() {
      if (!this.held) return this.row?.net ?? null;
      return Math.max(0, (this.held.base ?? 0) + this.given - this.held.before);
    }

    /* What waits to be sent or answered. */
    get items() {
      return this.topic.server.outbox.of(this.topic.url, this.kind);
    }

    /* One more, or none if that would be too many: the kinds of event that this takes. */
    press(most) {
      const given = Math.max(0, this.given);
      const more = given < most;
      this.hold(given);
      this.given = more ? given + 1 : 0;
      const kind = more ? this.kind : `un${this.kind}`;
      for (const nth of more ? [given + 1] : Array.from({ length: given }, (_, n) => given - n)) {
        this.topic.server.outbox.push(this.kind, { kind, url: this.topic.url, actor: actor(nth) });
      }
      this.topic.draw();
      return kind;
    }

    /* While a like is on its way, the server's count may or may not include it, so the earlier count is kept. */
    hold(before) {
      this.held ??= { base: this.row?.net ?? null, before, settled: false };
    }

    /* The same for what was pressed on an earlier page or in another tab. */
    holdItems() {
      const { items } = this;
      if (items.length) this.hold(this.given - items.reduce((sum, item) => sum + change(item), 0));
    }

    take(counts, fresh) {
      const given = counts[`${this.kind}s`];
      const takenBack = counts[`un${this.kind}s`] ?? 0;
      if (given === undefined) return this.refuse();
      this.problem = null;
      const [version, net] = [given + takenBack, given - takenBack];
      // Newer news may have overtaken an answer.
      if (fresh && version < this.row?.version) return;
      this.row = { net, version };
      if (!this.held) return;
      if (this.held.settled) this.held = null;
      else if (!this.items.some((item) => item.tried)) this.held.base = net;
      else this.held.base ??= net;
    }

    refuse() {
      const reason = `kind is ${JSON.stringify(this.kind.slice(0, 80))}; expected a kind that the server counts`;
      if (!this.problem) console.warn(`<like-button> ${reason}`);
      this.problem = { reason };
    }

    /* The server has everything that was pressed; `known` if its last count includes it, too. */
    release(known) {
      if (known) this.held = null;
      else if (this.held) this.held.settled = true;
    }
  }

  /* What an item adds to what this visitor has given. */
  function change({ done, event }) {
    return event.kind === (done ?? LIKE) ? 1 : -1;
  }

  /* For the server, each of several claps has an actor of its own, so none is counted twice, however often it is
     sent. */
  function actor(nth) {
    return nth === 1 ? memory.actor : `${memory.actor} ${nth}`;
  }

  /* A URL on a server, shared by all its buttons: what the server says about it, and what was pressed since. */
  class Topic {
    constructor(server, url) {
      this.server = server;
      this.url = url;
      this.buttons = new Set();
      this.inSight = new Set();
      this.tallies = new Map();
      this.counts = null;
      this.fresh = false;
      this.problem = null;
      this.view = JSON.stringify({ kind: "impression", url });
    }

    tally(kind) {
      if (!this.tallies.has(kind)) {
        const tally = new Tally(this, kind);
        this.tallies.set(kind, tally);
        tally.holdItems();
        if (this.counts) tally.take(this.counts, false);
      }
      return this.tallies.get(kind);
    }

    hold() {
      for (const tally of this.tallies.values()) tally.holdItems();
    }

    get held() {
      return Array.from(this.tallies.values()).some((tally) => tally.held);
    }

    take(counts) {
      this.problem = null;
      this.counts = counts;
      for (const tally of this.tallies.values()) tally.take(counts, this.fresh);
      this.fresh = true;
      this.draw();
    }

    release(known) {
      for (const tally of this.tallies.values()) tally.release(known);
      this.draw();
    }

    refuse(problem) {
      const reason = problem.expected ? `${problem.detail}; expected ${problem.expected}` : problem.detail;
      if (this.problem?.reason !== reason) console.warn(`<like-button> ${this.url.slice(0, 200)}: ${reason}`);
      this.problem = { reason, lasting: problem.status === 403 || problem.status === 422 };
      this.draw();
    }

    draw() {
      for (const button of this.buttons) button.draw();
    }
  }

  /* One daemon, shared by all its buttons: counts in, likes and views out. */
  class Server {
    static all = new Map();

    static at(base) {
      if (!this.all.has(base)) this.all.set(base, new Server(base));
      return this.all.get(base);
    }

    constructor(base) {
      this.base = base;
      this.topics = new Map();
      this.away = false;
      this.misses = 0;
      this.watching = new Set();
      this.crowded = new Set();
      this.outbox = new Outbox(this);
      this.views = new Views(this);
      this.line = new Line(base.replace(/^http/, "ws") + "/v1/live", {
        opened: () => this.sync(),
        heard: (message) => this.hear(message),
        ended: () => this.stale(),
      });
      addEventListener("online", () => this.wake());
      addEventListener("pageshow", ({ persisted }) => persisted && this.wake());
      addEventListener("pagehide", () => this.sleep());
      document.addEventListener("visibilitychange", () => (document.hidden ? this.sleep() : this.wake()));
      addEventListener("storage", ({ key }) => (key === null || key.startsWith("likd:")) && this.remind());
      this.outbox.send();
    }

    add(button, url) {
      const topic = this.topics.get(url) ?? new Topic(this, url);
      this.topics.set(url, topic);
      topic.buttons.add(button);
      return topic;
    }

    remove(button, topic) {
      topic.buttons.delete(button);
      this.look(button, topic, false);
    }

    /* A button has come into view, or has left it. */
    look(button, topic, inSight) {
      if (inSight) topic.inSight.add(button);
      else topic.inSight.delete(button);
      this.syncing ??= setTimeout(() => {
        this.syncing = null;
        this.sync();
      }, this.line.open ? SYNC_MS : 0);
    }

    get wanted() {
      return Array.from(this.topics.values()).filter((topic) => topic.inSight.size && !topic.problem?.lasting);
    }

    /* Watch what is in view and nothing else; what can't be watched is polled. */
    sync() {
      for (const topic of this.topics.values()) if (!topic.buttons.size) this.topics.delete(topic.url);
      if (document.hidden) return;
      if (!this.topics.size) return this.stop();
      const wanted = new Set(this.wanted.map((topic) => topic.url));
      if (wanted.size) this.line.connect();
      if (this.line.open) {
        const gone = Array.from(this.watching).filter((url) => !wanted.has(url));
        // There may now be room for others.
        if (gone.length) this.crowded.clear();
        const come = Array.from(wanted).filter((url) => !this.watching.has(url) && !this.crowded.has(url));
        for (const urls of chunks(gone)) this.line.say({ op: "unwatch", urls });
        for (const urls of chunks(come)) this.line.say({ op: "watch", urls, partial: true });
        for (const url of gone) this.watching.delete(url);
        for (const url of come) this.watching.add(url);
      }
      this.read();
    }

    stop() {
      this.line.drop();
      this.stale(false);
      this.reading = null;
      clearTimeout(this.poll);
    }

    hear(message) {
      this.reached(true);
      for (const row of message.counts ?? []) this.topics.get(row.url)?.take(row);
      for (const { url, problem } of message.refused ?? []) {
        this.watching.delete(url);
        if (problem.status === 429) this.crowded.add(url);
        else this.topics.get(url)?.refuse(problem);
      }
      if (this.crowded.size) this.read();
    }

    /* The connection is gone: nothing is watched, and the counts may be out of date. */
    stale(again = true) {
      this.watching.clear();
      this.crowded.clear();
      for (const topic of this.topics.values()) topic.fresh = false;
      if (again) this.sync();
    }

    wake() {
      this.outbox.failures = this.misses = this.line.failures = 0;
      this.line.drop();
      this.reading = null;
      this.stale();
      this.outbox.send();
      this.views.later();
    }

    sleep() {
      this.views.send({ last: true });
      this.stop();
    }

    /* Another tab has changed the storage. */
    remind() {
      this.outbox.adopt();
      for (const topic of this.topics.values()) {
        topic.hold();
        if (topic.held && !this.outbox.of(topic.url).length) this.settle(topic.url);
        topic.draw();
      }
    }

    /* Read what is in view and not fresh, and again after a while: a websocket may take long, or never connect. */
    async read() {
      if (this.reading) return;
      const mine = (this.reading = {});
      clearTimeout(this.poll);
      const asked = new Set();
      let answered = true;
      while (answered) {
        const urls = portion(this.wanted.filter((topic) => !topic.fresh && !asked.has(topic.url)));
        if (!urls.length) break;
        for (const url of urls) asked.add(url);
        answered = await this.ask(urls);
        // Something else has started a new round meanwhile.
        if (this.reading !== mine) return;
      }
      this.reading = null;
      this.misses = answered ? 0 : this.misses + 1;
      const again = () => {
        for (const topic of this.wanted) if (!this.watching.has(topic.url)) topic.fresh = false;
        this.read();
      };
      this.poll = setTimeout(again, answered ? POLL_MS : pause(this.misses, POLL_MS));
    }

    /* Whether the server has answered for the counts of `urls`. */
    async ask(urls) {
      const query = new URLSearchParams([["partial", "true"], ...urls.map((url) => ["url", url])]);
      try {
        const response = await fetch(`${this.base}/v1/counts?${query}`, {
          credentials: "same-origin",
          signal: AbortSignal.timeout(ANSWER_MS),
        });
        if (response.ok) {
          const { counts } = await response.json();
          this.reached(true);
          counts.forEach((row, index) => {
            const topic = this.topics.get(urls[index]);
            if (row.problem) topic?.refuse(row.problem);
            else topic?.take(row);
          });
          return true;
        }
        if (response.status === 429 || response.status >= 500) return false;
        const { detail, expected } = await problemOf(response);
        // Not about these URLs but about all: it may pass, so they are requested again.
        for (const url of urls) this.topics.get(url)?.refuse({ detail, expected });
        return true;
      } catch {
        this.reached(false);
        return false;
      }
    }

    /* Whether the server was reached just now. */
    reached(there) {
      const away = !there && !this.line.open;
      if (away === this.away) return;
      this.away = away;
      if (!away) {
        this.outbox.failures = 0;
        this.outbox.send();
      }
      for (const topic of this.topics.values()) topic.draw();
    }

    /* The server has everything that was pressed for `url`: what is read from now on is right. */
    async settle(url) {
      const topic = this.topics.get(url);
      if (!topic) return;
      topic.fresh = false;
      const answered = await this.ask([url]);
      if (!this.outbox.of(url).length) topic.release(answered);
    }

    /* The server will never accept it: the state before it is right. */
    refuseLike(item, problem) {
      const [done, url] = [item.done ?? LIKE, item.event.url];
      memory.remember(done, url, memory.given(done, url) - change(item));
      const topic = this.topics.get(url);
      if (!topic) return;
      const tally = topic.tallies.get(done);
      // If the server does not count the kind at all, the URL is not to blame.
      const refused = tally && problem.field === "kind" ? tally : topic;
      refused.refuse(problem);
      topic.draw();
      const buttons = Array.from(topic.buttons).filter((button) => button.kind === done);
      for (const button of buttons) button.tell("refused", { url, detail: refused.problem.reason });
    }
  }

  function chunks(urls) {
    const count = Math.ceil(urls.length / WATCH_URLS_MAX);
    return Array.from({ length: count }, (_, at) => urls.slice(at * WATCH_URLS_MAX, (at + 1) * WATCH_URLS_MAX));
  }

  /* As many URLs as one request takes. */
  function portion(topics) {
    const urls = [];
    let characters = 0;
    for (const { url } of topics) {
      characters += encodeURIComponent(url).length + 5;
      if (urls.length === READ_URLS_MAX || (urls.length && characters > READ_CHARACTERS_MAX)) break;
      urls.push(url);
    }
    return urls;
  }

  const LABELS = {
    ar: "أعجبني", cs: "To se mi líbí", da: "Synes godt om", de: "Gefällt mir", el: "Μου αρέσει", en: "Like",
    es: "Me gusta", fi: "Tykkää", fr: "J’aime", he: "אהבתי", hi: "पसंद", hu: "Tetszik", id: "Suka", it: "Mi piace",
    ja: "いいね", ko: "좋아요", nb: "Liker", nl: "Vind ik leuk", nn: "Likar", no: "Liker", pl: "Lubię to", pt: "Curtir",
    "pt-pt": "Gosto", ro: "Îmi place", ru: "Нравится", sv: "Gilla", tr: "Beğen", uk: "Подобається", vi: "Thích",
    zh: "赞", "zh-hant": "讚", "zh-hk": "讚", "zh-tw": "讚",
  };

  /* Numbers and words in one language. */
  class Language {
    static all = new Map();

    static of(element) {
      const tag = element.closest("[lang]")?.lang || document.documentElement.lang;
      if (!this.all.has(tag)) this.all.set(tag, new Language(tag));
      return this.all.get(tag);
    }

    constructor(tag) {
      // The visitor's own if the page names none; a system without one says "C", which is not a language.
      const locale = canonicalTag(tag) ?? canonicalTag(navigator.language) ?? "en";
      const parts = locale.toLowerCase().split("-");
      this.label = LABELS[parts.slice(0, 2).join("-")] ?? LABELS[parts[0]] ?? LABELS.en;
      this.exact = new Intl.NumberFormat(locale);
      this.compact = new Intl.NumberFormat(locale, {
        notation: "compact",
        maximumSignificantDigits: 3,
        roundingMode: "trunc",
      });
    }

    short(count) {
      return (count < 10_000 ? this.exact : this.compact).format(count);
    }
  }

  /* `tag` as Intl takes it; undefined if it is invalid. */
  function canonicalTag(tag) {
    try {
      return Intl.getCanonicalLocales(tag.trim().replaceAll("_", "-"))[0];
    } catch {
      return undefined;
    }
  }

  const style = new CSSStyleSheet();
  style.replaceSync(`
    :host { display: inline-block; --color: #3b3f46; --line: #d3d7de; --field: #fff; --on: #d6336c; }
    :host([theme="light"]) { color-scheme: light; }
    :host([theme="dark"]) { color-scheme: dark; --color: #dfe3ea; --line: #454b55; --field: #1e2228; --on: #ff6b9a; }
    @supports (color: light-dark(red, red)) {
      :host {
        --color: light-dark(#3b3f46, #dfe3ea); --line: light-dark(#d3d7de, #454b55);
        --field: light-dark(#fff, #1e2228); --on: light-dark(#d6336c, #ff6b9a);
      }
    }
    :host([hidden]) { display: none; }
    button {
      display: inline-flex; align-items: baseline; justify-content: center; gap: .45em; box-sizing: border-box;
      margin: 0; padding: .4em .8em; min-inline-size: calc(4.8ch + 3.2em + 2px); cursor: pointer;
      font: 600 var(--likd-size, 1rem)/1.25 var(--likd-font, system-ui, sans-serif);
      font-variant-numeric: tabular-nums; color: var(--likd-color, var(--color));
      background: var(--likd-background, var(--field)); border: 1px solid var(--likd-border, var(--line));
      border-radius: var(--likd-radius, 999px); -webkit-tap-highlight-color: transparent;
    }
    @media (pointer: coarse) {
      button { padding-block: max(.4em, calc((44px - 2px - 1.25em) / 2)); }
    }
    button:hover:enabled { border-color: var(--likd-active, var(--on)); }
    button:focus-visible { outline: 3px solid var(--likd-active, var(--on)); outline-offset: 2px; }
    button:disabled { cursor: not-allowed; opacity: .5; border-style: dashed; }
    button[data-state="offline"] { border-style: dashed; }
    svg, ::slotted(*) { inline-size: 1.15em; block-size: 1.15em; }
    svg { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
    slot { display: block; align-self: center; }
    slot > svg { display: block; }
    [part="count"] { white-space: nowrap; }
    :host([words]:not([words="false"])) [part="count"] { min-inline-size: 4.8ch; text-align: start; }
    :host(:not([words])) [part="label"], :host([words="false"]) [part="label"] { display: none; }
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

  const HEART = "M12 20.7 4.3 13a5.2 5.2 0 0 1 7.3-7.4l.4.4.4-.4a5.2 5.2 0 0 1 7.3 7.4z";

  /* Made without innerHTML, which a page may forbid (Trusted Types). */
  function make(tag, attributes, ...children) {
    const svg = tag === "svg" || tag === "path";
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function face() {
    const heart = make("svg", { part: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, make("path", { d: HEART }));
    return make(
      "button",
      { type: "button", part: "button", "aria-pressed": "false" },
      make("slot", { name: "icon" }, heart),
      make("span", { part: "label", "aria-hidden": "true" }),
      make("span", { part: "count", "aria-hidden": "true" }, "·"),
    );
  }

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) target.look(isIntersecting);
    },
    { rootMargin: "200px" },
  );
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) target.view();
  });

  class LikeButton extends HTMLElement {
    static observedAttributes = ["url", "server", "kind", "max", "label", "lang", "impression"];
    static all = new Set();

    #topic = null;
    #tally = null;
    #wrong = "";
    #shown = null;
    #frame = 0;
    #state = "";
    #internals = this.attachInternals();
    #face = face();
    #label = this.#face.querySelector("[part=label]");
    #number = this.#face.querySelector("[part=count]");

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open", delegatesFocus: true });
      root.adoptedStyleSheets = [style];
      root.append(this.#face);
      this.#face.addEventListener("click", () => this.#press());
    }

    connectedCallback() {
      // Properties that were set before this script ran hide the element's own.
      for (const name of ["url", "server", "kind", "max", "label", "theme", "impression", "words"]) {
        if (!Object.hasOwn(this, name)) continue;
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
      LikeButton.all.add(this);
      this.#join();
    }

    disconnectedCallback() {
      LikeButton.all.delete(this);
      this.#leave();
    }

    attributeChangedCallback(name, before, now) {
      if (!LikeButton.all.has(this) || before === now) return;
      if (["url", "server", "kind"].includes(name)) this.#join();
      else if (name === "impression") this.#watchViews();
      this.draw();
    }

    /* The full address of what is liked. */
    get url() {
      return this.#topic?.url ?? this.getAttribute("url") ?? "";
    }

    set url(value) {
      this.#reflect("url", value);
    }

    get server() {
      return this.#topic?.server.base ?? this.getAttribute("server") ?? "";
    }

    set server(value) {
      this.#reflect("server", value);
    }

    get kind() {
      return this.getAttribute("kind") || LIKE;
    }

    set kind(value) {
      this.#reflect("kind", value);
    }

    /* How often one visitor may press before the next press takes it all back. */
    get max() {
      const max = Number(this.getAttribute("max"));
      return Number.isInteger(max) && max >= 1 ? Math.min(max, PRESSES_MAX) : 1;
    }

    set max(value) {
      this.#reflect("max", value);
    }

    get label() {
      const own = this.kind === LIKE ? Language.of(this).label : this.kind[0].toUpperCase() + this.kind.slice(1);
      return this.getAttribute("label") ?? own;
    }

    set label(value) {
      this.#reflect("label", value);
    }

    get theme() {
      return this.getAttribute("theme") ?? "";
    }

    set theme(value) {
      this.#reflect("theme", value);
    }

    get impression() {
      return this.#flag("impression");
    }

    set impression(value) {
      this.toggleAttribute("impression", Boolean(value));
    }

    get words() {
      return this.#flag("words");
    }

    set words(value) {
      this.toggleAttribute("words", Boolean(value));
    }

    /* "loading", "ready", "offline" or "refused"; CSS knows it as :state(…). */
    get state() {
      return this.#state;
    }

    /* How often this visitor has pressed. */
    get given() {
      return Math.max(0, this.#tally?.given ?? 0);
    }

    get liked() {
      return this.given > 0;
    }

    get count() {
      return this.#tally?.count ?? null;
    }

    #reflect(name, value) {
      if (value === null || value === undefined) this.removeAttribute(name);
      else this.setAttribute(name, value);
    }

    /* Frameworks write attributes that are off as "false". */
    #flag(name) {
      return (this.getAttribute(name) ?? "false") !== "false";
    }

    /* Attach to the URL and the server that the attributes and the page name now. */
    #join() {
      const [wantedUrl, wantedServer] = [this.getAttribute("url") ?? canonical(), this.getAttribute("server") ?? HOME];
      const [url, base] = [address(wantedUrl), address(wantedServer)?.replace(/\/$/, "")];
      this.#wrong = "";
      if (!url) this.#wrong = `url is ${JSON.stringify(wantedUrl.slice(0, 80))}; ${EXPECTED_URL}`;
      if (!base) this.#wrong = `server is ${JSON.stringify(wantedServer.slice(0, 80))}; ${EXPECTED_SERVER}`;
      if (this.#wrong) {
        this.#leave();
        console.warn(`<like-button> ${this.#wrong}`);
      } else if (this.#topic?.url !== url || this.#topic.server.base !== base) {
        this.#leave();
        this.#topic = Server.at(base).add(this, url);
        near.observe(this);
        this.#watchViews();
      }
      if (this.#topic && this.#tally !== this.#topic.tally(this.kind)) {
        this.#tally = this.#topic.tally(this.kind);
        this.#shown = null;
      }
      this.draw();
    }

    #leave() {
      near.unobserve(this);
      seen.unobserve(this);
      this.#topic?.server.remove(this, this.#topic);
      this.#topic = this.#tally = this.#shown = null;
    }

    #watchViews() {
      seen.unobserve(this);
      if (this.impression && this.#topic) seen.observe(this);
    }

    /* The page may have changed by now. */
    follow() {
      if (this.hasAttribute("url")) this.draw();
      else this.#join();
    }

    look(inSight) {
      if (this.#topic) this.#topic.server.look(this, this.#topic, inSight);
    }

    view() {
      seen.unobserve(this);
      this.#topic?.server.views.add(this.#topic);
    }

    #press() {
      const kind = this.#tally.press(this.max);
      this.#face.classList.add("now");
      this.tell(kind, { url: this.url, count: this.count });
    }

    tell(type, detail) {
      this.dispatchEvent(new CustomEvent(type, { bubbles: true, composed: true, detail }));
    }

    draw() {
      const language = Language.of(this);
      const reason = this.#wrong || (this.#topic?.problem ?? this.#tally?.problem)?.reason;
      const count = this.count;
      const label = this.label;
      this.#enter(this.#reached(reason));
      this.#label.textContent = label;
      this.#face.disabled = this.#state === "refused";
      this.#face.setAttribute("aria-pressed", String(this.liked));
      // The visible text is part of the accessible name.
      const part = this.max > 1 ? ` (${language.exact.format(this.given)}/${language.exact.format(this.max)})` : "";
      this.#face.setAttribute("aria-label", count === null ? label : `${label}, ${language.short(count)}${part}`);
      this.#face.title = reason || (count === null ? "" : language.exact.format(count));
      this.#roll(count, language);
    }

    #reached(reason) {
      if (reason) return "refused";
      if (this.#topic?.server.away) return "offline";
      return this.count === null ? "loading" : "ready";
    }

    #enter(state) {
      if (state === this.#state) return;
      try {
        this.#internals.states.delete(this.#state);
        this.#internals.states.add(state);
      } catch {
        // Browsers before 2024 do not know such names.
      }
      this.#face.dataset.state = this.#state = state;
    }

    #roll(count, language) {
      const from = this.#shown;
      const show = (number) => (this.#number.textContent = number === null ? "·" : language.short(number));
      cancelAnimationFrame(this.#frame);
      this.#shown = count;
      if (from === null || count === null || from === count || still.matches || document.hidden) return show(count);
      const began = performance.now();
      const step = (now) => {
        const part = Math.min(1, Math.max(0, (now - began) / 400));
        show(Math.round(from + (count - from) * (1 - (1 - part) ** 3)));
        if (part < 1) this.#frame = requestAnimationFrame(step);
      };
      this.#frame = requestAnimationFrame(step);
    }
  }

  /* The full `url` without its fragment; null if it is not a web address, or too long for any request. */
  function address(url) {
    let found;
    try {
      found = new URL(url, document.baseURI);
    } catch {
      return null;
    }
    found.hash = "";
    const fits = encodeURIComponent(found.href).length <= READ_CHARACTERS_MAX;
    return fits && /^https?:$/.test(found.protocol) ? found.href : null;
  }

  function canonical() {
    return document.querySelector('link[rel="canonical"]')?.href ?? location.href;
  }

  /* Pages can change without a load: the address, the canonical link and the language. */
  let followed = "";
  function follow() {
    const now = JSON.stringify([canonical(), document.documentElement.lang]);
    if (now === followed) return;
    followed = now;
    for (const button of LikeButton.all) button.follow();
  }

  customElements.define("like-button", LikeButton);

  if (window.navigation) {
    navigation.addEventListener("currententrychange", follow);
  } else {
    const look = () => {
      follow();
      setTimeout(look, FOLLOW_MS);
    };
    look();
  }
  new MutationObserver(follow).observe(document.head ?? document.documentElement, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["href", "rel"],
  });
  new MutationObserver(follow).observe(document.documentElement, { attributes: true, attributeFilter: ["lang"] });
})();
