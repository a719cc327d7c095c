"""The VOC reader on a small devkit."""

from pathlib import Path

import pytest

from spiking_yolo.data.annotations import VOC_NAMES, load_voc
from spiking_yolo.errors import UserError

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
