"""The network as plain data: nodes, attributes and tensors. The ANN and the SNN are two
interpreters of one graph. trace.py makes it of a module, rewrites.py saves work in it.

A graph holds no code, so loading one executes none. Batch norm is already folded, and every
activation *call* is a node of its own. An untrusted graph is validated once, on load: names,
weights and the shape of every node, which PyTorch's meta device gives without computing or
allocating anything.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.io.tensors import check_finite
from spiking_yolo.io.text import plain_name, reason

Ints = Sequence[int]
# Operations with weights.
WEIGHTED = ("conv", "linear")
# Products of two feature maps, linear in each.
PRODUCTS = ("attention_scores", "attend")
MULTIPLYING = (*WEIGHTED, *PRODUCTS)


@dataclass(frozen=True)
class Gate:
    """An activation function phi(x) = x * factor(x) with a factor between 0 and 1.

    Attributes:
        phi: It computes phi(x) at once.
        factor: Factor of x.
        lowest: phi has its minimum at minus this.
    """

    phi: Callable[[Tensor], Tensor]
    factor: Callable[[Tensor], Tensor]
    lowest: float


SILU = Gate(F.silu, torch.sigmoid, 1.2784645)
# Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020.
MISH = Gate(F.mish, lambda x: F.softplus(x).tanh(), 1.1924312)


@dataclass(frozen=True)
class Activation:
    """An activation function phi; its fields are the attributes of an activation node.

    slope: of the negative side (leaky ReLU); 0 is ReLU. cap: upper bound (clipped ReLU, ReLU6),
    None for none. levels: round phi(x) to a multiple of cap / levels (QCFS), None for no rounding.
    silu: x * sigmoid(x), whatever the other fields say; it is not monotone. mish: likewise x *
    tanh(ln(1 + e^x)). softmax: over the last axis of scores, [N, heads, T, tokens], likewise; all
    others are element-wise.
    """

    slope: float = 0.0
    cap: float | None = None
    levels: int | None = None
    silu: bool = False
    softmax: bool = False
    mish: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        if self.softmax:
            return x.softmax(-1)
        if self.gate is not None:
            return self.gate.phi(x)
        if self.cap is not None and self.levels:
            return quantised_relu(x, self.cap, self.levels)
        if self.cap is not None and not self.slope:
            return x.clamp(0, self.cap)
        y = F.leaky_relu(x, self.slope) if self.slope else F.relu(x)
        if self.cap is not None:
            y.clamp_(max=self.cap)
        return y

    def reach(self, above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
        """Largest magnitudes of phi(x) above and below zero, for -below <= x <= above.

        For softmax, whose range does not follow from that of x, they are given: see
        `convert.statistics`.
        """
        if self.softmax:
            return above, below
        if self.gate is not None:
            return self(above), -self(-below.clamp(max=self.gate.lowest))
        return self.continuous(above), self.slope * below

    @property
    def gate(self) -> Gate | None:
        """SiLU's or mish's; None for other functions."""
        if self.silu:
            return SILU
        if self.mish:
            return MISH
        return None

    @property
    def monotone(self) -> bool:
        """Whether a larger x never has a smaller phi(x), whatever its neighbours are."""
        return self.gate is None and not self.softmax

    @property
    def continuous(self) -> Self:
        """phi without rounding, which is what a spiking neuron approximates: its spikes quantise
        anyway.
        """
        return replace(self, levels=None)


@dataclass(frozen=True)
class Node:
    """One operation: `op` is a key of OPS, `inputs` name earlier nodes, `attrs` can be written as
    JSON.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def weighted(self) -> bool:
        """Whether it is a convolution or a linear layer."""
        return self.op in WEIGHTED

    @cached_property
    def product(self) -> bool:
        """Whether it multiplies two feature maps."""
        return self.op in PRODUCTS

    @cached_property
    def multiplies(self) -> bool:
        """Whether it is a layer: weighted, or a product."""
        return self.op in MULTIPLYING

    @property
    def phi(self) -> Activation:
        """The activation function of an activation node."""
        return Activation(**self.attrs)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, names of the output nodes, and tensors keyed `NODE.weight` and
    `NODE.bias`.

    Raises UserError for an unknown operation, or a name that is read before it is defined.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]

    def __post_init__(self):
        seen: set[str] = set()
        for node in self.nodes:
            if node.op not in OPS:
                raise UserError(f"node {node.name!r}: unknown operation {node.op!r}")
            for name in node.inputs:
                if name not in seen:
                    raise UserError(f"node {node.name!r} reads {name!r}, which comes later")
            seen.add(node.name)
        for name in self.outputs:
            if name not in seen:
                raise UserError(f"output {name!r} is not a node of the graph")

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def activations(self) -> tuple[Node, ...]:
        """The activation nodes: each becomes a layer of spiking neurons."""
        return tuple([node for node in self.nodes if node.op == "activation"])

    @cached_property
    def weighted(self) -> tuple[Node, ...]:
        """The convolutions and linear layers, in order."""
        return tuple([node for node in self.nodes if node.weighted])

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """The nodes that multiply: convolutions, linear layers, products of feature maps."""
        return tuple([node for node in self.nodes if node.multiplies])

    def consumers(self) -> dict[str, list[Node]]:
        """For every node, the nodes that read it."""
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            users[node.name] = []
            for name in node.inputs:
                users[name].append(node)
        return users

    def up_to(self, *names: str) -> Self:
        """The subgraph that computes `names`, which become its outputs."""
        needed = set(names)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        return replace(self, nodes=tuple(reversed(kept)), outputs=names)

    def parameters(self, node: Node) -> tuple[Tensor | None, Tensor | None]:
        """Weight and bias of a node, None where it has none."""
        return self.tensors.get(f"{node.name}.weight"), self.tensors.get(f"{node.name}.bias")

    def to(self, *args: Any) -> Self:
        """A copy with every tensor on another device or in another dtype; arguments as of
        Tensor.to.
        """
        return replace(self, tensors={k: v.to(*args) for k, v in self.tensors.items()})


