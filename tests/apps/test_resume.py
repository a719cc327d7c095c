"""--resume latest goes on with the newest unfinished run of a name."""

from pathlib import Path

import pytest

from spiking_yolo.errors import UserError
from spiking_yolo.options import LATEST, ResumableOptions, study_folder


@pytest.mark.parametrize("name", ["exp", "mine/exp"])
def test_the_newest_unfinished_run(tmp_path: Path, name: str) -> None:
    options = ResumableOptions(project=tmp_path, name=name, resume=LATEST)
    with pytest.raises(UserError, match=f"no unfinished run {name} in"):
        study_folder(options, "records-*.jsonl", "results.json")
    for number, files in {
        "": ["records-0.jsonl"],
        "2": ["records-0.jsonl", "results.json"],
        "10": [],
        "_b": [],
    }.items():
        folder = tmp_path / f"{name}{number}"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).touch()
    assert study_folder(options, "records-*.jsonl", "results.json") == tmp_path / name
    (tmp_path / f"{name}10" / "records-0.jsonl").touch()
    (tmp_path / f"{name}_b" / "records-0.jsonl").touch()  # of another name
    assert study_folder(options, "records-*.jsonl", "results.json") == tmp_path / f"{name}10"
