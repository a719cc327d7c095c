"use strict";
// A video, frame by frame.
const shown = { snn: true, ann: false, heat: false };
const count = data.frame.length;
const stage = new Stage("", "62vh");
const legendOfMap = h("div", { class: "scale" });
const readout = h("div", {});
const later = data.operations.slice(1);
const mean = (values) => values.reduce((a, b) => a + b, 0) / (values.length || 1);
const costs = later.length ? "a later frame, the mean" : "the only frame";
const energies = h("div", {}, ...energyTable(`Energy of ${costs}, mJ at 45 nm`, data.annEnergy, (key) => mean(later.length ? data.energy[key].slice(1) : data.energy[key])));

const slider = player({
  count,
  label: "Frame",
  name: (k) => `${data.time[k].toFixed(2)} s`,
  said: (k) => `frame ${data.frame[k]}: ${counted(data.boxes[k])}; ${digits(data.operations[k])} operations per MAC${data.cut[k] ? "; the scene has changed" : ""}`,
  show: draw,
  pace: Math.max(40, 1000 * (count > 1 ? data.time[1] - data.time[0] : 1)),
});

function draw(k) {
  const boxes = data.boxes[k];
  stage.show(data.images[k], data.width, data.height, `Frame ${data.frame[k]}: the spiking network finds ${counted(boxes)}; the ANN finds ${counted(data.ann[k])}`);
  stage.draw([{ boxes: shown.snn ? boxes : [], dashed: false }, { boxes: shown.ann ? data.ann[k] : [], dashed: true }]);
  stage.heat(shown.heat ? data.heat : null, k);
  legendOfMap.replaceChildren(...(shown.heat
    ? scale("0", digits(data.heat.peak), "spikes in this frame, all layers at this place together; logarithmic, the same in every frame")
    : [h("span", {}, "Where events happen: switch the heat map on.")]));
  readout.replaceChildren(numbers([
    ["The spiking network finds", counted(boxes), `the ANN: ${counted(data.ann[k])}`, true],
    ["Later frames, mean", later.length ? digits(mean(later)) : "–", `${data.counting} per MAC; the ANN: 1 in every frame`],
    ["This frame", digits(data.operations[k]), `the first frame: ${digits(data.operations[0])}`],
    ["Spikes", many(data.spikes[k]), data.fresh[k] ? "the state started anew" : "only what changed"],
  ]));
  for (const each of plots) each.set(k);
}

/** A row per name, in which each frame is the stronger the larger its value, in 0..1; below it, if given, a thin line. */
function strips(title, note, rows, high = 18, spoken = `${title}: ${rows.map((row) => row.name).join(", ")}.`) {
  const edge = 22;
  const canvas = s("svg", { role: "img", "aria-label": spoken });
  const element = h("section", { class: "card plot lanes", "aria-label": title }, h("h2", {}, title), h("p", { class: "note" }, note), canvas);
  const cursor = s("line", { class: "cursor" });
  let width = 0, left = 0, position = 0;

  const x = (k) => left + ((k + 0.5) / count) * (width - left - 12);
  function draw(now) {
    width = now;
    canvas.replaceChildren();
    left = Math.min(0.46 * width, 14 + 7 * Math.max(...rows.map((row) => row.name.length), 0));
    const height = rows.length * high + edge, wide = (width - left - 12) / count;
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.style.height = `${height}px`;
    rows.forEach((row, at) => {
      const tall = row.below ? high - 10 : high - 3, bar = row.below ? 15 : tall, top = at * high + (high - tall) / 2;
      canvas.append(s("text", { x: 0, y: top + tall / 2 + 4 }, row.name), s("rect", { class: "row", x: left, y: top, width: Math.max(0, width - left - 12), height: tall, rx: 3 }));
      const mark = (k, y, height, fill, opacity) => canvas.append(s("rect", { x: x(k) - wide / 2, y, width: wide, height, "shape-rendering": "crispEdges", fill, opacity }));
      row.strengths.forEach((strength, k) => strength && mark(k, top, bar, row.colour, strength));
      (row.below || []).forEach((seen, k) => seen && mark(k, top + 16.5, 3, "var(--soft)", 1));
    });
    for (const k of ticks(0, count - 1, false, Math.max(2, width / 120)).filter(Number.isInteger))
      canvas.append(s("text", { x: x(k), y: height - 5, "text-anchor": "middle" }, `${digits(data.time[k])} s`));
    canvas.append(cursor);
    set(position);
  }
  function set(k) {
    position = k;
    for (const [name, value] of Object.entries({ x1: x(k), x2: x(k), y1: 0, y2: rows.length * high })) cursor.setAttribute(name, value);
  }
  follow(canvas, draw, (at) => slider.go(Math.floor(((at - left) / (width - left - 12)) * count)));
  return { element, set };
}

