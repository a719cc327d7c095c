"""Torch module to Graph: trace with torch.fx, fold batch norm, translate each call or refuse it by
name.

MODULES and FUNCTIONS say how a module and a function become nodes.
"""

import itertools
import operator
from collections.abc import Callable
from contextlib import redirect_stderr
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.graph.modules import QCFS, Attention, ClippedReLU, PaddedMaxPool2d
from spiking_yolo.io.text import reason

# A split node: its source, and start and stop of each part.
Split = tuple[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Call:
    """One traced call, and the nodes and tensors of the graph, to which its translator appends."""

    node: fx.Node
    nodes: list[Node]
    tensors: dict[str, Tensor]

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Add a node with this call's name, and return the name."""
        self.nodes.append(Node(self.node.name, op, inputs, attrs))
        return self.node.name

    def weights(self, module: nn.Conv2d | nn.Linear) -> None:
        """Copy a layer's weight and bias; a layer without bias gets zeros."""
        bias = module.bias
        if bias is None:
            bias = module.weight.new_zeros(len(module.weight))
        self.tensors[f"{self.node.name}.weight"] = module.weight.detach().clone()
        self.tensors[f"{self.node.name}.bias"] = bias.detach().clone()

    def check(self, fits: bool, needed: str) -> None:
        """Raise UserError, naming the node, unless it is what can be converted."""
        if not fits:
            raise UserError(f"node {self.node.name!r}: only {needed} can be converted")


def pair(value: Any) -> list[int]:
    return list(map(int, value)) if isinstance(value, (tuple, list)) else [int(value)] * 2


def conv(call: Call, x: str, m: nn.Conv2d) -> str:
    call.check(m.padding_mode == "zeros" and not isinstance(m.padding, str), "numeric zero padding")
    call.weights(m)
    geometry = {name: pair(getattr(m, name)) for name in ("stride", "padding", "dilation")}
    return call.emit("conv", x, **geometry, groups=m.groups)


def linear(call: Call, x: str, m: nn.Linear) -> str:
    call.weights(m)
    return call.emit("linear", x)


def activation(call: Call, x: str, inplace: bool = False, **attrs: bool) -> str:
    return call.emit("activation", x, slope=0.0, **attrs)


silu, mish = partial(activation, silu=True), partial(activation, mish=True)


def leaky(call: Call, x: str, negative_slope: float = 0.01, inplace: bool = False) -> str:
    call.check(0 <= negative_slope < 1, "a leaky ReLU with a slope in [0, 1)")
    return call.emit("activation", x, slope=float(negative_slope))


def capped(call: Call, x: str, cap: float, **levels: int) -> str:
    call.check(0 < cap < float("inf"), "a ReLU with a cap above zero")
    return call.emit("activation", x, slope=0.0, cap=float(cap), **levels)


def window(kernel_size: Any, stride: Any) -> dict[str, list[int]]:
    return {"kernel": pair(kernel_size), "stride": pair(stride or kernel_size)}


def max_pool(
    call: Call,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **indices: bool,
) -> str:
    call.check(pair(dilation) == [1, 1] and not any(indices.values()), "plain pooling")
    ph, pw = pair(padding)
    border = {"padding": [pw, pw, ph, ph], "ceil": ceil_mode}
    return call.emit("max_pool", x, **window(kernel_size, stride), **border)


def padded_max_pool(call: Call, x: str, m: PaddedMaxPool2d) -> str:
    border = {"padding": pair(m.padding), "ceil": False}
    return call.emit("max_pool", x, **window(m.kernel, m.stride), **border)


def avg_pool(
    call: Call,
    x: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> str:
    border = {"padding": pair(padding), "ceil": ceil_mode, "count_include_pad": count_include_pad}
    return call.emit("avg_pool", x, **window(kernel_size, stride), **border)


def adaptive_avg_pool(call: Call, x: str, output_size: Any) -> str:
    call.check(pair(output_size) == [1, 1], "adaptive pooling to one value")
    return call.emit("global_avg_pool", x)


def mean(call: Call, x: str, dim: Any, keepdim: bool = False) -> str:
    call.check(sorted(d % 4 for d in pair(dim)) == [2, 3], "the mean over height and width")
    if keepdim:
        return call.emit("global_avg_pool", x)
    mean = Node(f"{call.node.name}.mean", "global_avg_pool", (x,))
    call.nodes.append(mean)
    return call.emit("flatten", mean.name)


def upsample(
    call: Call, x: str, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **_: Any
) -> str:
    scale = pair(scale_factor or 0)
    exact = scale_factor in (scale[0], scale, tuple(scale))
    plain = size is None and mode == "nearest" and exact
    call.check(plain, "nearest upsampling by a whole scale_factor")
    return call.emit("upsample", x, scale=scale)


def concat(call: Call, xs: list[str], dim: int = 0) -> str:
    call.check(dim in (1, -3), "concatenation of channels (dim 1)")
    return call.emit("concat", *xs)


def split(call: Call, x: str, *args: Any, **kwargs: Any) -> Split:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    call.check(dim in (1, -3), "a split of channels (dim 1)")
    parts: list[tuple[int, int]] = []
    start = 0
    for part in call.node.meta["tensor_meta"]:
        parts.append((start, start + part.shape[1]))
        start += part.shape[1]
    return x, parts


def getitem(call: Call, source: str | Split, index: Any) -> str:
    if isinstance(source, tuple):
        # The source is a split, and the index one of its parts.
        return call.emit("slice", source[0], slices=[[*source[1][index], 1]])
    if not isinstance(index, tuple):
        index = (index,)
    plain = all(isinstance(i, slice) for i in index) and index[0] == slice(None)
    call.check(plain, "slices that keep the batch dimension")
    slices = [[s.start, s.stop, s.step] for s in index[1:]]
    return call.emit("slice", source, slices=slices or [[None, None, None]])


def add(call: Call, x: Any, y: Any, alpha: float = 1) -> str:
    plain = isinstance(x, str) and isinstance(y, str) and alpha == 1
    call.check(plain, "the plain sum of two feature maps")
    return call.emit("add", x, y)


def flatten(call: Call, x: str, *shape: Any, **named: Any) -> str:
    source = call.node.all_input_nodes[0]
    before, after = (one.meta["tensor_meta"].shape for one in (source, call.node))
    call.check(len(after) == 2 and after[0] == before[0], "flattening to [N, features]")
    return call.emit("flatten", x)


def attention(call: Call, q: str, k: str, v: str, m: Attention) -> str:
    attrs = {"heads": m.heads, "areas": m.areas}
    scores = f"{call.node.name}_scores"
    weights = f"{call.node.name}_softmax"
    call.nodes.append(Node(scores, "attention_scores", (q, k), attrs))
    call.nodes.append(Node(weights, "activation", (scores,), {"softmax": True}))
    return call.emit("attend", weights, v, **attrs)


def identity(call: Call, x: str, *args: Any, **kwargs: Any) -> str:
    return x


def _fields(translate: Callable[..., str], *fields: str) -> Callable[..., str]:
    """A translator for a module that passes the attributes `fields` on."""
    return lambda call, x, m: translate(call, x, **{f: getattr(m, f) for f in fields})


_POOL = ("kernel_size", "stride", "padding", "ceil_mode")

# type of the leaf module -> f(call, names of its inputs, module)
MODULES: dict[type, Callable[..., str]] = {
    nn.Conv2d: conv,
    nn.Linear: linear,
    Attention: attention,
    nn.ReLU: _fields(activation),
    nn.LeakyReLU: _fields(leaky, "negative_slope"),
    nn.ReLU6: lambda call, x, m: capped(call, x, 6.0),
    nn.SiLU: _fields(silu),
    nn.Mish: _fields(mish),
    ClippedReLU: lambda call, x, m: capped(call, x, m.theta.item()),
    QCFS: lambda call, x, m: capped(call, x, m.theta.item(), levels=m.levels),
    nn.MaxPool2d: _fields(max_pool, *_POOL, "dilation", "return_indices"),
    PaddedMaxPool2d: padded_max_pool,
    nn.AvgPool2d: _fields(avg_pool, *_POOL, "count_include_pad"),
    nn.AdaptiveAvgPool2d: _fields(adaptive_avg_pool, "output_size"),
    nn.Upsample: _fields(upsample, "size", "scale_factor", "mode"),
    nn.Flatten: lambda call, x, m: flatten(call, x),
    nn.ZeroPad2d: lambda call, x, m: call.emit("pad", x, padding=list(m.padding)),
    **dict.fromkeys([nn.Identity, nn.Dropout, nn.Dropout2d], identity),
}

# function, or name of the tensor method -> f(call, *translated arguments)
FUNCTIONS: dict[Any, Callable[..., str | Split]] = {
    **dict.fromkeys([F.relu, F.relu_, torch.relu, "relu", "relu_"], activation),
    F.leaky_relu: leaky,
    F.relu6: lambda call, x, inplace=False: capped(call, x, 6.0),
    F.silu: silu,
    F.mish: mish,
    **dict.fromkeys([F.max_pool2d, torch.max_pool2d], max_pool),
    F.avg_pool2d: avg_pool,
    F.adaptive_avg_pool2d: adaptive_avg_pool,
    **dict.fromkeys([torch.mean, "mean"], mean),
    F.interpolate: upsample,
    **dict.fromkeys([torch.cat, torch.concat], concat),
    **dict.fromkeys([torch.chunk, torch.split, "chunk", "split"], split),
    operator.getitem: getitem,
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], add),
    **dict.fromkeys([torch.flatten, "flatten", torch.reshape, "reshape", "view"], flatten),
    **dict.fromkeys([F.dropout, "contiguous"], identity),
}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Tensor) -> Graph:
    """The graph of a torch module, with batch norm folded and one node per call.

    Args:
        model: The module; it is set to eval mode.
        example: An input [1, C, H, W], of which only the shape counts. The graph takes any size
            that the model takes.

    Raises:
        UserError: A call cannot become part of a spiking network; the message names its node and
            says what to do.

    Example:
        graph = trace(model, torch.zeros(1, 3, 416, 416))
    """
    model = model.eval()
    name = type(model).__name__
    try:
        traced = fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:
        # fx raises whatever the traced code raises.
        problem = str(error).splitlines()[0].split(". ")[0]
        raise UserError(f"{name} cannot be traced ({problem}): do not branch on values") from error
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(traced.get_submodule(node.target), nn.Conv2d):
            # Each call has a batch norm of its own to be folded.
            own = f"call_of_{node.name}"
            traced.add_submodule(own, copy(traced.get_submodule(node.target)))
            node.target = own
    fused = fuse(traced, no_trace=True)
    assert isinstance(fused, fx.GraphModule)
    try:
        # ShapeProp prints a traceback before it raises.
        with torch.no_grad(), redirect_stderr(StringIO()):
            ShapeProp(fused, fake_mode=FakeTensorMode()).propagate(example)
    except Exception as error:
        size = "x".join(map(str, example.shape[2:]))
        problem = reason(error.__cause__ or error)
        raise UserError(f"{name} cannot be run on an image of {size} pixels: {problem}") from error
    return _translate(fused)


