"use strict";
// An evaluation: figures over T, per class, and the photographs that ANN and spiking network see differently.
const first = data.figures[0], rows = data.rows, ann = data.ann.row.figures;
const COUNTINGS = [["spikes", "#0072b2"], ["digits", "#e69f00"], ["messages", "#009e73"]];
const SHOWN = 20; // classes before the others are unfolded
const points = (part, sign) => (part === null ? "–" : `${sign && part > 0 ? "+" : part < 0 ? "−" : ""}${Math.abs(100 * part).toFixed(1)}`);
const range = (ends, sign) => (ends ? ` [${points(ends[0], sign)}, ${points(ends[1], sign)}]` : "");
const hundred = (value) => (value === null ? null : 100 * value);

const readout = h("div", {}), perClass = h("div", { class: "card" }), energies = h("div", {});
const slider = player({
  count: rows.length,
  label: "Timestep T",
  name: (k) => `T = ${data.steps[k]}`,
  said: (k) => `${first} ${points(rows[k].figures[first].value)}, the ANN ${points(ann[first].value)}; ${digits(rows[k].operations[data.counting])} operations per MAC`,
  show: draw,
  pace: 900,
});

function draw(k) {
  const row = rows[k];
  readout.replaceChildren(numbers([
    ...data.figures.map((figure) => [`${figure}, %`, points(row.figures[figure].value),
      `${range(row.figures[figure].interval)} the ANN: ${points(ann[figure].value)}${range(ann[figure].interval)}`]),
    ["Minus the ANN, points", points(row.minus.value, true), row.minus.interval ? `95 %:${range(row.minus.interval, true)}` : "no intervals: --bootstrap 1000"],
    ["Output error", digits(row.error), "0 is the ANN's output"],
    ["Operations per MAC", digits(row.operations[data.counting]), `${data.counting}; the ANN: 1`],
    ["Spikes per image", many(row.spikes), null],
  ]));
  energies.replaceChildren(energyTable(`Energy at T = ${data.steps[k]}, mJ per image at 45 nm`, data.ann.energy, (key) => row.energy[key]));
  drawClasses(k);
  for (const each of plots) each.set(k);
  for (const each of pairs) each.set(k);
}

function drawClasses(k) {
  const open = perClass.querySelector("details")?.open;
  const losses = data.perClass.map((one) => [one, one.steps[k] === null || one.ann === null ? null : one.steps[k] - one.ann])
    .sort((a, b) => Math.abs(b[1] ?? 0) - Math.abs(a[1] ?? 0));
  const most = Math.max(...losses.map(([, loss]) => Math.abs(loss ?? 0))) || 1;
  const line = ([one, loss]) => [one.name, String(one.n), points(one.ann), points(one.steps[k]),
    bar(Math.abs(loss ?? 0) / most, h("span", { class: loss < 0 ? "worse" : loss > 0 ? "better" : null, style: { background: "none", height: "auto" } }, points(loss, true)))];
  const head = ["class", "n", "ANN", `T = ${data.steps[k]}`, "spiking minus ANN"];
  const title = `${data.measure} of each class in percent, the largest changes first`;
  const rest = losses.slice(SHOWN);
  perClass.replaceChildren(h("h2", {}, "Per class"), table(title, head, losses.slice(0, SHOWN).map(line)),
    ...(rest.length ? [h("details", { open }, h("summary", {}, `${plural(rest.length, "more class").replace("classs", "classes")}`), table("The other classes", head, rest.map(line)))] : []));
}

/** A photograph twice: as the ANN sees it, and as the spiking network does. */
function pair(each, number) {
  const left = new Stage("", "48vh"), right = new Stage("", "48vh"), caption = h("figcaption", {});
  const above = h("span", { class: "note" }), half = (title, stage) => h("div", {}, title, stage.element);
  const element = h("figure", { class: "card" },
    h("div", { class: "pairs" }, half(h("span", { class: "note" }, "ANN"), left), half(above, right)), caption);
  function set(k) {
    left.show(each.image, each.width, each.height, `${each.name}: the ANN finds ${counted(each.ann)}`);
    right.show(each.image, each.width, each.height, `${each.name}: at T = ${data.steps[k]} the spiking network finds ${counted(each.boxes[k])}`);
    left.draw([{ boxes: each.ann, dashed: false }]);
    right.draw([{ boxes: each.boxes[k], dashed: false }]);
    above.textContent = `spiking, T = ${data.steps[k]}`;
    caption.textContent = `${number}. ${each.name}. ANN: ${counted(each.ann)}. T = ${data.steps[k]}: ${counted(each.boxes[k])}.`;
  }
  return { element, set };
}

/** Limits in percent that leave at least ten points, so that a tenth of a point does not look like a cliff. */
function limits(values, least = 10) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const room = Math.max(0.08 * (high - low), (least - (high - low)) / 2);
  return { low: Math.max(low >= 0 ? 0 : -100, low - room), high: Math.min(100, high + room) };
}

