"use strict";
// Photographs, timestep by timestep.
const shown = { photo: 0, layer: -1, snn: true, ann: false, stages: new Set() };
const photo = () => data.photographs[shown.photo];
const one = data.steps.length === 1;
const consecutive = data.steps.length - 1 === data.steps.at(-1) - data.steps[0];

const stage = new Stage("");
const legendOfMap = h("div", { class: "scale" });
const readout = h("div", {}), charts = h("div", { class: "columns even" }), energies = h("div", {}), layers = h("div", { class: "card" });
const stages = stagesOf(data.layers), folded = data.layers.length > MANY_LAYERS;
let plots = [];

const slider = player({
  count: data.steps.length,
  label: "Timestep T",
  name: (k) => `T = ${data.steps[k]}`,
  said: (k) => `${counted(photo().boxes[k])}; output error ${digits(photo().error[k])}, ${digits(photo().operations[k])} operations per MAC`,
  show: draw,
  pace: Math.max(120, Math.min(600, 9000 / data.steps.length)),
});

/** Whether later steps change what is seen at t. settled: the last step that does, or null. */
function activity(settled, t) {
  if (settled === null || t < settled) return ["Settled", "not yet", "later steps may change it"];
  return ["Settled", `at T = ${settled}`, "nothing changes any more"];
}

function draw(k) {
  const now = photo(), t = data.steps[k], boxes = now.boxes[k];
  stage.show(now.image, now.width, now.height, `${now.name}: at T = ${t} the spiking network finds ${counted(boxes)}; the ANN finds ${counted(now.ann)}`);
  stage.draw([{ boxes: shown.snn ? boxes : [], dashed: false }, { boxes: shown.ann ? now.ann : [], dashed: true }]);
  const map = shown.layer < 0 ? null : now.maps[shown.layer];
  stage.heat(map, k);
  legendOfMap.replaceChildren(...(map
    ? scale(digits(map.low[k]), digits(map.high[k]), `spikes per neuron and timestep in ${data.layers[shown.layer].title}; mean ${digits(map.mean[k])}`)
    : [h("span", {}, "No heat map: choose a layer to see where it spikes.")]));
  readout.replaceChildren(numbers([
    ["The spiking network finds", counted(boxes), `the ANN: ${counted(now.ann)}`, true],
    ["Output error", digits(now.error[k]), "0 is the ANN's output"],
    ["Operations per MAC", digits(now.operations[k]), `${data.counting}; the ANN: 1`],
    ["Spikes", many(now.spikes[k]), `${digits(now.rate[k])} per neuron and timestep; ${many(now.digits[k])} digits`],
    activity(now.settled, t),
  ]));
  energies.replaceChildren(...energyTable(`Energy at T = ${data.steps[k]}, mJ per photograph at 45 nm`, now.annEnergy, (key) => now.energy[key][k]));
  drawLayers(now, k);
  for (const each of plots) each.set(k);
}

