"""What a Result says of itself, and the forms in which it leaves: text, pictures, tables and other
libraries' types.
"""

import csv
import io
import json
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spiking_yolo import Box, Result, UserError
from spiking_yolo.data.coco import COCO_IDS
from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.snn.readout import Quiet

NAMES = ("cat", "dog", "bird")
FIRST = (8.0, 4.0, 40.5, 36.25)


def detections(count: int, class_ids: tuple[int, ...] = (1, 2, 1, 0)) -> Detections:
    """`count` boxes of falling confidence, the first one at FIRST, the others shifted."""
    boxes = torch.tensor(FIRST) + torch.arange(count)[:, None]
    confidence = torch.tensor([0.75 - i / 16 for i in range(count)])
    return Detections(
        boxes,
        confidence,
        torch.tensor([class_ids[i % len(class_ids)] for i in range(count)]).long(),
    )


def result(count: int = 3, **changes: Any) -> Result:
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    boxes = detections(count)
    values = {
        "image": image, "path": "a.png", "names": NAMES, "method": "dcgs", "T": 8, "detections": boxes,
        "placement": Placement((80, 48), (64, 38), (0, 13), (64, 64)), "seconds": 0.5,
        "steps": {2: detections(0), 4: detections(1), 8: boxes}, "simulated": 5, "quiet": Quiet(5),
        "spikes_by_layer": {"a": 5_000_000.0, "b": 100_000.0}, "neurons_by_layer": {"a": 1_000_000, "b": 500_000},
        "activations": 2_000_000, "sent": {"spikes": 5_100_000.0, "digits": 3_200_000.0, "messages": 2e6},
        "pooled": {"spikes": 400_000.0, "digits": 300_000.0, "messages": 2e5}, "active_steps": {2: 2, 4: 4, 8: 5},
        "operations": {"spikes": 6e9, "digits": 4e9, "messages": 3e9}, "macs": 5_000_000_000,
    }  # fmt: skip
    return Result(**{**values, **changes})


def ann() -> Result:
    empty: dict[str, Any] = {
        "steps": {},
        "spikes_by_layer": {},
        "neurons_by_layer": {},
        "simulated": 0,
        "quiet": None,
    }
    return result(1, method="ann", T=0, **empty)


def test_length_and_iteration():
    r = result()
    assert len(r) == 3 and len(list(r)) == 3 and not result(0)
    first = next(iter(r))
    assert first == Box(FIRST, 0.75, 1, "dog") and isinstance(first.class_id, int)
    assert [box.name for box in r] == ["dog", "bird", "dog"]
    xyxy, confidence, class_id, name, track_id = first
    assert (xyxy, confidence, class_id, name) == (
        first.xyxy,
        first.confidence,
        first.class_id,
        first.name,
    )
    assert track_id is None


def with_tracks(count: int = 3, **changes: Any) -> Result:
    """The boxes have the ids 7, none and 5."""
    boxes = replace(detections(count), track_id=torch.tensor([7, -1, 5])[:count])
    return result(count, **{"detections": boxes, **changes})


def test_tracked_boxes_have_ids():
    r = with_tracks()
    assert r.track_id.tolist() == r.boxes.id.tolist() == [7, -1, 5]
    assert [box.track_id for box in r] == [7, None, 5]
    assert [box["track_id"] for box in r.to_dict()["detections"]] == [7, None, 5]
    table = list(csv.DictReader(io.StringIO(r.to_csv())))
    assert [row["track_id"] for row in table] == ["7", "", "5"]
    assert r[torch.tensor([2])].track_id.tolist() == [5]
    assert r.shrunk(20).track_id.tolist() == [7, -1, 5]
    assert result().track_id is result().boxes.id is None
    assert (
        "track_id" not in result().to_dict()["detections"][0] and "track" not in result().to_csv()
    )


def test_a_tracker_gives_a_frame_its_ids():
    class Stub:
        def update(self, boxes: Detections, cut: bool) -> Detections:
            assert cut and len(boxes) == 3
            return replace(boxes, track_id=torch.tensor([3, -1, 4]))

    r = result(cut=True).tracked(Stub())
    assert [box.track_id for box in r] == [3, None, 4] and r.steps[8] is r.detections
    assert len(r.steps[4]) == 1 and r.steps[4].track_id is None


