"""The zoo: its names, its files, and how they are found."""

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import run_tool

from spiking_yolo.cli.main import call
from spiking_yolo.convert.load import load_calibration, load_statistics
from spiking_yolo.convert.methods import DEFAULT, TUNED, get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import weights_folder
from spiking_yolo.io.names import size_name
from spiking_yolo.models import zoo
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.zoo import ZOO, located, measurements, tuned_measurements

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("network", [n for n in ZOO if n.shipped], ids=lambda n: n.name)
def test_every_shipped_network_opens_by_its_name(network: Any):
    ann = load_ann(network.name)
    assert ann.weights == weights_folder() / network.file and size_name(ann.imgsz) == network.imgsz
    assert network.file in (ROOT / "weights" / "README.md").read_text()
    assert len(ann.spec.names) == {"COCO": 80, "VOC": 20, "CIFAR-10": 10}[network.task]


def test_one_that_is_not_shipped_says_where_it_is():
    for name in ("yolov5n", "YOLOv5n", "yolov5n.pt"):
        with pytest.raises(
            UserError, match=r"yolov5n is not shipped \(AGPL-3.0\): fetch yolov5n.pt from github"
        ):
            load_ann(name)


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert located("yolov5s.pt") == Path("yolov5s.pt")
    (tmp_path / "yolov3-tiny").touch()
    assert located("yolov3-tiny") == Path("yolov3-tiny")
    (tmp_path / "yolo-fastest").mkdir()  # no file
    for name in ("yolo-fastest", "YOLO-Fastest", "yolo-fastest-1.1"):
        assert located(name).name == "yolo-fastest-1.1.weights"


def test_one_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(zoo, "shipped", lambda kind: tmp_path / kind)
    with pytest.raises(
        UserError,
        match=r"fetch it and yolo-fastest-1.1-xl.cfg from github.com/\S+ and run `.*--images DIR`, or use a checkout$",
    ):
        located("yolo-fastest-xl")
    with pytest.raises(
        UserError, match=r"fetch it from this project's repository and run `.*--data DATA`"
    ):
        located("vgg16")


def test_the_table_has_a_row_each_and_says_what_the_figures_are(capsys: Any):
    assert call(["zoo"]) == 0
    table, tuned, notes = capsys.readouterr().out.split("\n\n")
    header, *rows = table.splitlines()
    assert header.split()[:4] == ["name", "input", "ANN", "T=1"]
    assert list(dict.fromkeys(row.split()[0] for row in rows)) == [network.name for network in ZOO]
    row = r"^yolo-fastest-xl +320 +42\.4 +41\.8 +\[-2\.5, 1\.4\] +1\.40 +42\.3 +3\.50 +COCO val2017, n = 49 +- "
    assert re.search(row, table, re.M)
    assert re.search(
        r"^yolov3-tiny +416 .* 0\.91 .* n = 49 +calibration\.operations=0\.9 ", table, re.M
    )
    assert "AP50" in notes and "docs/results" in notes
    title, header, *rows = tuned.splitlines()
    assert "weights tuned without labels" in title and header.split()[:3] == ["name", "ANN", "T=1"]
    assert len(rows) == len(tuned_measurements())


@pytest.mark.parametrize(
    "own", tuned_measurements(), ids=lambda own: f"{own['name']} {own['digits']}"
)
def test_tuned_networks_ship_and_their_figures_are_in_the_documentation(own: Any):
    """A row of the page with name, digits, AP50 and the interval; and the file that it is of."""
    settings = dict(setting.split("=") for setting in own.get("set", "").split())
    ann, recipe = load_ann(own["name"]), get_recipe(TUNED).with_settings(settings)
    assert load_calibration(ann, recipe).weights
    page = (ROOT / "docs" / "results" / "tuned.md").read_text()
    interval = "[{}, {}]".format(*own["interval"])
    figures = [f"{own['digits']:.3g}", f"{own['snn']:.1f}", interval]
    assert any(all(text in line for text in figures) for line in page.splitlines()), figures


def test_every_shipped_network_was_measured_and_the_figures_are_in_the_documentation():
    figures, page = measurements(), (ROOT / "docs" / "results" / "zoo.md").read_text()
    assert {own["name"] for own in figures} == {n.name for n in ZOO}
    rows = [
        line.strip("| ").split(" | ")
        for line in page.partition("## The zoo with more steps")[2].splitlines()
    ]
    # ANN, then minus the ANN's; digits.
    measures = [row for row in rows if len(row) == 6 and ";" in row[5]]
    for own in figures:
        found = [
            row
            for row in measures
            if row[1] == f"{own['ann']:.1f}"
            and row[2].endswith(f"; {own['digits']:.2f}")
            and row[5].endswith(f"; {own['refined_digits']:.2f}")
        ]
        assert len(found) == 1, own
        assert "[{}, {}]".format(*own["interval"]) in found[0][2]
        assert all(setting in found[0][0] for setting in own.get("set", "").split())
        for cell, key in ((2, "snn"), (5, "refined")):
            assert own["ann"] + float(found[0][cell].split()[0]) == pytest.approx(
                own[key], abs=0.11
            )


SHIPPED = {n.name for n in ZOO if n.shipped}


@pytest.mark.parametrize(
    "own", [own for own in measurements() if own["name"] in SHIPPED], ids=lambda own: own["name"]
)
def test_every_row_of_a_shipped_network_has_what_the_default_needs(own: Any):
    settings = [setting.split("=") for setting in own.get("set", "").split()]
    ann, recipe = load_ann(own["name"]), get_recipe(DEFAULT).with_settings(dict(settings))
    assert load_statistics(ann).quantisers
    assert len(load_calibration(ann, recipe).images) >= 64


def test_what_ships_is_small():
    new = [
        path for stem in ("yolo-fastest", "MobileNet") for path in weights_folder().glob(f"{stem}*")
    ]
    assert sum(path.stat().st_size for path in new) < 27e6


def test_names_work_on_the_command_line(tmp_path: Path, capsys: Any):
    image = ROOT / "data" / "samples" / "dog.jpg"
    assert (
        run_tool(
            "detect",
            image,
            image,
            "--limit",
            1,
            "--weights",
            "yolov3-tiny",
            "--T",
            1,
            "--project",
            tmp_path,
        )
        == 0
    )
    said = capsys.readouterr().out
    assert said.count("dog.jpg:") == 1 and "dog" in said