def product_fan_out(node: Node, right: Sequence[int]) -> tuple[int, int]:
    """Count the results of a product of feature maps that each value of its operands enters.

    The multiply-accumulates are the values of either operand times their number.

    Args:
        node: An operation of PRODUCTS.
        right: Shape of its right operand, [N, C, ...].
    """
    tokens = math.prod(right[2:]) // node.attrs["areas"]
    if node.op == "attention_scores":
        return tokens, tokens
    return right[1] // node.attrs["heads"], tokens


def quantised_relu(
    x: Tensor, theta: Tensor | float, levels: int, floor: Callable[[Tensor], Tensor] = torch.floor
) -> Tensor:
    """QCFS (Bu 2022): `clip(floor(x L / theta + 1/2) / L, 0, 1) * theta`; theta broadcasts against
    x.
    """
    return (floor(x * (levels / theta) + 0.5) / levels).clamp(0, 1) * theta


def reached_padding(
    h: int, w: int, kernel: Ints, stride: Ints, padding: Ints, ceil: bool = False
) -> list[int]:
    """Padding (left, right, top, bottom) of an h x w map, less what no window reaches on the right
    and bottom.
    """
    left, right, top, bottom = padding
    if not ceil:
        right -= min(right, (w + left + right - kernel[1]) % stride[1])
        bottom -= min(bottom, (h + top + bottom - kernel[0]) % stride[0])
    return [left, right, top, bottom]


def max_pool(
    x: Tensor, kernel: list[int], stride: list[int], padding: Ints, ceil: bool = False
) -> Tensor:
    """Max pooling of [N, C, H, W]; padding (left, right, top, bottom) counts as minus infinity.

    Padding that no window reaches is skipped, which saves a copy in darknet's 2 x 2 pooling at
    stride 2.
    """
    sides = reached_padding(x.shape[-2], x.shape[-1], kernel, stride, padding, ceil)
    if any(sides):
        x = F.pad(x, sides, value=float("-inf"))
    return F.max_pool2d(x, kernel, stride, ceil_mode=ceil)


def attention_scores(q: Tensor, k: Tensor, heads: int, areas: int) -> Tensor:
    """Products of queries and keys, without a scale: S[h, i, j] = sum over d of q[h, d, i] k[h, d,
    j], for the j-th token of the area of token i (Vaswani et al., "Attention is all you need",
    2017, Eq. 1).

    Queries, keys and values are feature maps, and the tokens are their T = H x W positions, row by
    row. With areas (Tian et al., "YOLOv12", 2025) each token attends to the tokens of its own area,
    one of as many runs of T / areas tokens.

    Args:
        q, k: [N, heads * D, H, W].
        heads: Each takes D consecutive channels.
        areas: Into which the tokens are split, in order.

    Returns:
        [N, heads, T, T / areas].

    Raises:
        RuntimeError: The shapes do not fit.

    Example:
        >>> attention_scores(torch.ones(1, 6, 2, 4), torch.ones(1, 6, 2, 4), heads=2, areas=4).shape
        torch.Size([1, 2, 8, 2])
    """
    # [N, heads, D, areas, tokens] each.
    queries = q.flatten(2).unflatten(1, (heads, -1)).unflatten(3, (areas, -1))
    keys = k.flatten(2).unflatten(1, (heads, -1)).unflatten(3, (areas, -1))
    return (queries.permute(0, 1, 3, 4, 2) @ keys.permute(0, 1, 3, 2, 4)).flatten(2, 3)