/** Which classes were seen when: bars of the spiking network, and a thin line below for the ANN. */
function lanes() {
  const best = (boxes, c) => Math.max(0, ...boxes.filter((box) => String(box[5]) === c).map((box) => box[4]));
  const rows = Object.entries(data.classes).map(([c, { name, colour }]) => {
    const sure = data.boxes.map((boxes) => best(boxes, c));
    return { name, colour, strengths: sure.map((one) => (one ? 0.25 + 0.75 * one : 0)), below: data.ann.map((boxes) => best(boxes, c)) };
  });
  const seen = rows.map((row) => `${row.name} in ${row.strengths.filter(Boolean).length}`);
  return strips("Detections over time", "Bars: the spiking network, the stronger the surer. Thin lines: the ANN.", rows, 30, `Detections over time. Of ${count} frames: ${seen.join(", ")}.`);
}

/** Operations of each layer, on a logarithmic scale of three decades. */
function layerStrips(title, layers) {
  const most = Math.max(...layers.flatMap((layer) => layer.values)) || 1;
  const strength = (value) => Math.max(0, 1 + Math.log10(Math.max(value, 1e-12) / most) / 3);
  return strips(title, `Per multiply-accumulate of the ANN; the strongest colour is ${digits(most)}, a thousandth of it is none.`,
    layers.map((layer) => ({ name: layer.title, colour: "var(--accent)", strengths: layer.values.map(strength) })));
}

/** Of many layers those of each stage, and all to unfold. */
function stageStrips() {
  const stages = stagesOf(data.layers).map(({ title, place, layers }) =>
    ({ title: `${title}, ${place}`, values: data.frame.map((_, k) => layers.reduce((sum, at) => sum + data.layers[at].values[k], 0)) }));
  return layerStrips("Operations of each stage of layers", stages);
}

/** Bars where a track is seen. */
function trackStrips() {
  return strips("Tracks", "Each object by its number, where the spiking network sees it.", data.tracks.map((track) => {
    const frames = new Set(track.frames);
    return { name: track.name, colour: track.colour, strengths: data.frame.map((_, k) => (frames.has(k) ? 1 : 0)) };
  }));
}

const axis = { xs: data.time, xname: "time, s", onpick: (k) => slider.go(k), steps: true };
const cuts = data.cut.filter(Boolean).length;
const plots = [
  lanes(),
  plot({ ...axis, title: "Operations of each frame", logy: true,
    note: `Synaptic operations per multiply-accumulate of the ANN, which computes every frame anew.${cuts ? ` The scene changes ${cuts === 1 ? "once" : `${cuts} times`}.` : ""}`,
    references: [{ name: "ANN", value: 1 }],
    series: [{ name: data.counting, colour: "var(--accent)", values: data.operations }] }),
  energyPlot({ ...axis, title: "Energy of each frame" }, data.annEnergy, (key) => data.energy[key]),
  ...(data.layers.length > MANY_LAYERS ? [stageStrips()] : []),
  layerStrips("Operations of each layer", data.layers),
  ...(data.tracks.length ? [trackStrips()] : []),
];

document.getElementById("lead").append(
  `${data.network} at ${data.input} px, converted by ${data.method}, beside its ANN. ${plural(count, "frame")}; `,
  later.length ? `frames after the first take ${digits(mean(later))} operations per MAC of the ANN.` : "one frame only.");
document.getElementById("main").append(
  h("div", { class: "columns wide" },
    h("figure", { class: "card" }, stage.element,
      h("div", { class: "tools" },
        toggle("spiking network", "", shown.snn, (on) => { shown.snn = on; slider.refresh(); }),
        toggle("ANN", "dashed", shown.ann, (on) => { shown.ann = on; slider.refresh(); }),
        toggle("events", null, shown.heat, (on) => { shown.heat = on; slider.refresh(); })),
      legendOfMap),
    h("div", { class: "columns", style: { marginTop: 0 } }, h("div", { class: "card" }, readout), h("div", { class: "card" }, energies))),
  h("div", { class: "columns" }, plots[0].element),
  h("div", { class: "columns even" }, plots[1].element, plots[2].element),
  ...plots.slice(3).map((each) => h("div", { class: "columns" },
    each.element.matches("[aria-label='Operations of each layer']") && data.layers.length > MANY_LAYERS
      ? h("details", {}, h("summary", {}, `Operations of each of the ${data.layers.length} layers`), each.element) : each.element)), KEYS(), slider.element);
made();
slider.go(0);
