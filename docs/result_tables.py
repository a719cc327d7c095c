"""Tables of the documentation, from the results of `eval` that are kept in docs/data.

python docs/result_tables.py, from the root of the repository, prints the tables of
docs/results/methods.md, those of YOLOv8n in docs/results/ultralytics.md, and the rows of the
README; tests/docs/test_result_tables.py compares them with these pages.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.apps.evaluate.evaluation import until_settled
from spiking_yolo.convert.methods import METHODS
from spiking_yolo.io.tables import percent
from spiking_yolo.recipe import Recipe

DATA = Path(__file__).parent / "data"
STEPS = (1, 2, 4, 8, 16, 32, 64)
YOLOV8N_STEPS = (1, 2, 4, 8, 16)
COUNTINGS = ("digits", "spikes", "messages")
ACCOUNTS = ("fp32", "int8", "sram16", "sram32", "reuse", "loihi")
# Layers of neurons on the longest way through a network, for the latency of a pipeline.
LAYERS = {"yolov3-tiny.weights": 10, "yolov8n.pt": 47}
# AP50 that a method may lose to count as equal to its ANN.
POINT = 0.01

Result = Mapping[str, Any]
Step = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of README's table of results: its text, its file in docs/data, and its figure."""

    network: str
    data: str
    file: str
    figure: str = "mAP50"


COCO = "COCO val2017, n = 206; mAP50"
COCO_AP = "COCO val2017, n = 206; AP50-95"
VOC = "VOC 2012 val, n = 200; mAP50"
CIFAR = "CIFAR-10 (JPEG), n = 1,000; top-1"
README = (
    Row("Tiny-YOLOv3, 416 px", COCO, "methods/signed-digits/results.json"),
    Row("the same, `--set calibration.operations=0.9`", "", "networks/coco-0.9.json"),
    Row("Tiny-YOLOv3, 416 px", VOC, "networks/voc-tiny/results.json", "mAP_area"),
    Row("YOLOv5n, 640 px (SiLU)", COCO, "networks/yolov5n/results.json"),
    Row(
        "YOLO26n, 640 px (attention, no NMS)",
        COCO_AP,
        "networks/yolo26n/results.json",
        "mAP50-95",
    ),
    Row(
        "YOLO11n, 640 px (attention)",
        COCO_AP,
        "networks/yolo11n/results.json",
        "mAP50-95",
    ),
    Row(
        "YOLOv8n, 640 px",
        COCO_AP,
        "yolov8n/signed-digits/results.json",
        "mAP50-95",
    ),
    Row("Yolo-Fastest 1.1 XL, 320 px (depthwise)", COCO, "networks/coco-xl/results.json"),
    Row(
        "[YOLOv1](weights/yolov1-voc.md), 288 x 416 px",
        VOC,
        "networks/voc-yolov1/results.json",
        "mAP_area",
    ),
    Row("[ResNet20](weights/resnet20-cifar10.md)", CIFAR, "networks/resnet20.json", "top1"),
    Row("[VGG16](weights/vgg16-cifar10.md)", CIFAR, "networks/vgg16.json", "top1"),
)


def read(file: Path) -> Result:
    """A results.json."""
    return json.loads(file.read_text(encoding="utf-8"))


def method_results(folder: Path) -> list[Result]:
    """The results of every method that has any, in the order of `spiking-yolo methods`."""
    files = [folder / name / "results.json" for name in METHODS]
    return [read(file) for file in files if file.exists()]


def at(result: Result, T: int) -> Step | None:
    """The figures after T steps; None where T was not measured and the method had not settled."""
    measured = [step for step in result["steps"] if step["T"] <= T]
    last = measured[-1]
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


def settled(result: Result) -> Step:
    """The first step that has the figures of the last one."""
    return until_settled(result["steps"], "mAP50")[-1]


def accuracy_table(results: Iterable[Result], steps: Sequence[int] = STEPS) -> str:
    """AP50 after every number of steps, and from which one on a method is level with the ANN."""
    head = ["method", *(f"T = {T}" for T in steps), "within a point of the ANN from", "G digits"]
    lines = [head]
    for result in results:
        found = [at(result, T) for T in steps]
        cells = [percent(step["mAP50"]) if step else "" for step in found]
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
    lines = [[*head, "sub-steps", "in a pipeline", *ACCOUNTS]]
    for result in results:
        step = equal_from(result) or settled(result)
        operations = [giga(result, step, counting) for counting in COUNTINGS]
        recipe = Recipe.from_json(json.dumps(result["recipe"]))
        latency = recipe.latency(step["T"], LAYERS[result["weights"]])
        energies = [f"{step[f'energy_mJ_{account}']:.3g}" for account in ACCOUNTS]
        lines.append(
            [
                result["method"],
                str(step["T"]),
                percent(step["mAP50-95"]),
                difference(result, step),
                f"{step['output_error']:.2g}",
                *operations,
                *map(str, latency),
                *energies,
            ]
        )
    return markdown_table(lines)


def giga(result: Result, step: Step, counting: str) -> str:
    """Synaptic operations per image in 10⁹."""
    return f"{step[f'sops_per_mac_{counting}'] * result['ann']['macs'] / 1e9:.3g}"


def difference(result: Result, step: Step, figure: str = "mAP50") -> str:
    """Of a figure and the ANN's, with its 95 % interval."""
    low, high = step["interval_95"][f"{figure}_minus_ann"]
    change = percent(step[figure] - result["ann"][figure], "+.1f")
    return f"{change} [{percent(low)}, {percent(high)}]"


def readme_row(row: Row) -> str:
    """The line of README's table."""
    result = read(DATA / row.file)
    step = result["steps"][0]
    accuracies = [percent(scores[row.figure]) for scores in (result["ann"], step)]
    cells = [row.network, row.data, *accuracies, difference(result, step, row.figure)]
    return f"| {' | '.join(cells)} | {step['sops_per_mac_digits']:.2f} |"


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; the first line is its head."""
    head, *rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rows])


if __name__ == "__main__":
    for folder, steps in (("methods", STEPS), ("yolov8n", YOLOV8N_STEPS)):
        results = method_results(DATA / folder)
        print(accuracy_table(results, steps), cost_table(results), sep="\n\n", end="\n\n")
    print("\n".join(map(readme_row, README)))
