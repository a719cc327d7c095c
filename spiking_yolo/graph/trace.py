"""Torch module to Graph: trace with torch.fx, fold batch norm, translate each node or refuse it by
name.
"""

from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node
from spiking_yolo.graph.translate import ADVICE, FUNCTIONS, MODULES, Call
from spiking_yolo.io.names import reason


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Tensor) -> Graph:
    """The graph of `model`, with batch norm folded and one node per call.

    example: [1, C, H, W], of which the shapes are learned without computing anything; the graph
    takes any size that the model takes. Raises UserError, naming the node and what to do, for
    whatever cannot become a spiking network.
    """
    model = model.eval()
    try:
        traced = fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:  # fx raises whatever the traced code raises
        raise UserError(
            f"{type(model).__name__} cannot be traced"
            f" ({str(error).splitlines()[0].split('. ')[0]}): its forward must not branch on tensor"
            " values"
        ) from error
    _refuse_shared_batch_norm(traced)
    fused = fuse(traced, no_trace=True)
    assert isinstance(fused, fx.GraphModule)
    try:
        with torch.no_grad(), redirect_stderr(StringIO()):  # it prints a traceback before it raises
            ShapeProp(fused, fake_mode=FakeTensorMode()).propagate(example)
    except Exception as error:  # torch raises whatever does not fit
        size = "x".join(map(str, example.shape[2:]))
        said = reason(error.__cause__ or error)
        raise UserError(
            f"{type(model).__name__} cannot be run on an image of {size} pixels: {said}"
        ) from error
    return _translate(fused)


def _translate(fused: fx.GraphModule) -> Graph:
    modules: dict[Any, nn.Module] = dict(fused.named_modules())
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    # Fx node -> node of the graph, Split, or None for a number.
    names: dict[fx.Node, Any] = {}
    outputs: tuple[str, ...] = ()
    for node in fused.graph.nodes:
        call = Call(node, nodes, tensors)
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: names[n])
        if node.op == "placeholder":
            if any(n.op == "input" for n in nodes):
                raise call.error("a network with more than one input cannot be converted")
            names[node] = call.emit("input")
        elif node.op == "output":
            outputs = _flat(args[0])
        elif node.op == "call_module" and type(modules[node.target]) in MODULES:
            module = modules[node.target]
            names[node] = MODULES[type(module)](call, args[0], module)
        elif node.target is getattr and node.args[1] == "shape":
            names[node] = None
        elif node.op in ("call_function", "call_method") and node.target in FUNCTIONS:
            try:
                names[node] = FUNCTIONS[node.target](call, *args, **kwargs)
            except TypeError as error:  # an argument that its translation does not have
                raise call.error(
                    f"it is called in a way that cannot be converted ({reason(error)})"
                ) from error
        else:
            raise _refusal(node, modules)
    return Graph(tuple(nodes), outputs, tensors)


def _flat(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (tuple, list)):
        return tuple(name for item in value for name in _flat(item))
    raise UserError("the network must return feature maps (a tensor, or a list of tensors)")


def _refuse_shared_batch_norm(traced: fx.GraphModule) -> None:
    """Raise UserError for a convolution that is called twice: it cannot absorb a batch norm behind
    each call.
    """
    modules: dict[Any, nn.Module] = dict(traced.named_modules())
    calls: dict[str, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d):
            calls.setdefault(node.target, []).append(node)
    for target, nodes in calls.items():
        followers = [u for n in nodes for u in n.users if u.op == "call_module"]
        if len(nodes) > 1 and any(isinstance(modules[u.target], nn.BatchNorm2d) for u in followers):
            raise UserError(
                f"node {nodes[1].name!r}: {target} is called twice with a batch norm behind: copy"
                " the module"
            )


def _refusal(node: fx.Node, modules: dict[Any, nn.Module]) -> UserError:
    if node.op == "call_module":
        kind: Any = type(modules[node.target])
        what = kind.__name__
    else:
        kind = node.target
        what = getattr(kind, "__name__", str(kind))
    advice = ADVICE.get(
        kind,
        "use convolution, linear, (leaky) ReLU, pooling, add, concat, upsample or flatten instead",
    )
    return UserError(
        f"node {node.name!r} ({what}) cannot be converted to a spiking network: {advice}"
    )
