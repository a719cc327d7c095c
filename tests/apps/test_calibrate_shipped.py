"""Calibrations and what ships with the package: nothing shipped is replaced, and pairs belong
together.
"""

import json
import os
import subprocess
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import ANYTHING, ROOT, photo, run_tool, write_tiny

from spiking_yolo.convert.load import load
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io import assets

FAST = ("--set", "calibration.T=2")


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(folder))
    return folder


@pytest.fixture
def shipped(tmp_path: Path, cache: Path, monkeypatch) -> Path:
    """A tiny network that plays one of the package; photos/ beside it has another photograph than
    its statistics.
    """
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setitem(assets.IN_CHECKOUT, "weights", str(folder))
    weights = write_tiny(folder)
    photo(folder / "photos" / "c.png", 7)
    return weights


@pytest.fixture
def own(tmp_path: Path, cache: Path) -> Path:
    """The same outside of the package, with a calibration of rmp."""
    folder = tmp_path / "own"
    folder.mkdir()
    weights = write_tiny(folder)
    assert calibrate(weights, "--method", "rmp", *FAST) == 0
    return weights


def calibrate(weights: Path, *args: object) -> int:
    return run_tool("calibrate", "--weights", weights, "--images", weights.parent / "photos", *args)


def notices(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        call()
    return [str(w.message) for w in caught if w.category is Notice]


def test_the_default_network_is_calibrated_in_the_cache(cache: Path, monkeypatch, capsys):
    # Takes half a minute.
    monkeypatch.setattr("spiking_yolo.apps.calibrate_run.choose", lambda *_: {})
    folder = ROOT / "weights"
    before = digests(folder)
    assert (
        run_tool(
            "calibrate", "--images", ROOT / "data" / "samples", "--limit", 1, "--method", "p-norm"
        )
        == 0
    )
    assert digests(folder) == before
    (written,) = cache.rglob("*.safetensors")
    assert written.name == "yolov3-tiny.416.statistics.safetensors"
    out = capsys.readouterr().out
    assert str(written) in out and f"remove {written.parent} " in out


def test_what_the_user_calibrated_comes_first_and_is_said(
    shipped: Path, cache: Path, tmp_path: Path, capsys
):
    before, plain = digests(shipped.parent), load(shipped, "p-norm")
    assert calibrate(shipped, "--method", "rmp", *FAST) == 0
    assert digests(shipped.parent) == before
    (folder,) = {path.parent for path in cache.rglob("*.safetensors")}
    assert len(list(folder.iterdir())) == 2
    said = f"using your calibration in {folder}, remove it to return to the shipped one"
    image = shipped.parent / "photos" / "a.png"
    for method in (("--method", "p-norm"), ("--method", "rmp", *FAST)):
        args = (
            "detect",
            image,
            "--weights",
            shipped,
            *method,
            *ANYTHING,
            "--project",
            tmp_path / "runs",
        )
        assert notices(lambda args=args: run_tool(*args)) == [said]
    assert load(shipped, "p-norm").sha256() != plain.sha256()
    # What was shipped for a method that the user has not calibrated stays with the shipped
    # statistics.
    assert notices(lambda: load(shipped)) == []
    for path in folder.iterdir():
        path.unlink()
    assert load(shipped, "p-norm").sha256() == plain.sha256()


def test_a_shipped_target_is_refused_before_anything_is_computed(
    shipped: Path, monkeypatch, capsys
):
    before = digests(shipped.parent)
    monkeypatch.setattr(
        "spiking_yolo.apps.calibrate_run.load_ann", lambda _: pytest.fail("computed")
    )
    link = shipped.parent.parent / "link"
    link.symlink_to(shipped.parent)
    for output in (
        shipped.parent,
        shipped.parent / "new" / "s.safetensors",
        link,
        link / "tiny.64.x.safetensors",
    ):
        assert calibrate(shipped, "--method", "p-norm", "-o", output) == 2
        err = capsys.readouterr().err
        assert "shipped" in err and str(output) in err and err.count("\n") == 1
    assert digests(shipped.parent) == before


def test_maintainers_replace_what_is_shipped(shipped: Path, cache: Path):
    before = digests(shipped.parent)
    assert calibrate(shipped, "--method", "rmp", *FAST, "--overwrite-shipped") == 0
    after = digests(shipped.parent)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"tiny.64.statistics.safetensors", "tiny.64.rmp.calibration.T=2.safetensors"}
    assert not list(cache.rglob("*.safetensors"))


