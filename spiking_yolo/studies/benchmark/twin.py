"""The same network in spikingjelly, as far as it goes there: a twin with ReLU, converted by its own converter."""

from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node


def relu_twin(graph: Graph) -> Graph:
    """The graph with ReLU for every leaky ReLU: same layers, weights and shapes."""
    return replace(
        graph, nodes=tuple(replace(n, attrs={"slope": 0.0}) if n.op == "activation" else n for n in graph.nodes)
    )


class Twin(nn.Module):
    """A graph as modules, which spikingjelly can trace. Raises UserError for an operation that it has no module for."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.nodes, self.outputs = graph.nodes, graph.outputs
        self.parts = nn.ModuleDict({n.name: _module(graph, n) for n in graph.nodes if n.op not in ("input", "concat")})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Tensor] = {}
        for node in self.nodes:
            given = [values[name] for name in node.inputs]
            if node.op == "input":
                values[node.name] = x
            elif node.op == "concat":
                values[node.name] = torch.cat(given, 1)
            else:
                values[node.name] = self.parts[node.name](*given)
        return tuple(values[name] for name in self.outputs)


class _PaddedMaxPool(nn.Module):
    """Max pooling that is padded by one on the right and at the bottom: the last column and row twice, in its words."""

    def __init__(self, a: Any):
        super().__init__()
        self.pool = nn.MaxPool2d(a["kernel"], a["stride"], ceil_mode=a["ceil"])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x[:, :, :, -1:]], 3)
        return self.pool(torch.cat([x, x[:, :, -1:]], 2))


def _module(graph: Graph, node: Node) -> nn.Module:
    a = node.attrs
    if node.op == "conv":
        weight, bias = graph.parameters(node)
        assert weight is not None
        sizes = a["stride"], a["padding"], a["dilation"], a["groups"], bias is not None
        made = nn.Conv2d(weight.shape[1] * a["groups"], weight.shape[0], (weight.shape[2], weight.shape[3]), *sizes)
        made.load_state_dict({"weight": weight} | ({"bias": bias} if bias is not None else {}))
        return made
    if node.op == "activation" and not a["slope"]:
        return nn.ReLU()
    if node.op == "max_pool":
        if a["padding"] == [0, 1, 0, 1] and a["stride"] == [1, 1]:
            return _PaddedMaxPool(a)
        if not any(a["padding"]) or a["padding"] == [0, 1, 0, 1]:  # an even size never reaches darknet's padding
            return nn.MaxPool2d(a["kernel"], a["stride"], ceil_mode=a["ceil"])
    if node.op == "upsample":
        return nn.Upsample(scale_factor=tuple(a["scale"]))
    raise UserError(f"node {node.name!r}: the benchmark has no module of spikingjelly for the operation {node.op!r}")


def spikingjelly_run(graph: Graph, x: Tensor, T: int) -> tuple[str, Callable[[], None]] | None:
    """What the twin is, and a run of T steps of it; None where spikingjelly 2 is not installed."""
    try:
        from spikingjelly.activation_based import ann2snn, functional  # pyright: ignore[reportMissingImports]

        release = version("spikingjelly")
        recipe, convert = ann2snn.RateCodingRecipe, ann2snn.Converter
    except (ImportError, AttributeError, PackageNotFoundError):
        return None
    model = Twin(relu_twin(graph)).eval()
    with redirect_stderr(StringIO()):  # its progress bar
        twin = convert(recipe([(x, x)], mode="99.9%"), device=str(x.device)).convert(model)

    @torch.no_grad()
    def run() -> None:
        functional.reset_net(twin)
        sums = twin(x)
        for _ in range(T - 1):
            for total, output in zip(sums, twin(x), strict=True):
                total += output

    what = (
        f"spikingjelly {release}: the same layers and weights with ReLU for leaky ReLU, converted by its "
        "RateCodingRecipe (p-norm, 99.9 %), IF nodes with soft reset, step by step; max pooling is of single spikes, "
        "whose error grows with T. It computes the first layer again in every step, as it comes"
    )
    return what, run
