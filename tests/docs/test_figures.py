"""Figures in README and docs are those of the results that are kept in docs/data."""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"

ENERGY24 = "fp32 int8 sram16 sram24 sram32 reuse loihi"
ANN = "ann.fp32 ann.int8 ann.sram16 ann.sram32 ann.reuse"
PHOTOGRAPH = "digits2 sram24 loihi mAP50 ann.mAP50 minus.mAP50"
SCORES = "ann.mAP50 mAP50 digits"
TUNED = "digits mAP50 mAP50-95 error sram16 sram24 sram32"
NANO = "ann.mAP50-95 mAP50-95 digits error"
FASTEST = "ann.mAP50 mAP50 error digits2"
STREET = "sram24 loihi AP50 ann.AP50 minus.AP50"
FRAMES = "AP50 error digits messages sram24 loihi"
LARGER = "ann.AP50 AP50 minus.AP50 agree IDF1 digits sram24"
PHOTOGRAPHS, TUNING = "docs/results/photographs.md", "docs/results/tuning.md"
STADTMITTE_TUNED = "video/tud-stadtmitte-tuned"
CLASSIFIERS, VIDEO = "docs/results/classifiers.md", "docs/results/video.md"
# A page, the beginning of a line of it, a file, and the figures at T = 1 that stand in that line, in
# this order.
QUOTES = [
    ("README.md", "| a photograph, the default", "methods/signed-digits", PHOTOGRAPH),
    ("README.md", "| a photograph, [`--cal", "tuned/coco-neurons", PHOTOGRAPH),
    (
        "README.md",
        "| later frames of TUD-Stadtmitte, the",
        "video/tud-stadtmitte",
        f"digits2 {STREET}",
    ),
    ("README.md", "| later frames of TUD-Stadtmitte, `t", STADTMITTE_TUNED, f"digits {STREET}"),
    ("README.md", "| later frames of TUD-Campus, the", "video/tud-campus", f"digits2 {STREET}"),
    ("README.md", "| later frames of TUD-Campus, `t", "video/tud-campus-tuned", f"digits {STREET}"),
    ("docs/methods.md", "| the ANN's boxes", "methods/signed-digits", "mAP50 ann.mAP50 digits2"),
    ("docs/methods.md", "| a smaller error", "networks/coco-0.9", "mAP50 digits2"),
    ("docs/methods.md", "| a still photograph", "tuned/coco-neurons", "mAP50 digits2"),
    (PHOTOGRAPHS, "| Tiny-YOLOv3, 416 px | COCO", "methods/signed-digits", SCORES),
    (PHOTOGRAPHS, "| the same, `--calibration fine`", "networks/coco-0.9", SCORES),
    (PHOTOGRAPHS, "| the same, `--set thr", "networks/coco-scale-1.3", SCORES),
    (PHOTOGRAPHS, "| YOLOv5n, 640 px", "networks/yolov5n", SCORES),
    (PHOTOGRAPHS, "| YOLO26n, 640 px", "networks/yolo26n", "ann.mAP50-95 mAP50-95 digits"),
    (PHOTOGRAPHS, "| YOLO11n, 640 px", "networks/yolo11n", "ann.mAP50-95 mAP50-95 digits"),
    (PHOTOGRAPHS, "| YOLOv8n, 640 px", "networks/yolov8n", "ann.mAP50-95 mAP50-95 digits"),
    (PHOTOGRAPHS, "| Yolo-Fastest 1.1, 320", "networks/yolo-fastest", FASTEST),
    ("docs/results/energy.md", "| ANN | 12.0", "methods/signed-digits", ANN),
    ("docs/results/energy.md", "| `signed-digits`, T = 1", "methods/signed-digits", ENERGY24),
    ("docs/results/energy.md", "| `--calibration tuned`", "tuned/coco-neurons", ENERGY24),
    ("docs/results/energy.md", "| the same, `--set", "tuned/coco-neurons-1.35", ENERGY24),
    (TUNING, "| **`tuned`** |", "tuned/coco-neurons", TUNED),
    (TUNING, "| the same, `threshold.scale=1.35`", "tuned/coco-neurons-1.35", TUNED),
    (TUNING, "| the same, `threshold.scale=1.7`", "tuned/coco-neurons-1.7", TUNED),
    (TUNING, "| the same, `threshold.scale=2`", "tuned/coco-neurons-2", TUNED),
    (TUNING, "| Tiny-YOLOv3 on VOC", "tuned/voc-neurons", "mAP_area digits"),
    ("docs/results/tried.md", "`tuned-weights`, the", "tuned/coco-tuned", "mAP50"),
    (TUNING, "| YOLOv8n, COCO, n = 206, AP50-95", "networks/yolov8n-tuned", NANO),
    (TUNING, "| YOLO11n", "networks/yolo11n-tuned", NANO),
    (TUNING, "| YOLOv5n", "networks/yolov5n-tuned", NANO),
    (TUNING, "| YOLO26n", "networks/yolo26n-tuned", NANO),
    (TUNING, "| ResNet20, top-1", "tuned/resnet20-neurons", "top1 digits error"),
    (CLASSIFIERS, "| ResNet20 | 87.0", "networks/resnet20", "ann.top1 top1 error digits"),
    (CLASSIFIERS, "| VGG16 | 86.9", "networks/vgg16", "ann.top1 top1 error digits"),
    (CLASSIFIERS, "| VGG16 of half the", "networks/vgg-thin", "ann.top1 top1 error digits"),
    (VIDEO, "| TUD-Campus, a new start", "video/tud-campus-reset", FRAMES),
    (VIDEO, "| TUD-Campus, the default", "video/tud-campus", FRAMES),
    (VIDEO, "| TUD-Campus, `tuned`", "video/tud-campus-tuned", FRAMES),
    (VIDEO, "| TUD-Campus, `video`", "video/tud-campus-video", FRAMES),
    (VIDEO, "| TUD-Stadtmitte, a new start", "video/tud-stadtmitte-reset", FRAMES),
    (VIDEO, "| TUD-Stadtmitte, the default", "video/tud-stadtmitte", FRAMES),
    (VIDEO, "| TUD-Stadtmitte, `tuned`", "video/tud-stadtmitte-tuned", FRAMES),
    (VIDEO, "| TUD-Stadtmitte, `video`", "video/tud-stadtmitte-video", FRAMES),
    (VIDEO, "| TUD-Campus, YOLO11n", "video/yolo11n-tud-campus", LARGER),
    (VIDEO, "| TUD-Campus, YOLO26n", "video/yolo26n-tud-campus", LARGER),
    (VIDEO, "| TUD-Stadtmitte, YOLO11n", "video/yolo11n-tud-stadtmitte", LARGER),
    (VIDEO, "| TUD-Stadtmitte, YOLO26n", "video/yolo26n-tud-stadtmitte", LARGER),
]


