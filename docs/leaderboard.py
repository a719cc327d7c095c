"""The leaderboard: leaderboard.md and leaderboard.png, from docs/data and published.json.

A row is a network with a method after T steps, of the results that `eval` wrote; steps after which
nothing changes are left out.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

DOCS = Path(__file__).parent
COUNTINGS = ("spikes", "digits", "messages")
FOUND = 0.001  # AP50 from which a step has found objects and is drawn
HEAD = ["method", "network", "size", "T", "AP50", "AP50-95", "minus ANN [95 %]"]
HEAD += [*(f"G {counting}" for counting in COUNTINGS), "n", "date"]
PUBLISHED = ["name", "dataset", "ap50", "ap", "T", "operations", "weights", "level", "source"]
INTRODUCTION = """\
# Leaderboard

Spiking detectors at absolute synaptic operations per image, which T alone does not tell: bursts
count as single spikes, as signed digits, or as one message. Rows with the same images compare; the
difference to the ANN has a 95 % interval. `python docs/leaderboard.py` makes this page.

![AP50 against operations per image](leaderboard.png)
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
    return rows


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def draw(rows: list[dict[str, Any]], axes: Any) -> None:
    """A curve over T for each network and method."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["ap50"] >= FOUND:
            label = f"{row['method'].split(' (')[0]}, {row['network']}"
            curves.setdefault(label, []).append((row["operations"]["digits"], 100 * row["ap50"]))
    for i, (label, points) in enumerate(sorted(curves.items())):
        axes.plot(*zip(*points, strict=True), marker="osD^vP"[i // 10 % 6], label=label, ms=5)
    axes.set(xscale="log", xlabel="10⁹ digits per image", ylabel="AP50 (%)")
    axes.set_title(rows[0]["dataset"])
    axes.grid(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=6, ncols=2, frameon=False)


def main() -> None:
    unique: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in sorted(DOCS.glob("data/**/results.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        for row in rows_of(result) if "mAP50-95" in result["ann"] else []:
            unique[row["dataset"], row["network"], row["size"], row["method"], row["T"]] = row
    datasets = sorted({row["dataset"] for row in unique.values()})
    page = INTRODUCTION
    size = (12, 4 * len(datasets))
    figure, panels = plt.subplots(len(datasets), figsize=size, squeeze=False, layout="constrained")
    for name, axes in zip(datasets, panels[:, 0], strict=True):
        rows = [row for row in unique.values() if row["dataset"] == name]
        draw(rows, axes)
        lines = []
        for row in sorted(rows, key=lambda row: -row["ap50"]):
            cells = [row["method"], row["network"], row["size"], str(row["T"])]
            cells += [f"{100 * row['ap50']:.1f}", f"{100 * row['ap']:.1f}", row["minus"]]
            cells += [f"{row['operations'][counting]:.3g}" for counting in COUNTINGS]
            lines.append([*cells, str(row["n"]), row["date"]])
        page += f"\n## {name}\n\n{markdown(HEAD, lines)}\n"
    others = json.loads((DOCS / "published.json").read_text(encoding="utf-8"))
    others = [["" if one[key] is None else str(one[key]) for key in PUBLISHED] for one in others]
    (DOCS / "leaderboard.md").write_text(
        f"{page}{OTHERS}\n{markdown(PUBLISHED, others)}\n", "utf-8"
    )
    figure.savefig(DOCS / "leaderboard.png", dpi=130)


if __name__ == "__main__":
    main()
