"""An image of a dataset that is damaged: one line names it, and once it is whole again nothing has
been lost.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import classifying, evaluating
from helpers.tiny import ROOT, run_tool, write_tiny
from PIL import Image

RUN = ("--T", 2, "--method", "p-norm", "--project")
TRAIN = ("--epochs", 1, "--device", "cpu", "--no-calibrate", "--project")
Output = pytest.CaptureFixture[str]


def damage(path: Path) -> bytes:
    """Cut the file; returns what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def one_line(capsys: Output, name: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("error: cannot read ") and error.count("\n") == 1 and name in error, (
        error
    )


def test_an_evaluation_goes_on_once_the_image_is_whole(tmp_path: Path, capsys: Output) -> None:
    weights, data = evaluating.make_scene(tmp_path)
    call = (
        "--data",
        data,
        "--images",
        tmp_path / "images",
        "--weights",
        weights,
        *RUN,
        tmp_path / "runs",
    )
    assert run_tool("eval", *call, "--name", "whole") == 0
    # The first of the second four, which are simulated together.
    image = tmp_path / "images" / "004.png"
    content = damage(image)
    capsys.readouterr()
    assert run_tool("eval", *call) == 2
    one_line(capsys, str(image))
    (log,) = (tmp_path / "runs/exp").glob("records-*.0.jsonl")
    assert len(log.read_text().splitlines()) > 1
    image.write_bytes(content)
    assert run_tool("eval", *call, "--resume", "latest") == 0
    for name in ("predictions_2.json", "predictions_ann.json"):
        assert (tmp_path / "runs/exp" / name).read_bytes() == (
            tmp_path / "runs/whole" / name
        ).read_bytes()


def test_classification(tmp_path: Path, capsys: Output) -> None:
    weights, data = classifying.write_all(tmp_path)
    image = sorted((data / "test").rglob("*.png"))[3]
    damage(image)
    assert run_tool("eval", "--data", data, "--weights", weights, *RUN, tmp_path / "runs") == 2
    one_line(capsys, image.name)
    damage(sorted((data / "train").rglob("*.png"))[2])
    task = ("--task", "classify", "--model", "resnet20", "--data", data)
    assert run_tool("train", *task, *TRAIN, tmp_path / "runs") == 2
    one_line(capsys, str(data / "train"))


@pytest.mark.slow
def test_what_pillow_warns_of_is_one_line(tmp_path: Path) -> None:
    """Each of its texts about damaged EXIF data, which have several."""
    write_tiny(tmp_path)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x0f\x01\x02\0\xff\0\0\0\xff\xff\xff\0"
    Image.open(tmp_path / "photos" / "a.png").save(tmp_path / "a.jpg", exif=exif)
    network = ("--weights", tmp_path / "tiny.weights", *RUN, tmp_path / "runs")
    command = [sys.executable, "tools/detect.py", tmp_path / "a.jpg", *network]
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    assert [line[:9] for line in done.stderr.splitlines()] == ["warning: "] * 2, done.stderr
