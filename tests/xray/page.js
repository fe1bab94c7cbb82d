// Runs the page's script with just enough of a DOM to draw: node page.js PAGE EVENT -> the two drawings as SVG text.
"use strict";
const fs = require("fs");
class Node {
  constructor(tag) { this.tag = tag; this.attrs = {}; this.kids = []; this.style = {}; this._text = ""; const names = new Set(); this.classList = { toggle: (n, on) => (on ? names.add(n) : names.delete(n)), has: n => names.has(n) }; }
  setAttribute(k, v) { this.attrs[k] = String(v); }
  append(...k) { this.kids.push(...k); }
  replaceChildren() { this.kids = []; }
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
// An arrow runs through a box when a point of it lies inside; its ends lie on the edges of two boxes.
const crossed = new Set(), flat = node => [node].concat(...node.kids.map(flat));
function point(d, t) {
  const m = d.match(/[-\d.]+/g).map(Number);
  const at = k => d.includes("C") ? (1 - t) ** 3 * m[k] + 3 * (1 - t) ** 2 * t * m[2 + k] + 3 * (1 - t) * t * t * m[4 + k] + t ** 3 * m[6 + k] : (1 - t) * m[k] + t * m[2 + k];
  return [at(0), at(1)];
}
for (let i = 0; i < n; i++) {
  globalThis.__show(i);
  const all = flat(byId.graph), boxes = all.filter(x => x.tag === "rect").map(x => ["x", "y", "width", "height"].map(k => Number(x.attrs[k])));
  for (const path of all.filter(x => x.tag === "path" && /edge/.test(x.attrs.class || ""))) {
    for (let t = 0.02; t < 1; t += 0.02) {
      const [px, py] = point(path.attrs.d, t);
      if (boxes.some(([x, y, w, h]) => px > x + 1 && px < x + w - 1 && py > y + 1 && py < y + h - 1)) crossed.add(i);
    }
  }
}
const press = key => { let taken = false; document.onkeydown({ key, preventDefault: () => { taken = true; } }); return byId.when.textContent.split(" ")[0] + (taken ? "" : " not taken"); };
const keys = [press("Home"), press("ArrowRight"), press("PageDown"), press("ArrowLeft"), press("End"), press("x")];
document.activeElement = byId.list; globalThis.__show(0);
keys.push(press("ArrowDown"), press("ArrowUp"));
globalThis.__show(Math.min(n - 1, Number(process.argv[3] || n - 1)));
const bad = ["stack", "graph"].map(id => byId[id].svg).join("");
if (/NaN|undefined|Infinity/.test(bad)) { console.error("a drawing holds NaN or undefined"); process.exit(1); }
console.log(JSON.stringify({ keys, crossed: [...crossed], events: n, rows: byId.list.kids.length, detail: byId.detail.textContent, title: byId.title.textContent, stack: byId.stack.svg, graph: byId.graph.svg }));
