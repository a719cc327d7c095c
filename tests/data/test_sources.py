"""What may be named on a command line."""

import os
from pathlib import Path

import pytest

from spiking_yolo.data.sources import expand, is_stream
from spiking_yolo.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "clip.mp4", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "inner.jpg").mkdir()
    return tmp_path


def test_folder_gives_its_images_and_videos_sorted(folder):
    assert [os.path.basename(p) for p in expand([str(folder)])] == ["a.png", "b.JPG", "clip.mp4"]


def test_glob_gives_images_only(folder):
    assert expand([f"{folder}/*"]) == expand([str(folder)])
    assert expand([f"{folder}/a*"]) == [f"{folder}/a.png"]


def test_file_with_brackets_in_its_name_is_no_glob(tmp_path):
    path = tmp_path / "a[1].png"
    path.write_text("x")
    assert expand([str(path)]) == [str(path)]


def test_files_and_webcams_stay_as_given_and_in_order(folder):
    named = ["nowhere.jpg", "0", "rtsp://camera/1?a=[b]", str(folder / "odd.xyz")]
    assert expand(named) == named


def test_a_list_names_its_sources_and_a_folder_those_inside(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("b.jpg", "inner/a.png", "inner/clip.mp4", "inner/no.md"):
        (tmp_path / name).touch()
    folder, path = str(tmp_path), tmp_path / "list.txt"
    inside = [str(tmp_path / name) for name in ("inner/a.png", "inner/clip.mp4")]
    assert expand([folder]) == [str(tmp_path / "b.jpg")]
    path.write_text("# photographs\nb.jpg\n\ninner\n/else/c.jpg\n3\nhttps://a.org/v.mp4\n")
    others = ["/else/c.jpg", "3", "https://a.org/v.mp4"]
    assert expand([str(path)]) == [str(tmp_path / "b.jpg"), *inside, *others]
    for text, said in (("#x\n", "lists nothing"), ("list.txt", "a list too")):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            expand([str(path)])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a text file in UTF-8"):
        expand([str(path)])


def test_nothing_to_see_is_refused(folder):
    for source in ["", "{}/inner.jpg", "{}/*.bmp", "{}/*.txt"]:
        with pytest.raises(UserError, match="image"):
            expand([source.format(folder)])


def test_streams():
    for source, stream in [
        ("0", True),
        ("12", True),
        ("a.MP4", True),
        ("a.jpg", False),
        ("-1", False),
        ("²", False),
        ("RTSP://camera/1", True),
        ("http://a.org/v.mp4", True),
        ("photo:1.jpg", False),
    ]:
        assert is_stream(source) is stream
