"use strict";
// Energy in every cost model, beside the ANN's. ann: cost model -> mJ.

/** spiking(cost model): mJ. */
function energyTable(caption, ann, spiking) {
  const made = table(caption, ["cost model", "ANN", "spiking", "ratio"], data.cost_models.map(({ key, name }) => {
    const row = [name, digits(ann[key]), digits(spiking(key))];
    // The ANN does not run on a neuromorphic chip.
    if (ann[key] === null) return [...row, ""];
    const ratio = spiking(key) / ann[key];
    return [...row, h("td", {}, h("span", { class: ratio > 1 ? "worse" : "better" }, `× ${digits(ratio)}`))];
  }));
  return [made, h("p", { class: "note" }, data.cost_models.map(({ name, meaning }) => `${name}: ${meaning}`).join("; "), ".")];
}

/** options: of the plot, with its title and x axis. spiking(cost model): mJ at each x. */
function energyPlot(options, ann, spiking) {
  return plot({ ...options, logy: true, note: "As a multiple of the ANN's in the same cost model; below 1 spikes are cheaper.",
    references: [{ name: "ANN", value: 1 }],
    series: data.cost_models.filter(({ key }) => ann[key] !== null).map(({ key, name, colour }) => ({ name, colour, values: spiking(key).map((mj) => mj / ann[key]) })) });
}
