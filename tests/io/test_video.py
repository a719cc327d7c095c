"""Videos that are written: what is read back, odd sizes, full disks and interruptions."""

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.video import grey, noise, read_frames

from spiking_yolo.data import video_writer
from spiking_yolo.data.sources import open_video
from spiking_yolo.data.video_writer import (
    ENCODERS,
    Encoder,
    FfmpegProgram,
    PyAv,
    Size,
    VideoWriter,
    best_encoder,
    fitted,
    frame_count,
    rate,
)
from spiking_yolo.errors import UserError

ROOT = Path(__file__).parents[2]


NAMES = ("pyav", "ffmpeg", "avc1", "vp09", "mp4v")


@pytest.fixture(params=range(len(ENCODERS)), ids=NAMES)
def encoder(request, monkeypatch, tmp_path_factory):
    """Each encoder that this machine has."""
    one = ENCODERS[request.param]
    path = tmp_path_factory.mktemp("tried") / "v.mp4"
    if not video_writer.writes(one, path):
        pytest.skip(f"{NAMES[request.param]} is not installed or writes no {one.name}")
    monkeypatch.setattr(video_writer, "best_encoder", lambda: one)
    return one


def test_frames_come_back_in_order_size_and_colour(tmp_path, encoder):
    path, values = tmp_path / "new/v.mp4", [30, 90, 150, 210]
    with VideoWriter(path, 12.5) as writer:
        for value in values:
            frame = grey([value], 49, 65)[0]
            frame[..., 2] = 0
            writer.write(frame)
        assert not path.exists()
    frames = read_frames(path)
    # An odd last row or column is cut.
    assert [f.shape for f in frames] == [(48, 64, 3)] * 4 and frame_count(path) == 4
    np.testing.assert_allclose([f[..., 0].mean() for f in frames], values, atol=12)
    assert max(f[..., 2].mean() for f in frames) < 40, "red and blue changed places"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("fps", [0.1, 7, 23.976, 30000 / 1001, 59.94, 240])
def test_rates_and_the_last_frames_arrive(tmp_path, encoder, fps):
    with VideoWriter(tmp_path / "v.mp4", fps) as writer:
        for frame in noise(70, 32, 32):
            writer.write(frame)
    with open_video(str(writer.path)) as video:
        assert video.fps == pytest.approx(fps, rel=0.02)
    assert len(read_frames(writer.path)) == 70


def test_a_picture_of_one_pixel(tmp_path, encoder):
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        writer.write(grey([200], 1, 1)[0])
    (frame,) = read_frames(writer.path)
    assert frame.shape == (2, 2, 3)


def test_nothing_is_left_without_a_frame(tmp_path):
    VideoWriter(tmp_path / "new/v.mp4", 25).close()
    assert list(tmp_path.iterdir()) == []


def mute(path, fps, size):
    """A writer that opens and writes nothing, as OpenCV's does with a foreign library for H.264."""
    return SimpleNamespace(write=lambda frame: None, close=lambda: None)


def missing(path, fps, size):
    raise ImportError("no such library")


def refusing(path, fps, size):
    raise FileNotFoundError("no such program")


@pytest.mark.parametrize("broken", [[], [mute], [missing, refusing, mute]])
def test_the_encoder_is_the_first_one_whose_file_can_be_read_back(broken, monkeypatch):
    last = ENCODERS[-1]
    first = [Encoder("H.264", one) for one in broken]
    monkeypatch.setattr(video_writer, "ENCODERS", (*first, last))
    assert best_encoder.__wrapped__() is last
    monkeypatch.setattr(video_writer, "ENCODERS", first)
    with pytest.raises(UserError, match=r"nothing here writes videos: pip install '.*\[video\]'"):
        best_encoder.__wrapped__()


def test_rates_are_fractions():
    assert rate(30000 / 1001) == Fraction(30000, 1001) and rate(12.5) == Fraction(25, 2)
    assert rate(25 / 100_000) == Fraction(1, 4000)


FAKE_FFMPEG = """#!{python}
import sys, cv2, numpy as np
a = sys.argv
w, h = map(int, a[a.index("-s") + 1].split("x"))
above, _, below = a[a.index("-r") + 1].partition("/")
assert a[a.index("-pix_fmt") + 1] == "rgb24" and a[a.index("-i") + 1] == "-" and "libx264" in a
writer = cv2.VideoWriter(a[-1], cv2.VideoWriter.fourcc(*"mp4v"), int(above) / int(below or 1), (w, h))
while len(frame := sys.stdin.buffer.read(w * h * 3)) == w * h * 3:
    writer.write(np.frombuffer(frame, np.uint8).reshape(h, w, 3)[..., ::-1])
writer.release()
sys.exit({status})
"""


