"use strict";
// The live page. Each look comes as an event (looks.py says what is in it) and is drawn as a whole; all text is set as text.
const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token") || "";
const address = (path, more) => path + "?" + new URLSearchParams({ token, ...more });
const PAST = 240, LANES_S = 10, LANES_MAX = 32, LANE_PX = 600, ROWS_MAX = 100;
const charts = [
  ["goroutines", "", (d) => d.goroutines],
  ["runnable, waiting for a P", "", (d) => d.runnable],
  ["switches a second", "", (d, rate) => rate("switches")],
  ["hand-offs a second", "", (d, rate) => rate("handoffs") + rate("preemptions")],
  ["threads blocked in calls", "", (d, rate) => rate("blocked_ns") / 1e9],
  ["memory, MB", "", (d) => d.memory / 1e6],
];
const past = charts.map(() => []);
const counts = new Map(), waiting = new Map();
let last = null, lanes = [], drawn = [], paused = false, sort = "count", down = true, newest = null, open = null;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "click") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
const base = (path) => path.slice(path.lastIndexOf("/") + 1);
const place = ([name, file, line]) => `${name}  ${base(file)}:${line}`;
const short = (n) => n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : n >= 1e4 ? (n / 1e3).toFixed(0) + "k"
  : n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(n >= 10 ? 1 : 2);
const seconds = (s) => s >= 120 ? `${(s / 60).toFixed(0)} min` : s >= 0.1 ? `${s.toFixed(1)} s` : "";
const frames = (stack) => stack.map((frame) => make("span", { class: "place", title: frame[1] }, place(frame)));

