// What the page records: profiles as flame graphs and as files, traces, the flight recorder (record.py). Follows page.js.
const KINDS = [["cpu", "what uses the processor"], ["block", "who has waited, and for how long"], ["mutex", "who has let others wait for a lock"],
  ["goroutine", "all goroutines now, by stack"], ["goroutineleak", "those that nothing can wake (the program stands still for a moment)"],
  ["frames", "what goroutines that wait keep in memory (the program stands still for a moment)"]];
const LASTING = new Set(["cpu", "block", "mutex"]), PARTS_MAX = 2000, FLAT = 20;
let flame = null, focus = null, busy = 0;

const lasts = () => Math.min(60, Math.max(1, Number($("seconds").value) || 5));
async function ask(path, more, what, method = "GET") {
  const mine = ++busy;
  $("recording").textContent = what;
  const answer = await fetch(address(path, more), { method }).catch(() => null);
  const why = !answer ? "the program does not answer" : answer.ok ? "" : (await answer.text()).trim();
  if (mine === busy) $("recording").textContent = why;
  return answer && answer.ok ? answer : null;
}
async function save(path, more, name, what) {
  const answer = await ask(path, more, what);
  if (!answer) return;
  const url = URL.createObjectURL(await answer.blob());
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
const during = (kind) => LASTING.has(kind) ? `recording for ${lasts()} s …` : "…";
async function showFlame(kind) {
  const answer = await ask("/flame", { kind, seconds: lasts() }, during(kind));
  if (!answer) return;
  flame = await answer.json();
  flame.kind = kind;
  link(flame.root, null);
  focus = flame.root;
  $("flame").hidden = false;
  drawFlame();
}
function link(part, parent) {
  const [name, file, line, value, parts] = part;
  Object.assign(part, { name, file, line, value, parts, parent });
  for (const each of parts) link(each, part);
}
function amount(n) {
  if (flame.unit === "bytes") return n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e3).toFixed(1)} kB`;
  if (flame.unit !== "nanoseconds") return `${short(n)} ${flame.kind === "goroutineleak" ? "leaked" : "goroutines"}`;
  return n >= 1e9 ? `${(n / 1e9).toFixed(2)} s` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} ms` : `${(n / 1e3).toFixed(0)} µs`;
}
const told = (part) => `${part.name}${part.file ? ` ${base(part.file)}:${part.line}` : ""}, ${amount(part.value)}, `
  + `${flame.total ? (part.value / flame.total * 100).toFixed(1) : 0} %`;
function drawFlame(active = focus) {
  const width = $("parts").clientWidth, elements = [];
  let deepest = 0;
  // Those that lead to what is looked at are as wide as the window; of these alone no other part is drawn.
  const box = (part, left, share, depth, leads) => {
    part.element = null;
    if (share * width < 1 || elements.length >= PARTS_MAX) return;
    const element = make("div", { class: leads ? "part leads" : "part", role: "treeitem", tabindex: part === active ? 0 : -1, title: told(part),
      "aria-label": told(part), click: () => widen(part) }, share * width > 30 ? part.name : "");
    element.style.left = `${left * 100}%`; element.style.width = `${share * 100}%`; element.style.top = `${depth * FLAT}px`;
    element.style.background = part.parent ? `hsl(${hue(part.name)} 65% var(--flame))` : "var(--line)";
    for (const kind of ["focus", "mouseenter"]) element.addEventListener(kind, () => { $("part").textContent = told(part); });
    part.element = element;
    elements.push(element);
    deepest = Math.max(deepest, depth);
    let at = left;
    for (const each of leads ? [] : part.parts) { const its = share * each.value / (part.value || 1); box(each, at, its, depth + 1, false); at += its; }
  };
  const path = [];
  for (let part = focus.parent; part; part = part.parent) path.unshift(part);
  forget(flame.root);
  path.forEach((part, depth) => box(part, 0, 1, depth, true));
  box(focus, 0, 1, path.length, false);
  $("parts").style.height = `${(deepest + 1) * FLAT}px`;
  $("parts").replaceChildren(...elements);
  $("part").textContent = flame.total ? `${flame.kind}: ${told(active)}` : `${flame.kind}: nothing was seen`;
}
function forget(part) { part.element = null; part.parts.forEach(forget); }
function hue(text) { let h = 0; for (const c of text) h = (h * 31 + c.charCodeAt(0)) % 997; return h % 60; }
function widen(part) { focus = part; drawFlame(); part.element.focus(); }
$("parts").addEventListener("keydown", (event) => {
  let part = null;
  const find = (at) => { if (at.element === document.activeElement) part = at; else at.parts.forEach(find); };
  find(flame.root);
  if (!part) return;
  const beside = part.parent ? part.parent.parts : [part], i = beside.indexOf(part);
  const next = { ArrowUp: part.parent, ArrowDown: part.parts[0], ArrowLeft: beside[i - 1], ArrowRight: beside[i + 1] }[event.key];
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); widen(part); }
  if (next === undefined || next === null || !next.element) return;
  event.preventDefault();
  part.element.tabIndex = -1; next.element.tabIndex = 0; next.element.focus();
});
$("whole").addEventListener("click", () => { if (flame) widen(flame.root); });
addEventListener("resize", () => { if (flame) drawFlame(); });
for (const [kind, of] of KINDS)
  $("kinds").append(make("tr", { "data-kind": kind }, make("td", {}, kind), make("td", {}, of + (LASTING.has(kind) ? ", for these seconds" : "")), make("td", { class: "n" },
    make("button", { type: "button", "aria-label": `${kind}: flame graph`, click: () => showFlame(kind) }, "flame graph"), " ",
    make("button", { type: "button", "aria-label": `${kind}: file`, click: () => save("/profile", { kind, seconds: lasts() }, `${kind}.pb.gz`, during(kind)) }, "file"))));
const recorder = make("button", { type: "button", id: "flight", "aria-pressed": "false", click: async () => {
  const answer = await ask("/flight", { on: recorder.getAttribute("aria-pressed") === "true" ? 0 : 1 }, "", "POST");
  if (answer) showFlight((await answer.json()).flight);
} }, "flight recorder");
const kept = make("button", { type: "button", id: "kept", disabled: "", click: () => save("/flight", {}, "flight.trace", "…") }, "save the last seconds");
$("traces").append(make("button", { type: "button", id: "trace", click: () => save("/trace", { seconds: lasts() }, "gort.trace", `recording for ${lasts()} s …`) }, "record a trace"),
  " ", recorder, " ", kept);
function showFlight(whose) {
  recorder.setAttribute("aria-pressed", String(whose !== ""));
  recorder.disabled = whose === "program";
  recorder.textContent = { page: "end the flight recorder", program: "the program's flight recorder is on" }[whose] || "begin a flight recorder";
  kept.disabled = whose === "";
}
showFlight("");
