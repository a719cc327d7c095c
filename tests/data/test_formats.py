"""Datasets: one table of formats, of which an entry is all that a new one needs; sets of classes; draws,
and pictures as they are annotated.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import photo
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spiking_yolo.data import formats
from spiking_yolo.data.datasets import DetectionSet, LabelledSet, Sample, draw, spread
from spiking_yolo.data.formats import (
    FORMATS,
    Format,
    format_of,
    open_classification,
    open_detection,
    open_photographs,
)
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.errors import UserError


def load_lines(path: Path, split: str) -> DetectionSet:
    """A file has one line for each photograph, of its split and its name."""
    rows = [line.split() for line in path.read_text().splitlines()]
    names = [name for own, name in rows if own == split]
    samples = [Sample.of(name, path.parent / name, (9, 9), [], []) for name in names]
    return DetectionSet(f"lines {split}", ("cat",), samples, [])


def test_the_splits_are_those_of_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An entry of the table is all that a format of one's own needs."""
    mine = Format("lines", lambda path: path.suffix == ".lines", load_lines, "first", "last")
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, mine))
    data = tmp_path / "boxes.lines"
    data.write_text("first a.png\nlast b.png\n")
    for name in ("a.png", "b.png"):
        photo(tmp_path / name)
    assert open_detection(data).name == "lines last"
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


def picture(value: int, size: tuple[int, int] = (32, 32)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255 - value)).save(out, "PNG")
    return out.getvalue()


def folders(root: Path, split: str, suffix: str = "png") -> Path:
    for label, (name, values) in enumerate({"airplane": [10, 20], "cat": [30]}.items()):
        (root / split / name).mkdir(parents=True)
        for n, value in enumerate(values):
            (root / split / name / f"{n}.{suffix}").write_bytes(picture(value + label))
    return root


def test_imagenet_layout(tmp_path: Path) -> None:
    (folders(tmp_path, "val", "JPEG") / "val" / "empty").mkdir()
    data = open_classification(tmp_path, "val")
    assert data.classes == ("airplane", "cat", "empty")
    assert data.labels.tolist() == [0, 0, 1] and data.pictures[2].name == "cat/0.JPEG"
    assert read_image(data.pictures[2].source)[5, 7].tolist() == [31, 0, 224]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is no folder"):
        open_classification(tmp_path / "nowhere", "val")
    with pytest.raises(UserError, match="val has no folders of images"):
        open_classification(tmp_path, "val")


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 5))
def test_a_draw_has_each_item_once_and_keeps_the_order(size: int, n: int, seed: int):
    chosen = draw(range(size), n, seed)
    assert len(chosen) == min(n, size) and chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(size))
    assert chosen == draw(range(size), n, seed)


def test_some_are_spread_over_all():
    assert spread(range(15), 8) == [0, 1, 3, 5, 7, 9, 11, 13]
    assert spread([1, 2], 3) == [1, 2]


def test_all_kinds_of_sets_draw_alike():
    names = [f"{i:02d}.png" for i in range(30)]
    photographs = draw(names, 7, 3)
    assert photographs != names[:7] and photographs != draw(names, 7)
    samples = [Sample.of(name, Path(name), (9, 9), [], []) for name in names]
    boxes = DetectionSet("boxes", ("cat",), samples, [])
    assert [sample.path.name for sample in boxes.subset(7, 3).samples] == photographs
    classes = LabelledSet(
        "classes", ("cat",), [Picture(name, name) for name in names], np.arange(30)
    )
    part = classes.subset(7, 3)
    assert [p.name for p in part.pictures] == photographs
    assert [names[i] for i in part.labels] == photographs
    assert replace(boxes, samples=boxes.samples[:5]).subset(9).samples == boxes.samples[:5]
    assert draw(names, None) == names


def test_photographs_are_files_or_a_split_of_a_dataset(tmp_path: Path):
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        photo(tmp_path / "images" / split / f"{split}.png")
    data = tmp_path / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [cat]\n")

    def names(*args, **options) -> list[str]:
        return [Path(path).name for path in open_photographs(*args, **options)]

    assert names([str(data)]) == ["val.png"] and names([str(data)], training=True) == ["train.png"]
    assert names([str(data)], "val", training=True) == ["val.png"]
    assert names(
        [str(tmp_path / "images" / "val"), str(tmp_path / "images" / "train" / "train.png")]
    ) == ["val.png", "train.png"]
    with pytest.raises(UserError, match="--split belongs to"):
        names([str(tmp_path / "images" / "val")], "val")


def saved(path: Path, width: int, height: int, orientation: int = 6) -> Path:
    exif = Image.Exif()
    # 6: the viewer turns it by 90 degrees clockwise.
    exif[0x0112] = orientation
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    picture.putpixel((0, 0), (0, 0, 0))
    picture.save(path, exif=exif)
    return path


def test_pixels_are_turned_as_the_boxes_are(tmp_path: Path) -> None:
    for stored, annotated, black in [
        # As a viewer shows it: row 0, right.
        ((4, 2), (2, 4), (0, 1)),
        ((4, 2), (4, 2), (0, 0)),  # as stored
        ((3, 3), (3, 3), (0, 2)),  # either: as a viewer shows it
    ]:
        sample = Sample.of("a", saved(tmp_path / "a.png", *stored), annotated, [], [])
        image = sample.image()
        assert image.shape == (annotated[1], annotated[0], 3)
        assert np.argwhere(image[..., 0] == 0).tolist() == [list(black)]


def test_pixels_of_another_size_than_the_annotation(tmp_path: Path) -> None:
    sample = Sample.of("a", saved(tmp_path / "a.png", 4, 2), (5, 2), [], [])
    with pytest.raises(UserError, match=r"a.png has 2x4 pixels and its annotation says 5x2"):
        sample.image()
