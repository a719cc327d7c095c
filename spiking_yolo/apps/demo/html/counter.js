"use strict";
// The cost of the frames: numbers, and a curve over time against the ANN's line.
const counting = `${data.counting[0].toUpperCase()}${data.counting.slice(1)} per MAC`;

/** The operations of a frame against the ANN's, in words. */
function against(operations) {
  if (operations === 0) return "nothing has changed, so nothing is sent";
  if (operations >= 1) return "as many as the ANN's multiply-accumulates, or more";
  return `1 for every ${digits(1 / operations, 2)} multiply-accumulates of the ANN`;
}

class Counter {
  constructor() {
    this.place = Object.fromEntries(["unit", "operations", "against", "first", "later", "rate", "time", "boxes", "said"].map((id) => [id, document.getElementById(id)]));
    this.place.unit.textContent = `${counting} in this frame`;
    document.getElementById("plotted").textContent = `${counting} over time`;
    this.curve = new Curve(document.getElementById("curve"));
    this.reset();
  }

  reset() {
    Object.assign(this, { frames: 0, sum: 0, began: performance.now(), ends: [], values: [], spoken: 0 });
    for (const id of ["operations", "first", "later", "rate", "time", "boxes"]) this.place[id].textContent = "–";
    this.place.against.textContent = "\u00a0";
    this.curve.draw(this.values);
  }

  /** Of a frame: operations per MAC, milliseconds, and its boxes in words. */
  add({ operations, time }, boxes, threads) {
    const now = performance.now(), show = (id, text) => { this.place[id].textContent = text; };
    show("operations", digits(operations));
    show("against", against(operations));
    if (this.frames === 0) show("first", digits(operations));
    else show("later", digits((this.sum += operations) / this.frames));
    this.frames += 1;
    this.ends = [...this.ends.filter((end) => now - end < 3000), now];
    if (this.ends.length > 2) show("rate", ((1000 * (this.ends.length - 1)) / (now - this.ends[0])).toFixed(1));
    this.place.time.replaceChildren(`${Math.round(time)} ms`, h("small", {}, plural(threads, "thread")));
    show("boxes", boxes);
    // A screen reader could not follow every frame.
    if (now - this.spoken > 3000) {
      this.spoken = now;
      show("said", `${boxes}; ${digits(operations)} ${data.counting} per MAC`);
    }
    this.values = [...this.values.filter(([at]) => now - at < Curve.SECONDS * 1000), [now, operations]];
    this.curve.draw(this.values.map(([at, value]) => [(at - this.began) / 1000, value]));
  }
}

/** The last seconds on a logarithmic axis. */
class Curve {
  static SECONDS = 30;
  static LOW = 0.001;
  static HIGH = 3;

  constructor(parent) {
    this.canvas = s("svg", { role: "img", "aria-label": `${counting} of the last ${Curve.SECONDS} seconds; the ANN's line is at 1` });
    parent.append(this.canvas);
    this.width = 0;
    follow(this.canvas, (width) => { this.width = width; this.draw(this.values ?? []); }, () => {});
  }

  /** values: [seconds, operations per MAC]; below the axis they lie on it. */
  draw(values) {
    this.values = values;
    const height = 170, left = 54, right = 10, above = 10, below = 30, { width } = this, { LOW, HIGH, SECONDS } = Curve;
    if (!width) return;
    const last = Math.max(SECONDS, values.at(-1)?.[0] ?? 0);
    const x = (at) => left + ((at - last + SECONDS) / SECONDS) * (width - left - right);
    const y = (value) => above + (Math.log(HIGH / Math.max(LOW, value)) / Math.log(HIGH / LOW)) * (height - above - below);
    const line = (value, name) => s("line", { class: name, x1: left, x2: width - right, y1: y(value), y2: y(value) });
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.canvas.style.height = `${height}px`;
    this.canvas.replaceChildren();
    for (const tick of ticks(LOW, HIGH, true))
      this.canvas.append(line(tick, "grid"), s("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, tick > LOW ? digits(tick) : `≤ ${LOW}`));
    for (const tick of ticks(last - SECONDS, last, false, 4))
      this.canvas.append(s("text", { x: x(tick), y: height - below + 16, "text-anchor": "middle" }, digits(tick)));
    this.canvas.append(line(1, "reference"), s("text", { x: width - right, y: y(1) - 5, "text-anchor": "end" }, "the ANN"),
      s("text", { x: (left + width - right) / 2, y: height - 1, "text-anchor": "middle" }, "time, s"));
    if (!values.length) return;
    const d = values.map(([at, value], k) => `${k ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
    const [at, value] = values.at(-1);
    this.canvas.append(s("path", { class: "curve", d, stroke: "var(--accent)" }), s("circle", { class: "dot", cx: x(at), cy: y(value), r: 5, fill: "var(--accent)" }));
  }
}
