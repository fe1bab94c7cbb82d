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
main { display:grid; grid-template-columns:minmax(320px,1.1fr) 230px minmax(320px,1.2fr); gap:18px; padding:14px 20px }
@media (max-width:1000px) { main { grid-template-columns:1fr } }
h2 { font-size:13px; text-transform:uppercase; letter-spacing:.06em; color:var(--soft); margin:0 0 6px; font-weight:600 }
#list { height:70vh; overflow:auto; border:1px solid var(--line); border-radius:8px } .row { display:grid; grid-template-columns:1fr 34%; gap:8px; padding:1px 8px; cursor:pointer; font-size:13px; align-items:center }
.row:hover { background:var(--band) } .row.now { background:var(--band); box-shadow:inset 3px 0 var(--hot) } .row.later { opacity:.42 }
.row .n { white-space:nowrap; overflow:hidden; text-overflow:ellipsis; font-family:ui-monospace,monospace; font-size:12px } .lane { position:relative; height:9px; background:var(--band); border-radius:2px }
.lane i { position:absolute; top:0; bottom:0; background:var(--go); border-radius:2px; min-width:2px }
.lane i.other { background:var(--ok) } #detail { margin-top:10px; min-height:9em } #detail .name { font:600 15px ui-monospace,monospace } #detail .story { font-style:italic } pre { margin:4px 0; font-size:12px; white-space:pre-wrap; color:var(--soft) }
svg text { fill:var(--ink); font:12px ui-monospace,monospace } svg .soft { fill:var(--soft) } svg .box { fill:var(--paper); stroke:var(--line) } svg .hot { stroke:var(--hot); stroke-width:2 } svg .hott { fill:var(--hot) }
svg .edge { stroke:var(--go); fill:none; stroke-width:1.5 } svg .new { stroke:var(--hot); stroke-width:2.5 }
</style></head><body>
<header><h1 id="title"></h1><p id="sub"></p></header>
<div id="bar"><button id="prev" aria-label="previous event">◀</button><button id="play">play</button><button id="next" aria-label="next event">▶</button><input id="at" type="range" min="0" value="0" aria-label="moment of the boot"><span id="when"></span></div>
<main><section><h2>Stations and their time</h2><div id="list"></div></section>
<section><h2>g0's stack, to scale</h2><svg id="stack" viewBox="0 0 230 560" width="230" height="560" role="img" aria-label="g0's stack"></svg></section>
<section><h2>g0, m0, the Ps and sched</h2><svg id="graph" viewBox="0 0 560 530" width="100%" role="img" aria-label="links between the structures"></svg><div id="detail"></div></section></main>
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
  row.className = "row"; n.className = "n"; n.style.paddingLeft = Math.min(depth[i], 24) * 9 + "px"; n.textContent = s.name + (s.times > 1 ? " ×" + s.times : ""); n.title = s.name;
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
  const svg = $("graph"); svg.replaceChildren();
  const defs = el(svg, "defs", {}), mk = el(defs, "marker", {id: "tip", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse"}); el(mk, "path", {d: "M0 0L10 5L0 10z", fill: "context-stroke"});
  const ps = []; for (let i = 0; st["allp[" + i + "]"] && i < 8; i++) ps.push(i);
  const nodes = {tls: [20, 20, 120, 46], g0: [20, 105, 172, 92], m0: [250, 105, 160, 92], sched: [20, 232, 150, 76]}, lines = {tls: [], g0: [], m0: [], sched: []};
  const f = (k, show) => st[k] === undefined ? null : [k, show ? show(st[k]) : st[k]];
  const put = (n, ...items) => lines[n].push(...items.filter(Boolean));
  put("g0", f("g0.stackguard0", hex), f("g0.atomicstatus", v => G[Number(v)] || v), f("g0.m", hex)); put("m0", f("m0.id"), f("m0.p", hex), f("m0.curg", hex), f("m0.locks")); put("sched", f("sched.maxmcount"), f("sched.mnext"), f("sched.npidle")); put("tls", f("tls base", hex));
  const byAddress = {}; for (const k in D.addresses) byAddress[D.addresses[k]] = k;
  ps.forEach((i, n) => { const k = "p" + i; nodes[k] = [20 + (n % 4) * 134, 350 + (n >> 2) * 90, 122, 70]; lines[k] = []; byAddress[st["allp[" + i + "]"]] = k; put(k, f("allp[" + i + "].status", v => P[Number(v)] || v), f("allp[" + i + "].schedtick")); });
  const curg = st["m0.curg"]; if (curg && curg !== "0" && !byAddress[curg]) { nodes.curg = [420, 225, 136, 46]; lines.curg = [["m0.curg", "", hex(curg)]]; byAddress[curg] = "curg"; }
  const exists = {tls: st["tls base"] && st["tls base"] !== "0", g0: (st["g0.stack.hi"] || "0") !== "0", m0: (st["m0.g0"] || "0") !== "0", sched: (st["sched.maxmcount"] || "0") !== "0"};
  const edges = []; const link = (from, key) => { const to = byAddress[st[key]]; if (to && to !== from && st[key] !== "0") edges.push([from, to, key]); };
  link("g0", "g0.m"); link("m0", "m0.g0"); link("m0", "m0.p"); link("m0", "m0.curg"); link("tls", "m0.tls[0]"); link("sched", "sched.pidle"); ps.forEach(i => { link("p" + i, "allp[" + i + "].m"); link("p" + i, "allp[" + i + "].link"); });
  const mid = n => [nodes[n][0] + nodes[n][2] / 2, nodes[n][1] + nodes[n][3] / 2];
  const edgePoint = (n, tx, ty) => { const [x, y] = mid(n), dx = tx - x, dy = ty - y, w = nodes[n][2] / 2 + 2, h = nodes[n][3] / 2 + 2, k = Math.min(w / Math.abs(dx || 1e-9), h / Math.abs(dy || 1e-9)); return [x + dx * k, y + dy * k]; };
  edges.forEach(([a, b, key], n) => { const [ax, ay] = mid(a), [bx, by] = mid(b), len = Math.hypot(bx - ax, by - ay) || 1, off = 9, ox = -(by - ay) / len * off, oy = (bx - ax) / len * off; const s = edgePoint(a, bx, by), t = edgePoint(b, ax, ay);
    el(svg, "path", {d: `M${s[0] + ox} ${s[1] + oy}L${t[0] + ox} ${t[1] + oy}`, class: "edge" + (changed.has(key) ? " new" : ""), "marker-end": "url(#tip)"});
    el(svg, "text", {x: (s[0] + t[0]) / 2 + ox * 1.6, y: (s[1] + t[1]) / 2 + oy * 1.6, class: "soft", style: "font-size:10px", "text-anchor": "middle"}, key.replace(/^.*\\./, ".")); });
  for (const n in nodes) { const [x, y, w, h] = nodes[n], hot = lines[n].some(l => changed.has(l[0])), shown = exists[n] === undefined || exists[n]; const g = el(svg, "g", {opacity: shown ? 1 : .25});
    el(g, "rect", {x, y, width: w, height: h, rx: 7, class: "box" + (hot ? " hot" : "")}); el(g, "text", {x: x + 8, y: y + 17, style: "font-weight:700"}, n === "curg" ? "goroutine" : n === "tls" ? "thread-local" : n[0] === "p" ? "allp[" + n.slice(1) + "]" : n);
    lines[n].forEach((l, i) => el(g, "text", {x: x + 8, y: y + 35 + i * 15, class: changed.has(l[0]) ? "hott" : "soft", style: "font-size:10.5px"}, l.length > 2 ? l[2] : l[0].replace(/^.*\\./, "") + " " + l[1])); }
}
let now = 0, timer = 0;
function show(i) {
  now = Math.max(0, Math.min(D.events.length - 1, i)); const e = D.events[now]; if (!e) return; const st = states[now], s = D.stations[e.s], changed = new Set(Object.keys(e.d));
  $("at").value = now; $("when").textContent = (now + 1) + " / " + D.events.length;
  order.forEach(k => { const r = rows[k]; r.classList.toggle("now", k === e.s); r.classList.toggle("later", D.stations[k].start > e.i); }); rows[e.s].scrollIntoView({block: "nearest"});
  drawStack(st, e, changed); drawGraph(st, changed);
  const d = $("detail"); d.replaceChildren(); const line = (cls, text) => { if (!text) return; const x = document.createElement(cls === "pre" ? "pre" : "div"); if (cls !== "pre") x.className = cls; x.textContent = text; d.append(x); };
  line("name", s.name + (e.b ? " begins" : s.returned ? " returns" : " is left")); line("", [s.where, s.address, "thread " + s.thread, s.instructions.toLocaleString() + " instructions"].filter(Boolean).join(" · ")); line("story", s.story); line("", s.note);
  line("pre", Object.keys(e.d).slice(0, 14).map(k => k + " = " + (BigInt(e.d[k]) > 65535n ? hex(e.d[k]) : e.d[k])).join("\\n")); line("pre", s.syscalls.concat(s.more ? ["and " + s.more + " more"] : []).join("\\n")); if (now === D.events.length - 1) line("pre", D.output);
}
$("at").max = Math.max(0, D.events.length - 1); $("at").oninput = e => show(+e.target.value); $("prev").onclick = () => show(now - 1); $("next").onclick = () => show(now + 1);
$("play").onclick = () => { if (timer) { clearInterval(timer); timer = 0; } else { if (now >= D.events.length - 1) now = -1; timer = setInterval(() => { show(now + 1); if (now >= D.events.length - 1) { clearInterval(timer); timer = 0; $("play").textContent = "play"; } }, 350); } $("play").textContent = timer ? "stop" : "play"; };
document.onkeydown = e => { if (e.key === "ArrowRight") show(now + 1); else if (e.key === "ArrowLeft") show(now - 1); };
show(0);
</script></body></html>
"""
