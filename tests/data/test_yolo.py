"""The reader of data.yaml on small datasets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spiking_yolo.data.annotations import load_data_yaml, read_sample
from spiking_yolo.errors import UserError

YAML = "path: set\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def photo(path: Path, size: tuple[int, int] = (100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
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
