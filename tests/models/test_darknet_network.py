"""The .cfg parser, and the network built from one: shapes, cost, pooling."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.models.darknet import DarknetNet, Section, arrays, parse_cfg, read_cfg

ROOT = Path(__file__).parents[2]
CFG = ROOT / "spiking_yolo" / "models" / "cfg"
# cfg file, floats, GFLOP (2 * MAC)
PUBLISHED = [
    (CFG / "yolov1-tiny.cfg", 27_099_950, 3.216),
    (CFG / "yolov2-tiny-voc.cfg", 15_867_885, 6.971),
    (CFG / "yolov2-tiny.cfg", 11_237_145, 5.406),
    (CFG / "tiny-yolo.cfg", 16_175_385, None),
    (ROOT / "weights" / "yolov3-tiny.cfg", 8_858_734, 5.565),
]


def build(layers: str, size: int = 8) -> DarknetNet:
    head = "[yolo]\nclasses=1\nnum=1\nanchors=1,1\n"
    return DarknetNet(parse_cfg(f"[net]\nwidth={size}\nheight={size}\n{layers}\n{head}"))


@pytest.mark.parametrize(
    ("cfg", "floats", "gflop"), PUBLISHED, ids=lambda v: getattr(v, "stem", "")
)
def test_published_networks(cfg, floats, gflop):
    net = DarknetNet(read_cfg(cfg)).eval()
    image = torch.empty(1, 3, net.height, net.width, device="meta")
    assert sum(map(torch.numel, arrays(net))) == floats
    with FlopCounterMode(display=False) as counter:
        heads = net(image)
    assert [tuple(h.shape[1:]) for h in heads] == [net.shapes[i] for i in net.head_indices]
    if gflop:
        assert round(counter.get_total_flops() / 1e9, 3) == gflop


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.data())
def test_pool_follows_the_formula(size, stride, height, width, data):
    total = data.draw(st.integers(0, size - 1))
    if min(height, width) + total < size:
        return
    x = -torch.rand(1, 2, height, width)
    pads = (total // 2, total - total // 2) * 2
    out = PaddedMaxPool2d(size, stride, pads)(x)
    side_h, side_w = ((n + total - size) // stride + 1 for n in (height, width))
    assert out.shape == (1, 2, side_h, side_w)
    for i in range(side_h):
        for j in range(side_w):
            top, left = i * stride - total // 2, j * stride - total // 2
            window = x[:, :, max(top, 0) : top + size, max(left, 0) : left + size]
            assert torch.equal(out[:, :, i, j], window.amax((2, 3)))


LINEAR = "[convolutional]\nfilters=6\nactivation=linear\n"
FOUR = "[convolutional]\nfilters=4\nactivation="
TWO = f"{FOUR}leaky\n{FOUR}linear\n"
ONE = "[yolo]\nclasses=1\nnum=1\nanchors=8,4\n"
MISTAKES = [
    ("[convolutional]\nfilters=6", r"layer 0 \[convolutional\]: activation=logistic cannot be converted"),
    (f"{TWO}[convolutional]\ngroups=3\nfilters=6\nactivation=relu", "layer 2 .*does not fit"),
    (f"{LINEAR}share_index=0", "share_index=0 is not supported"),
    ("[route]\nlayers=0", "must name earlier layers"),
    ("[maxpool]\nstride=2\nsize=2\n[route]\nlayers=0\n[upsample]\n[route]\nlayers=-1,0", "layer 3 .*not fit"),
    (f"{LINEAR}[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", "group_id be below"),
    (f"{TWO}[shortcut]\nfrom=-3", r"layer 2 \[shortcut\]: from=-3 must name earlier layers"),
    ("[sam]\nfrom=-1", r"\[sam\]: this kind of layer cannot be converted"),
    ("[crop]\nnoadjust=1\ncrop_height=4\ncrop_width=8", "layer 0 .*crops or scales"),
    ("[crop]\ncrop_height=8\ncrop_width=8", "layer 0 .*crops or scales"),
    ("[maxpool]\nsize=20\nstride=20\npadding=0", "layer 0 .*not fit"),
    ("[connected]\noutput=4\nactivation=linear\n[maxpool]\nstride=2", "layer 1 .*not fit"),
    (f"{LINEAR}{ONE}[route]\nlayers=1", "can read a head"),
    (f"{LINEAR}{ONE}new_coords=1", "new_coords=1 needs"),
    (f"[convolutional]\nfilters=6\nactivation=logistic\n{ONE}new_coords=1\n[route]\nlayers=0", "of its own"),
]  # fmt: skip


def test_mistakes_name_the_layer():
    for layers, message in MISTAKES:
        with pytest.raises(UserError, match=message):
            build(layers)


def test_grey_input():
    with pytest.raises(UserError, match="channels must be 3"):
        DarknetNet(parse_cfg("[net]\nwidth=8\nheight=8\nchannels=1\n[maxpool]\n"))


def test_order_repetition_spaces_and_comments():
    text = "# note\r\n[net]\r\n hue = .1\r\n\r\n[convolutional]\nfilters = 16 \n;x=1\n[maxpool]\n"
    text += "[convolutional]\nanchors = 1, 2,\t 3,4\n"
    sections = parse_cfg(text)
    assert [s.kind for s in sections] == ["net", "convolutional", "maxpool", "convolutional"]
    assert [s.index for s in sections] == [-1, 0, 1, 2]
    assert sections[0].options == {"hue": ".1"}
    assert sections[1].options == {"filters": "16"}
    assert sections[3].numbers("anchors") == [1, 2, 3, 4]


def test_numbers_end_where_a_comment_begins():
    text = "[net]\n[convolutional]\nsize=3 # small\nmask=0,1 # the fine ones\nscale=1.5 # x\n"
    (_, layer) = parse_cfg(text)
    assert layer.integer("size") == 3 and layer.numbers("mask") == [0, 1]
    assert layer.numbers("scale") == [1.5]


names = st.text("abcdefghijk_", min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(names, st.dictionaries(names, st.integers(-9, 999), max_size=4)),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_is_read(layers):
    text = "[net]\n" + "".join(
        f"[ {kind} ]\n" + "".join(f"{k} = {v}\n" for k, v in options.items())
        for kind, options in layers
    )
    found = [(s.kind, {k: int(v) for k, v in s.options.items()}) for s in parse_cfg(text)[1:]]
    assert found == layers


@pytest.mark.parametrize(
    "text",
    ["", "[net]\n", "[convolutional]\n[net]\n", "size=3\n[net]\n[convolutional]\n", "[net]\n[conv\n", "[net]\n[convolutional]\nx\n"],
)  # fmt: skip
def test_mistakes(text: str):
    with pytest.raises(ValueError, match=r"cfg|net"):
        parse_cfg(text)


@pytest.mark.parametrize("value", ["x", "1.5", "-1", "1,2"])
def test_bad_numbers_name_line_layer_and_key(value: str):
    section = Section("convolutional", 4, 17, {"size": value})
    with pytest.raises(UserError, match=r"line 17: layer 4 \[convolutional\]: size="):
        section.integer("size", 1)
