"""The rival of a spiking network on video: graded changes above a threshold, without spikes.

EvNets (Dutson and Gupta, ECCV 2022). Each layer remembers what it was last sent. Changes of its
input whose magnitude exceeds a threshold are sent as floats and added to the layer's sums, of which
the activation is taken. Smaller changes add up: the reference moves only by what was sent.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spiking_yolo.graph import OPS, Graph, Node, shapes
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.noise import NoiseFilter
from spiking_yolo.snn.operations import product_operations, spiking, synaptic_operations
from spiking_yolo.snn.readout import Run, Snapshot
from spiking_yolo.snn.stream import FrameRun, unlike
from spiking_yolo.snn.synapses import Product


def gates(
    graph: Graph, height: int, width: int, theta: Mapping[str, Tensor], factor: float, image: float
) -> dict[str, Tensor]:
    """What a change of each value must exceed: node -> [1, C, ...].

    theta: activation -> thresholds [C], which count `factor` times and go the way of the values.
    image: of the input. Sums without an activation have no threshold.
    """
    thresholds: dict[str, Tensor] = {}
    sizes = shapes(graph, height, width)
    like = next(iter(graph.tensors.values()))
    for node in graph.nodes:
        shape = sizes[node.name]
        inputs = [thresholds[name] for name in node.inputs]
        if node.op == "input":
            threshold = like.new_full(shape, image)
        elif node.op == "activation":
            per_channel = factor * theta[node.name].to(like)
            threshold = per_channel.reshape(1, -1, *[1] * (len(shape) - 2)).expand(shape)
        elif node.multiplies:
            threshold = like.new_zeros(()).expand(shape)
        elif node.op == "add":
            threshold = torch.maximum(*inputs)
        else:
            threshold = OPS[node.op](node.attrs, None, None, *inputs)
        thresholds[node.name] = threshold
    return thresholds


def uniform_gates(graph: Graph, threshold: float) -> dict[str, Tensor]:
    """The same threshold for every value."""
    return {node.name: torch.tensor(threshold) for node in graph.nodes}


class DeltaNetwork:
    """The ANN on one video: network(x) -> FrameRun, frame after frame.

    A message is a float that is sent between layers; an operation is a message times an output that
    it reaches. `analogue_macs` counts the same for layers that read the image, or sums without an
    activation; `updates` the sums of layers that received something. Everything is sent in the
    first frame, at a cut and when the size changes.

    Args:
        graph: The ANN.
        gates: Node -> what a change of its values must exceed to be sent; see `gates`.
        denoise: Whether the camera's noise is averaged out of the frames, as encoding.denoise does.
    """

    T = 1

    def __init__(self, graph: Graph, gates: Mapping[str, Tensor], denoise: bool = False):
        self.graph = graph
        self.gates = gates
        self._denoise = denoise
        self._filter: NoiseFilter | None = None
        self._events = spiking(
            graph, [node.name for node in graph.nodes if node.op in ("activation", "max_pool")]
        )
        # What the readers of a node know of it.
        self._sent: dict[str, Tensor] = {}
        self._sums: dict[str, Tensor] = {}
        self._products: dict[str, Product] = {}

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        *,
        steps: Sequence[int] = (),
        maps: bool = False,
    ) -> FrameRun:
        """x: [1, C, H, W]. There is one step, and no map of spikes."""
        (image,) = (node.name for node in self.graph.nodes if node.op == "input")
        before = self._sent.get(image)
        cut = before is not None and (before.shape != x.shape or unlike(x, before))
        fresh = before is None or cut
        if fresh:
            self._sent = {}
            self._sums = {}
            self._products = {}
            self._filter = NoiseFilter(x) if self._denoise else None
        elif self._filter is not None:
            x = self._filter(x)
        values: dict[str, Tensor] = {}
        # Of this frame, by sender: two layers that read one node get the same.
        changes: dict[str, Tensor] = {}
        operations = analogue = updates = 0.0
        for node in self.graph.nodes:
            if not node.multiplies:
                inputs = [x] if node.op == "input" else [values[name] for name in node.inputs]
                values[node.name] = OPS[node.op](node.attrs, None, None, *inputs)
                continue
            for source in node.inputs:
                if source not in changes:
                    changes[source] = self._change(source, values[source])
            inputs = [changes[source] for source in node.inputs]
            arrived = [(change != 0).sum(1, keepdim=True) for change in inputs]
            any_arrived = any(bool(count.any()) for count in arrived)
            values[node.name] = self._added(node, inputs, any_arrived)
            if node.product:
                stored = arrived[1] if fresh else None
                sizes = [change.shape for change in inputs]
                work = float(product_operations(node, arrived, sizes, stored))
            else:
                work = float(synaptic_operations(self.graph, node, arrived[0]))
            if self._events.issuperset(node.inputs):
                operations += work
            else:
                analogue += work
            updates += values[node.name].numel() * any_arrived
        events = (change for name, change in changes.items() if name in self._events)
        messages = sum(float(change.count_nonzero()) for change in events)
        outputs = tuple(values[name].clone() for name in self.graph.outputs)
        costs = torch.tensor([messages, operations, updates], dtype=torch.float64)
        sent, done, updated = costs[:, None]
        one, none = torch.ones(1, dtype=torch.int64), Counts.alike(torch.zeros_like(sent))
        snapshot = Snapshot(
            1, outputs, {}, Counts.alike(sent), Counts.alike(done), updated, one, none, none
        )
        return FrameRun(Run({1: snapshot}, {}, 0, 1, 0, round(analogue)), fresh, cut)

    def _change(self, name: str, value: Tensor) -> Tensor:
        """What is sent of a node's value."""
        if name not in self._sent:
            self._sent[name] = value.clone()
            return value
        change = value - self._sent[name]
        change = torch.where(change.abs() > self.gates[name], change, 0)
        self._sent[name] += change
        return change

    def _added(self, node: Node, changes: Sequence[Tensor], any_arrived: bool) -> Tensor:
        """The sums of a layer after it has received changes; the bias is in them since the first
        frame.
        """
        first = node.name not in self._sums
        if not first and not any_arrived:
            return self._sums[node.name]
        if node.product:
            change = self._products.setdefault(node.name, Product(node))(*changes)
            assert change is not None
        else:
            weight, bias = self.graph.parameters(node)
            change = OPS[node.op](node.attrs, weight, bias if first else None, *changes)
        if first:
            self._sums[node.name] = change
        else:
            self._sums[node.name] += change
        return self._sums[node.name]
