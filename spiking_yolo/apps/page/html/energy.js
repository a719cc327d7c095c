"use strict";
// Energy in every account, beside the ANN's. ann: account -> mJ.

/** spiking(account): mJ. */
function energyTable(caption, ann, spiking) {
  return table(caption, ["account", "ANN", "spiking", "ratio"], data.accounts.map(({ key, name, meaning }) => {
    const row = [h("span", { title: meaning }, name), digits(ann[key]), digits(spiking(key))];
    // On a neuromorphic chip the ANN does not run.
    if (ann[key] === null) return [...row, ""];
    const ratio = spiking(key) / ann[key];
    return [...row, h("td", {}, h("span", { class: ratio > 1 ? "worse" : "better" }, `× ${digits(ratio)}`))];
  }));
}

/** options: of the plot, with its title and x axis. spiking(account): mJ at each x. */
function energyPlot(options, ann, spiking) {
  return plot({ ...options, logy: true, note: "As a multiple of the ANN's in the same account; below 1 spikes are cheaper.",
    references: [{ name: "ANN", value: 1 }],
    series: data.accounts.filter(({ key }) => ann[key] !== null).map(({ key, name, colour }) => ({ name, colour, values: spiking(key).map((mj) => mj / ann[key]) })) });
}