function draw(d) {
  newest = d;
  if (d.ended) { $("status").textContent = "no program of gort's runs in this process now"; return; }
  const passed = last ? (d.ns - last.ns) / 1e9 : 0;
  const rate = (name) => passed > 0 ? Math.max(0, (d.counters[name] - last.counters[name]) / passed) : 0;
  charts.forEach(([, , value], i) => { past[i].push(value(d, rate)); if (past[i].length > PAST) past[i].shift(); });
  grow(counts, d.groups, (g) => JSON.stringify([g.state, g.stack, g.by]), (g) => g.count, d.ns);
  grow(waiting, d.objects, (o) => o.id, (o) => o.waiters, d.ns);
  if (!last) showBoot();  // before the first look there is no runtime yet
  lanes.push(...d.samples.lanes);
  lanes = lanes.filter(([at]) => at > d.ns / 1e9 - LANES_S);
  last = d;
  if (paused) return;
  document.title = (d.wrong.length ? `(${d.wrong.length}) ` : "") + "gort " + base(d.program);
  $("program").textContent = base(d.program);
  $("facts").textContent = `pid ${d.pid} · Python ${d.python}${d.gil ? "" : ", without the GIL"} · `
    + `${d.compiled ? "compiled" : "uncompiled"} core · GOMAXPROCS ${d.gomaxprocs} · ${d.threads} threads, ${d.idle_threads} idle`;
  showFlight(d.flight);
  $("status").textContent = new Date(d.time * 1000).toLocaleTimeString() + ` · a look takes ${(d.took_ns / 1e6).toFixed(1)} ms`;
  $("findings").replaceChildren(...(d.wrong.length ? d.wrong.map((each) => make("li", { class: "bad", "data-rule": each.rule },
    each.text, ...each.at.map((at) => make("span", { class: "place quiet" }, at))))
    : [make("li", { class: "good" }, "nothing")]));
  drawCharts(); drawLanes(d); drawGroups(d); drawObjects(d);
}
function grow(table, items, key, value, ns) {
  const seen = new Set();
  for (const item of items) {
    const k = key(item), history = table.get(k) || [];
    seen.add(k); history.push([ns, value(item)]);
    while (history.length > 12) history.shift();
    table.set(k, history);
    const [at, before] = history[0];
    item.grow = history.length > 3 ? (value(item) - before) / ((ns - at) / 1e9) : 0;
  }
  for (const k of table.keys()) if (!seen.has(k)) table.delete(k);
}
function drawCharts() {
  const svg = "http://www.w3.org/2000/svg";
  $("charts").replaceChildren(...charts.map(([name], i) => {
    const values = past[i], top = Math.max(1, ...values);
    const points = values.map((v, x) => `${x ? "L" : "M"}${((PAST - values.length + x) / (PAST - 1) * 100).toFixed(2)} ${(39 - v / top * 37).toFixed(2)}`);
    const picture = document.createElementNS(svg, "svg");
    picture.setAttribute("viewBox", "0 0 100 40"); picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img"); picture.setAttribute("aria-label", `${name}, the last two minutes; at most ${short(top)}`);
    const ground = document.createElementNS(svg, "line"), line = document.createElementNS(svg, "path");
    for (const [k, v] of [["x1", 0], ["x2", 100], ["y1", 39.5], ["y2", 39.5]]) ground.setAttribute(k, v);
    line.setAttribute("d", points.join(""));
    picture.append(ground, line);
    return make("div", { class: "chart" }, make("b", {}, short(values.at(-1) || 0)), " ", make("span", { class: "quiet" }, name), picture);
  }));
}
function drawLanes(d) {
  // [x, goids]: a sample is drawn, and selected, from its time to the next one's; of two in a pixel, the later one.
  drawn = lanes.map(([at, goids]) => [Math.round((1 - (d.ns / 1e9 - at) / LANES_S) * LANE_PX), goids]);
  d.ps.slice(0, LANES_MAX).forEach((p, i) => {
    let lane = $("lanes").children[i];
    if (!lane) {
      const canvas = make("canvas", { height: 18, width: LANE_PX, "aria-hidden": "true" });
      canvas.addEventListener("click", (event) => {
        const box = canvas.getBoundingClientRect(), at = Math.floor((event.clientX - box.left) / box.width * canvas.width);
        const hit = drawn.findLast(([x]) => x <= at) ?? [0, []];
        if (hit[1][i]) detail(hit[1][i]);
      });
      lane = make("div", { class: "lane" }, make("span", {}, `P${p.id}`), canvas, make("button", { type: "button", click: () => lane.goid && detail(lane.goid) }));
      $("lanes").append(lane);
    }
    const [, canvas, button] = lane.children, pen = canvas.getContext("2d");
    pen.clearRect(0, 0, LANE_PX, canvas.height);
    drawn.forEach(([x, goids], k) => {
      if (!goids[i]) return;
      pen.fillStyle = `hsl(${goids[i] * 47 % 360} 60% 50%)`;
      pen.fillRect(x, 0, (drawn[k + 1]?.[0] ?? LANE_PX) - x, canvas.height);
    });
    lane.goid = p.goid;
    button.textContent = (p.goid ? `goroutine ${p.goid}` : "idle") + `, ${p.queue} queued`;
  });
  while ($("lanes").children.length > Math.min(d.ps.length, LANES_MAX)) $("lanes").lastChild.remove();
  const off = d.without.filter((each) => !each.call).slice(0, 12);
  $("without").replaceChildren(make("p", { class: "quiet" }, `${d.queue} in the global queue; ${off.length} goroutines run without a P`),
    ...off.map((each) => make("button", { type: "button", click: () => detail(each.goid) }, `goroutine ${each.goid} on m${each.m}`)));
}
function drawGroups(d) {
  const wish = $("filter").value.toLowerCase();
  const found = d.groups.filter((g) => !wish || JSON.stringify([g.state, g.stack, g.by]).toLowerCase().includes(wish));
  found.sort((a, b) => (a[sort] < b[sort] ? -1 : a[sort] > b[sort] ? 1 : 0) * (down ? -1 : 1));
  $("shown").textContent = `${found.length} of ${d.kinds} kinds`;
  $("groups").replaceChildren(...found.slice(0, ROWS_MAX).map((g) => make("tr", {},
    make("td", { class: "n" }, make("button", { type: "button", "aria-label": `goroutine ${g.goids[0]}`, click: () => detail(g.goids[0]) }, String(g.count))),
    make("td", { class: "n" }, Math.abs(g.grow) >= 0.5 ? (g.grow > 0 ? "+" : "") + short(g.grow) : ""),
    make("td", { class: "n" }, seconds(g.oldest)), make("td", {}, g.state + (g.locked ? ", locked to thread" : "")),
    make("td", {}, ...frames(g.stack), ...g.waits.map(([n, text]) => make("span", { class: "place quiet" }, `${n} wait for ${text}`)),
      g.by.length ? make("span", { class: "place quiet" }, "started by " + place(g.by)) : null))));
}
function drawObjects(d) {
  const cell = (name, text) => make("td", { class: "n", "data-name": name }, text);
  $("waits").replaceChildren(...d.objects.slice(0, ROWS_MAX).map((o) => make("tr", {},
    make("td", {}, make("code", {}, o.text)), cell("length", o.size > 0 ? `${o.length} of ${o.size}` : ""),
    cell("waiting", (o.waiters ? `${o.waiters} [${o.state}]` : "0") + (Math.abs(o.grow) >= 0.5 ? `, ${o.grow > 0 ? "+" : ""}${short(o.grow)}/s` : "")),
    cell("longest", seconds(o.oldest)), cell("each second", Object.entries(o.rates).map(([what, n]) => `${short(n)} ${what}`).join(", ")),
    make("td", {}, ...(o.holder ? [make("button", { type: "button", click: () => detail(o.holder.goid) },
      `goroutine ${o.holder.goid} [${o.holder.state}]`), ...frames(o.holder.stack.slice(0, 3))] : [])))));
  if (!d.objects.length) $("waits").replaceChildren(make("tr", {}, make("td", { class: "quiet" }, "nothing")));
}
async function detail(goid) {
  open = { goid, state: "", runs: -1, parents: "?" };
  $("who").textContent = `goroutine ${goid}`;
  $("parents").replaceChildren();
  $("history").replaceChildren();
  if (!$("detail").open) $("detail").showModal();
  await follow();
}
async function follow() {
  const mine = open;
  if (!mine || !$("detail").open) return;
  const answer = await fetch(address("/goroutine", { goid: mine.goid })).catch(() => null);
  if (open !== mine) return;
  if (!answer || !answer.ok) { note("has ended"); return; }
  const g = await answer.json();
  $("who").textContent = `goroutine ${g.goid} [${g.state}]`;
  $("story").replaceChildren(make("p", { class: "quiet" }, `has run ${g.runs} times` + (g.waited >= 0.1 ? `, has waited for ${g.waited.toFixed(1)} s` : "")
    + (g.waits ? `, for ${g.waits}` : "")), ...frames(g.stack), g.by.length ? make("span", { class: "place quiet" }, "started by " + place(g.by)) : "");
  const parents = g.parents.map((p) => make("li", {}, make("button", { type: "button", click: () => detail(p.goid) }, `goroutine ${p.goid} [${p.state}]`),
    p.by.length ? make("span", { class: "place quiet" }, "started by " + place(p.by)) : ""));
  if (String(g.parents.map((p) => [p.goid, p.state])) !== open.parents) $("parents").replaceChildren(...(parents.length ? parents : [make("li", { class: "quiet" }, "none that lives")]));
  open.parents = String(g.parents.map((p) => [p.goid, p.state]));
  note(`[${g.state}]` + (g.stack.length ? " " + place(g.stack[0]) : "") + (g.waits ? `, ${g.waits.replace(/, .*/, "")}` : ""), g.runs, g.waited);
  setTimeout(follow, 500);
}
// A line of the history is one wait: while the goroutine has not run again, the line only becomes older.
function note(text, runs = -1, waited = 0) {
  const lasted = waited >= 0.1 ? ` for ${waited.toFixed(1)} s` : "";
  if (open.state === text && open.runs === runs) { $("history").firstChild.lastChild.textContent = lasted; return; }
  const between = open.runs >= 0 && runs - open.runs > 1 ? `, ran ${runs - open.runs - 1} times in between` : "";
  open.state = text; open.runs = runs;
  $("history").prepend(make("li", {}, new Date().toLocaleTimeString() + " ", text + between, make("b", {}, lasted)));
  while ($("history").children.length > 50) $("history").lastChild.remove();
}
$("detail").addEventListener("close", () => { open = null; });
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "go on" : "pause";
});
$("filter").addEventListener("input", () => last && drawGroups(last));
for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => {
  down = sort === button.dataset.sort ? !down : true;
  sort = button.dataset.sort;
  if (last) drawGroups(last);
});
$("links").append(make("li", {}, make("a", { href: address("/dump") }, "dump"), ": the text of `gort dump`"),
  make("li", {}, make("a", { href: address("/metrics") }, "metrics"), ": for Prometheus"));
const showBoot = () => fetch(address("/boot")).then((answer) => answer.ok ? answer.json() : []).then((steps) => {
  $("steps").replaceChildren(...steps.map((step) => make("tr", {}, make("td", {}, make("code", {}, (step.parent ? "  " : "") + step.name)),
    make("td", { class: "n" }, step.status === "skipped" ? "none here" : (step.ns / 1e3).toFixed(0) + " µs"),
    make("td", {}, typeof step.detail === "string" ? step.detail : JSON.stringify(step.detail)))));
}).catch(() => {});
const source = new EventSource(address("/events"));
source.onmessage = (event) => draw(JSON.parse(event.data));
source.onerror = () => { $("status").textContent = "the connection is lost: the program has ended, or stands still"; };
