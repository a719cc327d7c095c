"""The draft's tables, cell by cell: what this project measured for each, or why it did not.

python docs/draft_tables.py, from the root of the repository, prints the tables of
docs/results/draft.md from docs/data and, of runs whose files were not kept, from the tables of
docs/results; tests/docs/test_figures.py compares them with the page.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from result_tables import DATA

STEPS = (32, 64, 128, 256)
PAGES = Path(__file__).parent / "results"
# A row of the draft, whether it uses a dynamic threshold ("Use DT"), and the method here.
ROWS = (
    ("p-Norm", False, "p-norm"),
    ("Channel-Norm, Kim's work", False, "channel-norm"),
    ("Spike-Norm", False, "spike-norm"),
    ("TSC", False, "tsc"),
    ("RMP-SNN", False, "rmp"),
    ("Opt.", False, "opt"),
    ("Calibration", False, "calibration-light"),
    ("Burst", False, "burst"),
    ("This work", True, "msat"),
    ("This work, DTT alone", True, "msat-dtt"),
    ("This work, DET alone", True, "msat-det"),
)
Scores = Mapping[int, float]


def stored(folder: str, figure: str) -> tuple[float, dict[str, Scores]]:
    """The ANN's score, and each method's by timesteps, in percent, of a folder of docs/data."""
    ann, found = 0.0, dict[str, Scores]()
    for file in sorted((DATA / folder).glob("*/results.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        ann = 100 * result["ann"][figure]
        found[file.parent.name] = {step["T"]: 100 * step[figure] for step in result["steps"]}
    return ann, found


def classifiers() -> Iterator[tuple[str, float, dict[str, Scores]]]:
    """Network, the ANN's accuracy and each method's by timesteps, as classifiers.md has them."""
    lines = iter((PAGES / "classifiers.md").read_text(encoding="utf-8").splitlines())
    head = next(line for line in lines if line.startswith("| method | T = 8"))
    times = [cell.removeprefix("T = ") for cell in cells(head)[1:]]
    steps = [int(cell) for cell in times if cell.isdigit()]
    network, ann, found = "", 0.0, dict[str, Scores]()
    for line in lines:
        row = cells(line)
        if line.startswith("| **"):
            if network:
                yield network, ann, found
            name, _, score = row[0].removeprefix("**").partition("** (")
            network, ann, found = name, float(score.removeprefix("ANN ").rstrip(")")), {}
        elif network and line.startswith("| "):
            found[row[0]] = dict(zip(steps, map(float, row[1:]), strict=False))
        elif network:
            break
    yield network, ann, found


def yolov1() -> tuple[float, dict[str, Scores]]:
    """The same of YOLOv1 on VOC, as msat.md has it: score (operations) error."""
    lines = (PAGES / "msat.md").read_text(encoding="utf-8").splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| YOLOv1, 200"))
    head = cells(lines[start])
    ann = float(head[0].partition("(ANN ")[2].rstrip(")"))
    steps = [int(cell.removeprefix("T = ")) for cell in head[1:]]
    found: dict[str, Scores] = {}
    for line in lines[start + 2 :]:
        name, *values = cells(line)
        if not name.startswith("`") or "minus" in name:
            continue
        scores = [float(value.split()[0]) for value in values]
        found[name.strip("`")] = dict(zip(steps, scores, strict=True))
        if name == "`burst`":
            break
    return ann, found


def cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(ann: float, found: Mapping[str, Scores]) -> Iterator[str]:
    """A line for each row of the draft; - where a cell was not measured."""
    for label, dynamic, method in ROWS:
        scores = found.get(method)
        if scores is None:
            yield f"| {label} | {'yes' if dynamic else 'no'} | {ann:.1f} | - | - | - | - | - |"
            continue
        best = max(scores, key=lambda t: (scores[t], -t))
        at = [f"{scores[t]:.1f}" if t in scores else "-" for t in STEPS]
        use = "yes" if dynamic else "no"
        yield f"| {label} | {use} | {ann:.1f} | {scores[best]:.1f} ({best}) | {' | '.join(at)} |"


def tables() -> Iterator[str]:
    """The lines of all tables."""
    for network, ann, found in classifiers():
        extra = stored(f"draft/{network.lower()}", "top1")[1] if network == "ResNet20" else {}
        yield f"| **{network}, CIFAR-10 (JPEG), n = 1,000, top-1** | | | | | | | |"
        yield from rows(ann, {**found, **extra})
    yield "| **Tiny-YOLOv3, COCO val2017, n = 206, AP50** | | | | | | | |"
    ann, found = stored("methods", "mAP50")
    yield from rows(ann, {**found, **stored("draft/yolov3-tiny", "mAP50")[1]})
    yield "| **YOLOv1, VOC 2012 val, n = 200, mAP by area** | | | | | | | |"
    ann, found = yolov1()
    yield from rows(ann, {**found, **stored("draft/yolov1-voc", "mAP_area")[1]})


if __name__ == "__main__":
    print(
        f"| the draft's row | Use DT | ANN | SNN best (T) | T = {' | T = '.join(map(str, STEPS))} |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(tables()))
