/* The list of what is hot now. */
"use strict";

/* Splits an address as the daemon does (see split in render.py): the end begins at a separator. */
const END_MAX = 17;
function middle(address) {
  const place = make("span", "mid");
  if (address.length <= 2 * END_MAX) return place.append(make("span", "", address)), place;
  const from = address.length - END_MAX;
  const found = address.slice(from).search(/[/?&=._-]/);
  const cut = found < 0 ? from : from + found;
  place.title = address;
  place.append(make("span", "", address.slice(0, cut)), make("span", "", address.slice(cut)));
  return place;
}

function line(url, withHost) {
  const item = make("li");
  const place = make("div");
  const link = make("a");
  link.href = `${BASE}/url?url=${encodeURIComponent(url)}`;
  const rest = url.slice(url.indexOf("//") + 2);
  const slash = rest.indexOf("/");
  const [host, path] = slash < 0 ? [rest, ""] : [rest.slice(0, slash), rest.slice(slash)];
  link.append(middle(path.length > 1 ? path : rest));
  place.append(link, ...(withHost ? [make("span", "host", host)] : []));
  const bar = make("progress");
  bar.setAttribute("aria-hidden", "true");
  item.dataset.url = url;
  item.append(place, make("span", "fig-n"), bar);
  return item;
}

const now = document.getElementById("now");
function showHot({ hot }) {
  const shown = hot.slice(0, 8);
  const lines = new Map([...now.children].map((item) => [item.dataset.url, item]));
  const most = Math.max(1e-9, ...shown.map((row) => row.likes));
  shown.forEach((row, index) => {
    const item = lines.get(row.url) ?? line(row.url, !now.dataset.site);
    lines.delete(row.url);
    item.children[1].textContent = rate(row.likes * 60);
    item.children[2].value = row.likes / most;
    if (now.children[index] !== item) now.insertBefore(item, now.children[index] ?? null);
  });
  for (const item of lines.values()) item.remove();
  document.getElementById("now-none").hidden = shown.length > 0;
}

const site = now.dataset.site;
const wishes = [{ op: "watch_hot", by: "likes", limit: 8, site }, { op: "watch_site", host: site }];
follow(() => wishes, { hot: showHot, site: heard });
