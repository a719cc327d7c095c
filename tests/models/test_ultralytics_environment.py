"""The environment of the process that opens a trusted checkpoint."""

import os

from spiking_yolo.models.ultralytics import environment


def test_the_users_environment_does_not_switch_safe_loading_off(monkeypatch):
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "0")
    monkeypatch.setenv("YOLO_OFFLINE", "0")
    given = environment("/somewhere")
    assert (
        given["ULTRALYTICS_SAFE_LOAD"] == given["YOLO_OFFLINE"] == "1"
        and given["PATH"] == os.environ["PATH"]
    )
