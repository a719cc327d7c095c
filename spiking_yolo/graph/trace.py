"""Torch module to Graph: trace with torch.fx, fold batch norm, translate each node or refuse it by name."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.translate import ADVICE, FUNCTIONS, MODULES, Builder

_SHAPE_QUERIES = ("size", "dim")  # their values are numbers known from the example, not feature maps
_SPLITS = {torch.chunk, torch.split, "chunk", "split"}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Tensor) -> Graph:
    """The graph of `model`, with batch norm folded and one node per call.

    example: [1, C, H, W], run once to learn the shapes; the graph takes any size that the model takes.
    Raises UserError, naming the node and what to do, for whatever cannot become a spiking network.
    """
    model = model.eval()
    try:
        traced = fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:  # fx raises whatever the traced code raises
        raise UserError(
            f"{type(model).__name__} cannot be traced ({str(error).splitlines()[0]}): "
            "its forward must not branch on tensor values"
        ) from error
    _refuse_shared_batch_norm(traced)
    fused = fuse(traced, no_trace=True)
    assert isinstance(fused, fx.GraphModule)
    with torch.no_grad():
        ShapeProp(fused).propagate(example)
    return _translate(fused)


def _translate(fused: fx.GraphModule) -> Graph:
    modules: dict[Any, nn.Module] = dict(fused.named_modules())
    builder = Builder()
    names: dict[fx.Node, Any] = {}  # fx node -> graph node name, or (source, [(start, stop)...]) of a split
    outputs: tuple[str, ...] = ()
    for node in fused.graph.nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: names[n])
        if node.op == "placeholder":
            if any(n.op == "input" for n in builder.nodes):
                raise UserError(f"node {node.name!r}: a network with more than one input cannot be converted")
            names[node] = builder.emit(node.name, "input", [])
        elif node.op == "output":
            outputs = _flat(args[0])
        elif node.op == "call_module" and type(modules[node.target]) in MODULES:
            module = modules[node.target]
            names[node] = MODULES[type(module)](builder, node.name, args[0], module)
        elif node.target in _SPLITS:
            names[node] = _split(node, args[0])
        elif _asks_shape(node):
            names[node] = None
        elif node.target is operator.getitem:
            names[node] = _getitem(builder, node, args)
        elif node.target in ("view", "reshape") or node.target is torch.reshape:
            names[node] = _reshape(builder, node, args[0])
        elif node.op in ("call_function", "call_method") and node.target in FUNCTIONS:
            names[node] = FUNCTIONS[node.target](builder, node.name, *args, **kwargs)
        else:
            raise _refusal(node, modules)
        if isinstance(name := names.get(node), str):
            builder.shapes[name] = _shape(node)
    return Graph(tuple(builder.nodes), outputs, builder.tensors)


def _flat(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (tuple, list)):
        return tuple(name for item in value for name in _flat(item))
    raise UserError("the network must return feature maps (a tensor, or a list of tensors)")


def _asks_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SHAPE_QUERIES
    return node.target is getattr and node.args[1] == "shape"


def _shape(node: Any) -> torch.Size:
    return node.meta["tensor_meta"].shape


def _split(node: fx.Node, source: str) -> tuple[str, list[tuple[int, int]]]:
    dim = node.kwargs.get("dim", node.args[2] if len(node.args) > 2 else 0)
    if dim not in (1, -3):
        raise UserError(f"node {node.name!r}: only channels (dim 1) can be split, not dim {dim}")
    sizes = [part.shape[1] for part in node.meta["tensor_meta"]]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return source, [(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _getitem(builder: Builder, node: fx.Node, args: tuple[Any, ...]) -> str | None:
    source, index = args
    if source is None:  # an element of a shape
        return None
    if isinstance(source, tuple):  # a part of a split
        source, parts = source
        slices = [[*parts[index], 1]]
    else:
        index = index if isinstance(index, tuple) else (index,)
        if any(not isinstance(i, slice) for i in index) or index[0] != slice(None):
            raise UserError(f"node {node.name!r}: only slices that keep the batch dimension can be converted")
        slices = [[s.start, s.stop, s.step] for s in index[1:]] or [[None, None, None]]
    return builder.emit(node.name, "slice", [source], slices=slices)


def _reshape(builder: Builder, node: fx.Node, source: str) -> str:
    if len(_shape(node)) != 2 or _shape(node)[0] != _shape(node.args[0])[0]:
        raise UserError(f"node {node.name!r}: only flattening to [N, features] can be converted, not another reshape")
    return builder.emit(node.name, "flatten", [source])


def _refuse_shared_batch_norm(traced: fx.GraphModule) -> None:
    """Raise UserError for a convolution that is called twice: it cannot absorb a batch norm behind each call."""
    modules: dict[Any, nn.Module] = dict(traced.named_modules())
    calls: dict[str, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d):
            calls.setdefault(node.target, []).append(node)
    for target, nodes in calls.items():
        followers = [u for n in nodes for u in n.users if u.op == "call_module"]
        if len(nodes) > 1 and any(isinstance(modules[u.target], nn.BatchNorm2d) for u in followers):
            raise UserError(
                f"node {nodes[1].name!r}: {target} is called twice with a batch norm behind: copy the module"
            )


def _refusal(node: fx.Node, modules: dict[Any, nn.Module]) -> UserError:
    if node.op == "call_module":
        kind: Any = type(modules[node.target])
        what = kind.__name__
    else:
        kind = node.target
        what = getattr(kind, "__name__", str(kind))
    advice = ADVICE.get(
        kind, "use convolution, linear, (leaky) ReLU, pooling, add, concat, upsample or flatten instead"
    )
    return UserError(f"node {node.name!r} ({what}) cannot be converted to a spiking network: {advice}")
