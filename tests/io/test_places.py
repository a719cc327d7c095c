"""Files that belong to others, where folders can be written to and where they cannot."""

import os
from pathlib import Path

from spiking_yolo.io.files import beside


def test_beside_or_in_the_cache(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("SPIKING_YOLO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights, other = (tmp_path / name / "net.pt" for name in ("a", "b"))
    for path in (weights, other):
        path.parent.mkdir()
    assert beside(weights, "net.x") == tmp_path / "a" / "net.x"
    assert beside(tmp_path / "missing" / "net.pt", "net.x") == tmp_path / "missing" / "net.x"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    kept = beside(weights, "net.x")
    assert kept.name == "net.x" and kept.parents[2] == tmp_path / "cache" / "spiking_yolo"
    assert kept != beside(other, "net.x") and kept == beside(
        tmp_path / "b" / ".." / "a" / "net.pt", "net.x"
    )
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(tmp_path / "mine"))
    assert beside(weights, "net.x").parents[2] == tmp_path / "mine"
    (tmp_path / "a" / "net.x").write_text("shipped")
    assert beside(weights, "net.x") == tmp_path / "a" / "net.x"
