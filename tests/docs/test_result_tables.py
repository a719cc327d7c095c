"""Figures in README and docs are those of the results that are kept in docs/data."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spiking_yolo import SpikingYOLO
from spiking_yolo.snn.plan import layers_before

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("result_tables", ROOT / "docs/result_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(*accuracies: float, ann: float = 0.5) -> dict[str, Any]:
    steps = [
        {
            "T": 2**k,
            "mAP50": accuracy,
            "output_error": 1 - accuracy,
            "sops_per_mac_digits": 2 * accuracy,
            "sops_per_mac_spikes": 3 * accuracy,
            "interval_95": {"mAP50_minus_ann": [-0.03, 0.004]},
        }
        for k, accuracy in enumerate(accuracies)
    ]
    return {"method": "m", "ann": {"mAP50": ann, "macs": 2e9}, "steps": steps}


def test_layers_in_a_row_are_those_of_the_network(tables: ModuleType):
    graph = SpikingYOLO("yolov3-tiny").converted.graph
    assert 1 + max(layers_before(graph).values()) == tables.LAYERS["yolov3-tiny.weights"]


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
    assert tables.accuracy_table([result(0.1)], (1,)).endswith("| 10.0 | - | - |")
    assert tables.difference(result(0.1), result(0.48)["steps"][0]) == "-2.0 [-3.0, 0.4]"


@pytest.mark.parametrize(
    ("name", "folder", "steps"),
    [("methods.md", "methods", "STEPS"), ("ultralytics.md", "yolov8n", "YOLOV8N_STEPS")],
)
def test_a_page_has_the_tables(tables: ModuleType, name: str, folder: str, steps: str):
    page = (ROOT / "docs/results" / name).read_text()
    results = tables.method_results(DATA / folder)
    assert len(results) == len(list((DATA / folder).iterdir()))
    assert tables.accuracy_table(results, getattr(tables, steps)) in page
    assert tables.cost_table(results) in page


def test_readme_has_the_rows(tables: ModuleType):
    readme = (ROOT / "README.md").read_text()
    for row in tables.README:
        assert tables.readme_row(row) in readme


def test_the_leaderboard_is_that_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("leaderboard", ROOT / "docs/leaderboard.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "docs/published.json", tmp_path)
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setattr(module, "DOCS", tmp_path)
    module.main()
    page = (tmp_path / "leaderboard.md").read_text()
    assert page == (ROOT / "docs/leaderboard.md").read_text()
