"""Single figures that README and docs quote are those of the results that are kept in docs/data."""

import json
import re
from pathlib import Path

import pytest

from spiking_yolo.convert.methods import METHODS
from spiking_yolo.io.tables import percent

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"

PHOTOGRAPH = "digits2 sram16 mAP50 ann.mAP50"
ENERGY = "fp32 int8 sram16 sram32 reuse loihi"
TUNED = "digits mAP50 mAP50-95 error sram16 sram32"
ANN = "ann.fp32 ann.int8 ann.sram16 ann.sram32 ann.reuse"
# A page, the beginning of a line of it, a file, every T, and the figures that stand in that line, in
# this order.
QUOTES = [
    ("README.md", "| a photograph, the default", "methods/signed-digits", (1,), PHOTOGRAPH),
    ("README.md", "| a photograph, [neurons tuned]", "tuned/coco-neurons", (1,), PHOTOGRAPH),
    (
        "README.md",
        "| the same, thresholds scaled by 1.35",
        "tuned/coco-neurons-1.35",
        (1,),
        PHOTOGRAPH,
    ),
    (
        "README.md",
        "| the ANN's boxes with",
        "methods/signed-digits",
        (1,),
        "mAP50 ann.mAP50 digits2",
    ),
    ("README.md", "| a smaller error", "networks/coco-0.9", (1,), "mAP50 digits2"),
    ("README.md", "| a still photograph for", "tuned/coco-neurons", (1,), "mAP50 digits2"),
    ("README.md", "| one spike per neuron", "methods/dcgs", (2, 4), "mAP50 digits1"),
    (
        "docs/methods.md",
        "| the ANN's boxes with",
        "methods/signed-digits",
        (1,),
        "mAP50 ann.mAP50 digits2",
    ),
    (
        "docs/methods.md",
        "| the ANN's boxes with",
        "networks/voc-tiny",
        (1,),
        "mAP_area ann.mAP_area digits2",
    ),
    ("docs/methods.md", "| the ANN's accuracy", "networks/coco-0.9", (1,), "mAP50 digits2"),
    (
        "docs/methods.md",
        "| even fewer operations",
        "networks/coco-scale-1.3",
        (1,),
        "mAP50 digits2",
    ),
    ("docs/methods.md", "| the smallest output error", "methods/dcgs", (8, 64), "error4 digits1"),
    ("docs/methods.md", "| at most 8 spikes", "methods/msat-plus", (8,), "mAP50 spikes1"),
    ("docs/methods.md", "| at most 8 spikes", "methods/coarse-to-fine", (8,), "mAP50 spikes1"),
    ("docs/methods.md", "| at most one spike", "methods/dcgs", (2, 4), "mAP50"),
    ("docs/results/energy.md", "| ANN", "methods/signed-digits", (1,), ANN),
    ("docs/results/energy.md", "| ANN", "networks/yolov5n", (1,), ANN),
    ("docs/results/energy.md", "| `signed-digits`, T = 1", "methods/signed-digits", (1,), ENERGY),
    ("docs/results/energy.md", "| `signed-digits-tuned --set", "tuned/coco-neurons", (1,), ENERGY),
    ("docs/results/energy.md", "| the same, `--set", "tuned/coco-neurons-1.35", (1,), ENERGY),
    ("docs/results/energy.md", "| `signed-digits-tuned`, w", "tuned/coco-tuned", (1,), ENERGY),
    ("docs/results/energy.md", "| the default, T = 1", "networks/yolov5n", (1,), ENERGY),
    ("docs/results/tuned.md", "| **neurons alone tuned to 0.41", "tuned/coco-neurons", (1,), TUNED),
    ("docs/results/tuned.md", "| the same, `thr", "tuned/coco-neurons-1.35", (1,), TUNED),
    ("docs/results/tuned.md", "| the same, `thr", "tuned/coco-neurons-1.7", (1,), TUNED),
    ("docs/results/tuned.md", "| **tuned to 0.41", "tuned/coco-tuned", (1,), TUNED),
    (
        "docs/results/tuned.md",
        "| neurons alone tuned",
        "tuned/voc-neurons",
        (1,),
        "digits mAP_area",
    ),
    ("docs/results/tuned.md", "| tuned to 0.41", "tuned/voc-tuned", (1,), "digits mAP_area sram16"),
    ("docs/results/tuned.md", "| YOLOv1,", "tuned/voc-yolov1-tuned", (1,), "mAP_area digits error"),
    (
        "docs/results/tuned.md",
        "| neurons alone |",
        "tuned/resnet20-neurons",
        (1,),
        "top1 digits error",
    ),
    ("docs/results/tuned.md", "| weights too", "tuned/resnet20-tuned", (1,), "top1 digits error"),
]


def figures(file: str, T: int) -> dict[str, str]:
    """What the results of docs/data say after T steps, as tables write it."""
    path = DATA / f"{file}.json"
    if not path.exists():
        path = DATA / file / "results.json"
    result = json.loads(path.read_text())
    (step,) = [step for step in result["steps"] if step["T"] == T]
    digits, error = step["sops_per_mac_digits"], step["output_error"]
    texts = {
        "digits": f"{digits:.3f}",
        "digits2": f"{digits:.2f}",
        "digits1": f"{digits:.1f}",
        "spikes1": f"{step['sops_per_mac_spikes']:.1f}",
        "error": f"{error:.3f}",
        "error4": f"{error:.4f}",
    }
    for prefix, scores in (("", step), ("ann.", result["ann"])):
        for key, value in scores.items():
            if key.startswith("energy_mJ_") and value is not None:
                texts[prefix + key.removeprefix("energy_mJ_")] = f"{value:#.3g}"
            elif key in ("mAP50", "mAP_area", "mAP50-95", "top1"):
                texts[prefix + key] = percent(value)
    return texts


@pytest.mark.parametrize(("page", "start", "file", "T", "keys"), QUOTES)
def test_a_line_has_the_figures_of_its_file(
    page: str, start: str, file: str, T: tuple[int, ...], keys: str
):
    found = [figures(file, t) for t in T]
    expected = [of_step[key] for key in keys.split() for of_step in found]
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith(start)]
    assert any(in_this_order(expected, line) for line in lines), (expected, lines)


def in_this_order(expected: list[str], line: str) -> bool:
    numbers = iter(re.findall(r"[\d.]*\d", line))
    return all(figure in numbers for figure in expected)


def test_methods_need_the_timesteps_that_were_measured():
    """Those with 85 % of the ANN's AP50; None or more than 64 where 64 were not enough."""
    for name, method in METHODS.items():
        path = DATA / "methods" / name / "results.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        goal = 0.85 * result["ann"]["mAP50"]
        enough = [step["T"] for step in result["steps"] if step["mAP50"] >= goal]
        if enough:
            assert method.timesteps == enough[0], name
        else:
            assert method.timesteps is None or method.timesteps > 64, name
            assert method.tried >= 64, name
