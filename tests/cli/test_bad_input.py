"""Bad input to tools/detect.py: one line on stderr, status 2, nothing written. And odd images,
which must work.
"""

import pickle

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import ROOT, run_tool, write_tiny
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good weights, and every bad file that the cases name."""
    folder = tmp_path_factory.mktemp("tiny")
    good = write_tiny(folder)
    content = good.read_bytes()
    nan = np.frombuffer(content, "<f4").copy()
    nan[7] = np.nan

    def weights(name: str, data: bytes) -> None:
        (folder / f"{name}.weights").write_bytes(data)
        (folder / f"{name}.cfg").write_text(good.with_suffix(".cfg").read_text())

    weights("truncated", content[:-4])
    weights("oversized", content + bytes(4))
    weights("nan", nan.tobytes())
    weights("empty", b"")
    weights("other", content[:-4] + bytes(4))
    weights("pickle", pickle.dumps({"a": 1}))
    torch.save({"a": torch.zeros(1)}, folder / "net.pt")
    torch.save({"a": torch.zeros(1)}, folder / "net.safetensors")
    (folder / "garbage.safetensors").write_bytes(bytes(range(256)) * 4)
    (folder / "wider.cfg").write_text(
        good.with_suffix(".cfg").read_text().replace("filters=8", "filters=9")
    )
    (folder / "text.cfg").write_text("hello")
    (folder / "two.names").write_text("cat\ndog\n")
    (folder / "void").mkdir()
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "photos" / "a.png").read_bytes()[:300])
    (folder / "recipe.json").write_text("{}")
    return folder


CASES = {
    "no source": ([], "SOURCE is missing"),
    "missing image": (["F/nowhere.png"], "does not exist"),
    "empty image": (["F/zero.png"], "is empty"),
    "truncated image": (["F/cut.png"], "cut.png"),
    "no image": (["F/text.png"], "as an image"),
    "directory without images": (["F/void"], "holds no images"),
    "glob without images": (["F/*.bmp"], "no image matches"),
    "missing webcam": (["97"], "webcam 97"),
    "T of 0": (["A", "--T", 0], "--T must be at least 1"),
    "T in words": (["A", "--T", "many"], "--T"),
    "step beyond T": (["A", "--T", 8, "--steps", "4,9"], "1..8"),
    "step 0": (["A", "--steps", "0,4"], "--steps must be at least 1"),
    "steps in words": (["A", "--steps", "few"], "--steps"),
    "unknown option": (["A", "--fast"], "--fast"),
    "unknown method": (["A", "--method", "magic"], "choose from"),
    "missing recipe": (["A", "--method", "F/no.json"], "no.json"),
    "empty recipe": (["A", "--method", "F/recipe.json"], "recipe"),
    "setting without value": (["A", "--set", "neuron.gamma"], "KEY=VALUE"),
    "unknown setting": (["A", "--set", "neuron.colour=1"], "neuron.colour"),
    "setting out of range": (["A", "--set", "neuron.gamma=0"], "neuron.gamma"),
    "conf above 1": (["A", "--conf", 1.5], "--conf"),
    "iou not a number": (["A", "--iou", "nan"], "--iou"),
    "max-det 0": (["A", "--max-det", 0], "--max-det"),
    "unknown class": (["A", "--classes", "cow"], "'cow'"),
    "class out of range": (["A", "--classes", 3], "0..2"),
    "unknown layer": (["A", "--overlay", "--layers", "layers_9"], "layers_0_act"),
    "layers without overlay": (["A", "--layers", "all"], "--overlay"),
    "name outside of project": (["A", "--name", "../elsewhere"], "--project"),
    "size of terabytes": (["A", "--imgsz", 10_000_000], "at most 4096"),
    "size not a multiple": (["A", "--imgsz", 100], "multiple of 32"),
    "one side not a multiple": (["A", "--imgsz", "64x100"], "multiple of 32"),
    "size of three sides": (["A", "--imgsz", "64x64x3"], "multiple of 32"),
    "size without statistics": (["A", "--imgsz", 96, "--method", "msat"], "tools/calibrate.py"),
    "statistics of another size": (
        ["A", "--imgsz", 96, "--statistics", "F/tiny.64.statistics.safetensors"],
        "96",
    ),
    "statistics of a square": (
        ["A", "--imgsz", "64x96", "--statistics", "F/tiny.64.statistics.safetensors"],
        "64x96",
    ),
    "statistics of other weights": (
        ["A", "--weights", "F/other.weights", "--statistics", "F/tiny.64.statistics.safetensors"],
        "other weights",
    ),
    "no statistics": (["A", "--statistics", "F/text.png"], "text.png"),
    "unknown device": (["A", "--device", "abacus"], "abacus"),
    "missing weights": (["A", "--weights", "F/no.weights"], "no.weights"),
    "directory as weights": (["A", "--weights", "F/void"], "void"),
    "truncated weights": (["A", "--weights", "F/truncated.weights"], "bytes"),
    "oversized weights": (["A", "--weights", "F/oversized.weights"], "bytes"),
    "empty weights": (["A", "--weights", "F/empty.weights"], "empty"),
    "NaN in weights": (["A", "--weights", "F/nan.weights"], "NaN"),
    "pickle .weights": (["A", "--weights", "F/pickle.weights"], "pickle"),
    "pickle .pt": (["A", "--weights", "F/net.pt"], "no network"),
    "pickle .safetensors": (["A", "--weights", "F/net.safetensors"], "no network"),
    "garbage .safetensors": (["A", "--weights", "F/garbage.safetensors"], "garbage"),
    "statistics as weights": (["A", "--weights", "F/tiny.64.statistics.safetensors"], "statistics"),
    "cfg of another network": (["A", "--cfg", "F/wider.cfg"], "bytes"),
    "cfg of no network": (["A", "--cfg", "F/text.cfg"], "cfg line 1"),
    "missing cfg": (["A", "--cfg", "F/no.cfg"], "no.cfg"),
    "too few names": (["A", "--names", "F/two.names"], "2 names"),
    "project is a file": (["A", "--project", "F/text.png"], "cannot write"),
    "project in a device": (["A", "--project", "/dev/null/runs"], "cannot write"),
    "empty name": (["A", "--name", ""], "--name"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_status_2_and_nothing_written(folder, tmp_path, capfd, case):
    args, expected = CASES[case]
    args = [
        str(a).replace("F/", f"{folder}/") if a != "A" else folder / "photos" / "a.png"
        for a in args
    ]
    options = {"--weights": folder / "tiny.weights", "--project": tmp_path / "runs"}
    more = [part for pair in options.items() if pair[0] not in args for part in pair]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert run_tool("detect", *args, *more) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and expected in err, err
    assert list(tmp_path.iterdir()) == []
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_cuda_where_there_is_none(folder, tmp_path, capfd):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    args = [
        folder / "photos" / "a.png",
        "--weights",
        folder / "tiny.weights",
        "--project",
        tmp_path / "runs",
    ]
    assert run_tool("detect", *args, "--device", "cuda") == 2
    assert "cuda" in capfd.readouterr().err


def test_odd_images_work(folder, tmp_path, capsys):
    odd = tmp_path / "odd"
    odd.mkdir()
    photo = Image.open(folder / "photos" / "a.png").convert("RGB")
    Image.new("RGB", (1, 1)).save(odd / "one.png")
    Image.new("RGB", (20000, 10), "red").save(odd / "wide.png")
    for mode, suffix in (
        ("L", "png"),
        ("LA", "png"),
        ("RGBA", "png"),
        ("P", "gif"),
        ("CMYK", "jpg"),
        ("1", "png"),
    ):
        photo.convert(mode).save(odd / f"{mode}.{suffix}")
    deep = np.asarray(photo).astype(np.uint16) * 257
    cv2.imwrite(str(odd / "grey16.png"), deep[..., 0])
    cv2.imwrite(str(odd / "rgb16.png"), deep[..., ::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(odd / "turned.jpg", exif=exif)
    args = ["--weights", folder / "tiny.weights", "--project", tmp_path / "runs", "--T", 1]
    assert run_tool("detect", odd, *args, "--ann") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{odd}/turned.jpg: 48x80" in out and f"{odd}/wide.png: 20000x10" in out
    assert sum(": 80x48, " in line for line in out.splitlines()) == 8


@pytest.mark.parametrize("size", [(1, 1), (20000, 10), (10, 20000)])
def test_every_picture_of_extreme_images(folder, tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "odd.png")
    args = [
        tmp_path / "odd.png",
        "--weights",
        folder / "tiny.weights",
        "--project",
        tmp_path / "runs",
    ]
    assert (
        run_tool(
            "detect", *args, "--T", 1, "--ann", "--overlay", "--layers", "layers_0_act", "--gif"
        )
        == 0
    )
    assert (tmp_path / "runs/exp/odd-rates/summary.png").exists() and (
        tmp_path / "runs/exp/odd.gif"
    ).exists()


def test_images_too_wide_for_jpeg_are_one_error(folder, tmp_path, capsys):
    Image.new("L", (66000, 2)).save(tmp_path / "strip.png")
    args = ["--weights", folder / "tiny.weights", "--project", tmp_path / "runs", "--T", 1]
    assert run_tool("detect", tmp_path / "strip.png", *args) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_shipped_weights_are_the_default():
    assert (ROOT / "weights" / "yolov3-tiny.weights").stat().st_size == 35_434_956