def test_a_pair_in_a_folder_of_its_own(shipped: Path, cache: Path, tmp_path: Path, capsys):
    folder = tmp_path / "pair"
    assert calibrate(shipped, "--method", "rmp", *FAST, "-o", folder) == 0
    statistics = folder / "tiny.64.statistics.safetensors"
    assert f"--statistics {statistics}" in capsys.readouterr().out
    assert len(list(folder.iterdir())) == 2 and not list(cache.rglob("*.safetensors"))
    assert load(shipped, "rmp", {"calibration.T": 2}, statistics=statistics).recipe.name == "rmp"


def test_thresholds_of_other_statistics_are_refused(own: Path):
    settings = {"calibration.T": 2}
    load(own, "rmp", settings)
    photo(own.parent / "photos" / "c.png", 7)
    assert calibrate(own, "--method", "p-norm") == 0
    with pytest.raises(
        UserError, match=r"tiny\.64\.rmp\.calibration.*tiny\.64\.statistics.*--method rmp"
    ) as error:
        load(own, "rmp", settings)
    assert "\n" not in str(error.value)
    assert calibrate(own, "--method", "rmp", *FAST) == 0
    load(own, "rmp", settings)


@pytest.mark.parametrize("fails", [1, 2])
def test_an_end_between_the_renames_is_noticed(own: Path, monkeypatch, fails: int):
    settings = {"calibration.T": 2}
    before, network = digests(own.parent), load(own, "rmp", settings)
    photo(own.parent / "photos" / "c.png", 7)
    count, rename = 0, os.replace

    def interrupted(source, target):
        nonlocal count
        count += 1
        if count == fails:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        assert calibrate(own, "--method", "rmp", *FAST) == 130
    after = digests(own.parent)
    assert after.keys() == before.keys()
    if fails == 1:
        assert after == before and load(own, "rmp", settings).sha256() == network.sha256()
    else:
        assert after != before
        with pytest.raises(UserError, match="not made from the statistics"):
            load(own, "rmp", settings)


def test_an_end_while_thresholds_are_learned_leaves_the_old_pair(own: Path, monkeypatch):
    before = digests(own.parent)
    photo(own.parent / "photos" / "c.png", 7)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("spiking_yolo.apps.calibrate_run.run_network", interrupted)
    assert calibrate(own, "--method", "rmp", *FAST) == 130
    assert digests(own.parent) == before


def test_a_kept_file_has_the_fingerprint_of_the_new_one(own: Path, tmp_path: Path):
    kept = Statistics.load(own.parent / "tiny.64.statistics.safetensors")
    fresh = Statistics(kept.histograms, kept.weights_sha256, kept.imgsz, kept.images, {4: "other"})
    assert kept.fingerprint == fresh.fingerprint
    assert (
        Statistics(kept.histograms, kept.weights_sha256, kept.imgsz, ("x",)).fingerprint
        != kept.fingerprint
    )


def test_the_table_of_shipped_calibrations_is_of_the_tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "weights"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("no git")
    table = json.loads((ROOT / "spiking_yolo" / "io" / "shipped_calibrations.json").read_text())
    files = {name: digest for own in table.values() for name, digest in own.items()}
    networks = set(table)
    tracked = {
        Path(name).name for name in listed.stdout.split() if name.endswith(".safetensors")
    } - networks
    assert files == {
        name: sha256((ROOT / "weights" / name).read_bytes()).hexdigest() for name in tracked
    }
    for network, own in table.items():
        assert (ROOT / "weights" / network).is_file()
        assert all(name.startswith(f"{Path(network).stem}.") for name in own)


def test_weights_checks_calibrations(shipped: Path, monkeypatch, capsys):
    names = {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in shipped.parent.glob("*.safetensors")
    }
    statistics, learned = sorted(names, key=lambda name: "statistics" not in name)
    default = "spiking_yolo.apps.weights.default_weights"
    monkeypatch.setattr(default, lambda: shipped)
    monkeypatch.setattr(
        "spiking_yolo.apps.weights.YOLOV3_TINY", sha256(shipped.read_bytes()).hexdigest()
    )
    monkeypatch.setattr(
        "spiking_yolo.apps.weights.shipped_calibrations", lambda: {shipped.name: names}
    )

    def states() -> dict[str, str]:
        lines = [
            line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith(" ")
        ]
        return dict(line.split(": ") for line in lines)

    assert run_tool("weights") == 0
    assert states() == {statistics: "ok", learned: "ok"}
    path = shipped.parent / statistics
    path.write_bytes(path.read_bytes() + b" ")
    (shipped.parent / learned).unlink()
    assert run_tool("weights") == 1
    assert states() == {statistics: "differs", learned: "missing"}
