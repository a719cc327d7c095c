"""What may be named on a command line, and reading videos."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from spiking_yolo.data.sources import expand, is_stream, open_video
from spiking_yolo.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "clip.mp4", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "inner.jpg").mkdir()
    return tmp_path


def write_video(path: Path, brightness: list[int], fps: float = 10) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for value in brightness:
        frame = np.full((48, 64, 3), value, np.uint8)
        frame[..., 0] = 0  # blue in OpenCV's order
        writer.write(frame)
    writer.release()
    return path


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
    assert expand([folder], recursive=True) == [str(tmp_path / "b.jpg"), *inside]
    path.write_text("# photographs\nb.jpg\n\ninner\n/else/c.jpg\n3\nhttps://a.org/v.mp4\n")
    assert expand([str(path)]) == [
        str(tmp_path / "b.jpg"),
        *inside,
        "/else/c.jpg",
        "3",
        "https://a.org/v.mp4",
    ]
    for text, said in (
        ("", "lists nothing"),
        ("#x\n", "lists nothing"),
        ("list.txt", "a list too"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            expand([str(path)])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a text file in UTF-8"):
        expand([str(path)])


def test_an_address_that_does_not_answer_is_one_message(tmp_path):
    address = "http://127.0.0.1:9/a.mp4"
    assert is_stream(address) and is_stream("RTSP://camera/1") and not is_stream("photo:1.jpg")
    with pytest.raises(UserError, match="nothing answers, or it is no video"), open_video(address):
        pass


@pytest.mark.parametrize("source", ["", "{}/inner.jpg", "{}/*.bmp", "{}/*.txt"])
def test_nothing_to_see_is_refused(folder, source):
    with pytest.raises(UserError, match="image"):
        expand([source.format(folder)])


@pytest.mark.parametrize(
    ("source", "stream"),
    [("0", True), ("12", True), ("a.MP4", True), ("a.jpg", False), ("-1", False), ("²", False)],
)
def test_streams(source, stream):
    assert is_stream(source) is stream


@pytest.mark.parametrize("every", [1, 2, 4, 9])
def test_every_nth_frame_in_rgb(tmp_path, every):
    brightness = [40, 80, 120, 160, 200]
    with open_video(str(write_video(tmp_path / "v.mp4", brightness))) as video:
        assert (video.count, video.fps) == (5, 10)
        frames = list(video.frames(every))
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    np.testing.assert_allclose([f[..., 0].mean() for f in frames], brightness[::every], atol=8)
    assert all(frame[..., 2].mean() < 30 for frame in frames)


def test_bad_videos_give_one_error_and_no_noise(tmp_path):
    """In a process of its own, since OpenCV's FFmpeg reads its log level once."""
    whole = write_video(tmp_path / "v.mp4", [9, 9, 9]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    code = "import sys; from spiking_yolo.data.sources import open_video; open_video(sys.argv[1]).__enter__()"
    os.mkfifo(tmp_path / "pipe.mp4")
    reasons = {
        "no.mp4": "does not exist",
        "cut.mp4": "damaged",
        "97": "webcam 97",
        "pipe.mp4": "a pipe or a device",
    }
    for source, reason in reasons.items():
        argument = source if source == "97" else str(tmp_path / source)
        command = [sys.executable, "-c", code, argument]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        noise, _, traceback = done.stderr.partition("Traceback")
        assert noise == done.stdout == ""
        assert reason in traceback.splitlines()[-1]