function drawLayers(now, k) {
  const operations = now.layers.map((layer) => (layer.operations ? layer.operations[k] : 0));
  const total = operations.reduce((a, b) => a + b, 0), most = Math.max(...operations) || 1;
  const largest = Math.max(...stages.map((stage) => stage.layers.reduce((sum, at) => sum + operations[at], 0))) || 1;
  const row = (layer, i) => {
    const { neurons, macs, spikes, digits: sent, operations: done } = now.layers[i];
    const title = now.maps[i]
      ? h("button", { type: "button", "aria-pressed": String(shown.layer === i), title: "Show its heat map", onclick: () => choose(shown.layer === i ? -1 : i, true) }, layer.title)
      : layer.title;
    return [title, neurons ? many(neurons) : "–", spikes ? many(spikes[k]) : "–", sent ? many(sent[k]) : "–",
      many(macs), done ? many(done[k]) : "analogue", bar(operations[i] / most, done ? percent(total ? operations[i] / total : 0, 1) : "")];
  };
  const rows = folded ? stages.flatMap((stage, i) => {
    const sum = (value) => stage.layers.reduce((all, k) => all + (value(now.layers[k]) || 0), 0), open = shown.stages.has(i);
    const done = sum((layer) => layer.operations?.[k]), part = total ? done / total : 0;
    const title = h("button", { type: "button", "aria-expanded": String(open), onclick: () => { shown.stages[open ? "delete" : "add"](i); drawLayers(photo(), k); } },
      `${open ? "▾" : "▸"} ${stage.title}, ${stage.place}`);
    const own = [title, many(sum((layer) => layer.neurons)), many(sum((layer) => layer.spikes?.[k])), many(sum((layer) => layer.digits?.[k])),
      many(sum((layer) => layer.macs)), done ? many(done) : "analogue", bar(done / largest, done ? percent(part, 1) : "")];
    return [own, ...(open ? stage.layers.map((at) => row(data.layers[at], at)) : [])];
  }) : data.layers.map(row);
  const focused = layers.contains(document.activeElement) && [...layers.querySelectorAll("button")].indexOf(document.activeElement);
  const left = layers.querySelector(".scroll")?.scrollLeft || 0;
  layers.replaceChildren(h("h2", {}, `Layers at T = ${data.steps[k]}`),
    table(`${folded ? "Stages, which unfold: neurons" : "Neurons"}, what they sent, and the operations that their layer received, also of what max pooling passes on`, ["layer", "neurons", "spikes", "digits", "ANN's MACs", "operations", "share of operations"], rows,
      ["all", many(now.layers.reduce((sum, layer) => sum + layer.neurons, 0)), many(now.spikes[k]), many(now.digits[k]), many(now.macs), many(total), ""]));
  layers.querySelector(".scroll").scrollLeft = left;
  if (focused !== false && focused >= 0) layers.querySelectorAll("button")[focused].focus();
}

function drawPlots() {
  const now = photo(), axis = { xs: data.steps, xname: "timestep T", logx: !consecutive, onpick: (k) => slider.go(k) };
  plots = one ? [] : [
    plot({ ...axis, title: "Output error", note: "Distance of the head's output from the ANN's, relative to it: 0 is a perfect conversion.",
      series: [{ name: "error", colour: "var(--accent)", values: now.error }] }),
    plot({ ...axis, title: "Operations", note: "Synaptic operations so far per multiply-accumulate of the ANN.",
      references: [{ name: "ANN", value: 1 }], series: [{ name: data.counting, colour: "var(--accent)", values: now.operations }] }),
    energyPlot({ ...axis, title: "Energy" }, now.annEnergy, (key) => now.energy[key]),
  ];
  charts.replaceChildren(...plots.map((each) => each.element));
}

const select = h("select", { "aria-label": "Layer of the heat map", onchange: () => choose(Number(select.value)) },
  h("option", { value: -1 }, "none"), data.layers.map((layer, i) => (data.photographs[0].maps[i] ? h("option", { value: i }, `${layer.title}, ${layer.place}`) : null)));

function choose(layer, look) {
  shown.layer = layer;
  select.value = layer;
  if (look && layer >= 0) stage.element.scrollIntoView({ block: "nearest" });
  slider.refresh();
}

function take(k) {
  shown.photo = k;
  film.querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-current", String(i === k)));
  drawPlots();
  slider.refresh();
}

const film = h("nav", { class: "film", "aria-label": "Photographs" }, data.photographs.map((each, k) =>
  h("button", { type: "button", onclick: () => take(k), title: each.name }, h("img", { src: each.image, alt: each.name }))));

document.getElementById("lead").append(
  `${data.network} at ${data.input} px, converted by ${data.method}, beside its ANN. ${plural(data.photographs.length, "photograph")}, `,
  one ? `after ${plural(data.steps[0], "timestep")}.` : `${consecutive ? "every timestep" : `${data.steps.length} timesteps`} up to ${data.T}: move the slider at the bottom.`);
document.getElementById("main").append(
  ...(data.photographs.length > 1 ? [film] : []),
  h("div", { class: "columns wide" },
    h("figure", { class: "card" }, stage.element,
      h("div", { class: "tools" },
        toggle("spiking network", "", shown.snn, (on) => { shown.snn = on; slider.refresh(); }),
        toggle("ANN", "dashed", shown.ann, (on) => { shown.ann = on; slider.refresh(); }),
        h("label", {}, "heat map", select)),
      legendOfMap),
    h("div", { class: "columns", style: { marginTop: 0 } }, h("div", { class: "card" }, readout), h("div", { class: "card" }, energies))),
  charts, h("div", { class: "columns" }, layers), ...(one ? [] : [KEYS(), slider.element]));
made();
slider.go(data.steps.length - 1);
take(0);
