"""Cameras: opened again when they drop out, stall or change, and never behind."""

import time
import warnings
from threading import Event

import numpy as np
import pytest
from helpers.camera import camera
from helpers.video import grey, write_frames

from spiking_yolo.data import connection, live
from spiking_yolo.data.video import frames_of, open_video
from spiking_yolo.errors import Notice, UserError


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(live, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(connection, "STALL", 0.5)


def sending(frames, wait=0.0, after=0.0):
    """A script that sends frames, each so many seconds after the one before, and then stalls."""

    def script(send):
        for frame in frames:
            send(frame)
            time.sleep(wait)
        time.sleep(after)

    return script


def test_a_camera_that_drops_out_stalls_and_changes_its_size_is_opened_again(recwarn):
    warnings.simplefilter("always")
    small, large, last = grey([20, 30, 40, 50]), grey([60, 70, 80, 90], 96, 128), grey([120] * 4)
    scripts = sending(small, 0.1), sending(large, 0.1, after=2), sending(last, 0.1)
    with camera(*scripts) as address, open_video(address, retries=2) as video:
        seen = []
        with pytest.raises(UserError, match="opened again 2 times in vain"):
            for frame in video.frames():
                seen.append((round(float(frame.mean())), len(frame), video.anew, video.time))
    # FFmpeg looks at three frames before it gives the first, so that up to two of them are dropped.
    values, heights, anew, times = zip(*seen, strict=True)
    assert {value // 60 for value in values} == {0, 1, 2} and len(seen) + video.dropped == 12
    parts = [(value > 55) + (value > 100) for value in values]
    assert heights == tuple((48, 96, 48)[part] for part in parts)
    assert anew == tuple(bool(step) for step in np.diff([0, *parts]))
    # A stream without times has those of arrival: the stall took half a second, not two.
    steps = np.diff(times)
    assert all(steps > 0) and 0.5 < steps[parts.index(2) - 1] < 1.5 and times[0] < 0.5
    said = [str(one.message) for one in recwarn if one.category is Notice]
    assert [("again in" in line, "is back" in line) for line in said] == [
        (True, False), (False, True), (True, False), (False, True), (True, False), (True, False),
    ]  # fmt: skip
    assert "0.01 s" in said[0] and "0.02 s" in said[5] and not any("secret" in one for one in said)


def test_frames_that_come_meanwhile_are_dropped_and_counted():
    sent = Event()

    def script(send):
        for frame in grey(range(0, 200, 20)):
            send(frame)
        sent.set()
        time.sleep(5)

    with camera(script) as address, open_video(address) as video:
        frames = video.frames()
        first = next(frames)
        sent.wait()
        time.sleep(0.3)
        # The newest one, not the next one.
        assert round(float(next(frames).mean())) == 180 and video.position == 10
        assert video.dropped == 8 and round(float(first.mean())) < 180


def test_one_of_so_many_frames_of_a_camera():
    with camera(sending(grey(range(0, 180, 20)), 0.05)) as address:
        video, numbers = open_video(address, retries=0), []
        with pytest.raises(UserError):
            for _ in video.frames(3):
                numbers.append(video.position - 1)
    assert (numbers, video.dropped) == ([0, 3, 6], 0)


def test_a_dead_camera_is_said_at_once_and_waited_for_only_on_demand():
    with camera() as address:
        with pytest.raises(UserError, match=r"cannot open http://127.*check the address"):
            open_video(address)
        with open_video(address, retries=3) as video, pytest.raises(UserError, match="3 times"):
            next(video.frames())


def test_a_video_may_be_read_like_a_camera(tmp_path):
    path = write_frames(tmp_path / "v.mp4", grey([20, 60, 100, 140]), fps=20)
    with open_video(str(path), live=True) as video:
        began = time.monotonic()
        frames = [(round(float(frame.mean()), -1), video.time) for frame in video.frames()]
    assert time.monotonic() - began > 0.14 and video.dropped == 0
    assert frames == [
        (20, 0),
        (60, pytest.approx(0.05)),
        (100, pytest.approx(0.1)),
        (140, pytest.approx(0.15)),
    ]
    assert frames_of(video) is video
