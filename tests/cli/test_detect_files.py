"""tools/detect.py: the names of what it saves, of photographs and of videos."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.tiny import ANYTHING, files, photo
from helpers.video import break_tail, noise, read_frames, walk, write_frames
from PIL import Image

from spiking_yolo.errors import Notice


def test_run_directories_count_up_unless_reused(detect, image, tmp_path):
    for _ in range(3):
        assert detect(image, "--T", 1) == 0
    assert files(tmp_path / "runs") == {"exp/a.jpg", "exp2/a.jpg", "exp3/a.jpg"}
    assert detect(image, "--T", 1, "--name", "exp", "--exist-ok", "--save-txt") == 0
    assert "exp/labels/a.txt" in files(tmp_path / "runs") and not (tmp_path / "runs/exp4").exists()


def test_equal_names_do_not_overwrite_each_other(detect, image, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    names = ["a.png", "a-2.png", "b.png"]
    paths = [photo(other / name) for name in names]
    assert detect(paths[1], image, paths[0], image, "--T", 1) == 0
    assert files(tmp_path / "runs") == {"exp/a-2.jpg", "exp/a.jpg", "exp/a-3.jpg", "exp/a-4.jpg"}


def test_figures_come_in_another_format_too(detect, image, tmp_path):
    assert detect(image, "--T", 1, "--overlay", "--layers", "all", "--figures", "pdf") == 0
    rates = {Path(name) for name in files(tmp_path / "runs") if "rates" in name}
    assert {path.suffix for path in rates} == {".png", ".pdf"}
    assert (
        {path.stem for path in rates if path.suffix == ".png"}
        == {path.stem for path in rates}
        >= {"summary"}
    )


def test_results_of_one_name_in_a_folder_keep_their_suffix(detect, tmp_path):
    """So that label files match their pictures, whatever comes first."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "a.bmp"):
        photo(folder / name)
    assert detect(folder, "--T", 1, "--save-txt") == 0
    wanted = {f"exp/{name}.jpg" for name in ("a", "a-jpg", "a-png")}
    assert files(tmp_path / "runs") == wanted | {
        f"exp/labels/{name}.txt" for name in ("a", "a-jpg", "a-png")
    }


def write_clip(path: Path, count: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (80, 48))
    for seed in range(count):
        writer.write(np.array(Image.open(photo(path.with_suffix(".png"), seed)))[..., ::-1].copy())
    writer.release()
    return path


def test_video(detect, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4")
    assert (
        detect(
            clip, *ANYTHING, "--save-json", "--save-txt", "--every", 2, "--max-frames", 2, "--ann"
        )
        == 0
    )
    labels = {"exp/labels/clip/000000.txt", "exp/labels/clip/000002.txt"}
    assert files(tmp_path / "runs") == {
        "exp/clip.mp4",
        "exp/clip.jpg",
        "exp/detections.json",
        *labels,
    }
    entries = json.loads((tmp_path / "runs/exp/detections.json").read_text())
    assert [e["image"] for e in entries] == [f"{clip}#0", f"{clip}#2"]
    saved = cv2.VideoCapture(str(tmp_path / "runs/exp/clip.mp4"))
    assert (saved.get(cv2.CAP_PROP_FRAME_COUNT), saved.get(cv2.CAP_PROP_FPS)) == (2, 5)
    assert saved.get(cv2.CAP_PROP_FRAME_WIDTH) > 160
    saved.release()


def test_a_video_that_breaks_off_counts_as_far_as_it_goes(detect, tmp_path):
    clip = break_tail(write_frames(tmp_path / "clip.mp4", noise(40, 48, 80)))
    with pytest.warns(Notice, match="clip.mp4 breaks off") as notes:
        assert detect(clip, "--T", 1, "--every", 4) == 0
    came = int(re.search(r"(\d+) of 40 frames", str(notes[0].message))[1])
    assert len(read_frames(tmp_path / "runs/exp/clip.mp4")) == -(-came // 4) < 10


def test_labels_of_a_video_beside_an_image_that_is_called_like_a_frame(detect, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_frames(folder / "v.mp4", walk(2))
    photo(folder / "v-000000.png")
    assert detect(folder, *ANYTHING, "--save-txt") == 0
    assert files(tmp_path / "runs/exp/labels") == {"v-000000.txt", "v/000000.txt", "v/000001.txt"}


def test_crops_and_the_look_of_boxes(detect, image, tmp_path):
    assert detect(image, "--T", 1, "--conf", 0.3, "--save-crop", "--save-txt") == 0
    folder = tmp_path / "runs" / "exp"
    crops = list((folder / "crops").rglob("a-*.jpg"))
    assert len(crops) == len((folder / "labels/a.txt").read_text().splitlines()) > 0
    look = ("--line-width", 3, "--hide-labels", "--steps", 1)
    assert detect(image, "--T", 1, "--conf", 0.3, *look) == 0
    plain, bold = (Image.open(tmp_path / f"runs/{name}/a.jpg") for name in ("exp", "exp2"))
    assert np.asarray(plain).tolist() != np.asarray(bold).tolist()
    assert (tmp_path / "runs/exp2/a-steps/T1.jpg").is_file()
