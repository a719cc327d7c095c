"""The videos that are written, in a real browser: what is said to play plays."""

import pytest
from helpers.chromium import PROGRAMS, browser, program
from helpers.video import walk

from spiking_yolo.data import video_writer
from spiking_yolo.data.video_writer import ENCODERS, VideoWriter

pytestmark = pytest.mark.skipif(
    program() is None, reason=f"no browser: install one of {', '.join(PROGRAMS)}"
)
# [readyState, width, time at the end] of what has played to its end; null where nothing can be.
PLAYED = """new Promise((done) => {
  const video = document.querySelector("video");
  video.onerror = () => done(null);
  if (video.error) done(null);
  video.onended = () => done([video.readyState, video.videoWidth, video.currentTime]);
  video.play().catch(() => 0);
})"""


@pytest.fixture(scope="module")
def chromium():
    with browser("--autoplay-policy=no-user-gesture-required") as one:
        yield one


@pytest.mark.parametrize("encoder", ENCODERS, ids=("pyav", "ffmpeg", "avc1", "vp09", "mp4v"))
def test_what_is_said_to_play_plays(chromium, encoder, tmp_path, monkeypatch):
    if not video_writer.writes(encoder, tmp_path / "tried.mp4"):
        pytest.skip(f"this encoder of {encoder.name} is not here")
    monkeypatch.setattr(video_writer, "best_encoder", lambda: encoder)
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        for frame in walk(10, 96, 160):
            writer.write(frame)
    page = tmp_path / "page.html"
    page.write_text('<video src="v.mp4" muted preload="auto"></video>')
    chromium.open(page)
    played = chromium.value(PLAYED)
    if not encoder.plays:
        assert played is None
    else:
        state, width, seconds = played
        assert state == 4 and width == 160 and abs(seconds - 0.4) < 0.05
