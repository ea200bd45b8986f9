/* What all pages do by script: the theme, copying, dialogs, the dates of a range. */
"use strict";

const BASE = document.documentElement.dataset.base;

function make(tag, className = "", content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

/* On this page at once; the server is told for the next one. */
const theme = document.getElementById("theme");
theme.addEventListener("change", () => {
  const chosen = theme.elements.theme.value;
  if (chosen) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
  const body = new URLSearchParams({ theme: chosen });
  fetch(theme.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
});

/* Parts of a page may be replaced, so events in them are handled here. */
async function copy(button) {
  const before = button.textContent;
  const code = button.dataset.copyText ?? document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(code);
    button.textContent = "Copied";
  } catch {
    // Without a secure connection there is no clipboard, but the selection can be copied by hand.
    if (button.dataset.copy) getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = button.dataset.copy ? "Selected" : "Can't copy";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy], button[data-copy-text]");
  if (button) copy(button);
  const opener = event.target.closest("[data-dialog]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.dialog).showModal();
  }
  const dates = event.target.closest("[data-choose]");
  if (dates) {
    event.preventDefault();
    const range = dates.closest(".range");
    if (range.classList.toggle("choosing")) range.querySelector("input[type=date]").focus();
  }
});

function show(root) {
  for (const place of root.querySelectorAll("[data-copy], [data-copy-text], [data-script]")) place.removeAttribute("hidden");
}
show(document);
