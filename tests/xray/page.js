// Runs the page's script with just enough of a DOM to draw: node page.js PAGE EVENT -> the two drawings as SVG text.
"use strict";
const fs = require("fs");
class Node {
  constructor(tag) { this.tag = tag; this.attrs = {}; this.kids = []; this.style = {}; this._text = ""; const names = new Set(); this.classList = { toggle: (n, on) => (on ? names.add(n) : names.delete(n)), has: n => names.has(n) }; }
  setAttribute(k, v) { this.attrs[k] = String(v); }
  append(...k) { this.kids.push(...k); }
  replaceChildren() { this.kids = []; }
  scrollIntoView() {}
  set textContent(t) { this._text = String(t); }
  get textContent() { return this._text + this.kids.map(k => k.textContent).join(" "); }
  get svg() {
    const esc = t => t.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
    const attrs = Object.entries(this.attrs).map(([k, v]) => ` ${k}="${esc(v)}"`).join("");
    return `<${this.tag}${attrs}>${esc(this._text)}${this.kids.map(k => k.svg).join("")}</${this.tag}>`;
  }
}
const byId = {};
global.document = {
  getElementById: id => (byId[id] = byId[id] || new Node("svg")), createElement: t => new Node(t), createElementNS: (_, t) => new Node(t),
};
const page = fs.readFileSync(process.argv[2], "utf8");
const script = page.match(/<script>([\s\S]*)<\/script>/)[1];
new Function(script + "\nglobalThis.__show = show; globalThis.__D = D;")();
const n = globalThis.__D.events.length;
for (let i = 0; i < n; i++) globalThis.__show(i);
globalThis.__show(Math.min(n - 1, Number(process.argv[3] || n - 1)));
const bad = ["stack", "graph"].map(id => byId[id].svg).join("");
if (/NaN|undefined|Infinity/.test(bad)) { console.error("a drawing holds NaN or undefined"); process.exit(1); }
console.log(JSON.stringify({ events: n, rows: byId.list.kids.length, detail: byId.detail.textContent, title: byId.title.textContent, stack: byId.stack.svg, graph: byId.graph.svg }));
