"""The leaderboard: leaderboard.md and leaderboard.png, from docs/data and published.json.

A row is a network with a method after T steps, of the results that `eval` wrote. Steps after which
nothing changes, and those that find next to nothing, are left out.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
COUNTINGS = ("spikes", "digits", "messages")
FOUND = 0.05  # AP50 from which a step has found objects and is a row
DRAWN = ("signed-digits", "signed-digits-fewer")  # one calibration of each network
LISTED = 0.35  # AP50 from which it is a row of the tables
CURVE = 0.1  # AP50 that a method reaches to be drawn
HEAD = ["method", "network", "size", "T", "AP50", "AP50-95", "minus ANN [95 %]"]
HEAD += [*(f"G {counting}" for counting in COUNTINGS), "ANN: AP50, AP50-95, G MACs"]
HEAD += ["n", "date"]
PUBLISHED = ["name", "dataset", "ap50", "ap", "T", "operations", "weights", "level", "source"]
PUBLISHED.append("note")
INTRODUCTION = """\
# Leaderboard

Spiking detectors at absolute synaptic operations per image, which T alone does not tell: bursts
count as single spikes, as signed digits, or as one message. Rows with the same images compare; the
difference from the ANN has a 95 % interval. Each method stands at its best T; AP50 below 35 % is
left out. `python docs/leaderboard.py` makes this page.

![Left: AP against operations per image, converted networks and SpikeYOLO. Right: AP50 of methods on
Tiny-YOLOv3 over T](leaderboard.png)