@pytest.mark.parametrize("status", [0, 1])
def test_the_program_ffmpeg_gets_the_frames_by_a_pipe(tmp_path, monkeypatch, status):
    """A program of that name in its place, which writes what it reads."""
    program = tmp_path / "bin/ffmpeg"
    program.parent.mkdir()
    program.write_text(FAKE_FFMPEG.format(python=sys.executable, status=status))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    encoder = Encoder("H.264", FfmpegProgram)
    assert video_writer.writes(encoder, tmp_path / "tried.mp4") is (status == 0)
    monkeypatch.setattr(video_writer, "best_encoder", lambda: encoder)
    writer = VideoWriter(tmp_path / "a:b.mp4", 12.5)
    for value in (40, 200):
        writer.write(grey([value])[0])
    if status:
        with pytest.raises(UserError, match="ffmpeg ended with status 1; check the folder"):
            writer.close()
        assert not writer.path.exists()
    else:
        writer.close()
        dark, bright = read_frames(writer.path)
        assert abs(dark.mean() - 40) < 8 and abs(bright.mean() - 200) < 8


def test_a_frame_of_another_size_is_fitted_into_the_first(tmp_path, encoder):
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        for frame in (
            *grey([200]),
            *grey([200], 48, 32),
            *grey([200], 24, 64),
            *grey([200], 480, 640),
        ):
            writer.write(frame)
    first, tall, wide, large = (f[..., 0].astype(int) for f in read_frames(writer.path))
    assert {f.shape for f in (first, tall, wide, large)} == {(48, 64)}
    np.testing.assert_allclose([f[24, 32] for f in (first, tall, wide, large)], 200, atol=8)
    np.testing.assert_allclose([tall[24, 4], tall[24, 60], wide[3, 32], wide[44, 32]], 128, atol=8)
    np.testing.assert_allclose([tall[4, 20], tall[44, 44], wide[14, 2], large[2, 2]], 200, atol=8)


def test_fitting_keeps_what_fits_and_survives_slivers():
    frame = noise(1, 10, 20)[0]
    assert fitted(frame, 20, 10) is frame
    assert fitted(np.zeros((1, 4000, 3), np.uint8), 20, 10).shape == (10, 20, 3)
    np.testing.assert_array_equal(fitted(frame, 20, 14)[2:12], frame)


def test_a_full_disk_is_named_and_the_frames_so_far_play(tmp_path, encoder, monkeypatch):
    writer = VideoWriter(tmp_path / "v.mp4", 25)
    for frame in noise(3):
        writer.write(frame)
    monkeypatch.setattr(
        video_writer.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000)
    )
    with pytest.raises(UserError, match=r"v\.mp4 is full after 3 frames"):
        writer.write(noise(1)[0])
    writer.close()
    assert len(read_frames(writer.path)) == 3


IMPORTS = (
    "import pathlib, signal, sys\n"
    "from helpers.video import noise\n"
    "from spiking_yolo.data import video_writer\n"
    "from spiking_yolo.data.video_writer import ENCODERS, VideoWriter\n"
    "video_writer.best_encoder = lambda: ENCODERS[int(sys.argv[-1])]\n"
)
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": os.environ["PATH"]}


def test_a_write_that_fails_unseen_is_found_when_the_file_is_closed(tmp_path, encoder):
    """A limit on the size of files acts as a full disk that cannot be asked."""
    code = IMPORTS + (
        "with VideoWriter(sys.argv[1], 25) as writer:\n"
        "    for frame in noise(30): writer.write(frame)\n"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    number = str(ENCODERS.index(encoder))
    command = [sys.executable, "-c", code, str(tmp_path / "v.mp4"), number]
    done = subprocess.run(
        command, env=ENVIRONMENT, preexec_fn=limit, capture_output=True, text=True, timeout=60
    )
    noisy, _, traceback = done.stderr.partition("Traceback")
    assert noisy == "" and f"cannot write {tmp_path}/v.mp4: " in traceback
    assert "; check the folder and the free space" in traceback
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_a_playable_video(tmp_path, encoder):
    path, ready = tmp_path / "v.mp4", tmp_path / "ready"
    code = IMPORTS + (
        # Which a shell may have switched off.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "frames = noise(10)\n"
        "with VideoWriter(sys.argv[1], 25) as writer:\n"
        "    while True:\n"
        "        for frame in frames: writer.write(frame)\n"
        "        pathlib.Path(sys.argv[2]).touch()\n"
    )
    words = [str(path), str(ready), str(ENCODERS.index(encoder))]
    process = subprocess.Popen([sys.executable, "-c", code, *words], env=ENVIRONMENT, stderr=-3)
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert frame_count(path) >= 10 and len(read_frames(path)) == frame_count(path)


def test_a_frame_whose_writing_is_interrupted_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each of the first 60 frames, among them the one at which the first packet is complete."""
    pytest.importorskip("av")
    path = tmp_path / "v.mp4"
    writer = PyAv(path, 25, Size(128, 96))

    def interrupted(self: Future[Any]) -> Any:
        raise KeyboardInterrupt

    for frame in noise(60):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Future, "result", interrupted)
            writer.write(frame)
    writer.close()
    assert frame_count(path) == 60


def test_a_folder_that_cannot_be_written_is_named(tmp_path, encoder):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/v\.mp4"):
        VideoWriter(tmp_path / "file/v.mp4", 25).write(noise(1)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
