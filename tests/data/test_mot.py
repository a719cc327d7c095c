"""MOTChallenge: its text files, and where sequences lie."""

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import write
from helpers.video import grey, write_frames, write_images
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.data.mot import MotBoxes, mot_lines, open_sequences, read_mot
from spiking_yolo.errors import UserError

TEXT = "1,1,399,182,121,229,1,-1,-1,-1\n"


def clip(path: Path, frames: int = 3, fps: float = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_frames(path, grey([50 * n for n in range(1, frames + 1)]), fps)


def test_frame_rates(tmp_path: Path) -> None:
    write_images(tmp_path / "seq/img1", grey([1, 2]))
    info = tmp_path / "seq/seqinfo.ini"
    for text, fps in (
        ("[Sequence]\nframeRate=14\n", 14),
        ("[Sequence]\nframeRate=0\n", 25),
        ("[Sequence]\nframeRate=many\n", 25),
        ("name=%(x\n", 25),
    ):
        info.write_text(text)
        assert [one.fps for one in open_sequences(tmp_path / "seq")] == [fps]
    info.unlink()
    assert [one.fps for one in open_sequences(tmp_path)] == [25]
    # A video has its own.
    assert [one.fps for one in open_sequences(clip(tmp_path / "clip/clip.mp4", fps=8))] == [8]


def test_corners_count_from_zero_and_frames_from_one(tmp_path: Path) -> None:
    text = "3,7,1,11,20,30,1,-1,-1,-1\n\n1,8,5.5,1,2.25,4,1,-1,-1,-1\n3,9,2,2,1,1"
    frames = read_mot(write(tmp_path / "gt.txt", text))
    assert list(frames) == [1, 3] and [len(boxes) for boxes in frames.values()] == [1, 2]
    assert frames[3].xyxy.tolist() == [[0, 10, 20, 40], [1, 1, 2, 2]]
    assert frames[3].ids.tolist() == [7, 9]
    assert frames[1].xyxy.tolist() == [[4.5, 0, 6.75, 4]]


def test_what_is_not_scored(tmp_path: Path) -> None:
    for rest, ignored in [
        ("", False),
        (",1", False),
        (",0", True),
        (",1,1,1.0", False),
        (",0,1,1.0", True),
        (",1,7,0.3", True),
        (",1,3", True),
        (",1,-1,-1", False),
        # MOT15: where the person stands in the world.
        (",1,4.4852,5.5016,0", False),
        (",1,12.0,5.5016,0", False),
        (",0,-1,-1,-1", True),
    ]:
        frames = read_mot(write(tmp_path / "gt.txt", f"1,1,1,1,9,9{rest}\n"))
        assert frames[1].ignored.tolist() == [ignored]


@pytest.mark.parametrize(
    "line",
    ["1,1,nan,1,9,9", "1,1,1,1,9,9,1,1,nan", "1,1,1,1,-9,9", "1,1,1,1,9", "1,1,,1,9,9",
     "1.5,1,1,1,9,9", "0,1,1,1,9,9", "1,1.5,1,1,9,9"],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "gt.txt", f"{TEXT}{line}\n")
    with pytest.raises(UserError, match=f"{path} line 2: .* is not 'frame,id,left"):
        read_mot(path)


_NUMBER = st.floats(-2000, 2000)
_SIDE = st.floats(0, 3000)
_BOX = st.tuples(_NUMBER, _NUMBER, _SIDE, _SIDE, st.floats(1e-4, 1), st.integers(-1, 99))


@given(
    st.dictionaries(
        st.integers(1, 9999), st.lists(_BOX, min_size=1, max_size=4), min_size=1, max_size=4
    )
)
def test_results_come_back(tmp_path_factory, table):
    frames = {}
    for number, rows in table.items():
        x, y, w, h, confidence, ids = np.array(rows).T
        frames[number] = MotBoxes.of(np.stack([x, y, x + w, y + h], 1), confidence, ids)
    path = tmp_path_factory.mktemp("mot") / "clip.txt"
    path.write_text("".join(mot_lines(number, boxes) for number, boxes in frames.items()))
    back = read_mot(path)
    assert set(back) == set(frames)
    for number, boxes in frames.items():
        np.testing.assert_allclose(back[number].xyxy, boxes.xyxy, atol=0.0011)
        np.testing.assert_allclose(back[number].confidence, boxes.confidence, rtol=1e-5)
        assert back[number].ids.tolist() == boxes.ids.tolist() and not back[number].ignored.any()


def test_results_are_written_as_the_challenge_has_them() -> None:
    line = mot_lines(1, MotBoxes.of([[0, 10, 20.5, 40]], [0.875]))
    assert line == "1,-1,1.000,11.000,20.500,30.000,0.875,-1,-1,-1\n"
    assert mot_lines(2, MotBoxes.of([])) == ""
    assert mot_lines(3, MotBoxes.of([[1, 1, 2, 2]])) == "3,-1,2.000,2.000,1.000,1.000,1,-1,-1,-1\n"


def test_a_folder_of_sequences_and_clips(tmp_path: Path) -> None:
    write_images(tmp_path / "b" / "img1", grey([1, 2]))
    write(tmp_path / "b/gt/gt.txt", TEXT)
    write(tmp_path / "b/seqinfo.ini", "[Sequence]\nname=b\nframeRate=30\n")
    clip(tmp_path / "c/other.mp4")
    write(tmp_path / "c/gt.txt", TEXT)
    clip(tmp_path / "a.mp4", 2)
    clip(tmp_path / "d/anything.mp4", 1)
    (tmp_path / "empty").mkdir()
    a, b, c, d = open_sequences(tmp_path)
    assert [s.name for s in (a, b, c, d)] == ["a", "b", "c", "d"]
    truths = [s.truth and s.truth.relative_to(tmp_path).as_posix() for s in (a, b, c, d)]
    assert truths == [None, "b/gt/gt.txt", "c/gt.txt", None]
    assert [s.length for s in (a, b, c, d)] == [2, 2, 3, 1]
    assert [round(float(f.mean())) for f in b.frames()] == [1, 2]
    assert len(list(c.frames())) == 3 and a.truth is None
    assert c.truth and read_mot(c.truth)[1].ids.tolist() == [1]


def test_one_sequence_and_one_clip(tmp_path: Path) -> None:
    video = clip(tmp_path / "s/s.mp4")
    clip(tmp_path / "s/heatmap.mp4", 1)
    write(tmp_path / "s/gt.txt", TEXT)
    (sequence,), (bare,) = open_sequences(tmp_path / "s"), open_sequences(video)
    assert (sequence.name, sequence.source, sequence.length) == ("s", video, 3)
    assert (bare.name, bare.source, bare.truth) == ("s", video, None)
