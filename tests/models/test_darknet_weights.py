"""The .weights reader and writer, and load_darknet."""

import filecmp
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.darknet_files import write_weights

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import YOLOV3_TINY
from spiking_yolo.models.darknet_cfg import parse_cfg, read_cfg
from spiking_yolo.models.darknet_network import DarknetNet
from spiking_yolo.models.darknet_weights import Header, count_floats, load_darknet, read_weights

ROOT = Path(__file__).parents[2]
CFG = ROOT / "spiking_yolo" / "models" / "cfg"
WEIGHTS = ROOT / "weights" / "yolov3-tiny.weights"
OLD, NEW = Header(0, 1, 0, 7), Header(0, 2, 0, 2**40)
SIZES = [
    (CFG / "yolov2-tiny-voc.cfg", OLD, 63_471_556),
    (ROOT / "weights" / "yolov3-tiny.cfg", NEW, 35_434_956),
]
SMALL = """[net]\nwidth=4\nheight=4
[conv]\nfilters=2\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky
[conv]\nfilters=3\nactivation=linear
[connected]\noutput=11\nbatch_normalize=1\nactivation=linear
[detection]\nclasses=1\ncoords=4\nside=1\nnum=2\n"""
SMALL_FLOATS = 4 * 2 + 54 + 3 + 6 + 4 * 11 + 48 * 11


def small() -> DarknetNet:
    return DarknetNet(parse_cfg(SMALL))


def save(path: Path, values: np.ndarray, header: bytes = struct.pack("<3iQ", 0, 2, 0, 5)) -> Path:
    path.write_bytes(header + values.astype("<f4").tobytes())
    return path


