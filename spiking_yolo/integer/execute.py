"""A plan in PyTorch, on any device: the reference, which ONNX files are exported from and which the
program in C equals to the bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.graph import OPS, Node, reached_padding
from spiking_yolo.integer.neuron import fire
from spiking_yolo.integer.plan import Convolution, Neurons, Plan
from spiking_yolo.spikes.counting import Counts


@dataclass(frozen=True)
class Frame:
    """What a network did in one step.

    Attributes:
        sent: What the image and each node that sends events have sent by now: whole numbers,
            float32 [N, C, ...].
        outputs: Head tensors in values of the ANN, [N, ...].
        values: What each node has computed, whole numbers.
    """

    sent: Mapping[str, Tensor]
    outputs: tuple[Tensor, ...]
    values: Mapping[str, Tensor] = field(default_factory=dict)


def execute(
    plan: Plan,
    image: Tensor,
    before: Frame | None = None,
    dead_zone: Tensor | float = 0.0,
    lossless: bool = False,
) -> Frame:
    """One step: a photograph, or the next frame of a video, computed everywhere.

    Args:
        plan: The network.
        image: Whole numbers, see `NetworkParameters.bytes_of`, float32 [N, 3, H, W].
        before: The frame before; None for a photograph, or a first frame.
        dead_zone: The dead zone of neurons in a later frame, in thetas.
        lossless: Whether a later frame rounds values as a photograph does.

    Example:
        >>> frame = execute(plan, plan.parameters.bytes_of(photographs))
        >>> frame.outputs[0].shape
        torch.Size([1, 255, 13, 13])
    """
    values = {plan.input: image}
    for step in plan.steps[1:]:
        name, old = step.node.name, None
        if before is not None and not lossless:
            old = before.sent.get(name)
        if isinstance(step, Neurons):
            terms = [values[term] for term in step.terms]
            values[name] = fire(terms, step.layer, old, dead_zone if before else 0.0)
        elif isinstance(step, Convolution):
            values[name] = step.whole(values[step.node.inputs[0]])
        elif step.node.op != "add":
            # A sum is read term by term.
            values[name] = move(step.node, [values[source] for source in step.node.inputs])
    outputs = tuple([plan.parameters.output(name, values) for name in plan.outputs])
    return Frame({name: values[name] for name in (plan.input, *plan.senders)}, outputs, values)


def widest_sum(plan: Plan, values: Mapping[str, Tensor]) -> float:
    """The largest |sum| that neurons and outputs read in a step. values: See Frame."""
    widest = [largest(values[term]) for terms in plan.outputs.values() for term in terms]
    for step in plan.steps:
        if isinstance(step, Neurons):
            widest.append(widest_read(step, values.__getitem__))
    return torch.stack(widest).max().item()


def widest_read(step: Neurons, value: Callable[[str], Tensor]) -> Tensor:
    """The largest |sum| that a layer of neurons reads, in a max pooling of sums all of a window.

    Args:
        step: The layer.
        value: Gives the whole numbers of a node.
    """
    if step.pool is not None:
        return largest(move(step.pool, [value(step.pool.inputs[0]).abs()]))
    return torch.stack([largest(value(term)) for term in step.terms]).max()


def largest(x: Tensor) -> Tensor:
    """The largest |x|, float32."""
    low, high = x.aminmax()
    return torch.maximum(-low, high).float()


def events(plan: Plan, name: str, sent: Tensor, before: Tensor | None) -> Tensor:
    """Events of a sender in a step at each position: Counts.stacked of [N, segments, ...].

    Args:
        plan: The network.
        name: The sender.
        sent: What it has sent by now, whole numbers.
        before: What it had sent by the frame before; None in the first.
    """
    size = sent.abs() if before is None else (sent - before).abs()
    counts = Counts(size, plan.digits(size), size.clamp(max=1)).stacked()
    starts = (0, *plan.ends[name][:-1])
    segments = [counts[:, a:b].sum(1) for a, b in zip(starts, plan.ends[name], strict=True)]
    return torch.stack(segments, 1)


def move(node: Node, inputs: Sequence[Tensor]) -> Tensor:
    """The output of a node without weights and neurons, of whole numbers."""
    a = node.attrs
    if node.op == "global_avg_pool":
        return inputs[0].sum((2, 3), keepdim=True)
    if node.op == "avg_pool":
        return sums_of_windows(inputs[0], a["kernel"], a["stride"], a["padding"])
    return OPS[node.op](a, None, None, *inputs)


def sums_of_windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Sums over windows of a map, one axis after the other: average pooling that does not divide.

    Args:
        x: [N, C, H, W].
        kernel, stride, padding: See graph.max_pool; padding of height and width.
    """
    height, width = padding
    border = width, width, height, height
    sides = reached_padding(x.shape[2], x.shape[3], kernel, stride, border)
    if any(sides):
        x = F.pad(x, sides)
    for axis in (2, 3):
        size, step = kernel[axis - 2], stride[axis - 2]
        # The windows' first positions, their second ones, and so on.
        span, whole_map = (x.shape[axis] - size) // step * step + 1, x
        for k in range(size):
            tap = whole_map[(slice(None),) * axis + (slice(k, k + span, step),)]
            x = x + tap if k else tap
    return x
