"""`detect --page` of a video: its numbers are those of the stream."""

import numpy as np
import pytest
from helpers.pages import parsed
from helpers.tiny import run_tool, write_tiny
from helpers.video import read_frames, walk, write_frames

from spiking_yolo import SpikingYOLO


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def write_page(weights, tmp_path):
    def call(*args: object) -> dict:
        path = tmp_path / "page.html"
        where = ("--page", path, "--weights", weights, "--project", tmp_path)
        assert run_tool("detect", *args, *where, "--conf", 0.3) == 0
        return parsed(path).data

    return call


def test_a_video_has_the_streams_numbers(write_page, weights, tmp_path, capsys):
    clip = write_frames(tmp_path / "clip.mp4", walk(6))
    data = write_page(clip, "--every", 2)
    assert "page.html, 0." in capsys.readouterr().out
    frames = list(SpikingYOLO(weights).stream(clip, conf=0.3, every=2))
    assert data["frame"] == [0, 2, 4] == [one.frame for one in frames] and len(data["images"]) == 3
    assert np.allclose(data["operations"], [one.operations_per_mac for one in frames], rtol=1e-3)
    classes = [[box[5] for box in boxes] for boxes in data["boxes"]]
    assert classes == [one.boxes.cls.tolist() for one in frames]
    keys = {account["key"] for account in data["accounts"]}
    assert keys == set(data["energy"]) == set(data["annEnergy"])
    # The operations of a frame are those of its layers together.
    assert [layer["name"] for layer in data["layers"]] == ["conv 2", "conv 3"]
    together = np.sum([layer["values"] for layer in data["layers"]], axis=0)
    assert np.allclose(together, data["operations"], rtol=1e-2)
    assert data["tracks"] == [] and any(data["ann"])
    # The video beside the page shows the ANN only where that is asked for.
    assert read_frames(tmp_path / "exp" / "clip.mp4")[0].shape == (48, 80, 3)


def test_a_video_has_its_tracks(write_page, weights, tmp_path):
    pytest.importorskip("trackers", reason="needs the extra track")
    clip = write_frames(tmp_path / "clip.mp4", walk(5))
    tracks = write_page(clip, "--track")["tracks"]
    expected: dict[str, list[int]] = {}
    for one in SpikingYOLO(weights).stream(clip, conf=0.3, track=True):
        for box in one.entries():
            if box["track_id"] is not None:
                expected.setdefault(f"{box['track_id']} {box['class']}", []).append(one.frame)
    assert {track["name"]: track["frames"] for track in tracks} == expected and expected
