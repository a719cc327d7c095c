"""Bad files and values for `detect`: one line on stderr, status 2, nothing written. And odd images,
which must work.
"""

import pickle

import cv2
import numpy as np
import pytest
from helpers.tiny import run_tool, write_tiny
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good weights, and every bad file that the cases name."""
    folder = tmp_path_factory.mktemp("tiny")
    good = write_tiny(folder)
    cfg, content = good.with_suffix(".cfg").read_text(), good.read_bytes()
    nan = np.frombuffer(content, "<f4").copy()
    nan[7] = np.nan
    weights = {
        "truncated": content[:-4],
        "nan": nan.tobytes(),
        "other": content[:-4] + bytes(4),
        "pickle": pickle.dumps({"a": 1}),
    }
    for name, data in weights.items():
        (folder / f"{name}.weights").write_bytes(data)
        (folder / f"{name}.cfg").write_text(cfg)
    (folder / "garbage.safetensors").write_bytes(bytes(range(256)) * 4)
    (folder / "wider.cfg").write_text(cfg.replace("filters=8", "filters=9"))
    (folder / "two.names").write_text("cat\ndog\n")
    (folder / "void").mkdir()
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "photos" / "a.png").read_bytes()[:300])
    return folder


CASES = [
    ("nowhere.png", "does not exist"),
    ("zero.png", "cannot identify"),
    ("cut.png", "cut.png"),
    ("void", "no images"),
    ("97", "webcam 97"),
    ("A --imgsz 96 --method msat", "calibrate"),
    ("A --imgsz 96 --statistics tiny.64.calibrations.safetensors", "96"),
    ("A --weights other.weights --statistics tiny.64.calibrations.safetensors", "other weights"),
    ("A --statistics text.png", "text.png"),
    ("A --device abacus", "abacus"),
    ("A --weights no.weights", "no.weights"),
    ("A --weights truncated.weights", "bytes"),
    ("A --weights nan.weights", "NaN"),
    ("A --weights pickle.weights", "pickle"),
    ("A --weights garbage.safetensors", "garbage"),
    ("A --weights tiny.64.calibrations.safetensors", "no network"),
    ("A --cfg wider.cfg", "bytes"),
    ("A --names two.names", "2 names"),
    ("A --project text.png", "cannot write"),
]


@pytest.mark.parametrize(("line", "word"), CASES)
def test_one_line_status_2_and_nothing_written(folder, tmp_path, monkeypatch, capfd, line, word):
    monkeypatch.chdir(folder)
    words = ["photos/a.png" if word == "A" else word for word in line.split()]
    for option, value in (("--weights", "tiny.weights"), ("--project", tmp_path / "runs")):
        if option not in words:
            words += [option, value]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_tool("detect", *words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and word in err, err
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_odd_images_work(folder, tmp_path, capsys):
    odd = tmp_path / "odd"
    odd.mkdir()
    photo = Image.open(folder / "photos" / "a.png").convert("RGB")
    Image.new("RGB", (1, 1)).save(odd / "one.png")
    Image.new("RGB", (20000, 10), "red").save(odd / "wide.png")
    modes = {"L": "png", "LA": "png", "RGBA": "png", "P": "gif", "CMYK": "jpg", "1": "png"}
    for mode, suffix in modes.items():
        photo.convert(mode).save(odd / f"{mode}.{suffix}")
    deep = np.asarray(photo).astype(np.uint16) * 257
    cv2.imwrite(str(odd / "grey16.png"), deep[..., 0])
    cv2.imwrite(str(odd / "rgb16.png"), deep[..., ::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(odd / "turned.jpg", exif=exif)
    places = ("--weights", folder / "tiny.weights", "--project", tmp_path / "runs")
    assert run_tool("detect", odd, *places, "--T", 1, "--ann") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{odd}/turned.jpg: 48x80" in out and f"{odd}/wide.png: 20000x10" in out
    assert sum(": 80x48, " in line for line in out.splitlines()) == 8