def attend(weights: Tensor, v: Tensor, heads: int, areas: int) -> Tensor:
    """Sums of values: O[h, d, i] = sum over j of weights[h, i, j] v[h, d, j], j in the area of i.

    Args:
        weights: Attention weights, [N, heads, T, T / areas].
        v: [N, heads * D, H, W] with T = H * W.
        heads, areas: See `attention_scores`.

    Returns:
        [N, heads * D, H, W].

    Raises:
        RuntimeError: The shapes do not fit.

    Example:
        >>> attend(torch.ones(1, 2, 8, 2) / 2, torch.ones(1, 6, 2, 4), heads=2, areas=4).shape
        torch.Size([1, 6, 2, 4])
    """
    by_area = v.flatten(2).unflatten(1, (heads, -1)).unflatten(3, (areas, -1))
    # [N, heads, areas, tokens, tokens] @ [N, heads, areas, tokens, D].
    output = weights.unflatten(2, (areas, -1)) @ by_area.permute(0, 1, 3, 4, 2)
    return output.flatten(2, 3).transpose(2, 3).reshape(v.shape)


def geometry(attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups of a convolution, as `F.conv2d` takes them."""
    return attrs["stride"], attrs["padding"], attrs["dilation"], attrs["groups"]


# name -> f(attrs, weight, bias, *inputs). The bias is separate because some codings add it in the
# first step only.
OPS: dict[str, Callable[..., Tensor]] = {
    "input": lambda a, w, b, x: x,
    "conv": lambda a, w, b, x: F.conv2d(x, w, b, *geometry(a)),
    "linear": lambda a, w, b, x: F.linear(x, w, b),
    "activation": lambda a, w, b, x: Activation(**a)(x),
    "max_pool": lambda a, w, b, x: max_pool(x, a["kernel"], a["stride"], a["padding"], a["ceil"]),
    "avg_pool": lambda a, w, b, x: F.avg_pool2d(
        x, a["kernel"], a["stride"], a["padding"], a["ceil"], a["count_include_pad"]
    ),
    "global_avg_pool": lambda a, w, b, x: x.mean((2, 3), keepdim=True),
    "upsample": lambda a, w, b, x: F.interpolate(x, scale_factor=a["scale"]),
    "concat": lambda a, w, b, *xs: torch.cat(xs, 1),
    "add": lambda a, w, b, x, y: x + y,
    "flatten": lambda a, w, b, x: torch.flatten(x, 1),
    "slice": lambda a, w, b, x: x[(slice(None), *(slice(*s) for s in a["slices"]))],
    "pad": lambda a, w, b, x: F.pad(x, a["padding"]),
    "attention_scores": lambda a, w, b, q, k: attention_scores(q, k, a["heads"], a["areas"]),
    "attend": lambda a, w, b, weights, v: attend(weights, v, a["heads"], a["areas"]),
}


def forward(
    graph: Graph, x: Tensor, tap: Callable[[Node, Tensor, Tensor], None] | None = None
) -> tuple[Tensor, ...]:
    """Run the graph as an ANN.

    x: [N, C, H, W]. Returns one tensor per output of the graph. tap(node, pre-activation,
    activation) is called at every activation. Intermediate tensors are freed after their last use.
    """
    # Node -> the last that reads it.
    last: dict[str, str] = {}
    for node in graph.nodes:
        last.update(dict.fromkeys(node.inputs, node.name))
    values: dict[str, Tensor] = {}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs] or [x]
        values[node.name] = OPS[node.op](node.attrs, *graph.parameters(node), *inputs)
        if tap is not None and node.op == "activation":
            tap(node, inputs[0], values[node.name])
        for name in set(node.inputs):
            if last[name] == node.name and name not in graph.outputs:
                del values[name]
    return tuple(map(values.__getitem__, graph.outputs))


# Names of layers in tables and pictures.
_TITLES = {"attention_scores": "attention scores", "attend": "attention"}


def layer_labels(graph: Graph) -> dict[str, str]:
    """Name every layer and activation for pictures: "conv 5".

    Layers are numbered together, from 1; an activation has the number of the layer before it.
    """
    labels: dict[str, str] = {}
    for k, node in enumerate(graph.layers, 1):
        labels[node.name] = f"{_TITLES.get(node.op, node.op)} {k}"
    for name, layer in layer_before(graph).items():
        labels[name] = labels[layer]
    return labels


def layer_before(graph: Graph) -> dict[str, str]:
    """Activation -> the last layer (see `Graph.layers`) that it is computed from without another
    activation.
    """
    found: dict[str, str] = {}
    # Node -> the number of the last layer that it is computed from, -1 for none.
    before: dict[str, int] = {}
    for number, node in enumerate(graph.nodes):
        last = number
        if not node.multiplies:
            last = max((before[name] for name in node.inputs), default=-1)
        before[node.name] = last
        if node.op == "activation":
            before[node.name] = -1
            if last >= 0:
                found[node.name] = graph.nodes[last].name
    return found


# Errors that PyTorch and Python raise for arguments that do not fit.
ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# The most numbers in a map of one image, 1 GiB: 16 channels at 4096 x 4096 pixels.
MAX_NUMBERS = 1 << 28


def shapes(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Output shape of every node, [1, C, ...], for one image of height x width pixels.

    Raises:
        UserError: Inputs, weights and attributes of a node do not fit, or a map has too many
            numbers. The message names the node.
    """
    maps: dict[str, Tensor] = {}
    for node in graph.nodes:
        inputs = [maps[name] for name in node.inputs]
        if node.op == "input":
            inputs = [torch.empty((1, 3, height, width), dtype=torch.float32, device="meta")]
        maps[node.name] = output_of(node, graph.parameters(node), inputs)
    return {name: x.shape for name, x in maps.items()}


def output_of(node: Node, parameters: Sequence[Tensor | None], inputs: Sequence[Tensor]) -> Tensor:
    """The output of a node on the meta device, where its inputs are; see `shapes`.

    parameters: Weight and bias.
    """
    weight, bias = (one if one is None else one.to("meta", torch.float32) for one in parameters)
    try:
        output = OPS[node.op](node.attrs, weight, bias, *inputs)
        bias_fits = bias is None or bias.shape == output.shape[1:2]
        if not bias_fits or not _fits(node, weight, inputs):
            raise ValueError("its weight, its window or its inputs are of other shapes")
    except ERRORS as error:
        problem = f"does not fit its input of {', '.join(map(_size, inputs))}: {reason(error):.80}"
        raise UserError(f"node {node.name!r} ({node.op}) {problem}") from error
    if not 0 < output.numel() <= MAX_NUMBERS:
        problem = f"makes a map of {_size(output):.60}: each needs 1 to {MAX_NUMBERS} numbers"
        raise UserError(f"node {node.name!r} ({node.op}) {problem}")
    return output


def _fits(node: Node, weight: Tensor | None, inputs: Sequence[Tensor]) -> bool:
    """Refuse the broadcasting that PyTorch accepts here but no network may have."""
    x = inputs[0]
    a = node.attrs
    match node.op:
        case "conv":
            return weight is not None and len(weight) % a["groups"] == 0
        case "add":
            return x.shape == inputs[-1].shape
        case "linear":
            return x.ndim == 2
        case "attention_scores":
            return x.ndim == 4 and x.shape == inputs[1].shape
        case "attend":
            tokens = math.prod(inputs[1].shape[2:])
            return x.shape[1:] == (a["heads"], tokens, tokens // a["areas"])
        case "activation" if a.get("softmax"):
            return x.ndim == 4
    return True


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:]))


