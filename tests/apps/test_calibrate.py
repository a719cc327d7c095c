"""tools/convert.py and tools/calibrate.py: files that the other tools take."""

import json
import re
import shlex
import shutil

import pytest
from helpers.tiny import ANYTHING, photo, run_tool, write_tiny

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.errors import Notice
from spiking_yolo.recipe import UNTRAINED_OPERATIONS


@pytest.fixture
def weights(tmp_path):
    return write_tiny(tmp_path)


@pytest.fixture
def spaced(tmp_path):
    (tmp_path / "my networks").mkdir()
    return write_tiny(tmp_path / "my networks")


@pytest.fixture
def image(weights):
    return weights.parent / "photos" / "a.png"


def found(folder, *args):
    assert run_tool("detect", *args, *ANYTHING, "--save-json", "--project", folder) == 0
    return json.loads((folder / "exp/detections.json").read_text())


@pytest.mark.parametrize("options", [[], ["--method", "dcgs"], ["--set", "neuron.gamma=2"]])
def test_converted_file_needs_nothing_else_and_finds_the_same(
    weights, image, tmp_path, options, capsys
):
    net = tmp_path / "net.safetensors"
    assert run_tool("export", "--weights", weights, *options, "-o", net) == 0
    assert str(net) in capsys.readouterr().out
    expected = found(tmp_path / "one", image, "--weights", weights, *options)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.move(net, alone / "renamed.safetensors")
    for path in tmp_path.glob("tiny.*"):
        path.unlink()
    assert found(tmp_path / "two", image, "--weights", alone / "renamed.safetensors") == expected
    assert expected[0]["detections"]


def test_provenance_is_kept(weights, tmp_path):
    from spiking_yolo.io.files import sha256

    run_tool("export", "--weights", weights, "-o", tmp_path / "net.safetensors")
    provenance = Converted.load(tmp_path / "net.safetensors").provenance
    assert (
        provenance["weights_sha256"] == sha256(weights) and provenance["weights"] == "tiny.weights"
    )
    assert provenance["calibration_images"] == "2"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-o", "D/net.pt"], "must end in"),
        ([], "--output"),
        (["-o", "/dev/null/net.safetensors"], "cannot write"),
        (["-o", "D/net.safetensors", "--method", "magic"], "choose from"),
        (["-o", "D/net.safetensors", "--weights", "D/nowhere.weights"], "nowhere.weights"),
    ],
)
def test_convert_refuses(weights, tmp_path, args, expected, capsys):
    before = sorted(tmp_path.rglob("*"))
    args = [a.replace("D/", f"{tmp_path}/") for a in args]
    assert run_tool("export", *([] if "--weights" in args else ["--weights", weights]), *args) == 2
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("imgsz", "size"), [("96", (96, 96)), ("64x96", (64, 96))])
def test_the_command_in_the_message_makes_what_was_missing(spaced, tmp_path, recwarn, imgsz, size):
    """--imgsz without statistics works, says how to make them, and takes those that were made."""
    weights, image = spaced, spaced.parent / "photos" / "a.png"
    args = [
        "detect",
        image,
        "--weights",
        weights,
        "--imgsz",
        imgsz,
        "--T",
        1,
        "--project",
        tmp_path / "runs",
    ]
    with pytest.warns(Notice) as notices:
        assert run_tool(*args) == 0
    command = re.search(r"spiking-yolo calibrate (.*)", str(notices[0].message))
    assert command
    assert (
        run_tool(
            "calibrate", *shlex.split(command[1].replace("DIR", shlex.quote(str(image.parent))))
        )
        == 0
    )
    statistics = Statistics.load(weights.parent / f"tiny.{imgsz}.statistics.safetensors")
    assert statistics.imgsz == size and statistics.images == ("a.png", "b.png")
    recwarn.clear()
    assert run_tool(*args, "--overlay", "--ann") == 0
    assert not [w for w in recwarn if w.category is Notice]


def test_calibrate_skips_broken_images_and_says_so(weights, image, tmp_path, capsys):
    (image.parent / "broken.png").write_bytes(b"no image")
    output = tmp_path / "s.safetensors"
    assert run_tool("calibrate", "--weights", weights, "--images", image.parent, "-o", output) == 1
    out, err = capsys.readouterr()
    assert "2 images" in out and "broken.png" in err
    assert Statistics.load(output).images == ("a.png", "b.png")


def test_calibrate_repeats_exactly_and_limits(weights, image, tmp_path):
    names = ("one", "two", "some", "again", "others")
    one, two, some, again, others = (tmp_path / f"{name}.safetensors" for name in names)
    for seed, name in enumerate("cdefgh"):
        photo(image.parent / f"{name}.png", seed)
    limit = ["--limit", 3]
    calls = (
        (one, []),
        (two, []),
        (some, limit),
        (again, [*limit, "--seed", 0]),
        (others, [*limit, "--seed", 1]),
    )
    for output, options in calls:
        assert (
            run_tool(
                "calibrate", "--weights", weights, "--images", image.parent, "-o", output, *options
            )
            == 0
        )
    drawn, redrawn, other = (Statistics.load(path).images for path in (some, again, others))
    assert (
        drawn == redrawn != other and len(drawn) == len(other) == 3 and list(drawn) == sorted(drawn)
    )
    assert len(Statistics.load(one).images) == 8
    saved, repeated = Statistics.load(one).histograms, Statistics.load(two).histograms
    assert all((saved[name].counts == repeated[name].counts).all() for name in saved)


def test_quick_trains_nothing_and_says_how_to_use_it(weights, image, capsys, recwarn):
    args = ["--weights", weights, "--images", image.parent, "--quick"]
    assert run_tool("calibrate", *args, "--set", "calibration.steps=65536") == 0
    use = re.search(r"use them with (.*)", capsys.readouterr().out)
    assert use and "kind=none" in use[1] and "steps" in use[1]
    assert f"operations={UNTRAINED_OPERATIONS}" in use[1]
    assert (
        run_tool(
            "detect",
            image,
            "--weights",
            weights,
            *shlex.split(use[1]),
            "--project",
            image.parent.parent,
        )
        == 0
    )
    assert not [w for w in recwarn if w.category is Notice]
    assert run_tool("calibrate", *args, "--method", "msat") == 2


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--images", "D/nowhere.png"], "does not exist"),
        (["--images", "D/void"], "holds no images"),
        (["--images", "0"], "no image"),
        ([], "--images"),
        (["--images", "D/photos", "--limit", "0"], "--limit"),
        (["--images", "D/photos", "-o", "/dev/null/s.safetensors"], "cannot write"),
        (["--images", "D/photos", "--weights", "D/net.safetensors"], "already converted"),
    ],
)
def test_calibrate_refuses(weights, tmp_path, args, expected, capsys):
    (tmp_path / "void").mkdir()
    run_tool("export", "--weights", weights, "-o", tmp_path / "net.safetensors")
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    args = [a.replace("D/", f"{tmp_path}/") for a in args]
    assert (
        run_tool("calibrate", *([] if "--weights" in args else ["--weights", weights]), *args) == 2
    )
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
