"""The .weights reader and writer, and load_darknet."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.darknet_files import random_network, write_weights

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import YOLOV3_TINY, sha256
from spiking_yolo.models import darknet
from spiking_yolo.models.load import load_ann

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights" / "yolov3-tiny.weights"
SMALL = """[net]\nwidth=4\nheight=4
[convolutional]\nfilters=2\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky
[convolutional]\nfilters=3\nactivation=linear
[connected]\noutput=11\nbatch_normalize=1\nactivation=linear
[detection]\nclasses=1\ncoords=4\nside=1\nnum=2\n"""
SMALL_FLOATS = 4 * 2 + 54 + 3 + 6 + 4 * 11 + 48 * 11


def small() -> darknet.DarknetNet:
    return darknet.DarknetNet(darknet.parse_cfg(SMALL))


def save(path: Path, values: np.ndarray, header: bytes = struct.pack("<3iQ", 0, 2, 0, 5)) -> Path:
    path.write_bytes(header + values.astype("<f4").tobytes())
    return path


def test_array_order(tmp_path):
    v = np.arange(SMALL_FLOATS)
    net = small()
    darknet.read_weights(net, save(tmp_path / "x.weights", v))
    conv, plain, full = net.layers[0], net.layers[1], net.layers[2]
    assert conv.bn.bias.tolist() == [0, 1] and conv.bn.weight.tolist() == [2, 3]
    assert conv.bn.running_mean.tolist() == [4, 5] and conv.bn.running_var.tolist() == [6, 7]
    assert conv.conv.weight.flatten().tolist() == list(range(8, 62))
    assert plain.conv.bias.tolist() == [62, 63, 64]
    assert plain.conv.weight.flatten().tolist() == list(range(65, 71))
    assert full.bn.bias.tolist() == list(range(71, 82))
    assert full.linear.weight.flatten().tolist() == list(range(82, 82 + 528))
    assert full.bn.weight.tolist() == list(range(610, 621))
    assert full.bn.running_var.tolist() == list(range(632, 643))


def test_size_must_be_exact(tmp_path):
    for extra in [-4, 4, -1, 1]:
        path = save(tmp_path / "x.weights", np.zeros(SMALL_FLOATS))
        good = 20 + 4 * SMALL_FLOATS
        path.write_bytes((path.read_bytes() + b"\0" * 4)[: good + extra])
        with pytest.raises(UserError, match=f"has {good + extra} bytes, but the cfg needs {good}:"):
            darknet.read_weights(small(), path)


def test_values_that_are_no_numbers(tmp_path):
    path = small_files(tmp_path)
    content = np.frombuffer(path.read_bytes()[20:], "<f4").copy()
    # Also a negative variance, and an infinite one.
    for place, bad in [(63, np.nan), (63, np.inf), (6, -1), (6, np.inf)]:
        values = content.copy()
        values[place] = bad
        with pytest.raises(UserError, match=r"net\.weights"):
            load_ann(save(path, values))


def test_public_weights_load_with_names_and_fingerprint():
    net, spec = darknet.load_darknet(WEIGHTS)
    assert sha256(WEIGHTS) == YOLOV3_TINY and not net.training
    assert len(spec.names) == 80 and spec.names[0] == "person" and spec.names[16] == "dog"


def test_mask_of_the_public_weights_is_mended(tmp_path):
    cfg = tmp_path / "later.cfg"
    cfg.write_text((WEIGHTS.with_suffix(".cfg")).read_text().replace("mask=1,2,3", "mask = 0,1,2"))
    with pytest.warns(UserWarning, match="mask=1,2,3"):
        _, spec = darknet.load_darknet(WEIGHTS, cfg)
    assert spec.heads[1].anchors == ((23, 27), (37, 58), (81, 82))
    copy = tmp_path / "retrained.weights"
    shutil.copyfile(WEIGHTS, copy)
    with open(copy, "r+b") as f:
        f.seek(12)
        f.write(struct.pack("<Q", 1))
    _, spec = darknet.load_darknet(copy, cfg)
    assert spec.heads[1].anchors == ((10, 14), (23, 27), (37, 58))


def small_files(folder: Path) -> Path:
    (folder / "net.cfg").write_text(SMALL)
    write_weights(random_network(SMALL), folder / "net.weights")
    return folder / "net.weights"


def test_class_names_are_found_in_order(tmp_path):
    path = small_files(tmp_path)
    assert darknet.load_darknet(path)[1].names == ("class 0",)
    (tmp_path / "net.names").write_text("cat\n\n")
    assert darknet.load_darknet(path)[1].names == ("cat",)
    (tmp_path / "other.names").write_text("dog\n")
    assert darknet.load_darknet(path, names=tmp_path / "other.names")[1].names == ("dog",)
    (tmp_path / "net.names").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="has 2 names"):
        darknet.load_darknet(path)
