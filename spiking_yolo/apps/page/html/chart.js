"use strict";
// A line plot with a cursor, drawn anew for every width so that its text stays readable.

/** Ticks at 1, 2 or 5 times a power of ten; on a logarithmic axis at powers of ten, or 1, 2, 5 within a decade or two. */
function ticks(low, high, log, most = 5) {
  if (log) {
    const decades = Math.log10(high / low);
    const within = decades > 3 ? [1] : [1, 2, 5];
    const found = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++)
      for (const m of within) if (m * 10 ** k >= low * 0.999 && m * 10 ** k <= high * 1.001) found.push(m * 10 ** k);
    return found;
  }
  const raw = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((one) => one >= raw);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/**
 * series: {name, colour, values, dash, band: [low, high], end}, values by position in xs; null is a gap. end: a ring at
 * the right edge, such as the ANN's. references: {name, value}, dashed lines. onpick(position) follows the pointer.
 * Returns {element, set(position)}.
 */
function plot({ title, note, xs, xname, logx, series, references = [], logy, low, high, format = digits, onpick, steps }) {
  const every = [...series.flatMap((one) => [...one.values, ...(one.band || []).flat(), one.end]), ...references.map((r) => r.value)]
    .filter((value) => value !== null && value !== undefined && (!logy || value > 0));
  let bottom = low ?? (logy ? Math.min(...every) / 1.3 : Math.min(0, ...every));
  let top = high ?? (logy ? Math.max(...every) * 1.3 : Math.max(...every) * 1.08 || 1);
  if (!every.length) [bottom, top] = [logy ? 0.1 : 0, 1];
  const canvas = s("svg", { role: "img", "aria-label": spoken() });
  const legend = h("ul", {});
  const element = h("section", { class: "card plot", "aria-label": title }, h("h2", {}, title),
    note ? h("p", { class: "note" }, note) : null, canvas, legend);
  let position = 0, width = 0, marks = null, values = [];
  const height = 190, left = 46, below = 34, above = 8;

  function spoken() {
    const said = series.map((one) => `${one.name} from ${format(one.values[0])} to ${format(one.values.at(-1))}`);
    return `${title}. Over ${xname}: ${said.join("; ")}.`;
  }
  const right = series.some((one) => one.end !== undefined) ? 20 : 12;
  const place = (value, a, b, log) => (log ? Math.log(value / a) / Math.log(b / a) : (value - a) / (b - a || 1));
  const x = (value) => left + (xs.length > 1 ? place(value, xs[0], xs.at(-1), logx) : 0.5) * (width - left - right);
  const y = (value) => above + (1 - Math.max(0, place(Math.max(value, logy ? bottom : value), bottom, top, logy))) * (height - above - below);

  function path(list) {
    let text = "", pen = false;
    list.forEach((value, k) => {
      if (value === null || value === undefined) { pen = false; return; }
      const [px, py] = [x(xs[k]).toFixed(1), y(value).toFixed(1)];
      text += !pen ? `M${px},${py}` : steps ? `H${((x(xs[k]) + x(xs[k - 1])) / 2).toFixed(1)}V${py}H${px}` : `L${px},${py}`;
      pen = true;
    });
    return text;
  }

  function draw(now) {
    width = now;
    canvas.replaceChildren();
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.style.height = `${height}px`;
    for (const tick of ticks(bottom, top, logy)) {
      canvas.append(s("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
        s("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
    }
    const wholes = xs.length <= 9 ? xs : logx ? ticksOfTwo() : ticks(xs[0], xs.at(-1), false, Math.max(3, Math.min(8, width / 70)));
    for (const tick of wholes)
      canvas.append(s("text", { x: x(tick), y: height - below + 17, "text-anchor": "middle" }, digits(tick)));
    canvas.append(s("text", { x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle" }, xname));
    for (const one of references)
      canvas.append(s("line", { class: "reference", x1: left, x2: width - right, y1: y(one.value), y2: y(one.value), stroke: one.colour }));
    for (const one of series) {
      if (one.band) {
        const forth = path(one.band[0]), back = [...xs.keys()].reverse().map((k) => `L${x(xs[k])},${y(one.band[1][k])}`).join("");
        canvas.append(s("path", { class: "band", d: `${forth}${back}Z`, fill: one.colour }));
      }
      const d = path(one.values);
      canvas.append(s("path", { class: "halo", d, "stroke-width": 3.5 }),
        s("path", { class: "curve", d, stroke: one.colour, "stroke-dasharray": one.dash || null }));
      if (xs.length <= 12 && xs.length > 0 && !steps)
        one.values.forEach((value, k) => value === null ||
          canvas.append(s("circle", { cx: x(xs[k]), cy: y(value), r: 2.5, fill: one.colour })));
      if (one.end !== undefined && one.end !== null)
        canvas.append(s("circle", { class: "ring", cx: width - right + 9, cy: y(one.end), r: 4, stroke: one.colour }));
    }
    marks = canvas.appendChild(s("g", {}));
    set(position);
  }

  function ticksOfTwo() {
    const found = [];
    for (let t = 1; t <= xs.at(-1); t *= 2) if (t >= xs[0]) found.push(t);
    return found;
  }

  function set(k) {
    position = k;
    values.forEach(([output, one]) => { output.textContent = format(one.values[k]); });
    if (!marks) return;
    marks.replaceChildren(s("line", { class: "cursor", x1: x(xs[k]), x2: x(xs[k]), y1: above, y2: height - below }),
      ...series.filter((one) => one.values[k] !== null && one.values[k] !== undefined).map((one) =>
        s("circle", { class: "dot", cx: x(xs[k]), cy: y(one.values[k]), r: 5, fill: one.colour })));
  }

  function pick(at) {
    const nearest = xs.reduce((best, value, k) => (Math.abs(x(value) - at) < Math.abs(x(xs[best]) - at) ? k : best), 0);
    onpick?.(nearest);
  }

  const swatch = (colour, dash) => s("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" },
    s("line", { x1: 1, x2: 25, y1: 6, y2: 6, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash || null }));
  for (const one of series) {
    const output = h("b", {});
    values.push([output, one]);
    legend.append(h("li", {}, swatch(one.colour, one.dash), `${one.name} `, output, one.remark ? h("span", { class: "note" }, one.remark) : null));
  }
  for (const one of references)
    legend.append(h("li", {}, swatch(one.colour || "var(--soft)", "4 3"), `${one.name} `, one.hide ? null : h("b", {}, format(one.value))));
  follow(canvas, draw, pick);
  return { element, set };
}
