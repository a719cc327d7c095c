"""What is exported: one step of a network as a function of images and states.

The step of a spiking network is IntegerNetwork as it computes without kernels, in float32 that
carries whole numbers. Behind every layer's sums stands a cast to int32 and back, so that no runtime
moves a multiplication into the weights. So heads and events equal the package's to the bit, with
and without the optimisations of onnxruntime 1.32, for (leaky) ReLU, ReLU6 and shortcuts. With SiLU
and attention, whose exponential functions are computed of the same operations, none of 1.2 million
counts of YOLOv8n and 2.4 million of YOLO26n differed for one photograph, nor did their heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Size, Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, forward
from spiking_yolo.integer.convolution import EXACT, WholeConvolution
from spiking_yolo.integer.network import Frame, IntegerNetwork

# The state that counts the steps before this one, [1].
CLOCK = "frames"
# The state that is the image as transmitted so far, where encoding.tau leaves pixels out.
IMAGE = "image"


@dataclass(frozen=True)
class Stepped:
    """What a step returns.

    Attributes:
        outputs: Heads in the units of the ANN.
        states: The states by name, for the next step.
        events: Node that sends events -> the Counts of this step at each position, [N, 3, ...],
            or [N, 3 * segments, ...] where slices of channels tell them apart.
    """

    outputs: Sequence[Tensor]
    states: Mapping[str, Tensor] = field(default_factory=dict)
    events: Mapping[str, Tensor] = field(default_factory=dict)


class AnnStep:
    """The forward pass of the ANN: a step that keeps no state and sends no events.

    Attributes:
        graph: As its operations are counted.
        sizes: Shape of every node's output, [1, C, ...].
        states: Name -> shape for one image, [1, C, ...], of what the step keeps; CLOCK, of all
            images, is [1] and the first. All are zeros before the first step.
        segments: Of channels whose events are counted together: how many each node has that sends
            events.
    """

    def __init__(self, graph: Graph, sizes: Mapping[str, Size]):
        self.graph, self.sizes = graph, sizes
        self.states: Mapping[str, Size] = {}
        self.segments: Mapping[str, int] = {}

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        """One step of images, [N, 3, H, W]; states: by name."""
        return Stepped(forward(self.graph, x))


class IntegerStep(AnnStep):
    """A photograph, or a frame of a video, of a network of whole numbers.

    Args:
        network: The network, made with fast=False; its convolutions are replaced.
        stateful: Whether the next image may be a frame of the same video.
    """

    def __init__(self, network: IntegerNetwork, stateful: bool):
        super().__init__(network.counted, network.sizes)
        self.network = network
        self.segments = {name: len(ends) for name, ends in network.ends.items()}
        convolutions = network.parameters_of.convolutions
        for name, convolution in convolutions.items():
            convolutions[name] = ExportedConvolution(convolution)
        recipe = network.recipe
        if not stateful:
            return
        if recipe.neuron.busy:
            raise UserError(
                "neuron.busy follows the operations of each frame, which a graph does not know:"
                " --set neuron.busy=0"
            )
        self.states = {CLOCK: Size([1])} | {name: self.sizes[name] for name in self.segments}
        if recipe.encoding.tau:
            self.states[IMAGE] = self.sizes[self.graph.nodes[0].name]

    def __call__(self, x: Tensor, states: Mapping[str, Tensor]) -> Stepped:
        recipe, following = self.network.recipe, dict[str, Tensor]()
        before, dead_zone = None, 0.0
        if states:
            before, following[CLOCK] = Frame(states, {}, ()), states[CLOCK] + 1
            later = states[CLOCK][0] > 0
            # As of Python's floats.
            dead_zone = later.double() * recipe.neuron.hysteresis
            if IMAGE in states:
                image = states[IMAGE]
                changed = ((x - image).abs() > recipe.encoding.tau).any(1, keepdim=True)
                x = following[IMAGE] = torch.where(changed | ~later, x, image)
        frame = self.network(x, before, dead_zone)
        if states:
            following |= {name: frame.sent[name] for name in self.segments}
        events = {name: torch.cat(frame.events[name], 1) for name in self.segments}
        return Stepped(frame.outputs, {name: following[name] for name in self.states}, events)


class ExportedConvolution(WholeConvolution):
    """A convolution or linear layer of which ONNX files hold weights of 8 bits, and whose sums are
    int32: where they could pass 2^24, those of some input channels after the others.
    """

    def __init__(self, layer: WholeConvolution):
        super().__init__(layer.levels, layer.attrs, layer.largest, layer.border)
        parts = 1
        if self.wide:
            parts += int(self.reach * self.largest // EXACT)
        size = -(-self.levels.shape[1] // parts)
        self._parts = [part.to(torch.int8) for part in self.levels.split(size, 1)]

    def __call__(self, x: Tensor, zero: int = 0) -> Tensor:
        a, given = self.attrs, [x]
        if len(self._parts) > 1:
            by_group = x.unflatten(1, (a.get("groups", 1), -1))
            size = self._parts[0].shape[1]
            given = [part.flatten(1, 2) for part in by_group.split(size, 2)]
        sums: list[Tensor] = []
        for part, levels in zip(given, self._parts, strict=True):
            if levels.ndim == 2:
                sums.append(F.linear(part, levels.float()))
            else:
                geometry = a["stride"], a["padding"], a["dilation"], a["groups"]
                sums.append(F.conv2d(part, levels.float(), None, *geometry))
        whole = sum((each.to(torch.int32) for each in sums[1:]), sums[0].to(torch.int32)).float()
        if self.border is not None:
            whole = whole + self.border.whole(*whole.shape[2:])
        return whole
