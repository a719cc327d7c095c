"""One table of dataset formats: an entry is all that a new one needs."""

import csv
from pathlib import Path

import pytest
from helpers.tiny import NAMES, write_tiny

from spiking_yolo.data import formats
from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.data.formats import FORMATS, Format, format_of, open_detection, open_photographs


def load_csv(path: Path, split: str) -> DetectionSet:
    """Rows split, photograph, class, x1, y1, x2, y2."""
    boxes: dict[str, list[list[float]]] = {}
    labels: dict[str, list[int]] = {}
    with path.open() as file:
        for own, image, label, *corners in csv.reader(file):
            if own == split:
                boxes.setdefault(image, []).append([float(value) for value in corners])
                labels.setdefault(image, []).append(NAMES.index(label))
    samples = [
        Sample.of(n, path.parent / image, (80, 48), boxes[image], labels[image])
        for n, image in enumerate(boxes, 1)
    ]
    return DetectionSet(f"csv {split}", NAMES, samples, [])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, and a dataset of two photographs in a format that is made up here."""
    mine = Format("a table", lambda path: path.suffix == ".csv", load_csv, "first", "last")
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, mine))
    write_tiny(tmp_path)
    path = tmp_path / "boxes.csv"
    path.write_text("first,photos/a.png,cat,8,8,40,40\nlast,photos/b.png,dog,4,6,60,44\n")
    return path


def test_the_splits_are_those_of_the_format(data: Path):
    assert open_detection(data).name == "csv last"
    assert [Path(p).name for p in open_photographs([str(data)])] == ["b.png"]
    assert [Path(p).name for p in open_photographs([str(data)], training=True)] == ["a.png"]


def test_formats_are_recognised_by_their_files(tmp_path: Path):
    rows = (
        ("a.json", "a COCO annotation file"),
        ("data.yaml", "a data.yaml"),
        ("VOC2012/", "a VOCdevkit with VOC2012 or another year"),
        ("annotations/", "a COCO folder with annotations/"),
        ("photos/", None),
    )
    for k, (place, name) in enumerate(rows):
        path = tmp_path / str(k) / place
        if place.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir()
            path.touch()
        is_file = place in ("a.json", "data.yaml")
        entry = format_of(path if is_file else tmp_path / str(k))
        assert (entry.name if entry else None) == name, place
