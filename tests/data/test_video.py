"""Videos: what is read is what OpenCV reads, what is written plays, and broken files are named."""

import os
import warnings
from contextlib import closing
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from helpers.video import break_tail, grey, noise, read_frames, walk, write_frames
from PIL import Image

from spiking_yolo.data import live
from spiking_yolo.data.connection import Video
from spiking_yolo.data.video import frames_of, open_video, previewed
from spiking_yolo.data.writer import VideoWriter
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.files import sample_clip


def means(images) -> list[int]:
    return [round(float(image.mean())) for image in images]


def encoded(path: Path, pixels: str, width: int = 158, height: int = 122) -> Path:
    """A clip in a format of pixels, by PyAV alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for frame in walk(4, height, width):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return path


def uneven(path: Path, frames, times) -> Path:
    """A clip whose frames are shown at these times, by PyAV alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rotated(path: Path, quarter: int) -> Path:
    """The same file with a display matrix that turns it, as phones write it."""
    matrices = [
        np.array(numbers, ">i4").tobytes()
        for numbers in ([1, 0, 0, 0, 1, 0], [0, 1, 0, -1, 0, 0], [-1, 0, 0, 0, -1, 0])
    ]
    scale = [matrix.replace(b"\x00\x00\x00\x01", b"\x00\x01\x00\x00") for matrix in matrices]
    scale = [matrix.replace(b"\xff\xff\xff\xff", b"\xff\xff\x00\x00") for matrix in scale]
    content = path.read_bytes()
    # The first such matrix is that of the film, the second that of its track.
    at = content.index(scale[0], content.index(b"tkhd"))
    path.write_bytes(content[:at] + scale[quarter] + content[at + len(scale[0]) :])
    return path


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuvj420p", "sample", 1, 2])
def test_frames_are_opencv_s_to_the_bit(pixels, tmp_path):
    if pixels == "sample":
        path = Path(sample_clip())
    elif isinstance(pixels, int):
        path = rotated(encoded(tmp_path / "v.mp4", "yuv420p"), pixels)
    else:
        path = encoded(tmp_path / "v.mp4", pixels)
    expected = read_frames(path)
    with open_video(str(path)) as video:
        frames = list(video.frames())
    capture = cv2.VideoCapture(str(path))
    assert video.count == len(frames) == len(expected) == capture.get(cv2.CAP_PROP_FRAME_COUNT)
    assert video.fps == pytest.approx(capture.get(cv2.CAP_PROP_FPS))
    for frame, pixels_of in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame, pixels_of)


TIMES = [0, 0.04, 0.08, 0.12, 5, 5.04, 60]


