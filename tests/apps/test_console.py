"""Lines where stderr is no terminal: when they come, and what they say."""

import pytest

from spiking_yolo.apps import console
from spiking_yolo.apps.console import Bars, duration


def test_a_line_says_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Of 6 images, of which 2 were done before: the first takes longer, and each of the others
    40 s, so that 80, then 40 s are left.
    """
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    bars, said = Bars(), list[str]()
    for done, seconds in ((2, 0), (3, 300), (4, 340), (5, 380), (6, 420)):
        clock[0] = seconds
        bars("msat", done, 6)
        said.append(capsys.readouterr().err)
    assert said == ["", "", "msat: 4 of 6, about 80 s left\n", "", "msat: 6 of 6, about 0 s left\n"]
    with console.quiet():
        for done, seconds in ((0, 0), (1, 90), (2, 180)):
            clock[0] = seconds
            bars("p-norm", done, 9)
    assert capsys.readouterr().err == ""


def test_work_of_seconds_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    clock, bars = [0.0], Bars()
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    for done in range(3):
        clock[0] = 5.0 * done
        bars("msat", done, 4)
    assert capsys.readouterr().err == ""
    assert [duration(seconds) for seconds in (40, 600, 7500)] == ["40 s", "10 min", "2 h 5 min"]
