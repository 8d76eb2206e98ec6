"use strict";
// Puts players, curves and moments into the page; keys, colors, and the renewal of the page of a run that goes on.

const RENEWED_EVERY = 1500; // Milliseconds between two looks at a run that goes on.
let players = [];
let active = null;

function fresh() {
  return { place: 0, masks: true, brighten: true, differences: false, opacity: 0.45, hidden: new Set(), wipe: 0.5, speed: 1, view: undefined };
}

function mount(article, kept) {
  const data = JSON.parse(article.querySelector("script.data").textContent);
  if (!data.positions.length || !data.panes.length) return null;
  const state = kept ? kept.state : fresh();
  const end = data.positions.length - 1;
  if (kept) {
    const before = kept.position;
    state.place = kept.atEnd && data.going ? end : Math.max(0, data.positions.findIndex((position) => position >= before));
  } else if (data.going) state.place = end;
  const charts = [];
  const player = new Player(data, state, (position) => charts.forEach((chart) => chart.show(position)));
  const seek = (position) => { active = player; player.stop(); player.seek(position); };
  charts.push(...data.charts.map((chart, at) => new Chart(chart, data, seek, at === data.charts.length - 1)));
  player.root.addEventListener("pointerdown", () => { active = player; });
  const place = article.querySelector(".interactive");
  place.replaceChildren(player.root);
  if (data.charts.length) {
    const note = data.cuts.length ? "Click or drag to go there; dotted lines are cuts." : "Click or drag to go there.";
    place.append(element("section", { class: "card charts" }, element("h3", {}, "Along the video"),
      element("p", { class: "faint" }, note), ...charts.map((chart) => chart.root)));
  }
  if (data.moments.length) place.append(moments(data, player, seek));
  if (kept) player.drawn.forEach((pane, at) => copyCanvas(kept.canvases[at], pane.canvas));
  charts.forEach((chart) => chart.show(player.position));
  return player;
}

function copyCanvas(from, to) {
  // Until the new picture is decoded, the old one is better than none.
  if (!from || !from.width) return;
  Object.assign(to, { width: from.width, height: from.height });
  to.getContext("2d").drawImage(from, 0, 0);
}

function moments(data, player, seek) {
  const canvases = [];
  const kinds = data.moments.map(({ title, frames }) => element("section", {}, element("h4", {}, title),
    element("div", { class: "moments" }, ...frames.map(([position, caption]) => {
      const canvas = element("canvas", { "aria-hidden": "true", width: 16, height: 9 });
      canvases.push([position, canvas]);
      const go = () => { seek(position); player.root.scrollIntoView({ behavior: "smooth", block: "start" }); };
      return element("button", { type: "button", class: "moment", "data-position": position, onclick: go }, canvas,
        element("span", {}, element("b", {}, `frame ${position}`), ` · ${data.seconds[position].toFixed(2)} s`),
        element("span", {}, caption));
    }))));
  const note = player.comparing ? "Left half: the fixed model. Right half: the adapted one." : null;
  (async () => { for (const [position, canvas] of canvases) await player.thumbnail(position, canvas); })();
  return element("section", { class: "card" }, element("h3", {}, "Worth looking at"),
    note && element("p", { class: "faint" }, note), element("div", { class: "kinds" }, ...kinds));
}

function mountAll(kept = []) {
  players = [...document.querySelectorAll("article.run")].map((article, at) => mount(article, kept[at])).filter(Boolean);
  active = players[0] || null;
  document.querySelectorAll(".along").forEach(mountAlong);
  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", () => copy(button));
}

function mountAlong(place) {
  // Curves without a player: only their cursor moves.
  const data = JSON.parse(place.querySelector("script").textContent);
  const show = (position) => charts.forEach((chart) => chart.show(Math.round(position)));
  const charts = data.charts.map((chart, at) => new Chart(chart, data, show, at === data.charts.length - 1));
  place.append(...charts.map((chart) => chart.root));
}

async function copy(button) {
  const command = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch { // Some browsers allow that only to pages from a server.
    const range = document.createRange();
    range.selectNodeContents(command);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

document.addEventListener("keydown", (event) => {
  if (!active || event.ctrlKey || event.altKey || event.metaKey) return;
  const focused = event.target;
  if (focused.matches("input:not(.scrub):not([type=checkbox]), select, textarea")) return;
  if (event.key === " " && focused.matches("button, input, summary, a")) return;
  if (active.key(event)) event.preventDefault();
});

const THEME = "tttv-report-theme";
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}
try { setTheme(localStorage.getItem(THEME)); } catch { /* Pages from a disk may have no storage. */ }
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  setTheme(dark ? "light" : "dark");
  try { localStorage.setItem(THEME, root.dataset.theme); } catch { /* The same. */ }
});

async function renew(version) {
  if (document.fullscreenElement || players.some((player) => player.playing)) return void setTimeout(renew, RENEWED_EVERY, version);
  // Watches a run that goes on: when the server has something new, takes over what it shows now.
  let latest = version;
  try {
    latest = await (await fetch("version")).text();
    if (latest !== version) {
      const page = new DOMParser().parseFromString(await (await fetch("./")).text(), "text/html");
      const kept = players.map((player) => {
        player.stop();
        const atEnd = player.place === player.data.positions.length - 1;
        return { state: player.state, position: player.position, atEnd, canvases: player.drawn.map((pane) => pane.canvas) };
      });
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.body.dataset.version = latest;
      mountAll(kept);
    }
  } catch { return; } // The server has ended; the page stays as it is.
  if (latest !== "end") setTimeout(renew, RENEWED_EVERY, latest);
}

mountAll();
if (document.body.dataset.version) renew(document.body.dataset.version);
