"""Cameras: opened again when they drop out, stall or change, and never behind."""

import subprocess
import sys
import time
import warnings
from threading import Event, Semaphore, Thread, Timer

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
    monkeypatch.setattr(connection, "STALL", 1.0)


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
    scripts = sending(small, 0.1), sending(large, 0.1, after=8), sending(last, 0.1)
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
    # A stream without times has those of arrival: the stall took a second, not eight.
    steps = np.diff(times)
    assert all(steps > 0) and 0.9 < steps[parts.index(2) - 1] < 6 and times[0] < 6
    said = [str(one.message) for one in recwarn if one.category is Notice]
    assert [("again in" in line, "is back" in line) for line in said] == [
        (True, False), (False, True), (True, False), (False, True), (True, False), (True, False),
    ]  # fmt: skip
    assert "0.01 s" in said[0] and "0.02 s" in said[5] and not any("secret" in one for one in said)


def soon(condition):
    """Whether it holds within ten seconds."""
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def in_turn(parts, taken):
    """A script that sends each part when the test has taken a frame of the one before. FFmpeg looks
    at three frames before it gives the first.
    """

    def script(send):
        for part in parts:
            for frame in part:
                send(frame)
            taken.acquire(timeout=10)

    return script


def test_frames_that_come_meanwhile_are_dropped_and_counted():
    frames, taken = grey(range(0, 200, 20)), Semaphore(0)
    script = in_turn((frames[:3], frames[3:]), taken)
    with camera(script) as address, open_video(address, retries=0) as video:
        given = video.frames()
        assert round(float(next(given).mean())) <= 40
        taken.release()
        # Of ten frames all but the one that was taken and the newest.
        assert soon(lambda: video.dropped == 8)
        assert round(float(next(given).mean())) == 180 and video.position == 10
        taken.release()
        with pytest.raises(UserError, match="opened again 0 times"):
            next(given)
    assert video.dropped == 8


def test_one_of_so_many_frames_of_a_camera():
    frames, taken = grey(range(0, 180, 20)), Semaphore(0)
    with camera(in_turn((frames[:3], frames[3:6], frames[6:]), taken)) as address:
        video, numbers = open_video(address, retries=0), []
        with pytest.raises(UserError, match="opened again 0 times"):
            for _ in video.frames(3):
                numbers.append(video.position - 1)
                taken.release()
    # What came before anybody said that it is one of three.
    assert numbers[0] == video.dropped <= 2
    assert np.diff(numbers).tolist() == [3, 3]


@pytest.mark.parametrize("ending", ["close", "generator", "thread"])
def test_nothing_waits_for_a_camera_that_was_closed_or_whose_thread_is_no_more(ending, monkeypatch):
    monkeypatch.setattr(connection, "STALL", 30.0)
    monkeypatch.setattr(live, "LOOK", 0.1)
    silent = Event()
    with camera(lambda send: [*map(send, grey([20] * 3)), silent.wait(20)]) as address:
        wake = Event()
        video = open_video(address, wake=wake)
        given = video.frames()
        next(given)
        # What the camera sent while it was opened is there, or is not.
        assert soon(lambda: video._number == 3)
        if video.ready:
            next(given)
        assert not video.ready
        wake.clear()
        began = time.monotonic()
        if ending == "generator":
            given.close()
        elif ending == "close":
            Timer(0.2, video.files.close).start()
            assert next(given, None) is None
        else:
            # As in a process that was forked.
            video._thread = Thread()
            assert next(given, None) is None
        assert time.monotonic() - began < 5 and wake.is_set() and video.ready
        assert next(video.frames(), None) is None
        silent.set()


def test_a_camera_that_nobody_closes_does_not_keep_the_interpreter():
    script = "from spiking_yolo.data.video import open_video; import sys"
    script += "; frames = open_video(sys.argv[1]).frames(); next(frames)"
    silent = Event()
    with camera(lambda send: [*map(send, grey([20] * 3)), silent.wait(50)]) as address:
        call = [sys.executable, "-c", script, address]
        done = subprocess.run(call, capture_output=True, text=True, timeout=40)
        silent.set()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_dead_camera_is_said_at_once_and_waited_for_only_on_demand():
    with camera() as address:
        with pytest.raises(UserError, match=r"cannot open http://127.*check the address"):
            open_video(address)
        with open_video(address, retries=3) as video, pytest.raises(UserError, match="3 times"):
            next(video.frames())


def test_a_video_may_be_read_like_a_camera(tmp_path):
    path = write_frames(tmp_path / "v.mp4", grey([20, 60, 100, 140]), fps=20)
    began = time.monotonic()
    with open_video(str(path), live=True) as video:
        frames, late = {}, []
        for frame in video.frames():
            frames[round(float(frame.mean()), -1)] = video.time
            late.append(time.monotonic() - began - video.time)
    # Each when it is due, and one that comes meanwhile takes the place of the one before.
    times = {20: 0.0, 60: 0.05, 100: 0.1, 140: 0.15}
    assert frames == {value: pytest.approx(times[value]) for value in frames}
    assert min(late) > 0 and 140 in frames and len(frames) + video.dropped == 4
    assert frames_of(video) is video
