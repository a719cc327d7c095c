"""The zoo: its names, its files, and how they are found."""

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import run_tool

from spiking_yolo.cli.main import call
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import weights_folder
from spiking_yolo.io.sizes import size_name
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.zoo import ZOO, located

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("network", [n for n in ZOO if n.shipped], ids=lambda n: n.name)
def test_every_shipped_network_opens_by_its_name(network: Any):
    ann = load_ann(network.name)
    assert ann.weights == weights_folder() / network.file and size_name(ann.imgsz) == network.imgsz
    assert network.file in (ROOT / "weights" / "README.md").read_text()
    assert len(ann.spec.names) == {"COCO": 80, "VOC": 20, "CIFAR-10": 10}[network.task]


def test_one_that_is_not_shipped_says_where_it_is():
    with pytest.raises(UserError, match=r"yolov5n is not shipped \(AGPL-3.0\): fetch yolov5n.pt from github"):
        load_ann("yolov5n")


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert located("yolov5s.pt") == Path("yolov5s.pt")
    (tmp_path / "yolov3-tiny").touch()
    assert located("yolov3-tiny") == Path("yolov3-tiny")


def test_the_table_has_a_row_each(capsys: Any):
    assert call(["zoo"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "data", "input", "activations", "file", "licence", "source"]
    assert [row.split()[0] for row in rows] == [network.name for network in ZOO]


def test_names_work_on_the_command_line(tmp_path: Path, capsys: Any):
    image = ROOT / "data" / "samples" / "dog.jpg"
    assert (
        run_tool("detect", image, image, "--limit", 1, "--weights", "yolov3-tiny", "--T", 1, "--project", tmp_path) == 0
    )
    said = capsys.readouterr().out
    assert said.count("dog.jpg:") == 1 and "dog" in said
