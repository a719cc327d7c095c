"use strict";
// A picture with boxes and a heat map over it.
const MAGMA = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];

/** Colours of 0 ... 255, [r, g, b] each. */
const COLOURS = Array.from({ length: 256 }, (_, value) => {
  const at = (value / 255) * (MAGMA.length - 1), k = Math.min(Math.floor(at), MAGMA.length - 2);
  return MAGMA[k].map((low, c) => Math.round(low + (at - k) * (MAGMA[k + 1][c] - low)));
});

/** A width x height picture. label: what screen readers call it. */
class Stage {
  constructor(label, tallest = "72vh") {
    this.image = h("img", { alt: label });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.overlay = s("svg", { "aria-hidden": "true" });
    this.element = h("div", { class: "stage" }, this.image, this.canvas, this.overlay);
    this.tallest = tallest;
    this.sprites = new Map();
    this.wanted = 0;
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  show(uri, width, height, label) {
    [this.width, this.height] = [width, height];
    if (this.image.src !== uri) this.image.src = uri;
    this.image.alt = label;
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    Object.assign(this.element.style, { aspectRatio: `${width} / ${height}`, width: `min(100%, calc(${this.tallest} * ${width / height}))` });
  }

  /** groups: [{boxes, dashed}], drawn in order; boxes as [x1, y1, x2, y2, confidence, class], the surest first. */
  draw(groups) {
    this.groups = groups;
    this.redraw();
  }

  redraw() {
    this.overlay.replaceChildren();
    const shown = this.element.getBoundingClientRect().width;
    if (!shown || !this.groups) return;
    const unit = (this.width / shown) * Math.max(0.78, Math.min(1, shown / 420)), taken = [];
    for (const { boxes, dashed } of this.groups)
      for (const box of boxes.slice().reverse()) this.frame(box, dashed, unit);
    for (const { boxes, dashed } of this.groups)
      for (const box of boxes) this.label(box, dashed, unit, taken);
  }

  /** Name and colours: of the track, if the box is in one, else of the class. */
  look([, , , , , c, id]) {
    return data.tracks?.find((track) => track.id === id) || data.classes[c];
  }

  frame(box, dashed, unit) {
    const [x1, y1, x2, y2] = box, { colour, ink } = this.look(box);
    const inset = (dashed ? 1 : 1.5) * unit;
    const place = { x: x1 + inset, y: y1 + inset, width: Math.max(0, x2 - x1 - 2 * inset), height: Math.max(0, y2 - y1 - 2 * inset), fill: "none" };
    this.overlay.append(
      s("rect", { ...place, stroke: dashed ? "#000" : ink, "stroke-width": (dashed ? 3.5 : 4.5) * unit, opacity: 0.45 }),
      s("rect", { ...place, stroke: dashed ? "#fff" : colour, "stroke-width": (dashed ? 2 : 3) * unit, "stroke-dasharray": dashed ? `${7 * unit} ${5 * unit}` : null }));
  }

  label(box, dashed, unit, taken) {
    const [x1, y1, x2, y2, confidence] = box, { name, colour, ink } = this.look(box);
    const text = `${dashed ? "ANN " : ""}${name} ${confidence.toFixed(2)}`;
    const size = 12.5 * unit, high = 17 * unit, wide = Math.min(this.width, (text.length * 7.1 + 8) * unit);
    const rows = dashed ? [y2, y2 - high, y1 - high, y1] : [y1 - high, y1, y2 - high, y2];
    const cells = rows.flatMap((top) => [x1, x2 - wide].map((start) =>
      [Math.max(0, Math.min(start, this.width - wide)), Math.max(0, Math.min(top, this.height - high))]));
    const cost = ([left, top]) => taken.reduce((sum, [l, t, w]) =>
      sum + Math.max(0, Math.min(left + wide, l + w) - Math.max(left, l)) * Math.max(0, Math.min(top, t) + high - Math.max(top, t)), 0);
    const [left, top] = cells.reduce((best, cell) => (cost(cell) < cost(best) ? cell : best));
    taken.push([left, top, wide]);
    this.overlay.append(
      s("rect", { x: left, y: top, width: wide, height: high, rx: 2 * unit, fill: dashed ? "#fffd" : colour, stroke: dashed ? colour : null, "stroke-width": 1.5 * unit }),
      s("text", { x: left + wide / 2, y: top + high - 4.5 * unit, fill: dashed ? "#111" : ink, "font-size": size, "text-anchor": "middle", "font-weight": 600, textLength: wide - 8 * unit, lengthAdjust: "spacingAndGlyphs" }, text));
  }

  /** Tile number k of a sprite, as colours; null for none. */
  async heat(sprite, k) {
    this.element.classList.toggle("heat", Boolean(sprite));
    const ticket = ++this.wanted;
    if (!sprite) return;
    if (!this.sprites.has(sprite)) {
      const image = new Image();
      image.src = sprite.sprite;
      this.sprites.set(sprite, image.decode().then(() => image));
    }
    const image = await this.sprites.get(sprite);
    if (ticket !== this.wanted) return; // another one is wanted by now
    const { width, height, columns } = sprite;
    [this.canvas.width, this.canvas.height] = [width, height];
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, (k % columns) * width, Math.floor(k / columns) * height, width, height, 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height);
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set(COLOURS[pixels.data[i]], i);
    context.putImageData(pixels, 0, 0);
  }
}

const scale = (low, high, text) => [h("span", {}, low), h("i", { "aria-hidden": "true" }), h("span", {}, high), h("span", {}, text)];

function toggle(text, key, checked, onchange) {
  return h("label", {}, h("input", { type: "checkbox", checked, onchange: (event) => onchange(event.target.checked) }),
    key ? h("span", { class: `key ${key}`, "aria-hidden": "true" }) : null, text);
}
