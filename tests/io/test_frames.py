"""Frames of videos, folders and arrays, and of videos that break off."""

import warnings

import numpy as np
import pytest
from helpers.video import break_tail, grey, noise, write_frames
from PIL import Image

from spiking_yolo.data import sources
from spiking_yolo.data.sources import Video, frames_to_read, open_video
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import Notice, UserError


def means(images) -> list[int]:
    return [round(float(image.mean())) for image in images]


def test_a_video_gives_its_frames_rate_and_length(tmp_path):
    images, fps, total = frames_of(write_frames(tmp_path / "v.mp4", grey([40, 120, 200]), fps=12.5))
    assert (fps, total) == (12.5, 3)
    np.testing.assert_allclose(means(images), [40, 120, 200], atol=8)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for n in (10, 2, 1):
        Image.fromarray(grey([n])[0]).save(tmp_path / f"{n}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    images, fps, total = frames_of(str(tmp_path))
    assert (means(images), fps, total) == ([1, 2, 10], 25, 3)


@pytest.mark.parametrize(
    ("source", "total"),
    [
        (grey([3, 7]), 2),
        (np.stack(grey([3, 7])), 2),
        ((frame for frame in grey([3, 7])), None),
        ([*grey([3]), Image.fromarray(grey([7], 10, 10)[0])], 2),
        (np.array(grey([3, 7])) / np.float32(255), 2),
    ],
)
def test_arrays_in_a_row(source, total):
    images, fps, count = frames_of(source)
    assert (means(images), fps, count) == ([3, 7], 25, total)


def test_one_picture_is_one_frame(tmp_path):
    Image.fromarray(grey([9])[0]).save(tmp_path / "a.png")
    for source in (grey([9])[0], tmp_path / "a.png"):
        images, _, total = frames_of(source)
        assert (means(images), total) == ([9], 1)


def test_frames_are_read_on_use():
    taken = []

    def camera():
        for value in (1, 2, 3):
            taken.append(value)
            yield grey([value])[0]

    images = frames_of(camera()).images
    assert taken == [] and means([next(images)]) == [1] and taken == [1]


def test_sources_without_frames_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no frames"):
        frames_of(tmp_path)
    for empty in ([], iter([]), np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(UserError, match="has no frames"):
            next(frames_of(empty).images)
    with pytest.raises(UserError, match=r"frame 1: .*no\.jpg does not exist"):
        next(frames_of(tmp_path / "no.jpg").images)
    with pytest.raises(UserError, match="does not exist"):
        frames_of(tmp_path / "no.mp4")


def test_a_bad_frame_is_named():
    images = frames_of([grey([1])[0], np.full((4, 4, 3), np.nan)]).images
    assert means([next(images)]) == [1]
    with pytest.raises(UserError, match="frame 2: a float image"):
        next(images)


def test_a_broken_tail_is_said_and_what_was_read_counts(tmp_path):
    path = break_tail(write_frames(tmp_path / "v.mp4", noise(40)))
    with open_video(str(path)) as video, pytest.warns(Notice) as notes:
        frames = list(video.frames())
    assert 5 < len(frames) < 40 and (video.position, video.count) == (len(frames), 40)
    assert [str(note.message) for note in notes] == [
        f"{path} breaks off: {video.position} of 40 frames could be read, and only these count"
    ]
    with open_video(str(path)) as again, pytest.warns(Notice):
        assert len(list(again.frames(every=3))) == -(-again.position // 3)


def test_a_whole_video_or_one_left_early_is_not_complained_of(tmp_path):
    path = write_frames(tmp_path / "v.mp4", grey(range(0, 250, 10)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(frames_of(path).images)) == 25
        next(frames_of(path).images)


@pytest.mark.parametrize(
    ("count", "came", "short"),
    [(300, 297, False), (300, 296, True), (40, 39, True), (None, 1, False)],
)
def test_lengths_that_containers_estimate_are_not_taken_to_the_frame(count, came, short):
    assert bool(Video("v.mkv", count, 25, None, came).shortfall) == short


def test_enormous_frames_are_refused_before_one_is_read(tmp_path, monkeypatch):
    path = write_frames(tmp_path / "v.mp4", grey([1]))
    monkeypatch.setattr(sources, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(UserError, match="frames of 64 x 48, above 3071 pixels"):
        frames_of(path)


@pytest.mark.parametrize(
    ("count", "every", "most", "expected"),
    [
        (10, 1, None, 10),
        (10, 3, None, 4),
        (10, 3, 2, 2),
        (10, 3, 9, 4),
        (None, 2, 5, 5),
        (None, 1, None, None),
    ],
)
def test_how_many_frames_are_taken(count, every, most, expected):
    assert frames_to_read(count, every, most) == expected
