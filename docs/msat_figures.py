"""Pictures of docs/results/msat.md, from the results of `eval` that are kept in docs/data.

python docs/msat_figures.py, from the root of the repository, draws AP50 of MSAT and of other
methods of rate coding against timesteps, and against operations, and prints what the page says of
equal operations.
"""

import math
from pathlib import Path

import numpy as np
from result_tables import DATA, Result, method_results

from spiking_yolo.draw.figure import Values, draw_curves, draw_reference, log_steps, plot

IMAGES = Path(__file__).parent / "images"
METHODS = ("msat-tuned", "burst", "msat", "p-norm", "channel-norm")
# Not drawn, but compared in the text.
OTHERS = ("calibration-advanced",)
# Operations at which the page compares them.
GIGA = (9.8, 11.7, 18.2, 21.8, 34.7)
# Operations per MAC from which on a curve is drawn: before, AP50 is 0.
LEAST = 0.5


def curve(result: Result, x: Values) -> tuple[Values, Values, Values, Values]:
    """AP50 in percent over x, one for each step, with its 95 % interval."""
    shown = [k for k, step in enumerate(result["steps"]) if step["sops_per_mac_digits"] >= LEAST]
    steps = [result["steps"][k] for k in shown]
    low, high = zip(*(step["interval_95"]["mAP50"] for step in steps), strict=True)
    accuracy = [step["mAP50"] for step in steps]
    percents = ([100 * value for value in values] for values in (accuracy, low, high))
    return [x[k] for k in shown], *percents


def at_operations(curve: tuple[Values, ...], giga: float) -> float:
    """AP50 where a curve takes so many operations, between steps over their logarithm."""
    return float(np.interp(math.log(giga), np.log(curve[0]), curve[1], math.nan, math.nan))


if __name__ == "__main__":
    results = {result["method"]: result for result in method_results(DATA / "methods")}
    chosen = {name: results[name] for name in (*METHODS, *OTHERS)}
    ann = next(iter(chosen.values()))["ann"]
    by_time, by_operations = {}, {}
    for name, result in chosen.items():
        giga = [step["sops_per_mac_digits"] * ann["macs"] / 1e9 for step in result["steps"]]
        by_time[name] = curve(result, [step["T"] for step in result["steps"]])
        by_operations[name] = curve(result, giga)
    print("AP50 at G operations:", *GIGA)
    for name, of_method in by_operations.items():
        print(name, *(f"{at_operations(of_method, giga):.1f}" for giga in GIGA))
    for file, series, xlabel in (
        ("msat-timesteps", by_time, "timesteps"),
        ("msat-operations", by_operations, "G synaptic operations per photograph"),
    ):
        with plot(IMAGES / f"{file}.png", xlabel, "AP50, % (206 COCO photographs)") as axes:
            draw_curves(axes, {name: series[name] for name in METHODS})
            draw_reference(axes, "ANN", 100 * ann["mAP50"])
            log_steps(axes)