def load(file: str) -> dict[str, Any]:
    path = DATA / f"{file}.json"
    if not path.exists():
        path = DATA / file / "results.json"
    return json.loads(path.read_text())


def figures(file: str) -> dict[str, str]:
    """What the results of docs/data say after a step, as tables write it."""
    result = load(file)
    step = result["steps"][0]
    assert step["T"] == 1
    digits = step["sops_per_mac_digits"]
    texts = {"digits": f"{digits:.3f}", "digits2": f"{digits:.2f}"}
    texts["error"] = f"{step['output_error']:.3f}"
    texts["messages"] = f"{step['sops_per_mac_messages']:.3f}"
    for prefix, scores in (("", step), ("ann.", result["ann"])):
        for key, value in scores.items():
            if key.startswith("energy_mJ_") and value is not None:
                texts[prefix + key.removeprefix("energy_mJ_")] = f"{value:#.3g}".rstrip(".")
            elif key in ("mAP50", "mAP_area", "mAP50-95", "top1", "AP50", "agree", "IDF1"):
                texts[prefix + key] = f"{100 * value:.1f}"
                texts["minus." + key] = f"{abs(100 * (step[key] - result['ann'][key])):.1f}"
    texts["sram24"] = f"{sram24(step):#.3g}".rstrip(".")
    return texts


def sram24(step: dict[str, Any]) -> float:
    """mJ with potentials of 24 bits, which older files lack: the model is linear in the width."""
    if "energy_mJ_sram" in step:
        return step["energy_mJ_sram"]
    return (step["energy_mJ_sram16"] + step["energy_mJ_sram32"]) / 2


def test_energies_of_the_larger_networks():
    lines = (ROOT / "docs/results/energy.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| | YOLOv5n |"))
    head, _, arithmetic, memory = (
        line.strip("| ").split(" | ") for line in lines[start : start + 4]
    )
    shown = [figures(f"networks/{name.lower()}") for name in head]
    assert arithmetic[1:] == [f"{one['ann.int8']} / {one['int8']}" for one in shown]
    assert memory[1:] == [f"{one['ann.sram16']} / {one['sram24']}" for one in shown]


