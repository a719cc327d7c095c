"""Videos that are written: what is read back, odd sizes, full disks and interruptions."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.video import grey, noise, read_frames

from spiking_yolo.data import video
from spiking_yolo.data.video import VideoWriter, best_codec, fitted, frame_count
from spiking_yolo.errors import UserError

ROOT = Path(__file__).parents[2]


def test_frames_come_back_in_order_size_and_colour(tmp_path):
    path, values = tmp_path / "new/v.mp4", [30, 90, 150, 210]
    with VideoWriter(path, 12.5) as writer:
        for value in values:
            frame = grey([value])[0]
            frame[..., 2] = 0
            writer.write(frame)
        assert not path.exists()
    frames = read_frames(path)
    assert [f.shape for f in frames] == [(48, 64, 3)] * 4 and frame_count(path) == 4
    np.testing.assert_allclose([f[..., 0].mean() for f in frames], values, atol=8)
    assert max(f[..., 2].mean() for f in frames) < 30, "red and blue changed places"
    assert [p.name for p in path.parent.iterdir()] == ["v.mp4"]


def test_nothing_is_left_without_a_frame(tmp_path):
    VideoWriter(tmp_path / "new/v.mp4", 25).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [{"avc1"}, {"avc1", "mp4v"}, set()])
def test_the_codec_is_the_first_one_that_can_be_read_back(broken, monkeypatch):
    """A writer may open and write nothing that plays, as OpenCV's does with a foreign H.264
    library.
    """
    fresh, opened, original = best_codec.__wrapped__, [], video.open_writer
    silent = SimpleNamespace(write=lambda frame: None, release=lambda: None)

    def open_writer(path, codec, *rest):
        opened.append(codec)
        return silent if codec in broken else original(path, "mp4v", *rest)

    monkeypatch.setattr(video, "open_writer", open_writer)
    if len(broken) == 2:
        with pytest.raises(UserError, match=r"writes no \.mp4"):
            fresh()
    else:
        assert fresh() == ("mp4v" if broken else "avc1")
    assert opened == ["avc1", "mp4v"][: 1 + bool(broken)]


def test_a_frame_of_another_size_is_fitted_into_the_first(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        for frame in (
            *grey([200]),
            *grey([200], 48, 32),
            *grey([200], 24, 64),
            *grey([200], 480, 640),
        ):
            writer.write(frame)
    first, tall, wide, large = (f[..., 0].astype(int) for f in read_frames(tmp_path / "v.mp4"))
    assert {f.shape for f in (first, tall, wide, large)} == {(48, 64)}
    np.testing.assert_allclose([f[24, 32] for f in (first, tall, wide, large)], 200, atol=8)
    np.testing.assert_allclose([tall[24, 4], tall[24, 60], wide[3, 32], wide[44, 32]], 128, atol=8)
    np.testing.assert_allclose([tall[4, 20], tall[44, 44], wide[14, 2], large[2, 2]], 200, atol=8)


def test_fitting_keeps_what_fits_and_survives_slivers():
    frame = noise(1, 10, 20)[0]
    assert fitted(frame, 20, 10) is frame
    assert fitted(np.zeros((1, 4000, 3), np.uint8), 20, 10).shape == (10, 20, 3)
    np.testing.assert_array_equal(fitted(frame, 20, 14)[2:12], frame)


def test_a_full_disk_is_named_and_the_frames_so_far_play(tmp_path, monkeypatch):
    writer = VideoWriter(tmp_path / "v.mp4", 25)
    for frame in noise(3):
        writer.write(frame)
    monkeypatch.setattr(video.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"v\.mp4 is full after 3 frames"):
        writer.write(noise(1)[0])
    writer.close()
    assert len(read_frames(tmp_path / "v.mp4")) == 3


def test_a_write_that_fails_unseen_is_found_when_the_file_is_closed(tmp_path):
    """A limit on the size of files acts as a full disk that cannot be asked."""
    code = (
        "import sys; from helpers.video import noise; from spiking_yolo.data.video import VideoWriter, best_codec\n"
        "best_codec()\n"
        "with VideoWriter(sys.argv[1], 25) as writer:\n"
        "    for frame in noise(30): writer.write(frame)\n"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    command = [sys.executable, "-c", code, str(tmp_path / "v.mp4")]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, env=environment, preexec_fn=limit, capture_output=True, text=True, timeout=60
    )
    noisy, _, traceback = done.stderr.partition("Traceback")
    assert (
        noisy == ""
        and "v.mp4: its frames did not arrive; check the folder and the free" in traceback
    )
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_a_playable_video(tmp_path):
    path, ready = tmp_path / "v.mp4", tmp_path / "ready"
    code = (
        "import signal, sys, pathlib; from helpers.video import noise; from spiking_yolo.data.video import VideoWriter\n"
        # Which a shell may have switched off.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "frames = noise(10)\n"
        "with VideoWriter(sys.argv[1], 25) as writer:\n"
        "    while True:\n"
        "        for frame in frames: writer.write(frame)\n"
        "        pathlib.Path(sys.argv[2]).touch()\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(ready)], env=environment, stderr=-3
    )
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert frame_count(path) >= 10 and len(read_frames(path)) == frame_count(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/v\.mp4"):
        VideoWriter(tmp_path / "file/v.mp4", 25).write(noise(1)[0])
    with pytest.raises(UserError, match=r"cannot write .*v\.xyz"):
        VideoWriter(tmp_path / "v.xyz", 25).write(noise(1)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
