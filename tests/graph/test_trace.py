"""The traced graph computes what the module computes, or the module is refused by the name of the
node.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as zoo
from helpers.networks import ALL, TinyLeaky, images, make
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph, Node, forward
from spiking_yolo.graph.modules import QCFS, ClippedReLU
from spiking_yolo.graph.trace import trace


def as_tuple(y: Any) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("cls", ALL)
def test_graph_computes_what_the_module_computes(cls: type[nn.Module]):
    model, x = make(cls), images(3)
    with torch.no_grad():
        expected, got = as_tuple(model(x)), forward(trace(model, x[:1]), x)
    assert len(expected) == len(got)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_batch_norm_is_folded_by_its_equation():
    """w' = w * g / sqrt(var + eps), b' = (b - mean) * g / sqrt(var + eps) + beta."""
    model = make(TinyLeaky)
    graph, bn, conv = trace(model, images(1)), model.bn1, model.conv1
    factor = bn.weight / (bn.running_var + bn.eps).sqrt()
    expected = conv.weight * factor[:, None, None, None]
    torch.testing.assert_close(graph.tensors["conv1.weight"], expected)
    torch.testing.assert_close(graph.tensors["conv1.bias"], bn.bias - bn.running_mean * factor)
    assert not any("bn" in node.name for node in graph.nodes)


def test_resnet18_has_17_sites():
    torch.manual_seed(0)
    model, x = zoo.resnet18(weights=None, num_classes=10).eval(), torch.rand(2, 3, 64, 64)
    graph = trace(model, x[:1])
    assert len(graph.activations) == 17
    with torch.no_grad():
        torch.testing.assert_close(forward(graph, x)[0], model(x), rtol=1e-4, atol=1e-4)


class Calls(nn.Module):
    """conv -> f -> conv, for one questionable f."""

    def __init__(self, f: Any):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.f(self.first(x)))


CAPPED = {
    "clip": (ClippedReLU(0.3), Activation(cap=0.3)),
    "qcfs": (QCFS(5, 0.6), Activation(cap=0.6, levels=5)),
    "ReLU6": (nn.ReLU6(), Activation(cap=6.0)),
    "F.relu6": (F.relu6, Activation(cap=6.0)),
}


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CAPPED)
def test_a_cap_is_an_attribute_of_the_activation(name: str, dtype: torch.dtype):
    """The same values as the module: below zero, on every level, and beyond the cap."""
    f, phi = CAPPED[name]
    torch.manual_seed(0)
    model, x = Calls(f).to(dtype), 20 * torch.rand(2, 3, 4, 4, dtype=dtype)
    graph = trace(model, x[:1])
    (site,) = graph.activations
    assert site.phi.levels == phi.levels and site.phi.cap == pytest.approx(phi.cap, rel=1e-7)
    assert site.phi.slope == 0
    # The graph is saved as JSON.
    assert all(type(value) in (int, float) for value in site.attrs.values())
    z: list[Tensor] = []
    got = forward(graph, x, lambda node, before, after: z.append(before))[0]
    assert (z[0] < 0).any() and (z[0] > (site.phi.cap or 0)).any()
    torch.testing.assert_close(got, model(x), rtol=0, atol=1e-5)


class ConvCalledTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        for norm in (self.norm, self.other):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.conv(torch.relu(self.other(self.conv(x))))


@torch.no_grad()
def test_each_call_of_a_convolution_has_the_batch_norm_behind_it():
    model, x = ConvCalledTwice().eval(), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(forward(trace(model, x[:1]), x)[0], model(x))


class ReluCalledTwice(nn.Module):
    """Pre-activation: it is the norm behind the activation that cannot be folded, not the shared
    ReLU.
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.norm(self.relu(self.conv1(self.relu(x)))))


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


REFUSED = {
    "sigmoid": (Calls(nn.Sigmoid()), "'f'", "decoding"),
    "GELU": (Calls(nn.GELU()), "'f'", "use convolution"),
    "norm behind activation": (
        Calls(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4))),
        "'f_1'",
        "in this order",
    ),
    "softmax": (Calls(nn.Softmax(1)), "'f'", "decoding"),
    "unknown function": (Calls(torch.erf), "'erf'", "use convolution"),
    "dilated pooling": (Calls(nn.MaxPool2d(2, dilation=2)), "'f'", "plain pooling"),
    "bilinear": (Calls(nn.Upsample(scale_factor=2, mode="bilinear")), "'f'", "nearest"),
    "reflection": (
        Calls(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
        "'f'",
        "zero padding",
    ),
    "adaptive pooling": (Calls(nn.AdaptiveAvgPool2d(2)), "'f'", "to one value"),
    "constant added": (Calls(lambda x: x + 1), "'add'", "two feature maps"),
    "cap below zero": (Calls(ClippedReLU(-0.5)), "'f'", "a cap above zero"),
    "steep leak": (Calls(nn.LeakyReLU(2.0)), "'f'", "slope in [0, 1)"),
    "concat in space": (Calls(lambda x: torch.cat([x, x], 2)), "'cat'", "dim 1"),
    "reshape": (Calls(lambda x: x.view(-1, 4, 2, 8)), "'view'", "flattening"),
    "norm behind a shared activation": (ReluCalledTwice(), "'norm'", "in this order"),
    "untraceable": (Branches(), "Branches", "not branch"),
}


def test_refusals_name_the_node_and_a_way_out():
    for model, node, way_out in REFUSED.values():
        with pytest.raises(UserError) as error:
            trace(model, torch.rand(1, 3, 4, 4))
        message = str(error.value)
        assert node in message and way_out in message and "\n" not in message


def test_a_graph_that_makes_no_sense_is_refused():
    for nodes, outputs, message in (
        ((Node("x", "input"), Node("y", "launch", ("x",))), ("y",), "unknown operation"),
        ((Node("x", "input"), Node("y", "flatten", ("z",))), ("y",), "'z'"),
        ((Node("x", "input"),), ("y",), "'y'"),
    ):
        with pytest.raises(UserError, match=message):
            Graph(nodes, outputs, {})


def test_a_network_that_cannot_run_is_refused_without_a_traceback_on_the_way(capsys):
    with pytest.raises(UserError, match="cannot be run on an image of 8x8 pixels"):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3)), torch.zeros(1, 3, 8, 8))
    assert capsys.readouterr().err == ""


def test_shapes_are_learned_without_computing():
    """Else a file of a few kilobytes could ask for minutes, or for gigabytes."""
    made: list[object] = []
    conv = nn.Conv2d(3, 2, 3)
    conv.register_forward_hook(lambda module, given, output: made.append(output))
    assert trace(nn.Sequential(conv, nn.ReLU()), torch.zeros(1, 3, 8, 8)).weighted
    assert made and all(isinstance(output, FakeTensor) for output in made)