def test_a_line_quotes_its_results():
    for page, start, file, names in QUOTES:
        lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith(start)]
        assert len(lines) >= 1, f"{page} has no line that begins with {start!r}"
        numbers = re.findall(r"\d+\.\d+", lines[0])
        expected = [figures(file)[name] for name in names.split()]
        rest = iter(numbers)
        missing = [number for number in expected if number not in rest]
        assert not missing, f"{lines[0]}: {missing} of {expected} are missing or out of order"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return script("result_tables")


def result(*accuracies: float, ann: float = 0.5) -> dict[str, Any]:
    steps = [
        {
            "T": 2**k,
            "mAP50": accuracy,
            "sops_per_mac_digits": 2 * accuracy,
            "interval_95": {"mAP50_minus_ann": [-0.03, 0.004]},
        }
        for k, accuracy in enumerate(accuracies)
    ]
    return {"method": "m", "ann": {"mAP50": ann, "macs": 2e9}, "steps": steps}


def test_a_method_is_level_from_where_it_stays_so(tables: ModuleType):
    assert tables.equal_from(result(0.1, 0.495, 0.51))["T"] == 2
    assert tables.equal_from(result(0.495, 0.1, 0.49))["T"] == 4
    assert tables.equal_from(result(0.495, 0.489)) is None


def test_accuracy_by_hand(tables: ModuleType):
    once, twice = result(0.1, 0.495), result(0.1, 0.495, 0.495)
    assert tables.accuracy_table([once, twice], (1, 2, 4, 8)).splitlines()[2:] == [
        "| m | 10.0 | 49.5 |  |  | T = 2 | 1.98 |",
        "| m | 10.0 | 49.5 | 49.5 | 49.5 | T = 2 | 1.98 |",
    ]
    assert tables.difference(result(0.1), result(0.48)["steps"][0]) == "-2.0 [-3.0, 0.4]"


def test_the_page_of_photographs_has_the_tables(tables: ModuleType):
    page = " ".join((ROOT / PHOTOGRAPHS).read_text().split())
    results = tables.method_results(DATA / "methods")
    assert len(results) == len(list((DATA / "methods").iterdir()))
    for table in (tables.accuracy_table(results), tables.cost_table(results)):
        for line in table.splitlines()[2:]:
            assert " ".join(line.split()) in page


