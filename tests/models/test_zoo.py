"""The zoo: its names, its files, and how they are found."""

import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tiny import run_tool

from spiking_yolo.cli.main import call
from spiking_yolo.convert.load import load_calibration, load_statistics
from spiking_yolo.convert.methods import DEFAULT, TUNED, get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.io import assets
from spiking_yolo.io.assets import is_shipped, weights_folder
from spiking_yolo.io.files import sha256
from spiking_yolo.io.names import size_name
from spiking_yolo.models import zoo
from spiking_yolo.models.index import ZOO, get, located, measurements, tuned_measurements
from spiking_yolo.models.load import load_ann

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights"


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
    for name in ("yolo-fastest-xl", "vgg16"):
        with pytest.raises(UserError, match=rf"not with an installation: `.*zoo.* --get {name}`"):
            located(name)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation without networks; the folder of those that are fetched."""
    for module in (zoo, assets):
        monkeypatch.setattr(module, "shipped", lambda kind: tmp_path / "site" / kind)
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.mark.parametrize("network", [n for n in ZOO if n.shipped], ids=lambda n: n.name)
def test_the_digests_are_those_of_the_files(network: Any):
    *_, last = network.files
    assert last == network.file
    for name, digest in network.files.items():
        assert sha256(WEIGHTS / name) == digest
    # Nothing that belongs to the network is left out.
    stem = Path(network.file).stem
    assert {path.name for path in WEIGHTS.glob(f"{stem}.[0-9]*")} <= set(network.files)


def test_get_brings_all_that_a_network_needs(installed: Path, tmp_path: Path, capsys: Any):
    assert call(["zoo", "--get", "YOLOv3-nano", "--release", str(WEIGHTS)]) == 0
    out, err = capsys.readouterr()
    assert (
        out
        == f"{installed / 'MobileNetV2-YOLOv3-Nano-coco.weights'}: give it as --weights YOLOv3-nano\n"
    )
    assert err == ""
    ann = load_ann("yolov3-nano")
    assert ann.weights.parent == installed and len(ann.spec.names) == 80
    assert load_calibration(ann, get_recipe(DEFAULT)).images
    # calibrate leaves the fetched files alone.
    assert is_shipped(ann.weights) and not is_shipped(tmp_path / "best.weights")
    assert get("yolov3-nano", "/nowhere") == ann.weights
    # What was damaged or is older is fetched again, and nothing else.
    (installed / "coco.names").write_text("cat")
    fetched: list[str] = []
    get("yolov3-nano", str(WEIGHTS), lambda what, done, total, name: fetched.append(name))
    assert fetched == ["coco.names", ""]


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_files_come_from_a_server_as_they_are_called(installed: Path, server: Any):
    folder, address = server
    for name in zoo._named("vgg-thin").files:
        shutil.copy(WEIGHTS / name, folder)
    assert get("vgg-thin", address + "/") == installed / "vgg-thin-cifar10.safetensors"
    name = "vgg-thin-cifar10.32.msat.msat.gain=1.msat.confidence=after.safetensors"
    assert (installed / name).read_bytes() == (WEIGHTS / name).read_bytes()


def test_another_file_is_not_kept(installed: Path, server: Any, capsys: Any):
    folder, address = server
    for name in zoo._named("yolov3-nano").files:
        shutil.copy(WEIGHTS / name, folder)
    weights = folder / "MobileNetV2-YOLOv3-Nano-coco.weights"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    assert call(["zoo", "--get", "yolov3-nano", "--release", address]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert f"{address}/{weights.name} is not the file that was released" in err
    assert not (installed / weights.name).exists()
    assert not list(installed.glob(".*"))
    with pytest.raises(UserError, match="--get yolov3-nano"):
        located("yolov3-nano")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["yolov3-nano", "--release", "http://127.0.0.1:9"], r"cannot fetch http://127.0.0.1:9/M"),
        (["yolov3-nano", "--release", "ADDRESS"], r"(File not found)"),
        (["yolov3-nano", "--release", "no folder"], r"cannot fetch no folder/M.*--release"),
        (["yolov5n"], r"yolov5n is not shipped \(AGPL-3.0\)"),
        (["yolov3-nan"], r"no network yolov3-nan.*did you mean"),
    ],
)
def test_mistakes_of_get(installed: Path, server: Any, capsys: Any, words: Any, message: str):
    _, address = server
    assert call(["zoo", "--get", *[word.replace("ADDRESS", address) for word in words]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and re.search(message, err)
    assert not list(installed.glob("*"))


def test_a_release_lies_in_the_repository_of_the_metadata(monkeypatch: pytest.MonkeyPatch):
    site = {"Project-URL": ["Issues, https://a.org/x/issues", "Repository, https://a.org/x"]}
    monkeypatch.setattr(zoo, "metadata", lambda name: SimpleNamespace(get_all=site.get))
    for version, tree in (("0.3.0.dev0", "main"), ("0.3.0", "v0.3.0")):
        monkeypatch.setattr(zoo, "__version__", version)
        assert zoo.release_address() == f"https://a.org/x/raw/{tree}/weights"
    site.clear()
    with pytest.raises(UserError, match="give --release"):
        zoo.release_address()


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
    assert "tuned without labels" in title and header.split()[:3] == ["name", "ANN", "T=1"]
    assert len(rows) == len(tuned_measurements())


@pytest.mark.parametrize(
    "own", tuned_measurements(), ids=lambda own: f"{own['name']} {own['digits']}"
)
def test_tuned_networks_ship_and_their_figures_are_in_the_documentation(own: Any):
    """A row of the page with name, digits, AP50 and the interval; and the file that it is of."""
    settings = dict(setting.split("=") for setting in own.get("set", "").split())
    ann, recipe = load_ann(own["name"]), get_recipe(TUNED).with_settings(settings)
    assert bool(load_calibration(ann, recipe).weights) == recipe.calibration.weights
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