@pytest.mark.parametrize(
    ("r", "text"),
    [
        (result(), "3 boxes: dog 0.75, bird 0.69, dog 0.62; T=8, 5.1 M spikes"),
        (result(1, spikes_by_layer={"a": 5130.0}), "1 box: dog 0.75; T=8, 5,130 spikes"),
        (result(0), "no boxes; T=8, 5.1 M spikes"),
        (result(0, counting="digits"), "no boxes; T=8, 3.2 M digits"),
        (
            result(7),
            "7 boxes: dog 0.75, bird 0.69, dog 0.62, cat 0.56, dog 0.50, ...; T=8, 5.1 M spikes",
        ),
        (ann(), "1 box: dog 0.75; ANN"),
    ],
    ids=str,
)
def test_repr_is_one_line(r, text):
    assert repr(r) == text


def test_summary():
    lines = result().summary().splitlines()
    assert lines[0] == (
        "a.png: 80x48, 2 x dog 0.62-0.75, bird 0.69; T=8 (settled after 5), 5.1 M spikes, 1.20 operations per MAC; "
        "500 ms, 100.0 ms per step"
    )
    assert lines[1:] == ["  T=2: nothing", "  T=4: dog 0.75"]
    assert result().summary([4, 8]).splitlines()[1:] == [
        "  T=4: dog 0.75",
        "  T=8: 2 x dog 0.62-0.75, bird 0.69",
    ]
    assert "settled" not in result(quiet=Quiet(8)).summary()
    assert "settled" not in result(simulated=8, quiet=None).summary()
    line = result(T=16, steps={16: detections(3)}, quiet=Quiet(12, 17)).summary()
    assert "T=16 (quiet since 12, refines at 17)" in line and "settled" not in line


def test_settled_is_what_is_proved():
    assert (
        result().settled == 5
        and result(quiet=Quiet(5, 9)).settled is None
        and result(quiet=None).settled is None
    )
    assert result(path=None).summary().startswith("image: 80x48")
    assert ann().summary() == "a.png: 80x48, dog 0.75; ANN; 500 ms"


def test_json_has_all_steps():
    entry = json.loads(result().to_json())
    box = {"class_id": 1, "class": "dog", "confidence": 0.75, "box_xyxy": list(FIRST)}
    keys = [
        "image",
        "width",
        "height",
        "T",
        "method",
        "detections",
        "spikes",
        "mean_rate",
        "sent",
        "pooled",
        "operations",
        "macs",
    ]
    assert list(entry) == [*keys, "steps"]
    assert (
        entry["operations"] == {"spikes": 6e9, "digits": 4e9, "messages": 3e9}
        and entry["sent"]["messages"] == 2e6
        and entry["pooled"]["messages"] == 2e5
    )
    assert (entry["image"], entry["width"], entry["height"], entry["T"]) == ("a.png", 80, 48, 8)
    assert (entry["method"], entry["spikes"], entry["mean_rate"]) == (
        "dcgs",
        5_100_000,
        # 1.5 M neurons, which sent nothing after step 5 of 8.
        0.68,
    )
    assert len(entry["detections"]) == 3 and entry["detections"][0] == box
    assert [(s["T"], s["detections"]) for s in entry["steps"]] == [
        (2, []),
        (4, [box]),
        (8, entry["detections"]),
    ]
    assert [s["T"] for s in result().to_dict([4])["steps"]] == [4, 8]
    assert (
        json.loads(result(path=None).to_json())["image"] is None
        and json.loads(ann().to_json())["steps"] == []
    )


def test_csv_reads_back():
    text = result(names=("cat", 'big, "bad" dog', "bird")).to_csv()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (
        text.splitlines()[0] == "image,T,class_id,class,confidence,x1,y1,x2,y2" and len(rows) == 3
    )
    first = dict(zip(("x1", "y1", "x2", "y2"), map(str, FIRST), strict=True))
    assert (
        rows[0]
        == {
            "image": "a.png",
            "T": "8",
            "class_id": "1",
            "class": 'big, "bad" dog',
            "confidence": "0.75",
        }
        | first
    )
    assert result(0).to_csv().count("\n") == 1


def test_it_is_indexed_like_a_list():
    r = result(3)
    boxes = list(r)
    assert r[0] == boxes[0] and r[-1] == boxes[2] and r[1:] == boxes[1:]
    with pytest.raises(IndexError):
        r[3]