# The most nodes of a network.
NODES = 10_000


def check_graph(graph: Graph, height: int, width: int) -> dict[str, torch.Size]:
    """Validate an untrusted graph, without computing or allocating anything.

    Returns:
        The shape of every node for one image of height x width pixels.

    Raises:
        UserError: The graph is not sound; the message names the node and its fault.
    """
    if not 0 < len(graph.nodes) <= NODES or not graph.outputs:
        raise UserError(f"a network needs 1 to {NODES} nodes and an output, not {len(graph.nodes)}")
    inputs = 0
    for node in graph.nodes:
        plain_name(node.name, "a node")
        inputs += node.op == "input"
    if inputs != 1 or len(graph._by_name) < len(graph.nodes):
        raise UserError("a network needs one input, and another name for every node")
    if len({tensor.dtype for tensor in graph.tensors.values()}) > 1:
        raise UserError("the weights of a network must be of one type")
    for name, tensor in graph.tensors.items():
        if not tensor.is_floating_point():
            raise UserError(f"a network has no weights of type {tensor.dtype}")
        check_finite({name: tensor}, "the network")
    return shapes(graph, height, width)


_LOCK = threading.Lock()
# The default dtype outside, once for each call that is inside.
_OUTSIDE: list[torch.dtype] = []


@contextmanager
def own_dtypes() -> Iterator[None]:
    """Leave autocast, and make float32 the default dtype, as a context or a decorator.

    The default dtype is that of all threads: it is set back once the last call has ended.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        with _LOCK:
            _OUTSIDE.append(_OUTSIDE[0] if _OUTSIDE else torch.get_default_dtype())
            if _OUTSIDE[0] != torch.float32:
                torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            with _LOCK:
                before = _OUTSIDE.pop()
                if not _OUTSIDE and before != torch.float32:
                    torch.set_default_dtype(before)
