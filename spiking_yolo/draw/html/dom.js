"use strict";
// Elements and numbers. Text enters the page as text alone: nothing from the data is ever read as HTML.
const data = JSON.parse(document.getElementById("data").textContent);

function make(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const h = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

/** Three significant digits, and all of a whole part: 0.0503, 12.3, 1234. */
function digits(value, count = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 10 ** count ? String(Math.round(value)) : String(Number(value.toPrecision(count)));
}

/** 12.3 M for many things, 803 for few. */
function many(value) {
  if (value === null || value === undefined) return "–";
  for (const [scale, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(value) >= scale) return `${digits(value / scale)} ${unit}`;
  return digits(value);
}

const percent = (part, count = 0) => (part === null ? "–" : `${(100 * part).toFixed(count)} %`);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** "dog, 2 × car", the surest first, of rows [x1, y1, x2, y2, confidence, class]. */
function counted(boxes) {
  const names = new Map();
  for (const box of boxes) names.set(box[5], (names.get(box[5]) || 0) + 1);
  return [...names].map(([c, n]) => (n > 1 ? `${n} × ` : "") + data.classes[c].name).join(", ") || "nothing";
}

function table(caption, head, rows, foot) {
  const cell = (tag, value) => (value instanceof Node ? value : h(tag, {}, value));
  const body = rows.map((row) =>
    h("tr", {}, row.map((value, k) => (k ? cell("td", value) : h("th", { scope: "row" }, value)))));
  // The caption stays while the table scrolls.
  return h("div", {}, h("p", { class: "note" }, caption),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      h("table", { "aria-label": caption },
        h("thead", {}, h("tr", {}, head.map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", {}, body),
        foot ? h("tfoot", {}, h("tr", {}, foot.map((value) => cell("td", value)))) : null)));
}

/** Layers from which on a list of them is folded, and its stages: layers in a row whose maps have one size. */
const MANY_LAYERS = 24;
function stagesOf(layers) {
  const stages = [];
  layers.forEach(({ place, title }, k) => {
    if (stages.at(-1)?.place !== place) stages.push({ place, from: title, layers: [] });
    Object.assign(stages.at(-1), { to: title }).layers.push(k);
  });
  return stages.map((one) => ({ ...one, title: one.from === one.to ? one.from : `${one.from} to ${one.to.match(/\d+$/)}` }));
}

function bar(part, text) {
  return h("td", { class: "bar" }, h("span", { style: { width: `${Math.max(0, Math.min(1, part)) * 4.5}rem` } }), text);
}

/** Name -> [value, remark] as large numbers. */
function numbers(entries) {
  return h("dl", { class: "numbers" }, entries.map(([name, value, remark, long]) =>
    h("div", { class: long ? "long" : null }, h("dt", {}, name), h("dd", {}, value, remark ? h("small", {}, remark) : null))));
}

function card(title, ...children) {
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title), children);
}

/** Draw a canvas anew for every width, draw(width), and follow a pointer on it: pick(pixels from its left). */
function follow(canvas, draw, pick) {
  let width = 0;
  const at = (event) => pick(event.clientX - canvas.getBoundingClientRect().left);
  canvas.addEventListener("pointerdown", at);
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
  new ResizeObserver(() => {
    const now = Math.round(canvas.getBoundingClientRect().width);
    if (now && now !== width) draw(width = now);
  }).observe(canvas.parentElement);
}

/** What made the page, and a last sentence. */
function made(promise = "This file is complete in itself: it loads nothing and sends nothing.") {
  const versions = Object.entries(data.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  document.getElementById("made").append(
    h("details", {}, h("summary", {}, `Made on ${data.date}`),
      h("pre", {}, data.command),
      h("p", {}, `${versions}.`),
      data.settings ? h("details", {}, h("summary", {}, `All settings of ${data.method}`),
        h("pre", {}, JSON.stringify(data.settings, null, 1))) : null),
    h("p", {}, promise));
}