def test_a_picture_is_saved_in_the_format_of_its_name(tmp_path):
    r = result()
    r.save(tmp_path / "new" / "a.png")
    r.save(str(tmp_path / "a.JPG"))
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")) == r.plot()).all()
    assert Image.open(tmp_path / "a.JPG").format == "JPEG"
    with pytest.raises(UserError, match="needs a path"):
        r.save(None)
    for name in ("a.txt", "a", "a.mp4"):
        with pytest.raises(UserError, match=r"ends in \.png or \.jpg"):
            r.save(tmp_path / name)
    with pytest.raises(UserError, match="cannot write"):
        r.save(tmp_path / "a.JPG" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.JPG", "new"]


def test_show_opens_the_drawn_picture(monkeypatch):
    shown: list[np.ndarray] = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: shown.append(np.asarray(picture)))
    result().show()
    assert (
        len(shown) == 1
        and (shown[0] == result().plot()).all()
        and (shown[0] != result().image).any()
    )


def test_a_notebook_shows_a_picture_of_moderate_size():
    small = Image.open(io.BytesIO(result()._repr_png_()))
    assert small.format == "PNG" and (np.asarray(small) == result().plot()).all()
    image = np.zeros((1000, 2560, 3), np.uint8)
    large = result(image=image, placement=Placement((2560, 1000), (64, 25), (0, 19), (64, 64)))
    assert Image.open(io.BytesIO(large._repr_png_())).size == (1280, 500)


def test_coco_rows():
    rows = result().to_coco(17)
    assert rows[0] == {
        "image_id": 17,
        "category_id": 1,
        "bbox": [8.0, 4.0, 32.5, 32.25],
        "score": 0.75,
    }
    assert [row["category_id"] for row in rows] == [1, 2, 1]
    assert {row["image_id"] for row in result().to_coco()} == {0}
    assert [row["category_id"] for row in result().to_coco(17, (7, 8, -1))] == [8, 8]
    with pytest.raises(UserError, match="category_ids: 2 for 3 classes"):
        result().to_coco(17, [1, 2])
    eighty = ("person", *map(str, range(78)), "toothbrush")
    assert [
        row["category_id"]
        for row in result(names=eighty, detections=detections(1, (12,))).to_coco(1)
    ] == [COCO_IDS[12]]
    other = result(names=tuple(map(str, range(80))), detections=detections(1, (12,)))
    assert other.to_coco(1)[0]["category_id"] == 12


