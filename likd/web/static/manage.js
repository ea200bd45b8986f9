/* What an admin may do to a page or a site, each in a dialog, by the API. */
"use strict";

async function ask(method, path, { query = {}, body, once } = {}) {
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(once && { "Idempotency-Key": once }) };
  const address = `${BASE}${path}?${new URLSearchParams(query)}`;
  let response;
  try {
    response = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("The daemon can't be reached. Try again.");
  }
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(told.detail ? `${told.detail}${told.expected ? `: expected ${told.expected}` : ""}.` : `It answered ${response.status}.`);
  return told;
}

/* Only once each time the dialog is opened, however often its button is pressed. */
const keys = new WeakMap();
const keyOf = (form) => keys.get(form) ?? keys.set(form, [...crypto.getRandomValues(new Uint8Array(16))].join("-")).get(form);

const STAY = Symbol("the dialog stays open");
const ACTS = {
  async merge(form, { url }) {
    await ask("POST", "/v1/merge", { body: { old: form.elements.old.value, new: url } });
    return location.href;
  },
  async share(form, about) {
    const days = form.elements.days.value;
    await ask("POST", "/v1/shares", { body: { ...about, ...(days && { until: Math.floor(Date.now() / 1000) + days * 86_400 }) } });
    await take(location.href);
    return STAY;
  },
  async reset(form, about) {
    await ask("POST", "/v1/reset", { body: about, once: keyOf(form) });
    return location.href;
  },
  async delete(form, about) {
    await ask("DELETE", "/v1/counts", { query: about, once: keyOf(form) });
    return about.url && `${BASE}/site?site=${encodeURIComponent(new URL(about.url).hostname)}`;
  },
};

function complain(form, message = "") {
  const place = form.querySelector(".wrong");
  place.textContent = message;
  place.hidden = !message;
}

const aboutOf = (form) => JSON.parse(form.dataset.about);

/* Shows what the merge would do while its address is being typed. */
let looking;
async function lookAhead(form) {
  const [table, old] = [form.querySelector(".sum"), form.elements.old];
  table.hidden = true;
  complain(form);
  if (!old.value || !old.validity.valid) return;
  const { url } = aboutOf(form);
  const asked = old.value;
  try {
    const query = new URLSearchParams({ partial: "true" });
    query.append("url", url);
    query.append("url", asked);
    const [would, counts] = await Promise.all([
      ask("POST", "/v1/merge", { query: { dry_run: "true" }, body: { old: asked, new: url } }),
      ask("GET", "/v1/counts", { query }),
    ]);
    if (asked !== old.value) return;
    if (!would.known.old) complain(form, "Nothing was ever counted for that address: is it spelled correctly?");
    const both = would.liked_both ?? 0;
    const sums = { new: counts.counts[0].net, old: counts.counts[1].net, both: -both, after: would.net - both };
    for (const [name, value] of Object.entries(sums)) form.querySelector(`[data-sum=${name}]`).textContent = whole(value);
    table.hidden = false;
  } catch (error) {
    if (asked === old.value) complain(form, error.message);
  }
}

for (const form of document.querySelectorAll("form[data-manage]")) {
  const dialog = form.closest("dialog");
  const confirmed = () => !form.elements.typed || form.elements.typed.value.trim().toLowerCase() === form.elements.typed.dataset.word;
  dialog.addEventListener("close", () => {
    form.reset();
    complain(form);
    keys.delete(form);
    if (form.querySelector(".sum")) form.querySelector(".sum").hidden = true;
  });
  form.addEventListener("input", () => {
    if (form.dataset.manage !== "merge") return;
    clearTimeout(looking);
    looking = setTimeout(lookAhead, 300, form);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!confirmed()) {
      complain(form, `Type ${form.elements.typed.dataset.word} to continue.`);
      return form.elements.typed.focus();
    }
    const button = form.querySelector(".ends .btn:last-child");
    button.disabled = true;
    try {
      const next = await ACTS[form.dataset.manage]?.(form, aboutOf(form));
      if (next === STAY) return;
      dialog.close();
      location.assign(next || `${BASE}/`);
    } catch (error) {
      complain(form, error.message);
    } finally {
      button.disabled = false;
    }
  });
  form.addEventListener("click", async (event) => {
    if (event.target.closest("[data-close]")) dialog.close();
    const link = event.target.closest("[data-copy-link]");
    if (link) {
      link.dataset.copyText = new URL(link.dataset.copyLink, location.href).href;
      copy(link);
    }
    const revoke = event.target.closest("[data-revoke]");
    if (revoke) {
      revoke.disabled = true;
      ask("DELETE", "/v1/shares", { query: { id: revoke.dataset.revoke } })
        .then(() => take(location.href))
        .catch((error) => complain(form, error.message));
    }
    const remove = event.target.closest("[data-remove]");
    if (!remove) return;
    remove.disabled = true;
    try {
      await ask("DELETE", "/v1/aliases", { query: { old: remove.dataset.remove } });
      remove.closest("li").remove();
      await take(location.href);
    } catch (error) {
      remove.disabled = false;
      complain(form, error.message);
    }
  });
}
