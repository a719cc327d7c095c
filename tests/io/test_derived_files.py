"""Files that belong to others, where folders can be written to and where they cannot."""

import os
from pathlib import Path

from spiking_yolo.io.files import derived_file


def test_beside_or_in_the_cache(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("SPIKING_YOLO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights, other = (tmp_path / name / "net.pt" for name in ("a", "b"))
    for path in (weights, other):
        path.parent.mkdir()
    assert derived_file(weights, "net.x") == tmp_path / "a" / "net.x"
    assert derived_file(tmp_path / "missing" / "net.pt", "net.x") == tmp_path / "missing" / "net.x"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    kept = derived_file(weights, "net.x")
    assert kept.name == "net.x" and kept.parents[2] == tmp_path / "cache" / "spiking_yolo"
    assert kept != derived_file(other, "net.x") and kept == derived_file(
        tmp_path / "b" / ".." / "a" / "net.pt", "net.x"
    )
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(tmp_path / "mine"))
    assert derived_file(weights, "net.x").parents[2] == tmp_path / "mine"
    (tmp_path / "a" / "net.x").write_text("shipped")
    assert derived_file(weights, "net.x") == tmp_path / "a" / "net.x"