Left, a converted network is two points: its digits (filled) and the same events as single spikes
(hollow); the cross is its ANN, in multiply-accumulates. SpikeYOLO is [as published](#as-published),
on all 5,000 photographs of val2017, which are harder than these 206, and by a spreadsheet: YOLOv8s,
drawn above it with 46.4, has 44.9 as an ANN on all of them (by Ultralytics), and would be below it
as a spiking network, at about 44.8. Networks of 640 px are first trainings; [five
repeats](results/photographs.md#the-default-on-every-network) of YOLO26n were lower.
`signed-digits-fewer` is `calibrate --quick` for fewer operations.
"""
OTHERS = """
## As published

Not measured here, nor on the same images; operations (10⁹) where the authors give them. Read in the
paper, its abstract, the authors' code, a user's thread, or as somebody else cites it (`level`).
"""


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The ANN, and every step whose figures are not those of the step before."""
    figure = "mAP_area" if "mAP_area" in result["ann"] else "mAP50"
    ann = result["ann"]
    common = {"network": Path(result["weights"]).stem, "n": result["images"]}
    common["size"] = "x".join(map(str, dict.fromkeys(result["imgsz"])))
    common |= {"dataset": result["dataset"], "date": result["date"]}
    macs = dict.fromkeys(COUNTINGS, ann["macs"] / 1e9)
    common["ann"] = f"{100 * ann[figure]:.1f}, {100 * ann['mAP50-95']:.1f}, {macs['digits']:.3g}"
    first = {"method": "ANN (multiply-accumulates)", "T": "", "ap50": ann[figure], "minus": ""}
    rows = [{**common, **first, "ap": ann["mAP50-95"], "operations": macs}]
    for step in result["steps"]:
        operations = {c: step[f"sops_per_mac_{c}"] * macs[c] for c in COUNTINGS}
        if rows[-1]["operations"] == operations and rows[-1]["ap50"] == step[figure]:
            continue
        minus = f"{100 * (step[figure] - ann[figure]):+.1f}"
        if interval := step.get("interval_95", {}).get(f"{figure}_minus_ann"):
            minus += f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"
        own = {"method": result["method"], "T": step["T"], "ap50": step[figure]}
        own |= {"minus": minus, "ap": step["mAP50-95"], "operations": operations}
        rows.append({**common, **own})
    return [row for row in rows if row["ap50"] >= FOUND]


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def best_of_each_method(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each network and method the step with the highest AP50, the best of them first."""
    best: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["ap50"]):
        if row["T"] and row["ap50"] >= LISTED:
            best[row["network"], row["size"], row["method"]] = row
    return sorted(best.values(), key=lambda row: -row["ap50"])


def cells_of(row: dict[str, Any]) -> list[str]:
    """The cells of a line of the tables."""
    cells = [row["method"], row["network"], row["size"], str(row["T"])]
    cells += [f"{100 * row['ap50']:.1f}", f"{100 * row['ap']:.1f}", row["minus"]]
    cells += [f"{row['operations'][counting]:.3g}" for counting in COUNTINGS]
    return [*cells, row["ann"], str(row["n"]), row["date"]]


def label_ends(ends: dict[str, tuple[float, float, Any]], x: float, gap: float, axes: Any) -> None:
    """Names at x, from the highest end (x, y, colour) down and `gap` apart, each led to its end."""
    height = float("inf")
    for name, (at, y, colour) in sorted(ends.items(), key=lambda item: -item[1][1]):
        height = min(height - gap, y)
        axes.plot([at, 0.95 * x], [y, height], color=colour, alpha=0.3, clip_on=False)
        axes.text(x, height, name, va="center", color=colour)


def draw_networks(rows: list[dict[str, Any]], others: list[dict[str, Any]], axes: Any) -> None:
    """AP of the default on every network, in digits and in spikes, and of published detectors."""
    ends = {}
    for row in rows:
        ap = 100 * row["ap"]
        if row["method"].startswith("ANN"):
            axes.plot(row["operations"]["digits"], ap, "x", color="black")
        elif row["method"] in DRAWN:
            digits, spikes = row["operations"]["digits"], row["operations"]["spikes"]
            (line,) = axes.plot([digits, spikes], [ap, ap], alpha=0.5)
            axes.plot(digits, ap, "o", color=line.get_color())
            axes.plot(spikes, ap, "o", color=line.get_color(), mfc="white")
            ends[f"{row['network']}, {row['size']} px"] = spikes, ap, line.get_color()
    for other in others:
        if other["ap"] and other["operations"] and other["dataset"] == rows[0]["dataset"]:
            axes.plot(other["operations"], other["ap"], "*", color="black", mfc="white", ms=12)
            ends[f"{other['name']}, n = 5,000"] = other["operations"], other["ap"], "black"
    label_ends(ends, 60, 1.1, axes)
    axes.set(xscale="log", xlim=(0.2, 55), ylabel="AP50-95 (%)")
    axes.set_title("networks, T = 1, 206 photographs of val2017")
    axes.set_xlabel("10⁹ operations per image")


def draw_methods(rows: list[dict[str, Any]], axes: Any) -> None:
    """AP50 of the methods over T."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: row["T"] or 0):
        point = row["operations"]["digits"], 100 * row["ap50"]
        curves.setdefault(row["method"].split(" (")[0], []).append(point)
    drawn = {name: curve for name, curve in curves.items() if curve[-1][1] >= 100 * CURVE}
    axes.set_prop_cycle(color=(*plt.colormaps["tab20"].colors[::2], "black", "navy", "olive"))
    ends = {}
    for name, curve in drawn.items():
        (line,) = axes.plot(*zip(*curve, strict=True), "x-" if name == "ANN" else "o-", ms=5)
        if len(curve) > 2 or curve[0][1] < 30:
            ends[name] = *curve[-1], line.get_color()
        else:
            side = -1 if curve[0][0] < 3 else 1
            axes.annotate(
                name,
                curve[0],
                (5 * side, 10 if name == "ANN" else 0),
                textcoords="offset points",
                color=line.get_color(),
                ha="right" if side < 0 else "left",
                va="top",
            )
    label_ends(ends, 170, 1.7, axes)
    axes.set(xscale="log", xlim=(0.5, 150), ylabel="AP50 (%)", xlabel="10⁹ digits per image")
    axes.set_title("methods on Tiny-YOLOv3, over T")


def main() -> None:
    unique: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in sorted(DOCS.glob("data/**/results.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        for row in rows_of(result) if "mAP50-95" in result["ann"] else []:
            unique[row["dataset"], row["network"], row["size"], row["method"], row["T"]] = row
    page = INTRODUCTION
    for name in sorted({row["dataset"] for row in unique.values()}):
        rows = [row for row in unique.values() if row["dataset"] == name]
        lines = [cells_of(row) for row in best_of_each_method(rows)]
        page += f"\n## {name}\n\n{markdown(HEAD, lines)}\n"
    others = json.loads((DOCS / "published.json").read_text(encoding="utf-8"))
    cells = [["" if one[key] is None else str(one[key]) for key in PUBLISHED] for one in others]
    (DOCS / "leaderboard.md").write_text(f"{page}{OTHERS}\n{markdown(PUBLISHED, cells)}\n", "utf-8")
    coco = [row for row in unique.values() if row["dataset"] == "val2017"]
    figure, panels = plt.subplots(1, 2, figsize=(14, 5.5), layout="constrained")
    draw_networks(coco, others, panels[0])
    draw_methods([row for row in coco if row["network"] == "yolov3-tiny"], panels[1])
    for axes in panels:
        axes.grid(True, alpha=0.3)
    figure.savefig(DOCS / "leaderboard.png", dpi=110)


if __name__ == "__main__":
    main()