@pytest.mark.parametrize(
    ("method", "package"), [("to_df", "pandas"), ("to_supervision", "supervision")]
)
def test_a_missing_package_is_named(monkeypatch, method, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{method}\(\) needs {package}: pip install {package}"):
        getattr(result(), method)()


def test_supervision_gets_boxes_names_and_spikes(monkeypatch):
    stub: Any = ModuleType("supervision")
    stub.Detections = lambda **given: given
    monkeypatch.setitem(sys.modules, "supervision", stub)
    assert with_tracks().to_supervision()["tracker_id"].tolist() == [7, -1, 5]
    given = result().to_supervision()
    assert given["tracker_id"] is None
    assert given["xyxy"].shape == (3, 4) and given["xyxy"].dtype == np.float32
    assert given["confidence"][0] == 0.75 and given["class_id"].tolist() == [1, 2, 1]
    assert given["data"]["class_name"].tolist() == ["dog", "bird", "dog"]
    assert given["metadata"] == {
        "method": "dcgs",
        "T": 8,
        "spikes": 5_100_000,
        "mean_rate": result().mean_rate,
    }


@pytest.mark.parametrize("count", [0, 3])
def test_supervision_itself_takes_them(count):
    pytest.importorskip("supervision")
    taken = result(count).to_supervision()
    assert len(taken) == count and taken.metadata["T"] == 8 and len(taken["class_name"]) == count


@pytest.mark.parametrize("count", [0, 3])
def test_pandas_holds_the_rows_of_the_csv(count):
    pandas = pytest.importorskip("pandas")
    frame = result(count).to_df()
    assert (
        isinstance(frame, pandas.DataFrame) and frame.to_csv(index=False) == result(count).to_csv()
    )


def test_a_data_frame_is_made_of_the_rows(monkeypatch):
    stub: Any = ModuleType("pandas")
    stub.DataFrame = lambda rows, columns: (rows, columns)
    monkeypatch.setitem(sys.modules, "pandas", stub)
    rows, columns = result().to_df()
    assert columns == result().to_csv().splitlines()[0].split(",")
    assert [list(row) for row in rows] == [columns] * 3 and rows[0]["class"] == "dog"


@pytest.mark.parametrize(
    "index",
    [
        torch.tensor([True, False, True]),
        np.array([True, False, True]),
        [True, False, True],
        torch.tensor([0, 2]),
        [0, -1],
    ],
)
def test_a_mask_or_positions_give_a_result_with_these_boxes(index):
    whole = result()
    some = whole[index]
    assert list(some) == [whole[0], whole[2]] and list(some.steps[8].confidence) == list(
        some.confidence
    )
    # What it cost and the other steps are those of the image.
    assert some.operations == whole.operations and len(some.steps[4]) == 1
    assert len(whole[whole.confidence > 0.7]) == 1 and len(whole[[]]) == 0
    assert whole[torch.tensor(1)] == whole[1]


@pytest.mark.parametrize("index", [[True], [3], [0.5], np.zeros((2, 2), int), np.zeros(3)])
def test_a_wrong_mask_is_refused(index):
    with pytest.raises(UserError, match="by a mask of 3 entries"):
        result()[index]


def test_boxes_by_the_names_of_ultralytics():
    boxes = result().boxes
    assert boxes.xyxy[0].tolist() == list(FIRST) and boxes.cls.tolist() == [1, 2, 1]
    assert boxes.conf.tolist() == [0.75, 0.6875, 0.625] and boxes.orig_shape == (48, 80)
    left, top, right, bottom = FIRST
    centre = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    assert boxes.xywh[0].tolist() == centre
    assert boxes.xywhn[0].tolist() == pytest.approx(
        [centre[0] / 80, centre[1] / 48, centre[2] / 80, centre[3] / 48]
    )
    assert boxes.xyxyn[0].tolist() == pytest.approx([left / 80, top / 48, right / 80, bottom / 48])
    assert [(NAMES[int(box.cls)], float(box.conf), len(box)) for box in boxes] == [
        ("dog", 0.75, 1),
        ("bird", 0.6875, 1),
        ("dog", 0.625, 1),
    ]
    assert boxes[boxes.cls == 1].conf.tolist() == [0.75, 0.625]
    assert boxes[1:].cls.tolist() == [2, 1] and boxes[-1].xyxy.shape == (1, 4)
    with pytest.raises(IndexError):
        boxes[3]


def test_labels_and_crops(tmp_path):
    # Smooth, as JPEG keeps it.
    image = np.add.outer(np.arange(48), np.arange(80))[..., None].repeat(3, 2).astype(np.uint8)
    one = result(3, path="some/a.jpg", image=image)
    one.save_txt(tmp_path / "labels" / "a.txt")
    lines = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert lines[0] == "1 0.303125 0.419271 0.406250 0.671875" and len(lines) == 3
    one.save_txt(tmp_path / "a.txt", save_conf=True)
    assert (tmp_path / "a.txt").read_text().splitlines()[0] == lines[0] + " 0.750000"
    paths = one.save_crop(tmp_path / "crops")
    names = [str(path.relative_to(tmp_path / "crops")) for path in paths]
    assert names == ["dog/a-1.jpg", "bird/a-2.jpg", "dog/a-3.jpg"]
    # From pixel 8 to 40.5 and from 4 to 36.25: the pixels that the box touches.
    assert Image.open(paths[0]).size == (33, 33)
    expected = one.image[4:37, 8:41].astype(float)
    assert np.abs(np.asarray(Image.open(paths[0])) - expected).mean() < 2
    outside = replace(one, detections=one.detections.take(slice(1)))
    outside.detections.xyxy[:] = torch.tensor([80.0, 0, 80, 48])
    assert outside.save_crop(tmp_path / "none", "x") == []


def test_boxes_are_drawn_as_asked_for(tmp_path):
    one = replace(result(1), image=np.zeros((96, 160, 3), np.uint8))
    plain = one.plot()
    thick = one.plot(line_width=4, hide_labels=True)
    # Boxes alone: black inside of the frame, which is four pixels wide.
    assert thick[4:8, 8:40].any(-1).all() and not thick[8:33, 12:37].any()
    assert thick.any(-1).sum() < one.plot(line_width=4).any(-1).sum()
    assert not np.array_equal(plain, one.plot(hide_conf=True))
    one.save(tmp_path / "a.png", line_width=4, hide_labels=True)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), thick)
    with pytest.raises(UserError, match="line_width must be a whole number of at least 1"):
        one.plot(line_width=0)
    with pytest.raises(UserError, match="hide_labels must be True or False"):
        one.plot(hide_labels="yes")
