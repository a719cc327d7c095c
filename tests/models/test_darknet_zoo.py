"""Darknet networks against a second implementation: public ones, most of them depthwise; YOLOv4,
YOLOv4-tiny and YOLOv7-tiny; shortcuts, heads, grouped routes, random round trips.
"""

import math
from pathlib import Path

import numpy as np
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
from helpers.darknet_files import random_network, write_weights
from helpers.darknet_reference import heads as reference
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.graph import forward
from spiking_yolo.models.darknet import DarknetNet, arrays, parse_cfg, read_weights
from spiking_yolo.models.load import Ann, load_ann

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "weights", ROOT.parent / "shared" / "zoo")
IDENTITIES = {"yolo-fastest-1.1": 28, "yolo-fastest-1.1-xl": 28}
IDENTITIES |= dict.fromkeys(["MobileNetV2-YOLOv3-Nano-coco", "MobileNetV2-YOLOv3-Nano-voc"], 16)
IDENTITIES["yolov3-tiny"] = 0


def found(name: str) -> Path:
    for folder in FOLDERS:
        if (path := folder / f"{name}.weights").is_file():
            return path
    pytest.skip(f"{name}.weights is not at hand")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return read_image(ROOT / "data" / "samples" / "dog.jpg")


def assert_agrees(ann: Ann, path: Path, x: Tensor) -> None:
    """What the [yolo] sections read is that of the second implementation. Folded batch norms are
    rounded to float32, in float64 too.
    """
    expected = reference(path.with_suffix(".cfg"), path, x.double())
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 1e-4)):
        outputs = forward(ann.graph.to(dtype), x.to(dtype))
        for output, layout, wanted in zip(outputs, ann.spec.heads, expected, strict=True):
            read = output.sigmoid() if layout.kind == "yolov5" else output
            assert wanted.std() > 0.05
            assert (read - wanted).abs().max() < tolerance * (1 + wanted.std())


@pytest.mark.parametrize("name", IDENTITIES)
def test_public_networks_agree_with_a_second_implementation(name: str, photograph: np.ndarray):
    path = found(name)
    ann = load_ann(path)
    assert_agrees(ann, path, ann.spec.normalised(preprocess(photograph, ann.spec)[0][None]))
    tiny = name == "yolov3-tiny"
    assert (ann.spec.resize, ann.imgsz[1]) == (("letterbox", 416) if tiny else ("stretch", 320))
    assert sum(node.attrs["slope"] == 1 for node in ann.graph.activations) == IDENTITIES[name]


HEAD = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=8,4\n"


def build(layers: str, head: str = HEAD) -> DarknetNet:
    return DarknetNet(parse_cfg(f"[net]\nwidth=8\nheight=16\n{layers}\n{head}")).eval()


def test_swish_is_silu_and_networks_need_not_be_square():
    net = build("[convolutional]\nfilters=4\nactivation=swish\n")
    assert isinstance(net.layers[0].act, torch.nn.SiLU) and net.shapes[0] == (4, 16, 8)
    assert (net.spec(["a"]).height, net.spec(["a"]).width) == (16, 8)


def test_alexeyabs_darknet_stretches_images():
    for options, more, resize in [
        ("", "", "letterbox"),
        ("", "iou_loss=ciou", "stretch"),
        ("letter_box=1", "scale_x_y=1.1", "letterbox"),
        ("letter_box=0", "", "stretch"),
        ("mosaic=1", "", "stretch"),
    ]:
        cfg = f"[net]\nwidth=8\nheight=8\n{options}\n{HEAD}{more}\n"
        assert DarknetNet(parse_cfg(cfg)).spec(["a"]).resize == resize


@st.composite
def random_cfg(draw: st.DrawFn) -> str:
    """A depthwise network with shortcuts and several routes, of random widths."""
    text, widths = "[net]\nwidth=8\nheight=16\n", []
    for i in range(draw(st.integers(1, 6))):
        kinds = ["plain", "depthwise", "grouped", "shortcut", "route", "spp", "dropout"]
        kind = draw(st.sampled_from(kinds))
        before = widths[-1] if widths else 3
        same = [k for k, width in enumerate(widths[:-1]) if width == before]
        if kind == "shortcut" and same:
            text += f"[shortcut]\nfrom={draw(st.sampled_from(same)) - i}\nactivation=linear\n"
        elif kind == "route" and widths:
            named = draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=3))
            text += f"[route]\nlayers={','.join(str(k - draw(st.sampled_from([0, i]))) for k in named)}\n"
            before = sum(widths[k] for k in named)
        elif kind == "spp":
            text += f"[maxpool]\nstride=1\nsize={draw(st.sampled_from([3, 5, 9]))}\n"
        elif kind == "dropout":
            text += "[dropout]\n"
        else:
            groups = {"depthwise": before, "grouped": math.gcd(before, 2)}.get(kind, 1)
            filters = groups * draw(st.integers(1, 3))
            act, norm, size = (
                draw(st.sampled_from(v)) for v in (["relu", "leaky", "linear"], [0, 1], [1, 3])
            )
            text += f"[convolutional]\nfilters={filters}\ngroups={groups}\nsize={size}\npad=1\n"
            text += f"batch_normalize={norm}\nactivation={act}\n"
            before = filters
        widths.append(before)
    return (
        text
        + "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=1,1\n"
    )


@given(random_cfg(), st.integers(0, 2**32 - 1))
def test_random_networks_are_read_and_computed_alike(tmp_path_factory, cfg, seed):
    folder = tmp_path_factory.mktemp("random")
    path = write_random(folder / "a", cfg, seed)
    again = DarknetNet(parse_cfg(cfg))
    assert path.stat().st_size == 20 + 4 * sum(map(torch.numel, arrays(again)))
    read_weights(again, path)
    write_weights(again, folder / "b.weights")
    assert path.read_bytes() == (folder / "b.weights").read_bytes()
    x = torch.rand(1, 3, 16, 8, generator=torch.Generator().manual_seed(seed)).double()
    (wanted,) = reference(folder / "a.cfg", folder / "a.weights", x)
    assert torch.allclose(again.double()(x)[0], wanted, atol=1e-6)


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
    assert 20 + 4 * sum(map(torch.numel, arrays(v4))) == 24_251_276
    assert 20 + 4 * sum(map(torch.numel, arrays(whole))) == 257_717_640
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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_second_implementation_agrees(name: str, files: Path, image: Tensor):
    path = files / f"{name}.weights"
    assert_agrees(load_ann(path), path, image)


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