const band = (intervals) => (intervals.every(Boolean) ? [intervals.map((i) => 100 * i[0]), intervals.map((i) => 100 * i[1])] : undefined);
const curve = (name, colour, of, dash) => ({ name, colour, dash, values: of.map((one) => hundred(one.value)), band: band(of.map((one) => one.interval)) });
const one = (value) => (value === null || value === undefined ? "–" : value.toFixed(1));
const scored = [curve(data.method, "var(--accent)", rows.map((row) => row.figures[first])), curve("ANN", "var(--soft)", rows.map(() => ann[first]), "6 4")];
const minus = curve("difference", "var(--accent)", rows.map((row) => row.minus));
const axis = { xs: data.steps, xname: "timesteps T", logx: data.steps.length > 1 && data.steps.at(-1) > 2 * data.steps[0], onpick: (k) => slider.go(k) };
const plots = [
  plot({ ...axis, title: `${first}, %`, note: scored[0].band ? "Bands: 95 % intervals of each network for itself." : null, format: one, series: scored,
    ...limits(scored.flatMap((each) => [...each.values, ...(each.band || []).flat()])) }),
  plot({ ...axis, title: "Spiking network minus ANN, points", note: minus.band ? "Band: 95 % interval of the paired difference." : null, format: one, series: [minus],
    references: [{ name: "as good as the ANN", value: 0, hide: true }], ...limits([0, ...minus.values, ...(minus.band || []).flat()]) }),
  plot({ ...axis, title: "Output error", note: "Distance of the output from the ANN's, relative to it; the mean over the images.",
    series: [{ name: "error", colour: "var(--accent)", values: rows.map((row) => row.error) }] }),
  plot({ ...axis, title: "Operations", note: "Synaptic operations per multiply-accumulate of the ANN, counted in three ways.", references: [{ name: "ANN", value: 1 }],
    series: COUNTINGS.map(([name, colour]) => ({ name, colour, values: rows.map((row) => row.operations[name]) })) }),
  energyPlot({ ...axis, title: "Energy" }, data.ann.energy, (key) => rows.map((row) => row.energy[key])),
];
const pairs = data.photographs.map((each, i) => pair(each, i + 1));

const whole = table(`Every timestep: figures in percent, operations per MAC of the ANN`,
  ["", ...data.figures, "minus ANN", "error", "spikes", "digits", "messages", ...data.accounts.map(({ name }) => `${name}, mJ`)],
  [["ANN", ...data.figures.map((figure) => points(ann[figure].value) + range(ann[figure].interval)), "", "", "", "", "", ...data.accounts.map(({ key }) => digits(data.ann.energy[key]))],
    ...data.baseline.map((row) => [`ANN ${row.bits} bit`, ...data.figures.map((figure) => points(row.figures[figure].value) + range(row.figures[figure].interval)),
      points(row.minus.value, true) + range(row.minus.interval, true), "", "", "", "", ...data.accounts.map(() => "")]),
    ...rows.map((row, k) => [`T = ${data.steps[k]}`, ...data.figures.map((figure) => points(row.figures[figure].value) + range(row.figures[figure].interval)),
      points(row.minus.value, true) + range(row.minus.interval, true), digits(row.error), ...COUNTINGS.map(([name]) => digits(row.operations[name])),
      ...data.accounts.map(({ key }) => digits(row.energy[key]))])]);

document.getElementById("lead").append(
  `${data.network} at ${data.input} px, converted by ${data.method}, beside its ANN. `,
  data.images < data.ofImages ? `${data.images} of ${data.ofImages} images of ${data.dataset}.` : `All ${data.images} images of ${data.dataset}.`);
document.getElementById("main").append(
  h("div", { class: "columns wide" }, h("div", { class: "card" }, readout), h("div", { class: "card" }, energies)),
  h("div", { class: "columns even" }, plots.map((each) => each.element)),
  h("div", { class: "columns" }, h("section", { class: "card" }, h("h2", {}, "All figures"), whole), data.perClass.length ? perClass : null),
  ...(pairs.length ? [h("section", { class: "columns", "aria-labelledby": "differences" },
    h("div", {}, h("h2", { id: "differences" }, "Where they see differently"),
      h("p", { class: "note" }, `Boxes above ${data.sure}. Sorted by the confidence of the boxes that only one of them has at T = ${data.T}.`)),
    h("div", { class: "columns", style: { marginTop: 0 } }, pairs.map((each) => each.element)))] : []),
  ...(data.notes.length ? [card("Notes on the data", h("ul", {}, data.notes.map((note) => h("li", {}, note))))] : []),
  KEYS(), slider.element);
made();
slider.go(rows.length - 1);