def test_times_are_the_container_s(tmp_path):
    path = uneven(tmp_path / "v.mp4", walk(7), [3 + time for time in TIMES])
    with open_video(str(path)) as video:
        assert [video.time for _ in video.frames()] == pytest.approx(TIMES)
    with open_video(str(path)) as video:
        assert [video.time for _ in video.frames(3)] == pytest.approx(TIMES[::3])
    with closing(VideoWriter(tmp_path / "w.mp4", 25)) as writer:
        for frame, time in zip(walk(7), TIMES, strict=True):
            writer.write(frame, time + 9)
    with av.open(str(writer.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx(TIMES) and 60 <= container.duration / 1e6 < 60.1


def test_a_container_that_counts_anew_goes_on():
    """As a recorder does at midnight: the times 7, 8, 0, 2 are 0, 1, then a period later 2 more."""
    shots = [SimpleNamespace(time=time) for time in (7, 8, 0, 2)]
    video = Video("v", None, 4, shots, lambda _: grey([0])[0], attrgetter("time"))
    assert [video.time for _ in video.frames()] == [0, 1, 1.25, 3.25]


def test_a_broken_tail_is_said_and_what_was_read_counts(tmp_path):
    path = break_tail(write_frames(tmp_path / "v.mp4", noise(40)))
    with open_video(str(path)) as video, pytest.warns(Notice, match="breaks off") as notes:
        frames = list(video.frames())
    assert 5 < len(frames) < 40 and (video.position, video.count) == (len(frames), 40)
    assert len(notes) == 1
    whole = write_frames(tmp_path / "w.mp4", grey(range(0, 250, 10)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(frames_of(whole).frames())) == 25
        next(frames_of(whole).frames())


def test_a_webcam_is_opened_by_its_number(monkeypatch):
    frames, opened, closed = [np.full((4, 6, 3), [1, 2, 3], np.uint8)], [True, False], []
    camera = SimpleNamespace(
        isOpened=lambda: opened.pop(0),
        get=lambda _: 0.0,
        read=lambda: (True, frames.pop()) if frames else (False, None),
        release=lambda: closed.append(1),
    )
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera if number == 3 else None)
    monkeypatch.setattr(live, "PAUSES", (0.0,))
    with open_video("3", retries=1) as video:
        images = video.frames()
        assert next(images)[0, 0].tolist() == [3, 2, 1] and video.fps == 25
        with pytest.raises(UserError, match=r"cannot open webcam 3.*opened again 1 times in vain"):
            next(images)
    assert len(closed) == 2


def test_what_cannot_be_read_is_named_and_nothing_else_is_said(tmp_path, monkeypatch, capfd):
    whole = write_frames(tmp_path / "v.mp4", grey([9, 9, 9])).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "void.mp4").touch()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1:9/a.ts\n")
    os.mkfifo(tmp_path / "pipe.mp4")
    for source, word in (
        (tmp_path / "no.mp4", "does not exist"),
        (tmp_path / "cut.mp4", "damaged"),
        (tmp_path / "void.mp4", "void.mp4 is empty"),
        (tmp_path / "list.mp4", "damaged"),
        (tmp_path / "pipe.mp4", "a pipe or a device"),
        ("97", "webcam 97"),
        ("http://127.0.0.1:9/a.mp4", "refused; check the address"),
    ):
        with pytest.raises(UserError, match=word), open_video(str(source)) as video:
            next(video.frames())
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for n in (10, 2, 1):
        Image.fromarray(grey([n])[0]).save(tmp_path / f"{n}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    video = frames_of(str(tmp_path))
    assert (means(video.frames()), video.fps, video.count) == ([1, 2, 10], 25, 3)


def test_arrays_in_a_row():
    for source, total in [
        (grey([3, 7]), 2),
        (np.stack(grey([3, 7])), 2),
        ((frame for frame in grey([3, 7])), None),
        (np.array(grey([3, 7])) / np.float32(255), 2),
    ]:
        video = frames_of(source)
        assert (means(video.frames()), video.fps, video.count) == ([3, 7], 25, total)
        assert means(frames_of(grey([9])[0]).frames()) == [9]


def test_frames_are_read_on_use_and_a_bad_one_is_named(tmp_path):
    taken = []

    def camera():
        for value in (1, np.nan):
            taken.append(value)
            yield np.full((4, 4, 3), value) if value != 1 else grey([1])[0]

    images = frames_of(camera()).frames()
    assert taken == [] and means([next(images)]) == [1] and taken == [1]
    with pytest.raises(UserError, match="floats in"):
        next(images)
    with pytest.raises(UserError, match="has no frames"):
        next(frames_of(tmp_path).frames())
    with pytest.raises(UserError, match="has no frames"):
        next(frames_of([]).frames())


def test_written_frames_come_back_in_order_size_and_colour(tmp_path):
    path, values = tmp_path / "new/a:b.mp4", [30, 90, 150, 210]
    with closing(VideoWriter(path, 12.5)) as writer:
        for value in values:
            frame = grey([value], 49, 65)[0]
            frame[..., 2] = 0
            writer.write(frame)
        assert not path.exists()
    frames = read_frames(path)
    # An odd last row or column is cut.
    assert [f.shape for f in frames] == [(48, 64, 3)] * 4
    np.testing.assert_allclose([f[..., 0].mean() for f in frames], values, atol=12)
    assert max(f[..., 2].mean() for f in frames) < 40, "red and blue changed places"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    VideoWriter(tmp_path / "none.mp4", 25).close()
    assert not (tmp_path / "none.mp4").exists(), "without a frame there is no file"


def test_rates_and_the_last_frames_arrive(tmp_path):
    for fps in [0.1, 30000 / 1001, 240]:
        with closing(VideoWriter(tmp_path / "v.mp4", fps)) as writer:
            for frame in noise(70, 32, 32):
                writer.write(frame)
        with open_video(str(writer.path)) as video:
            assert video.fps == pytest.approx(fps, rel=0.02)
        assert len(read_frames(writer.path)) == 70


def test_a_black_beginning_gives_no_thresholds(tmp_path):
    bright = walk(31)
    path = write_frames(tmp_path / "a.mp4", [0 * frame for frame in bright] + bright)
    seen = list(previewed([str(path)], 8))
    assert seen and all(np.std(picture.source) > 8 for picture in seen)
    assert list(previewed([str(write_frames(tmp_path / "b.mp4", grey([0] * 3)))], 8))
