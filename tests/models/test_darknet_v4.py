"""YOLOv4 and YOLOv4-tiny, its variant with three heads, and YOLOv7-tiny: published sizes, a second
implementation, OpenCV, the spiking network, and grouped routes.
"""

from pathlib import Path

import pytest
import torch
from helpers.darknet_cfgs import (
    conv,
    head,
    net,
    route,
    section,
    write_random,
    yolov4,
    yolov4_tiny,
    yolov7_tiny,
)
from helpers.darknet_files import random_network
from helpers.darknet_reference import heads as reference
from torch import Tensor

from spiking_yolo.graph import forward
from spiking_yolo.models.darknet import DarknetNet, count_floats, parse_cfg
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.spec import Spec

SIZE = 64
BOXES = {"anchors": "8,4, 9,20, 40,30", "num": 3, "mask": "0,1,2"}
GROUPS = net(SIZE) + conv(12, 3, 8) + conv(12) + route(-1, 0, groups=3, group_id=2)
NETWORKS = {
    "yolov4-tiny": yolov4_tiny(SIZE),
    "yolov4-tiny-3l": yolov4_tiny(SIZE, heads=3),
    "yolov7-tiny": yolov7_tiny(SIZE),
    "narrow-yolov4": yolov4(SIZE, narrow=8),
    "two-groups": GROUPS + head(3, **BOXES),
}


def test_sizes_are_the_published_ones():
    v4, v7 = DarknetNet(parse_cfg(yolov4_tiny())), DarknetNet(parse_cfg(yolov7_tiny()))
    whole = DarknetNet(parse_cfg(yolov4()))
    # Bytes of yolov4-tiny.weights and yolov4.weights.
    assert 20 + 4 * count_floats(v4) == 24_251_276
    assert 20 + 4 * count_floats(whole) == 257_717_640
    # Parameters of YOLOv7-tiny with folded batch norms.
    weights = [m for m in v7.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(m.weight.numel() + m.out_channels for m in weights) == 6_219_709
    assert [v4.shapes[i] for i in (3, 8, 34)] == [(32, 104, 104), (128, 104, 104), (384, 26, 26)]
    assert [v7.shapes[i][1] for i in v7.head_indices] == [52, 26, 13]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("v4")
    for name, cfg in NETWORKS.items():
        write_random(folder / name, cfg)
    return folder


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def behind_sigmoids(outputs: tuple[Tensor, ...], spec: Spec) -> list[Tensor]:
    """What the [yolo] sections read."""
    new_coords = [head.kind == "yolov5" for head in spec.heads]
    return [x.sigmoid() if new else x for x, new in zip(outputs, new_coords, strict=True)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_second_implementation_agrees(name: str, files: Path, image: Tensor):
    path = files / f"{name}.weights"
    ann = load_ann(path)
    expected = reference(path.with_suffix(".cfg"), path, image.double())
    exact = behind_sigmoids(forward(ann.graph.to(torch.float64), image.double()), ann.spec)
    single = behind_sigmoids(forward(ann.graph, image), ann.spec)
    for output, rounded, wanted in zip(exact, single, expected, strict=True):
        assert wanted.std() > 0.05
        # Folded batch norms are rounded to float32.
        assert (output - wanted).abs().max() < 1e-5 * (1 + wanted.std())
        assert (rounded - wanted).abs().max() < 1e-4 * (1 + wanted.std())


def test_groups_and_sums_of_several_layers(image: Tensor):
    layers = conv(12, 3, 8) + conv(6) + route(-1, 0, groups=3, group_id=1)
    layers += section("shortcut", **{"from": "1,-1"}, activation="linear")
    network = random_network(net(SIZE) + layers + head(3, **BOXES))
    first = network.layers[0](image)
    second = network.layers[1](first)
    joined = torch.cat([second[:, 2:4], first[:, 4:8]], 1)
    assert network.shapes[2] == (6, 8, 8)
    expected = network.layers[4](joined + second + joined)
    assert torch.allclose(network(image)[0], expected, atol=1e-6)