def _translate(fused: fx.GraphModule) -> Graph:
    modules: dict[Any, nn.Module] = dict(fused.named_modules())
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    # fx node -> name of the graph's node, or Split.
    names: dict[fx.Node, Any] = {}
    outputs: tuple[str, ...] = ()
    for node in fused.graph.nodes:
        call = Call(node, nodes, tensors)
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: names[n])
        if node.op == "placeholder":
            # Placeholders come first.
            call.check(not nodes, "a network with one input")
            names[node] = call.emit("input")
        elif node.op == "output":
            outputs = _flat(args[0])
        elif node.op == "call_module" and type(modules[node.target]) in MODULES:
            module = modules[node.target]
            names[node] = MODULES[type(module)](call, *args, module)
        elif node.op in ("call_function", "call_method") and node.target in FUNCTIONS:
            try:
                names[node] = FUNCTIONS[node.target](call, *args, **kwargs)
            except TypeError as error:
                # The translator does not have such an argument.
                problem = f"such a call cannot be converted ({reason(error)})"
                raise UserError(f"node {node.name!r}: {problem}") from error
        else:
            kind: Any = node.target
            if node.op == "call_module":
                kind = type(modules[node.target])
            ops = "convolution, batch norm, linear, ReLU, pooling, add, concat, upsample or flatten"
            what = f"node {node.name!r} ({getattr(kind, '__name__', kind)}) cannot be converted"
            raise UserError(f"{what}: use {ops}, in this order, and leave decoding out")
    return Graph(tuple(nodes), outputs, tensors)


def _flat(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, tuple | list):
        raise UserError("the network must return feature maps (a tensor, or a list of tensors)")
    return tuple(itertools.chain.from_iterable(map(_flat, value)))
