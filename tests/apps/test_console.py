"""Progress, for a terminal and for a file."""

import pytest

import spiking_yolo.apps.console as console
from spiking_yolo.apps.console import Bars


def test_lines_for_a_file_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No terminal: a line after 10 seconds, none before, and none unless asked for."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    for bars in (Bars(), Bars(lines=10)):
        now = 0.0
        for done in range(8):
            now = 4.0 * done
            bars("training", done, 16)
    assert capsys.readouterr().err.splitlines() == [
        "training: 3 of 16, 00:52 left",
        "training: 6 of 16, 00:40 left",
    ]
