"""Tables of the documentation, from the results of `eval` that are kept in docs/data.

python docs/result_tables.py, from the root of the repository, prints the tables of methods of
docs/results/photographs.md and the rows of the README; tests/docs/test_figures.py compares them
with these pages.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
STEPS = (1, 2, 4, 8, 16, 32, 64)
COUNTINGS = ("digits", "spikes", "messages")
COST_MODELS = ("fp32", "int8", "sram16", "sram32", "reuse", "loihi")
METHODS = (
    *("p-norm", "channel-norm", "spike-norm", "rmp", "tsc", "opt", "calibration-light"),
    *("calibration-advanced", "burst", "ltb", "msat", "msat-tuned", "signed-digits"),
    *("few-spikes", "sfn", "css", "dcgs"),
)
# Events of a neuron in a step at most (signed digits of 127: four); of the other methods one.
EVENTS = {"burst": 5, "msat-tuned": 5, "signed-digits": 4, "few-spikes": 8}
# Layers of Tiny-YOLOv3 that wait for another one; the T of css includes that.
WAITING = 9
# AP50 that a method may lose to count as equal to its ANN.
POINT = 0.01

Result = Mapping[str, Any]
Step = Mapping[str, Any]
COCO = "COCO val2017, n = 206; mAP50"
COCO_AP = "COCO val2017, n = 206; AP50-95"
# Rows of README: network, data, file, figure.
README = (
    ("Tiny-YOLOv3, 416 px", COCO, "methods/signed-digits/results.json", "mAP50"),
    (
        "YOLO26n, 640 px (attention, one-to-one)",
        COCO_AP,
        "networks/yolo26n/results.json",
        "mAP50-95",
    ),
    ("YOLO11n, 640 px (attention)", COCO_AP, "networks/yolo11n/results.json", "mAP50-95"),
    ("YOLOv8n, 640 px", COCO_AP, "networks/yolov8n/results.json", "mAP50-95"),
    ("YOLOv5n, 640 px", COCO_AP, "networks/yolov5n/results.json", "mAP50-95"),
    ("YOLOv8s, 640 px (`--quick`)", COCO_AP, "networks/yolov8s/results.json", "mAP50-95"),
    ("ResNet20", "CIFAR-10 (JPEG), n = 1,000; top-1", "networks/resnet20.json", "top1"),
)


def read(file: Path) -> Result:
    """A results.json."""
    return json.loads(file.read_text(encoding="utf-8"))


def method_results(folder: Path) -> list[Result]:
    """The results of every method, in the order of METHODS."""
    return [read(folder / name / "results.json") for name in METHODS]


def percent(value: float, form: str = ".1f") -> str:
    return f"{100 * value:{form}}"


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """The first line is the head."""
    head, *rows = lines
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def settled(result: Result) -> Step:
    """The first step after which neither AP50 nor the digits change."""
    last = result["steps"][-1]
    for step in result["steps"]:
        if all(step[key] == last[key] for key in ("mAP50", "sops_per_mac_digits")):
            return step
    return last


def at(result: Result, T: int) -> Step | None:
    """The figures after T steps; None where T was not measured and the method had not settled."""
    last = [step for step in result["steps"] if step["T"] <= T][-1]
    if last["T"] == T or settled(result) is not result["steps"][-1]:
        return last
    return None


def equal_from(result: Result) -> Step | None:
    """The first step from which on AP50 is never more than a point below the ANN's."""
    first: Step | None = None
    for step in result["steps"]:
        if step["mAP50"] < result["ann"]["mAP50"] - POINT:
            first = None
        elif first is None:
            first = step
    return first


def giga(result: Result, step: Step, counting: str) -> str:
    """Synaptic operations per image in 10⁹."""
    return f"{step[f'sops_per_mac_{counting}'] * result['ann']['macs'] / 1e9:.3g}"


def difference(result: Result, step: Step, figure: str = "mAP50") -> str:
    """Of a figure and the ANN's, with its 95 % interval."""
    low, high = step["interval_95"][f"{figure}_minus_ann"]
    change = percent(step[figure] - result["ann"][figure], "+.1f")
    return f"{change} [{percent(low)}, {percent(high)}]"


def accuracy_table(results: Iterable[Result], steps: Sequence[int] = STEPS) -> str:
    """AP50 after every number of steps, and from which one on a method is level with the ANN."""
    head = ["method", *(f"T = {T}" for T in steps), "within a point of the ANN from", "G digits"]
    lines = [head]
    for result in results:
        measured = [at(result, T) for T in steps]
        cells = [percent(step["mAP50"]) if step else "" for step in measured]
        level = equal_from(result)
        reached = ["-", "-"]
        if level:
            reached = [f"T = {level['T']}", giga(result, level, "digits")]
        lines.append([result["method"], *cells, *reached])
    return markdown_table(lines)


def cost_table(results: Iterable[Result]) -> str:
    """Error, operations and energy from where a method is level with the ANN, else at the end."""
    head = ["method", "T", "AP50-95", "AP50 minus ANN, 95 %", "error"]
    head += [f"G {counting}" for counting in COUNTINGS]
    lines = [[*head, "sub-steps", "in a pipeline", *COST_MODELS]]
    for result in results:
        name = result["method"]
        step = equal_from(result) or settled(result)
        events = EVENTS.get(name, 1)
        latency = step["T"] * events
        pipeline = latency if name == "css" else latency + WAITING * events
        cells = [name, str(step["T"]), percent(step["mAP50-95"]), difference(result, step)]
        cells.append(f"{step['output_error']:.2g}")
        cells += [giga(result, step, counting) for counting in COUNTINGS]
        cells += [str(latency), str(pipeline)]
        cells += [f"{step[f'energy_mJ_{model}']:.3g}" for model in COST_MODELS]
        lines.append(cells)
    return markdown_table(lines)


def readme_row(network: str, data: str, file: str, figure: str) -> str:
    """The line of README's table; repeats of the training are in docs/results/readme.json."""
    result = read(DATA / file)
    step = result["steps"][0]
    accuracies = [percent(scores[figure]) for scores in (result["ann"], step)]
    cells = [network, data, *accuracies, difference(result, step, figure)]
    cells.append(f"{step['sops_per_mac_digits']:.2f}")
    repeats = read(DATA.parent / "results" / "readme.json")["repeats"].get(network)
    cells.append(f" {min(repeats)} to {max(repeats)} " if repeats else " ")
    return f"| {' | '.join(cells[:-1])} |{cells[-1]}|"


if __name__ == "__main__":
    results = method_results(DATA / "methods")
    print(accuracy_table(results), cost_table(results), sep="\n\n", end="\n\n")
    print("\n".join(readme_row(*row) for row in README))
