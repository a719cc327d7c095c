"""An interpreter of NIR files that knows nothing of this project: what a file says is what
it runs.
"""

from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import nir
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def pair(value) -> tuple[int, int]:
    height, width = np.broadcast_to(value, 2)
    return int(height), int(width)


def simulate(
    path: Path, currents: Iterable[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], nir.NIRGraph]:
    """Spike counts of every IF node, the sum of what arrived at every Output, and the graph of the
    file.

    currents: what the Input sends, [N, C, H, W] per step. All arithmetic is in float64.
    """
    graph = nir.read(path)
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    order = list(TopologicalSorter(sources).static_order())
    potential: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for current in currents:
        values: dict[str, Tensor] = {}
        for name in order:
            node = graph.nodes[name]
            given = (
                current
                if isinstance(node, nir.Input)
                else sum(values[source] for source in sources[name])
            )
            assert isinstance(given, Tensor)
            # What the file says of its shapes is so.
            assert given.shape[1:] == tuple(node.input_type["input"]), name
            if isinstance(node, nir.IF):
                v = potential.get(name, torch.zeros_like(given)) + torch.from_numpy(node.r) * given
                spikes = (v >= torch.from_numpy(node.v_threshold)).double()
                reset = {
                    b"subtract": v - torch.from_numpy(node.v_threshold),
                    b"zero": torch.from_numpy(node.v_reset),
                }
                kind = node.metadata["reset"]
                after = reset[kind if isinstance(kind, bytes) else kind.encode()]
                potential[name] = torch.where(spikes > 0, after, v)
                counts[name] = counts.get(name, 0) + spikes
                values[name] = spikes
            else:
                values[name] = _linear(node, given)
            if isinstance(node, nir.Output):
                outputs[name] = outputs.get(name, 0) + given
    return counts, outputs, graph


def _linear(node: nir.NIRNode, x: Tensor) -> Tensor:
    if isinstance(node, (nir.Input, nir.Output)):
        return x
    if isinstance(node, nir.Affine):
        return x @ torch.from_numpy(node.weight).double().T + torch.from_numpy(node.bias).double()
    if isinstance(node, nir.Conv2d):
        weight, bias = torch.from_numpy(node.weight).double(), torch.from_numpy(node.bias).double()
        geometry = pair(node.stride), pair(node.padding), pair(node.dilation)
        return F.conv2d(x, weight, bias, *geometry, groups=int(node.groups))
    if isinstance(node, nir.AvgPool2d):
        return F.avg_pool2d(x, pair(node.kernel_size), pair(node.stride), pair(node.padding))
    if isinstance(node, nir.Flatten):
        return x.flatten(int(node.start_dim), int(node.end_dim))
    raise AssertionError(f"{type(node).__name__} should not be in the file")
