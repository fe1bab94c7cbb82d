"""The page of `gort xray --html`: style, markup and script in one string, with `@DATA@` where the data goes.

It is a file of its own because it is another language, whose lines are long. It uses no library, loads nothing (its
content security policy forbids it), and writes what it was given as text nodes only.
"""

# ruff: noqa: E501

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>The boot of a Go program</title>
<style>
:root { --ink:#1c2430; --soft:#66707f; --line:#d5dae2; --paper:#fbfbf9; --go:#00749b; --hot:#c2410c; --ok:#2f7d4f; --band:#e9eef3 }
@media (prefers-color-scheme: dark) { :root { --ink:#e4e8ee; --soft:#98a2b1; --line:#3a4350; --paper:#14181e; --go:#5cc3e4; --hot:#f59e5b; --ok:#7bd09c; --band:#222a34 } }
* { box-sizing:border-box } body { margin:0; font:15px/1.45 system-ui,sans-serif; color:var(--ink); background:var(--paper) }
header { padding:14px 20px 8px } h1 { font-size:20px; margin:0 } header p { margin:2px 0 0; color:var(--soft) }
#bar { position:sticky; top:0; background:var(--paper); padding:8px 20px; border-bottom:1px solid var(--line); z-index:2; display:flex; gap:12px; align-items:center }
#bar input { flex:1 } #bar button { font:inherit; padding:3px 12px; border:1px solid var(--line); border-radius:6px; background:var(--band); color:var(--ink); cursor:pointer }
main { display:grid; grid-template:"list stack about" auto "list stack graph" 1fr / minmax(320px,1.1fr) 230px minmax(320px,1.2fr); gap:18px; padding:14px 20px }
#s-list { grid-area:list; min-width:0 } #s-stack { grid-area:stack } #s-graph { grid-area:graph; min-width:0 } #detail { grid-area:about; min-width:0; height:13em; overflow:auto; overflow-wrap:anywhere }
@media (max-width:1000px) { main { grid-template:"about" "list" "graph" "stack" / minmax(0,1fr); padding:10px 12px } header, #bar { padding-left:12px; padding-right:12px } }
h2 { font-size:13px; text-transform:uppercase; letter-spacing:.06em; color:var(--soft); margin:0 0 6px; font-weight:600 }
#list { height:70vh; overflow:auto; border:1px solid var(--line); border-radius:8px } #list:focus-visible { outline:2px solid var(--go) } .row { display:grid; grid-template-columns:1fr 26%; gap:8px; padding:1px 8px; cursor:pointer; font-size:13px; align-items:center }
.row:hover { background:var(--band) } .row.now { background:var(--band); box-shadow:inset 3px 0 var(--hot) } .row.later { opacity:.66 }
.row .n { overflow-wrap:anywhere; line-height:1.3; font-family:ui-monospace,monospace; font-size:12px } .lane { position:relative; height:9px; background:var(--band); border-radius:2px }
.lane i { position:absolute; top:0; bottom:0; background:var(--go); border-radius:2px; min-width:2px }
.lane i.other { background:var(--ok) } #detail .name { font:600 15px ui-monospace,monospace } #detail .story { font-style:italic } pre { margin:4px 0; font-size:12px; white-space:pre-wrap; color:var(--soft) }
svg text { fill:var(--ink); font:12px ui-monospace,monospace } svg .soft { fill:var(--soft) } svg .box { fill:var(--paper); stroke:var(--line) } svg .hot { stroke:var(--hot); stroke-width:2 } svg .hott { fill:var(--hot) }
svg .edge { stroke:var(--go); fill:none; stroke-width:1.5 } svg .new { stroke:var(--hot); stroke-width:2.5 }
@media (max-width:1000px) { #list { height:min(44vh,420px) } #detail { height:11em } }
</style></head><body>
<header><h1 id="title"></h1><p id="sub"></p></header>
<div id="bar"><button id="prev" aria-label="previous event">◀</button><button id="play">play</button><button id="next" aria-label="next event">▶</button><input id="at" type="range" min="0" value="0" aria-label="moment of the boot"><span id="when"></span></div>
<main><section id="s-list"><h2>Stations and their time</h2><div id="list" tabindex="0" aria-label="stations; arrow keys up and down go from one to the next"></div></section>
<section id="s-stack"><h2>g0's stack, to scale</h2><svg id="stack" viewBox="0 0 230 560" width="230" height="560" role="img" aria-label="g0's stack"></svg></section>
<section id="s-graph"><h2>Ms, Ps, g0 and sched</h2><svg id="graph" width="100%" role="img" aria-label="links between the structures"></svg></section><div id="detail" aria-live="polite"></div></main>
<script>
"use strict";
const D = @DATA@;
const $ = id => document.getElementById(id), NS = "http://www.w3.org/2000/svg";
const G = ["_Gidle","_Grunnable","_Grunning","_Gsyscall","_Gwaiting","_Gmoribund","_Gdead","_Genqueue","_Gcopystack","_Gpreempted"], P = ["_Pidle","_Prunning","_Psyscall","_Pgcstop","_Pdead"];
const hex = v => "0x" + BigInt(v).toString(16);
$("title").textContent = "How " + D.file + " boots";
$("sub").textContent = [D.go, D.target, "entry " + D.entry, D.stations.length + " stations", D.instructions.toLocaleString() + " instructions", D.end].join(" · ");
const depth = D.stations.map(() => 0), rows = [];
D.stations.forEach((s, i) => { depth[i] = s.parent === null ? 0 : depth[s.parent] + 1; });
const kids = new Map(); D.stations.forEach((s, i) => { const k = s.parent === null ? -1 : s.parent; if (!kids.has(k)) kids.set(k, []); kids.get(k).push(i); });
const order = []; (function walk(k) { for (const i of kids.get(k) || []) { order.push(i); walk(i); } })(-1);
const first = new Map(); D.events.forEach((e, i) => { if (e.b && !first.has(e.s)) first.set(e.s, i); });
const total = Math.max(1, D.instructions), home = D.stations.length ? D.stations[0].thread : 0;
for (const i of order) {
  const s = D.stations[i], row = document.createElement("div"), n = document.createElement("span"), lane = document.createElement("span"), bar = document.createElement("i");
  row.className = "row"; n.className = "n"; n.style.paddingLeft = Math.min(depth[i], 8) * 8 + Math.max(0, Math.min(depth[i], 40) - 8) * 3 + "px"; n.textContent = s.name + (s.times > 1 ? " ×" + s.times : ""); n.title = s.name;
  lane.className = "lane"; bar.style.left = 100 * s.start / total + "%"; bar.style.width = 100 * Math.max(0, s.end - s.start) / total + "%"; if (s.thread !== home) bar.className = "other";
  lane.append(bar); row.append(n, lane); row.onclick = () => { if (first.has(i)) show(first.get(i)); }; $("list").append(row); rows[i] = row;
}
const states = []; { let now = {}; for (const e of D.events) { now = Object.assign({}, now, e.d); states.push(now); } }
function el(parent, tag, attrs, text) { const x = document.createElementNS(NS, tag); for (const k in attrs) x.setAttribute(k, attrs[k]); if (text !== undefined) x.textContent = text; parent.append(x); return x; }
function drawStack(st, e, changed) {
  const svg = $("stack"); svg.replaceChildren();
  const lo = BigInt(st["g0.stack.lo"] || 0), hi = BigInt(st["g0.stack.hi"] || 0), sp = BigInt(e.sp);
  if (!hi) { el(svg, "text", {x: 10, y: 30}, "no stack yet"); el(svg, "text", {x: 10, y: 50, class: "soft"}, "SP " + hex(sp)); return; }
  const top = 30, bottom = 490, y = v => top + (bottom - top) * Number(hi - v) / Number(hi - lo);
  el(svg, "rect", {x: 20, y: top, width: 70, height: bottom - top, class: "box"});
  const guard = BigInt(st["g0.stackguard0"] || 0), inside = sp >= lo && sp <= hi;
  if (inside) el(svg, "rect", {x: 20, y: top, width: 70, height: Math.max(1, y(sp) - top), fill: "var(--go)", opacity: .35});
  if (guard >= lo && guard <= hi) el(svg, "rect", {x: 20, y: y(guard), width: 70, height: Math.max(1, bottom - y(guard)), fill: "var(--hot)", opacity: .5});
  const labels = [["hi", hi, "g0.stack.hi"], ["guard", guard, "g0.stackguard0"], ["lo", lo, "g0.stack.lo"]]; if (inside) labels.push(["SP", sp, ""]);
  const at = labels.map(l => [l, y(l[1])]).filter(p => p[1] >= top - 1 && p[1] <= bottom + 1).sort((a, b) => a[1] - b[1]);
  let last = -99; for (const [l, yy] of at) { const ty = Math.max(yy + 4, last + 27); last = ty; el(svg, "line", {x1: 20, x2: 98, y1: yy, y2: ty - 4, stroke: l[0] === "SP" ? "var(--go)" : "var(--soft)"});
    el(svg, "text", {x: 102, y: ty, class: changed.has(l[2]) ? "hott" : ""}, l[0] + (l[0] === "SP" ? " hi−" + (hi - sp) : l[0] === "guard" ? " lo+" + (guard - lo) : "")); el(svg, "text", {x: 102, y: ty + 12, class: "soft", style: "font-size:10px"}, hex(l[1])); }
  el(svg, "text", {x: 20, y: 18, class: "soft"}, (hi - lo).toLocaleString() + " bytes");
  if (!inside) el(svg, "text", {x: 10, y: 552, class: "soft", style: "font-size:10px"}, "now on another stack: " + hex(sp));
}
function drawGraph(st, changed) {
  // Two columns: Ms on the left, Ps on the right. A P stands beside the M that it belongs to, and idle Ps stand below in the order of their list. So every arrow leads to a neighbour, and none crosses a box.
  const svg = $("graph"); svg.replaceChildren();
  const wide = (svg.clientWidth || 560) >= 480, W = wide ? 560 : 380, gap = wide ? 90 : 64, cw = (W - gap) / 2 - 4, right = W - cw - 2;
  const defs = el(svg, "defs", {}), mk = el(defs, "marker", {id: "tip", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse"}); el(mk, "path", {d: "M0 0L10 5L0 10z", fill: "context-stroke"});
  const nodes = {}, names = {}, lines = {}, at = {}, set = v => v !== undefined && v !== "0";
  const f = (k, name, show) => st[k] === undefined ? null : [k, name, show ? show(st[k]) : st[k]];
  const put = (n, name, x, y, ...items) => { lines[n] = items.filter(Boolean); names[n] = name; nodes[n] = [x, y, cw, 26 + 15 * Math.max(1, lines[n].length)]; return y + nodes[n][3]; };
  for (const k in D.addresses) at[D.addresses[k]] = k;
  let y = put("tls", "thread-local", 2, 4, f("tls base", "base", hex)) + 34;
  y = put("g0", "g0", 2, y, f("g0.stackguard0", "guard", hex), f("g0.atomicstatus", "", v => G[Number(v)] || v)) + 34;
  const ms = [["m0", "m0."]]; for (const k in st) { const m = /^allm\\[(\\d+)\\]$/.exec(k); if (m && m[1] !== "0" && set(st[k])) { ms.push(["m" + m[1], k + "."]); at[st[k]] = "m" + m[1]; } }
  ms.sort((a, b) => a[0].slice(1) - b[0].slice(1));
  const ps = []; for (let i = 0; set(st["allp[" + i + "]"]); i++) { ps.push(i); at[st["allp[" + i + "]"]] = "p" + i; }
  const fp = (i, yy) => put("p" + i, "allp[" + i + "]", right, yy, f("allp[" + i + "].status", "", v => P[Number(v)] || v), f("allp[" + i + "].schedtick", "schedtick"));
  const placed = new Set(), edges = [], link = (from, to, key) => { if (nodes[from] && nodes[to] && from !== to) edges.push([from, to, key]); };
  const curg = st["m0.curg"]; if (set(curg) && !at[curg]) at[curg] = "curg"; if (set(curg)) put("curg", "goroutine" + (set(st["allm[0].goid"]) ? " " + st["allm[0].goid"] : ""), right, nodes.g0[1], f("m0.curg", "", hex));
  for (const [n, k] of ms) {
    const start = y; y = n === "m0" ? put(n, "m0", 2, y, f("m0.id", "id"), f("m0.locks", "locks"), f("m0.mallocing", "mallocing")) : put(n, n, 2, y, f(k + "procid", "thread", v => v === "0" ? "none yet" : v), set(st[k + "curg"]) ? [k + "curg", "", "goroutine " + (st[k + "goid"] || hex(st[k + "curg"]))] : [k + "curg", "", "on g0"]);
    const p = /^p(\\d+)$/.exec(at[st[k + "p"]] || ""); if (p && !placed.has(+p[1])) { placed.add(+p[1]); y = Math.max(y, fp(+p[1], start)); }
    y += 16;
  }
  let py = y; const idle = []; for (let p = at[st["sched.pidle"]]; p && p[0] === "p" && !idle.includes(+p.slice(1)) && idle.length < Number(st["sched.npidle"] || 0); p = at[st["allp[" + p.slice(1) + "].link"]]) idle.push(+p.slice(1));
  py += 18; y += 18;
  for (const i of idle.concat(ps.filter(i => !idle.includes(i)))) if (!placed.has(i)) { placed.add(i); py = fp(i, py) + 30; }
  y = put("sched", "sched", 2, y, f("sched.maxmcount", "maxmcount"), f("sched.mnext", "mnext"), f("sched.npidle", "npidle"), f("sched.nmidle", "nmidle"));
  const H = Math.max(y, py) + 10; svg.setAttribute("viewBox", "0 0 " + W + " " + H);
  const exists = {tls: set(st["tls base"]), g0: set(st["g0.stack.hi"]), m0: set(st["m0.g0"]), sched: set(st["sched.maxmcount"])};
  link("tls", at[st["m0.tls[0]"]], "m0.tls[0]"); link("g0", at[st["g0.m"]], "g0.m"); link("m0", at[st["m0.g0"]], "m0.g0"); if (set(curg)) link("m0", "curg", "m0.curg");
  for (const [n, k] of ms) link(n, at[st[k + "p"]], k + "p"); link("sched", at[st["sched.pidle"]], "sched.pidle"); for (const i of ps) { link("p" + i, at[st["allp[" + i + "].m"]], "allp[" + i + "].m"); const n = idle.indexOf(i); if (n >= 0 && n + 1 < idle.length) link("p" + i, "p" + idle[n + 1], "allp[" + i + "].link"); }
  for (const n in nodes) { const [x, yy, w, h] = nodes[n], hot = lines[n].some(l => changed.has(l[0])), shown = exists[n] === undefined || exists[n]; const g = el(svg, "g", {opacity: shown ? 1 : .25});
    el(g, "rect", {x, y: yy, width: w, height: h, rx: 7, class: "box" + (hot ? " hot" : "")}); el(g, "text", {x: x + 8, y: yy + 17, style: "font-weight:700"}, names[n]);
    lines[n].forEach((l, i) => el(g, "text", {x: x + 8, y: yy + 34 + i * 15, class: changed.has(l[0]) ? "hott" : "soft", style: "font-size:11px"}, (l[1] ? l[1] + " " : "") + l[2])); }
  const taken = {};
  for (const [a, b, key] of edges) {
    const A = nodes[a], B = nodes[b], pair = [a, b].sort().join(), second = taken[pair] || 0, off = 14 * second - (edges.some(e => e[0] === b && e[1] === a) ? 7 : 0); taken[pair] = second + 1;
    const up = B[1] < A[1]; let d, tx, ty, anchor = "middle";
    if (A[0] === B[0]) {  // one above the other: a straight line between their edges
      const x = A[0] + cw / 2 + off, y1 = up ? A[1] : A[1] + A[3], y2 = up ? B[1] + B[3] : B[1];
      d = "M" + x + " " + y1 + "L" + x + " " + y2; tx = x + (off < 0 ? -6 : 6); ty = (y1 + y2) / 2 + 4; anchor = off < 0 ? "end" : "start";
    } else {  // from one column to the other, through the gap
      const toRight = B[0] > A[0], x1 = toRight ? A[0] + cw : A[0], x2 = toRight ? B[0] : B[0] + cw, y1 = A[1] + 18 + (off + 7), y2 = Math.abs(A[1] - B[1]) < 4 ? y1 : B[1] + 18 + (off + 7), mx = (x1 + x2) / 2;
      d = y1 === y2 ? "M" + x1 + " " + y1 + "L" + x2 + " " + y2 : "M" + x1 + " " + y1 + "C" + mx + " " + y1 + " " + mx + " " + y2 + " " + x2 + " " + y2; tx = mx; ty = (y1 + y2) / 2 + (second ? 13 : -5);
    }
    el(svg, "path", {d, class: "edge" + (changed.has(key) ? " new" : ""), "marker-end": "url(#tip)"});
    el(svg, "text", {x: tx, y: ty, class: "soft", style: "font-size:11px;paint-order:stroke;stroke:var(--paper);stroke-width:4px", "text-anchor": anchor}, key.replace(/^.*\\./, "."));
  }
}
let now = 0, timer = 0;
function show(i) {
  now = Math.max(0, Math.min(D.events.length - 1, i)); const e = D.events[now]; if (!e) return; const st = states[now], s = D.stations[e.s], changed = new Set(Object.keys(e.d));
  $("at").value = now; $("when").textContent = (now + 1) + " / " + D.events.length;
  order.forEach(k => { const r = rows[k]; r.classList.toggle("now", k === e.s); r.setAttribute("aria-current", k === e.s); r.classList.toggle("later", D.stations[k].start > e.i); });
  // The list alone scrolls: scrollIntoView would also move a page that is longer than its window.
  const list = $("list"), row = rows[e.s], above = row.offsetTop - list.offsetTop - list.clientTop; if (above < list.scrollTop) list.scrollTop = above; else if (above + row.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = above + row.offsetHeight - list.clientHeight;
  drawStack(st, e, changed); drawGraph(st, changed);
  const d = $("detail"); d.replaceChildren(); const line = (cls, text) => { if (!text) return; const x = document.createElement(cls === "pre" ? "pre" : "div"); if (cls !== "pre") x.className = cls; x.textContent = text; d.append(x); };
  line("name", s.name + (e.b ? " begins" : s.returned ? " returns" : " is left")); line("", [s.where, s.address, "thread " + s.thread, s.instructions.toLocaleString() + " instructions"].filter(Boolean).join(" · ")); line("story", s.story); line("", s.note);
  line("pre", Object.keys(e.d).slice(0, 14).map(k => k + " = " + (BigInt(e.d[k]) > 65535n ? hex(e.d[k]) : e.d[k])).join("\\n")); line("pre", s.syscalls.concat(s.more ? ["and " + s.more + " more"] : []).join("\\n")); if (now === D.events.length - 1) line("pre", D.output);
}
$("at").max = Math.max(0, D.events.length - 1); $("at").oninput = e => show(+e.target.value); $("prev").onclick = () => show(now - 1); $("next").onclick = () => show(now + 1);
$("play").onclick = () => { if (timer) { clearInterval(timer); timer = 0; } else { if (now >= D.events.length - 1) now = -1; timer = setInterval(() => { show(now + 1); if (now >= D.events.length - 1) { clearInterval(timer); timer = 0; $("play").textContent = "play"; } }, 350); } $("play").textContent = timer ? "stop" : "play"; };
document.onkeydown = e => {
  const last = D.events.length - 1, to = {ArrowRight: now + 1, ArrowLeft: now - 1, PageDown: now + 10, PageUp: now - 10, Home: 0, End: last}[e.key]; let i = e.ctrlKey || e.metaKey || e.altKey ? undefined : to;
  if (document.activeElement === $("list") && (e.key === "ArrowDown" || e.key === "ArrowUp") && D.events[now]) { const next = order[order.indexOf(D.events[now].s) + (e.key === "ArrowDown" ? 1 : -1)]; if (first.has(next)) i = first.get(next); }
  if (i !== undefined) { e.preventDefault(); show(i); }  // the slider would move once more by itself
};
if (typeof addEventListener !== "undefined") addEventListener("resize", () => show(now));
show(typeof location === "undefined" ? 0 : (parseInt(location.hash.slice(1), 10) || 1) - 1);
</script></body></html>
"""