@pytest.mark.parametrize(("cfg", "header", "size"), SIZES, ids=lambda v: getattr(v, "stem", ""))
def test_round_trip_has_the_published_size_and_the_same_bits(cfg, header, size, tmp_path):
    first, second = tmp_path / "a.weights", tmp_path / "b.weights"
    with torch.device("meta"):
        net = DarknetNet(read_cfg(cfg))
    net.to_empty(device="cpu")
    generator = np.random.default_rng(0)
    floats = generator.random(count_floats(net), np.float32)
    numbers = header.major, header.minor, header.revision, header.seen
    save(first, floats, struct.pack(header.layout, *numbers))
    assert first.stat().st_size == size
    assert read_weights(net, first) == header
    write_weights(net, second, header)
    assert filecmp.cmp(first, second, shallow=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.weights", "b.weights"]
    first.unlink(), second.unlink()


def test_array_order(tmp_path):
    v = np.arange(SMALL_FLOATS)
    net = small()
    assert read_weights(net, save(tmp_path / "x.weights", v)) == Header(0, 2, 0, 5)
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


def test_connected_matrices_are_transposed_beyond_version_1000(tmp_path):
    for major, minor in [(1001, 0), (0, 1001)]:
        path = save(
            tmp_path / "x.weights", np.arange(SMALL_FLOATS), struct.pack("<4i", major, minor, 0, 5)
        )
        net = small()
        header = read_weights(net, path)
        assert net.layers[2].linear.weight[0, :3].tolist() == [82, 93, 104]
        assert net.layers[0].conv.weight.flatten().tolist() == list(range(8, 62))
        write_weights(net, tmp_path / "y.weights", header)
        assert filecmp.cmp(path, tmp_path / "y.weights", shallow=False)


def test_header_size_follows_the_version():
    for version, size in [
        ((0, 1), 16),
        ((0, 2), 20),
        ((1, 0), 20),
        ((999, 0), 20),
        ((1000, 0), 16),
        ((0, 999), 20),
        ((0, 1000), 16),
    ]:
        assert Header(*version).size == size


def test_size_must_be_exact(tmp_path):
    for extra in [-4, 4, -1, 1]:
        path = save(tmp_path / "x.weights", np.zeros(SMALL_FLOATS))
        good = 20 + 4 * SMALL_FLOATS
        path.write_bytes((path.read_bytes() + b"\0" * 4)[: good + extra])
        with pytest.raises(UserError, match=f"has {good + extra} bytes, but the cfg needs {good} "):
            read_weights(small(), path)


def test_values_that_are_no_numbers_name_the_layer_and_leave_the_network(tmp_path):
    for bad in [np.nan, np.inf, -np.inf]:
        values = np.arange(SMALL_FLOATS, dtype=np.float32)
        values[63] = bad
        net = small()
        before = net.layers[0].conv.weight.clone()
        with pytest.raises(
            UserError, match=r"layer 1 \[convolutional\] biases hold NaN or infinity"
        ):
            read_weights(net, save(tmp_path / "x.weights", values))
        assert torch.equal(net.layers[0].conv.weight, before)


def test_negative_variance(tmp_path):
    values = np.zeros(SMALL_FLOATS)
    values[6] = -1
    with pytest.raises(UserError, match=r"layer 0 .* variance is negative"):
        read_weights(small(), save(tmp_path / "x.weights", values))


def test_other_files_are_recognised(tmp_path):
    for content, message in [
        (b"", "is empty"),
        (b"PK\x03\x04" + b"\0" * 40, "zip archive"),
        (pickle.dumps({"a": list(range(50))}), "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"some text that is long enough", "no darknet header"),
        (b"\0" * 12, "no darknet header"),
    ]:
        path = tmp_path / "x.weights"
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_weights(small(), path)


def test_public_weights_load_with_names_and_fingerprint():
    net, spec, digest = load_darknet(WEIGHTS)
    assert digest == YOLOV3_TINY and not net.training
    assert len(spec.names) == 80 and spec.names[0] == "person" and spec.names[16] == "dog"


def test_mask_of_the_public_weights_is_mended(tmp_path):
    cfg = tmp_path / "later.cfg"
    cfg.write_text((WEIGHTS.with_suffix(".cfg")).read_text().replace("mask=1,2,3", "mask = 0,1,2"))
    with pytest.warns(UserWarning, match="mask=1,2,3"):
        _, spec, _ = load_darknet(WEIGHTS, cfg)
    assert spec.heads[1].anchors == ((23, 27), (37, 58), (81, 82))
    copy = tmp_path / "retrained.weights"
    shutil.copyfile(WEIGHTS, copy)
    with open(copy, "r+b") as f:
        f.seek(12)
        f.write(struct.pack("<Q", 1))
    _, spec, _ = load_darknet(copy, cfg)
    assert spec.heads[1].anchors == ((10, 14), (23, 27), (37, 58))


def small_files(folder: Path, classes: int = 1) -> Path:
    output = classes + 10
    cfg = SMALL.replace("output=11", f"output={output}").replace("classes=1", f"classes={classes}")
    (folder / "net.cfg").write_text(cfg)
    write_weights(DarknetNet(parse_cfg(cfg)), folder / "net.weights")
    return folder / "net.weights"


def test_class_names_are_found_in_order(tmp_path):
    path = small_files(tmp_path)
    assert load_darknet(path)[1].names == ("class 0",)
    (tmp_path / "net.names").write_text("cat\n\n")
    assert load_darknet(path)[1].names == ("cat",)
    (tmp_path / "other.names").write_text("dog\n")
    assert load_darknet(path, names=tmp_path / "other.names")[1].names == ("dog",)
    (tmp_path / "net.names").write_text("cat\ndog\n")
    with pytest.raises(UserError, match="has 2 names, but the network has 1 classes"):
        load_darknet(path)


def test_voc_names_by_number_of_classes(tmp_path, recwarn):
    """A guess, which is said, unless the names lie beside the weights."""
    path = small_files(tmp_path, classes=20)
    with pytest.warns(
        Notice, match="net.weights has 20 classes and no names beside it: taking those of voc.names"
    ):
        assert load_darknet(path)[1].names[11] == "dog"
    (tmp_path / "voc.names").write_text("\n".join("abcdefghijklmnopqrst"))
    assert load_darknet(path)[1].names[11] == "l" and not recwarn.list


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        load_darknet(tmp_path / "no.weights")
    path = save(tmp_path / "unheard-of.weights", np.zeros(3))
    with pytest.raises(UserError, match="pass --cfg"):
        load_darknet(path)