def test_the_draft_s_tables(monkeypatch: pytest.MonkeyPatch):
    """Each row of the draft is there, with a cell for each T."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    page, lines = (
        (ROOT / "docs/results/draft.md").read_text(),
        list(script("draft_tables").tables()),
    )
    assert len(lines) == 4 * (1 + 11)
    assert "\n".join(lines) in page
    assert "| This work | yes | 41.0 | 40.7 (256) | 32.7 | 39.0 | 40.4 | 40.7 |" in lines


def test_readme_has_the_rows(tables: ModuleType):
    readme = (ROOT / "README.md").read_text()
    for row in tables.README:
        assert tables.readme_row(*row) in readme


def stored(file: str) -> set[str]:
    """All figures of a file that a line of README may show, with those of the 8-bit ANN."""
    result = load(file)
    texts = set(figures(file).values())
    for scores in (result["steps"][0], *(result.get("baseline") or [])):
        for key, interval in scores["interval_95"].items():
            if key.endswith("_minus_ann"):
                texts |= {f"{100 * end:.1f}" for end in interval}
                figure = key.removesuffix("_minus_ann")
                difference = scores[figure] - result["ann"][figure]
                texts |= {f"{100 * scores[figure]:.1f}", f"{100 * difference:.1f}"}
    return texts


def test_every_figure_of_readme_is_stored(tables: ModuleType):
    sources = {start: file for page, start, file, _ in QUOTES if page == "README.md"}
    sources["| the ANN in 8 bits"] = "methods/signed-digits"
    sources["| a frame of 640 x 480"] = STADTMITTE_TUNED
    whole = {tables.readme_row(*row) for row in tables.README}
    for line in (ROOT / "README.md").read_text().splitlines():
        numbers = re.findall(r"-?\d+\.\d+", line)
        if line.startswith("| ") and numbers and line not in whole:
            files = [file for start, file in sources.items() if line.startswith(start)]
            assert len(files) == 1, line
            assert set(numbers) <= stored(files[0]), line


def test_the_leaderboard_is_that_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = script("leaderboard")
    shutil.copy(ROOT / "docs/published.json", tmp_path)
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setattr(module, "DOCS", tmp_path)
    module.main()
    assert (tmp_path / "leaderboard.md").read_text() == (ROOT / "docs/leaderboard.md").read_text()


def alternatives(file: str, label: str) -> list[dict[str, Any]]:
    """The rows of a file that a line of the tables of alternatives shows: held, and tracked."""
    result = load(file)
    by_name = {row["method"].removeprefix("ANN 8 bit"): row for row in result["baseline"]}
    if "stream" in label:
        return result["steps"]
    if interval := re.search(r"in (\d+)", label):
        return [by_name[f", 1 in {interval[1]}"], by_name[f", 1 in {interval[1]}, tracked"]]
    if label == "differences":
        return [row for name, row in by_name.items() if name.endswith("differences")]
    return [by_name[", where it moves" if "moves" in label else ""]]


def shown(rows: list[dict[str, Any]], figure: str) -> str:
    return "; ".join(f"{100 * row[figure]:.1f}" for row in rows)


def table_of(page: str, head: str) -> list[list[str]]:
    """The cells of the table below a line that has `head`."""
    lines = (ROOT / page).read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if head in line) + 2
    end = next(k for k, line in enumerate(lines) if k > start and not line.startswith("|"))
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[start:end]]


def test_alternatives_on_clips_without_ground_truth():
    """Agreement, ms and mJ of every cell."""
    clips = "car-detection", "one-by-one-person-detection", "solidWhiteRight"
    table = table_of(VIDEO, "a moving camera |")
    assert len(table) == 8
    for label, *cells in table:
        for cell, clip in zip(cells, clips, strict=True):
            rows = alternatives(f"video/{clip}-tuned", label)
            end = f"{rows[0]['ms']:.1f} ({sram24(rows[0]):.2f})"
            assert cell == f"{shown(rows, 'agree')}, {end}", label


def test_alternatives_on_the_streets():
    """AP50, IDF1, mJ and ms of every cell."""
    table = table_of(VIDEO, "Stadtmitte: AP50")
    assert len(table) == 9
    for label, *cells in table:
        for k, street in enumerate(("stadtmitte", "campus")):
            rows = alternatives(f"video/tud-{street}-tuned", label)
            own = cells[4 * k : 4 * k + 4]
            assert own[:2] == [shown(rows, "AP50"), shown(rows, "IDF1")], label
            assert own[2] == f"{sram24(rows[0]):.2f}", label
            assert own[3] == (f"{rows[0]['ms']:.1f}" if "ms" in rows[0] else ""), label


def test_times_of_the_engine():
    """Ratios of docs/performance.md, with one thread and two, on both processors."""
    rows = {
        "a photograph": ("tiny", "one_step", "signed-digits"),
        "later frames of TUD-Stadtmitte, the default": ("tiny", "video", "default"),
        "the same, `--calibration tuned`": ("tiny-tuned", "video", "default"),
        "the same, `--calibration video`": ("tiny-video", "video", "default"),
        "the same, `--lossless`, the default's thresholds": ("tiny", "video", "lossless"),
        "the same, `--lossless`, `--calibration tuned`": ("tiny-tuned", "video", "lossless"),
        "a road, the default": ("road", "video", "default"),
        "a road, `--calibration video`": ("road-video", "video", "default"),
        "a room, the default": ("room", "video", "default"),
        "a room, `--calibration video`": ("room-video", "video", "default"),
        "a camera that sees no change": ("tiny", "video", "still camera"),
    }
    cells = {row[0]: row[1:] for row in table_of("docs/performance.md", "| Tiny-YOLOv3 |")}
    assert cells.keys() == rows.keys()
    for label, (file, part, case) in rows.items():
        for kernels, first in ("vnni", 0), ("avx2", 4):
            files = [f"performance/{kernels}/{file}-{threads}" for threads in (1, 2)]
            ratios = [f"{load(one)[part][case]['ratio']:.2f}" for one in files]
            assert cells[label][first : first + 2] == ratios, label


def test_times_of_larger_networks():
    rows = {
        "a photograph": ("one_step", "signed-digits-video"),
        "later frames, lossless": ("video", "lossless"),
        "later frames": ("video", "default"),
        "a camera that sees no change": ("video", "still camera"),
    }
    table = table_of("docs/performance.md", "| 640 px")
    assert len(table) == 2 * len(rows)
    for label, *cells in table:
        kernels, _, row = label.partition(": ")
        part, case = rows[row]
        files = [f"yolo{n}n-{how}" for n in (11, 26) for how in ("1", "2", "int8-1")]
        results = [load(f"performance/{kernels.lower()}/{file}") for file in files]
        assert cells == [f"{result[part][case]['ratio']:.2f}" for result in results], label
