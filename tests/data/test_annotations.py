"""The readers of COCO, VOC and data.yaml, the id mapping and the common record, on small files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny import write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spiking_yolo.data.annotations import (
    VOC_NAMES,
    load_coco,
    load_coco_json,
    load_data_yaml,
    load_voc,
    match_names,
    matched_classes,
    read_sample,
)
from spiking_yolo.data.datasets import DetectionSet, Sample
from spiking_yolo.errors import UserError

ROOT = Path(__file__).parents[2]
DARKNET_NAMES = tuple((ROOT / "weights" / "coco.names").read_text().split("\n")[:80])


def content() -> dict[str, Any]:
    images = [
        {"id": 7, "file_name": "a.jpg", "width": 100, "height": 80},
        {"id": 3, "file_name": "b.jpg", "width": 60, "height": 50},
    ]
    dog = {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 30, 40], "iscrowd": 0}
    person = {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1}
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    annotations = [{**dog, "area": 900.5}, person]
    return {"images": images, "annotations": annotations, "categories": categories}


def official(root: Path, data: object, files: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Path:
    for folder in ("annotations", "val2017"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(data))
    for name in files:
        (root / "val2017" / name).touch()
    return root


def test_official_layout(tmp_path: Path) -> None:
    data = load_coco(official(tmp_path, content()), "val2017")
    assert (data.name, data.classes, data.category_ids) == ("val2017", ("dog", "person"), (18, 1))
    assert data.notes == [] and data.has_ids
    a, b = data.samples
    assert (a.image_id, a.width, a.height, a.path) == (7, 100, 80, tmp_path / "val2017" / "a.jpg")
    assert a.boxes.tolist() == [[10, 20, 40, 60], [0, 0, 5, 5]] and a.labels.tolist() == [18, 1]
    assert a.area.tolist() == [900.5, 25] and a.ignored.tolist() == [False, True]
    assert b.boxes.shape == (0, 4) and b.labels.dtype == np.int64
    assert data.indexed().samples[0].labels.tolist() == [0, 1]


def test_absent_images_are_noted(tmp_path: Path) -> None:
    data = load_coco(official(tmp_path, content(), ("b.jpg",)), "val2017")
    assert [s.image_id for s in data.samples] == [3]
    assert len(data.notes) == 1 and "1 of 2" in data.notes[0] and "a.jpg" in data.notes[0]


def damaged(part: str, index: int, **entries: Any) -> Any:
    """The content with other entries in one place; None takes an entry out."""
    raw = content()
    item = {**raw[part][index], **entries}
    raw[part][index] = {key: value for key, value in item.items() if value is not None}
    return raw


def test_what_is_not_coco_is_refused(tmp_path: Path) -> None:
    for data, says in (
        ([1, 2], "Expected `object`"),
        ({**content(), "images": [], "annotations": []}, "no images"),
        (damaged("images", 1, width=None), "field `width`"),
        (damaged("images", 1, width=0), "int` >= 1"),
        (damaged("images", 1, id=7), "twice"),
        (damaged("annotations", 1, category_id=2), r"annotations\[1\].*not listed"),
        (damaged("annotations", 1, bbox=[1, 2, 3]), "bbox"),
        (damaged("annotations", 1, bbox=[1, 2, -3, 4]), "bbox"),
        (damaged("annotations", 1, bbox=[1, 2, 3, float("nan")]), "not the json"),
        (damaged("annotations", 1, area=-1), "area"),
        (damaged("annotations", 1, iscrowd="no"), "iscrowd"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            load_coco(official(tmp_path, data), "val2017")
        assert "instances_val2017.json" in str(caught.value) and "\n" not in str(caught.value)


def of_categories(names: dict[int, str]) -> DetectionSet:
    return DetectionSet("some", tuple(names.values()), [], [], tuple(names), has_ids=True)


def test_other_lists_go_by_name_in_either_spelling() -> None:
    some = of_categories({63: "couch", 9: "TV", 4: "dog"})
    places = matched_classes(some, DARKNET_NAMES)
    assert {i: c for i, c in enumerate(places) if c >= 0} == {57: 0, 62: 1, 16: 2}
    assert matched_classes(some, ("tvmonitor", "zebra", "dog", "sofa")) == (1, -1, 2, 0)
    with pytest.raises(UserError, match=r"'couch' \(2 unknown\)"):
        matched_classes(some, ("dog", "cat"))


def test_two_classes_of_one_name(tmp_path: Path) -> None:
    """A group that an exporter lists beside its class goes, classes with objects are refused."""
    data = content()
    data["categories"].append({"id": 0, "name": "dog"})
    assert load_coco(official(tmp_path, data), "val2017").category_ids == (18, 1)
    with pytest.raises(UserError, match="2 classes called 'tvmonitor'"):
        matched_classes(of_categories({1: "tv", 2: "tvmonitor"}), ("tv",))


def test_voc_classes_among_the_outputs_of_a_coco_network() -> None:
    indices = match_names(VOC_NAMES, DARKNET_NAMES)
    assert indices == (4, 1, 14, 8, 39, 5, 2, 15, 56, 19, 60, 16, 17, 3, 0, 58, 18, 57, 6, 62)
    assert [DARKNET_NAMES[i] for i in indices] == list(VOC_NAMES)
    to_voc = match_names(DARKNET_NAMES, VOC_NAMES)
    assert to_voc[16] == VOC_NAMES.index("dog") and to_voc[22] == -1
    assert sum(i >= 0 for i in to_voc) == 20


def test_as_coco_is_coco(tmp_path: Path) -> None:
    """Written and read again, a set has the same boxes, names and flags."""
    corners = [(1, 2, 11, 22), (0, 0, 4, 4)]
    sample = Sample.of("x", Path("a.jpg"), (50, 40), corners, [1, 0], ignored=[False, True])
    (tmp_path / "a.jpg").touch()
    content = DetectionSet("one", ("cat", "dog"), [sample], []).as_coco().annotations
    (tmp_path / "instances.json").write_text(json.dumps(content))
    again = load_coco_json(tmp_path / "instances.json")
    assert again.classes == ("cat", "dog") and again.category_ids == (1, 2)
    (back,) = again.samples
    assert back.boxes.tolist() == sample.boxes.tolist() and back.labels.tolist() == [2, 1]
    assert again.as_coco().annotations["annotations"][0]["category_id"] == 2
    assert back.ignored.tolist() == [False, True] and back.area.tolist() == [200, 16]


SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"


def thing(
    name: str, box: tuple[float, ...], difficult: str = "<difficult>0</difficult>", extra: str = ""
) -> str:
    corners = "".join(
        f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)
    )
    return f"<object><name>{name}</name>{difficult}<bndbox>{corners}</bndbox>{extra}</object>"


def devkit(
    root: Path, files: dict[str, str], images: tuple[str, ...] | None = None, listing: str = ""
) -> Path:
    base = root / "VOCdevkit" / "VOC2007"
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "ImageSets" / "Main" / "test.txt").write_text(listing or "\n".join(files) + "\n")
    for stem, body in files.items():
        (base / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{body}</annotation>")
    for stem in files if images is None else images:
        (base / "JPEGImages" / f"{stem}.jpg").touch()
    return root / "VOCdevkit"


def test_boxes_count_from_zero_and_flags_are_kept(tmp_path: Path) -> None:
    head = "<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part>"
    body = (
        SIZE
        + thing("dog", (1, 1, 100, 80), extra=head)
        + thing("cat", (5.5, 6, 20, 30), "<difficult>1</difficult>")
    )
    contents = {"000001": body + thing("tvmonitor", (9, 9, 9, 9), "")}
    data = load_voc(devkit(tmp_path, contents), "test", 2007)
    assert (data.name, data.classes, data.notes) == ("VOC2007 test", VOC_NAMES, [])
    (sample,) = data.samples
    assert (sample.image_id, sample.path.name) == ("000001", "000001.jpg")
    assert (sample.width, sample.height) == (100, 80)
    assert sample.boxes.tolist() == [[0, 0, 99, 79], [4.5, 5, 19, 29], [8, 8, 8, 8]]
    assert [VOC_NAMES[i] for i in sample.labels] == ["dog", "cat", "tvmonitor"]
    assert sample.ignored.tolist() == [False, True, False]


@pytest.mark.parametrize(
    "body",
    ["", "<size>", SIZE + thing("dragon", (1, 1, 2, 2)), SIZE + thing("dog", (1, 1, 2)),
     SIZE + thing("dog", (5, 1, 2, 2)), SIZE + thing("dog", (1, 1, float("nan"), 2))],
)  # fmt: skip
def test_faulty_xml_is_named(tmp_path: Path, body: str) -> None:
    with pytest.raises(UserError, match=r"0042.xml is no annotation of VOC") as caught:
        load_voc(devkit(tmp_path, {"0042": body}), "test", 2007)
    assert "\n" not in str(caught.value)


YAML = "path: set\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def photo(path: Path, size: tuple[int, int] = (100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "data.yaml", YAML)
    photo(tmp_path / "set/images/val/b.png")
    photo(tmp_path / "set/images/val/deep/a.jpg")
    write(tmp_path / "set/labels/val/b.txt", "1 0.5 0.5 0.2 0.4\n\n0 0.25 0.5 0.5 1\n")
    write(tmp_path / "set/images/val/notes.md", "not an image")
    return tmp_path


def test_boxes_are_pixels_of_the_image(root: Path) -> None:
    data = load_data_yaml(root / "data.yaml", "val")
    assert (data.name, data.classes, data.category_ids) == ("data val", ("cat", "dog"), (0, 1))
    b, a = data.samples
    assert (b.path.name, b.image_id, b.width, b.height) == ("b.png", 1, 100, 50)
    np.testing.assert_allclose(b.boxes, [[40, 15, 60, 35], [0, 0, 50, 50]])
    assert b.labels.tolist() == [1, 0] and b.area.tolist() == pytest.approx([400, 2500])
    assert a.path.name == "a.jpg" and a.boxes.shape == (0, 4)
    assert data.notes == ["1 of 2 images have no label file and are taken to show no objects"]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_boxes_are_the_inverse_of_the_format(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("set")
    image = photo(folder / "images/x.png", (64, 32))
    write(folder / "labels/x.txt", "".join(f"2 {x!r} {y!r} {w!r} {h!r}\n" for x, y, w, h in rows))
    boxes = read_sample(1, image, 3).boxes
    back = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])
    back /= [64, 32] * 2
    np.testing.assert_allclose(back, np.array(rows).reshape(-1, 4), atol=1e-12)


def test_list_files_and_lists_of_folders(root: Path) -> None:
    config = "path: set\nval: [val.txt, more]\nnames: [cat, dog]\nnc: 2\n"
    write(root / "set/val.txt", "images/val/b.png\n./images/val/gone.jpg\n")
    write(root / "lists.yaml", config)
    photo(root / "set/more/c.jpg")
    write(root / "set/more/c.txt", "0 0.5 0.5 1 1\n")
    data = load_data_yaml(root / "lists.yaml")
    assert [s.path.name for s in data.samples] == ["b.png", "c.jpg"]
    assert data.samples[1].boxes.tolist() == [[0, 0, 100, 50]]
    assert len(data.notes) == 1 and "1 of 3" in data.notes[0] and "gone.jpg" in data.notes[0]


def test_linked_folders_are_read(root: Path) -> None:
    (root / "set/images/val/linked").symlink_to(root / "set/images/val/deep")
    write(root / "empty.yaml", "path:\nval: set/images/val\nnames: [cat, dog]\n")
    assert len(load_data_yaml(root / "empty.yaml", "val")) == 3


def test_exported_paths_with_a_step_up(root: Path) -> None:
    photo(root / "set/valid/images/c.jpg")
    write(root / "set/data.yaml", "val: ../valid/images\nnames: [cat]\n")
    assert [s.path.name for s in load_data_yaml(root / "set/data.yaml").samples] == ["c.jpg"]


@pytest.mark.parametrize(
    "line",
    ["0 .5 .5 .1", "dog .5 .5 .1 .1", "2 .5 .5 .1 .1", ".5 .5 .5 .1 .1", "0 .5 nan .1 .1", "0 0 0 -1 1"],
)  # fmt: skip
def test_bad_lines_are_named(root: Path, line: str) -> None:
    write(root / "set/labels/val/b.txt", f"1 0.5 0.5 0.2 0.4\n\n{line}\n")
    with pytest.raises(UserError, match=r"b.txt line 3.*is not 'class cx cy w h'"):
        load_data_yaml(root / "data.yaml")


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
BOMB += "val: set\nnames: [*a11]\n"  # 9^11 letters as text


def test_a_faulty_yaml_is_named(root: Path) -> None:
    for text, says in [
        ("train: images\nnames: [a]\n", "split 'val'"),
        ("val: nowhere\nnames: [a]\n", "nowhere, which does not exist"),
        ("path: set\nval: labels\nnames: [a]\n", "has no images"),
        ("val: set\n", "no data.yaml"),
        ("val: set\nnames: {1: a, 2: b}\n", "no data.yaml"),
        ("- 1\n", "no data.yaml"),
        ("val: [\n", "no data.yaml"),
        (f"val: {'9' * 5000}\n", "no data.yaml"),  # more digits than Python reads
        # Longer than a file's name can be.
        (f"val: {'x' * 300}/y\nnames: [a]\n", "which does not exist"),
        ("val: [[set]]\nnames: [a]\n", "no data.yaml"),
        ("path: {a: b}\nval: set\nnames: [a]\n", "no data.yaml"),
        (BOMB, "own.yaml"),
        ("val: !!python/object/apply:os.getcwd []\nnames: [a]\n", "no data.yaml"),
    ]:
        write(root / "own.yaml", text)
        with pytest.raises(UserError, match=says) as caught:
            load_data_yaml(root / "own.yaml")
        assert "own.yaml" in str(caught.value) and "\n" not in str(caught.value)
