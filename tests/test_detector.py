"""SpikingYOLO in Python: kinds of input, what a Result holds, saving and loading, and what is refused."""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import CONNECTED, NAMES, SIZE, YOLO, write_tiny
from PIL import Image

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.convert.statistics import statistics_path, take_statistics
from spiking_yolo.decode.yolo import detections
from spiking_yolo.graph import forward
from spiking_yolo.io.images import preprocess, read_image
from spiking_yolo.io.tensors import read_safetensors, write_safetensors
from spiking_yolo.models.load import file_kind, load_ann
from spiking_yolo.models.load_darknet import load_darknet

CONF: dict[str, Any] = {"conf": 0.3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def detector(weights):
    return SpikingYOLO(weights)


@pytest.fixture(scope="module")
def photo(weights):
    return weights.parent / "photos" / "a.png"


@pytest.fixture(scope="module")
def converted(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "net.safetensors"
    detector.save(path)
    return path


def assert_same(a, b):
    assert len(a.detections) > 0
    for x, y in ((a.xyxy, b.xyxy), (a.confidence, b.confidence), (a.class_id, b.class_id)):
        assert torch.equal(x, y)
    assert a.spikes_by_layer == b.spikes_by_layer


def test_path_array_and_pil_image_give_the_same(detector, photo):
    result = detector.detect(photo, T=4, **CONF)
    assert result.path == str(photo)
    for source in (str(photo), np.asarray(Image.open(photo)), Image.open(photo)):
        assert_same(result, detector.detect(source, T=4, **CONF))


def test_list_gives_a_list(detector, photo):
    two = detector.detect([photo, photo.with_name("b.png")], T=4, steps=iter([2]), **CONF)
    assert_same(two[0], detector.detect(photo, T=4, **CONF))
    assert [sorted(r.steps) for r in two] == [[2, 4], [2, 4]]
    assert detector.detect([], T=4) == []


def test_result_describes_the_boxes(detector, photo):
    r = detector.detect(photo, T=4, **CONF)
    n = len(r.detections)
    assert r.xyxy.shape == r.xywhn.shape == (n, 4)
    assert r.names == NAMES and set(r.class_id.tolist()) <= {0, 1, 2}
    assert (r.confidence > 0.3).all() and (r.confidence.diff() <= 0).all()
    x, y, w, h = r.xywhn.double().unbind(1)
    corners = torch.stack([(x - w / 2) * 80, (y - h / 2) * 48, (x + w / 2) * 80, (y + h / 2) * 48], 1)
    torch.testing.assert_close(corners, r.xyxy.double(), atol=1e-3, rtol=0)
    drawn = r.plot()
    assert drawn.shape == r.image.shape == (48, 80, 3) and drawn.dtype == np.uint8 and (drawn != r.image).any()


def test_result_counts_spikes(detector, photo):
    r = detector.detect(photo, T=4, maps=True, **CONF)
    assert list(r.spikes_by_layer) == detector.layers
    assert r.spikes == sum(r.spikes_by_layer.values()) > 0
    # 4 channels and 8 channels at half the size, behind their max pooling or before it.
    assert r.mean_rate == pytest.approx(r.spikes / (sum(r.neurons_by_layer.values()) * 4))
    for name, neurons in r.neurons_by_layer.items():
        heat = r.maps[4][name]
        assert heat.sum().item() * neurons / heat.numel() == pytest.approx(r.spikes_by_layer[name], rel=1e-5)


def test_steps_of_one_run_equal_separate_runs(detector, photo):
    r = detector.detect(photo, T=6, steps=(2, 3), **CONF)
    assert sorted(r.steps) == [2, 3, 6] and r.steps[6] is r.detections
    for t in (2, 3):
        alone = detector.detect(photo, T=t, **CONF)
        assert torch.equal(r.steps[t].xyxy, alone.xyxy) and torch.equal(r.steps[t].confidence, alone.confidence)


def test_classes_are_chosen_before_max_det(detector, photo):
    every = detector.detect(photo, T=4, **CONF)
    rare = int(every.class_id[-1])
    only = every.class_id == rare
    assert 0 < only.sum() < len(only)
    chosen = detector.detect(photo, T=4, classes=[rare], **CONF)
    assert torch.equal(chosen.xyxy, every.xyxy[only])
    best = detector.detect(photo, T=4, classes=[rare], max_det=1, **CONF)
    assert torch.equal(best.xyxy, every.xyxy[only][:1])
    assert len(detector.detect(photo, T=4, classes=[], **CONF).detections) == 0


def test_exif_rotation_gives_boxes_of_the_displayed_image(detector, photo, tmp_path):
    upright = Image.open(photo)
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns it by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert_same(detector.detect(photo, T=4, **CONF), detector.detect(tmp_path / "turned.png", T=4, **CONF))


def test_ann_is_the_original_network(detector, weights, photo):
    net, spec, _ = load_darknet(weights)
    x, placement = preprocess(read_image(photo), spec)
    with torch.no_grad():
        expected = detections(net(x[None]), spec, [placement], 0.3, 0.45, 300, False)[0]
    ann = detector.detect_ann(photo, **CONF)
    assert ann.T == 0 and ann.spikes == 0 and ann.mean_rate == 0
    assert torch.equal(ann.class_id, expected.class_id)
    torch.testing.assert_close(ann.xyxy, expected.xyxy, atol=1e-3, rtol=1e-4)


def test_saved_network_is_bit_identical(detector, converted, photo):
    x, _ = preprocess(read_image(photo), detector.spec)
    expected = detector.converted.network().run(x[None], 5)
    for loaded in (SpikingYOLO.load(converted), SpikingYOLO(converted)):
        assert (loaded.names, loaded.spec, loaded.method) == (detector.names, detector.spec, detector.method)
        assert loaded.converted.recipe == detector.converted.recipe
        assert_same(detector.detect(photo, T=4, **CONF), loaded.detect(photo, T=4, **CONF))
        again = loaded.converted.network().run(x[None], 5)
        assert all(map(torch.equal, again.snapshots[5].outputs, expected.snapshots[5].outputs))
        ann, own = loaded.detect_ann(photo, **CONF), detector.detect_ann(photo, **CONF)
        assert torch.equal(ann.xyxy, own.xyxy)


@pytest.mark.parametrize(
    "option",
    [
        {"method": "differential"},
        {"settings": {"neuron.gamma": 2}},
        {"imgsz": SIZE},
        {"imgsz": (SIZE, SIZE)},
        {"names": "x"},
        {"statistics": "x"},
    ],
)
def test_converted_network_takes_no_recipe(converted, option):
    with pytest.raises(UserError, match="already converted"):
        SpikingYOLO(converted, **option)


def test_nan_in_a_converted_network_is_refused(converted, tmp_path):
    metadata, tensors = read_safetensors(converted)
    key = next(k for k in tensors if k.endswith(".bias"))
    write_safetensors(tmp_path / "nan.safetensors", {**tensors, key: tensors[key] * float("nan")}, metadata)
    with pytest.raises(UserError, match="NaN"):
        SpikingYOLO.load(tmp_path / "nan.safetensors")


def test_any_length_of_header_is_safetensors(tmp_path):
    """A header of 128 bytes starts as a pickle of protocol 2 or later does."""
    header = json.dumps({"__metadata__": {"format": "other"}}).encode().ljust(128)
    for name in ("a.safetensors", "a.weights"):
        (tmp_path / name).write_bytes(struct.pack("<Q", 128) + header)
        assert file_kind(tmp_path / name) == "safetensors"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("suffix", [".pt", ".weights", ".safetensors"])
def test_a_pickle_is_never_opened(tmp_path, suffix, protocol):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    path = tmp_path / f"trap{suffix}"
    path.write_bytes(pickle.dumps(Trap(), protocol))
    for load in (SpikingYOLO, SpikingYOLO.load):
        with pytest.raises(UserError):
            load(path)
    assert not (tmp_path / "sprung").exists()


def test_pytorch_checkpoint_is_refused_by_name(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "net.weights")
    with pytest.raises(UserError, match="pickle"):
        SpikingYOLO(tmp_path / "net.weights")


def test_a_rectangular_input(weights, detector, photo, tmp_path):
    """imgsz=(64, 96) is the network whose cfg says height=64 and width=96, and follows its ANN."""
    ann, size = load_ann(weights, imgsz=(64, 96)), (64, 96)
    photos = [str(photo), str(photo.with_name("b.png"))]
    take_statistics(ann.graph, ann.spec, ann.sha256, photos)[0].save(statistics_path(weights, size))
    wide = SpikingYOLO(weights, imgsz=size)
    assert (wide.spec.height, wide.spec.width) == wide.detect(photo, T=1).placement.network[::-1] == size
    other = write_tiny(tmp_path, cfg=YOLO.replace(f"width={SIZE}", "width=96"))
    assert_same(
        wide.detect(photo, T=4, **CONF),
        SpikingYOLO(other, statistics=statistics_path(other, (SIZE, SIZE))).detect(photo, T=4, **CONF),
    )
    x = preprocess(read_image(photo), wide.spec)[0][None]
    found, expected = wide.converted.network().run(x, 256).snapshots[256].outputs[0], forward(ann.graph, x)[0]
    assert expected.shape[2:] == (16, 24) and (found - expected).norm() < 0.02 * expected.norm()
    assert_same(detector.detect(photo, T=4, **CONF), SpikingYOLO(weights, imgsz=SIZE).detect(photo, T=4, **CONF))


@pytest.mark.parametrize("imgsz", [100, (64, 100), (64, 64, 64), "wide"])
def test_sizes_that_do_not_fit(weights, imgsz):
    with pytest.raises(UserError, match="multiple of 32"):
        SpikingYOLO(weights, imgsz=imgsz)


def test_a_connected_head_takes_its_own_size_only(tmp_path):
    weights = write_tiny(tmp_path, "v1", CONNECTED)
    with pytest.raises(UserError, match=f"takes {SIZE} pixels only"):
        SpikingYOLO(weights, imgsz=(SIZE, 96))
    assert SpikingYOLO(weights, imgsz=(SIZE, SIZE)).spec.width == SIZE


def test_layers_behind_connected_ones_have_no_place(tmp_path):
    detector = SpikingYOLO(write_tiny(tmp_path, "v1", CONNECTED))
    assert len(detector.converted.sites) == 2 and len(detector.layers) == 1
    result = detector.detect(tmp_path / "photos" / "a.png", T=2, maps=True)
    assert list(result.maps[2]) == detector.layers


def test_shrunk_scales_everything(detector, photo):
    r = detector.detect(photo, T=4, steps=[2], maps=True, **CONF)
    small = r.shrunk(40)
    assert small.image.shape == (24, 40, 3) and small.placement.image == (40, 24)
    torch.testing.assert_close(small.xyxy * 2, r.xyxy)
    torch.testing.assert_close(small.steps[2].xyxy * 2, r.steps[2].xyxy)
    assert r.shrunk(80) is r


@pytest.mark.parametrize(("T", "steps"), [(0, ()), (4, (5,)), (4, (0,))])
def test_timesteps_out_of_range(detector, photo, T, steps):
    with pytest.raises(UserError, match="T"):
        detector.detect(photo, T=T, steps=steps)
