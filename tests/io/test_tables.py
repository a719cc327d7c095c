"""Tables as csv files."""

from pathlib import Path

from spiking_yolo.io.tables import write_csv


def test_what_is_not_measured_is_an_empty_cell(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": float("nan"), "c": "x"}, {"a": None, "b": 0.5, "d": 9}]
    write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["a,b,c", "1,,x", ",0.5,"]
