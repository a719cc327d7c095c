"""Thresholds by sensitivity: coarse where an error matters little to the output, and where an event
is expensive.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from spiking_yolo.convert.differentiable import CompleteNetwork
from spiking_yolo.decode.boxes import decode
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.models.spec import Spec
from spiking_yolo.snn.layout import channels_last

# Random directions per image, along which sensitivities are measured.
PROBES = 2
# Of the layer's mean, below which a channel's sensitivity is not believed.
FLOOR = 1e-3
# Smallest probability that is told from 0, and smallest side of a box, of the input.
LEAST = 1e-6
SMALLEST_SIDE = 0.01
# Weight of a box that is displaced by its own size, where a score that is off by one standard
# deviation has 1.
BOXES = 4.0

# From the outputs, [N, ...] each, to what an error is measured in.
Measure = Callable[[Sequence[Tensor]], list[Tensor]]


def relative_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of each image over their norm, which passes no gradients on."""
    squares = [y.detach().square().flatten(1).sum(1) for y in outputs]
    norm = torch.sqrt(torch.stack(squares).sum(0))
    return [y / norm.reshape(-1, *[1] * (y.ndim - 1)) for y in outputs]


def boxes_and_scores(outputs: Sequence[Tensor], spec: Spec) -> list[Tensor]:
    """What the outputs of a detector mean, each part in a unit of its own.

    A score p in standard deviations, sqrt(p (1 - p)): half the square of a change is then the
    Kullback-Leibler divergence. The sides of a box in widths and heights of it, times the root of
    its best score and BOXES. The units pass no gradients on.
    """
    boxes, scores = decode(outputs, spec)
    p = scores.detach().clamp(LEAST, 1 - LEAST)
    sides = (boxes[..., 2:] - boxes[..., :2]).detach().clamp(min=SMALLEST_SIDE)
    weight = BOXES * p.amax(2, keepdim=True).sqrt()
    return [scores / torch.sqrt(p * (1 - p)), boxes * weight / sides.repeat(1, 1, 2)]


@torch.enable_grad()
def sensitivity(
    graph: Graph,
    images: Sequence[Tensor],
    seed: int = 0,
    measure: Measure = relative_outputs,
) -> dict[str, Tensor]:
    """How much unit noise in each activation changes the output, [C] by activation.

    S[l, c] = E[(d (v . measure(outputs)) / d a[l, c])^2]. v is standard normal, so that one
    backward pass measures all outputs at once (Hutchinson 1990); the mean is over images, positions
    and PROBES samples of v. Equal for equal seeds.

    Args:
        images: Batches, [N, C, H, W].
        measure: `relative_outputs`, or of a detector `boxes_and_scores`.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, Tensor] = {}
    activations: dict[str, Tensor] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        activations[node.name] = after.requires_grad_()

    for x in images:
        parts = measure(forward(graph, channels_last(x), tap))
        for k in range(PROBES):
            noise = [torch.randn(y.shape, generator=generator).to(y) for y in parts]
            products = [(y * v).sum() for y, v in zip(parts, noise, strict=True)]
            gradients = torch.autograd.grad(
                torch.stack(products).sum(),
                list(activations.values()),
                retain_graph=k < PROBES - 1,
            )
            for name, gradient in zip(activations, gradients, strict=True):
                # Of a box whose exponential overflows, nothing is known.
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                total = gradient.double().square().transpose(0, 1).flatten(1).sum(1)
                sums[name] = sums.get(name, 0) + total / gradient[0, 0].numel()
    count = PROBES * sum(len(x) for x in images)
    return {name: (value / count).float() for name, value in sums.items()}


def balanced(network: CompleteNetwork, sensitivities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """theta of every activation, [C], up to a common factor.

    Rounding makes noise of theta^2 / 12, which S turns into error of the output, and halving theta
    costs a third of a digit times the fan-out F. The sum of both is least where S theta^2 is
    proportional to F: so it is between layers. Between the channels of a layer half of the exponent
    does as well, and trusts an estimate less.
    """
    costs = {}
    for name in sensitivities:
        means = [network.costs[sender].mean() for sender in network.senders(name)]
        costs[name] = torch.stack(means).sum()
    # Events that only sums and outputs read would cost nothing.
    least = min((cost for cost in costs.values() if cost > 0), default=torch.tensor(1.0))
    thetas = {}
    for name, sensitivities_of_layer in sensitivities.items():
        cost = costs[name].clamp(min=least)
        mean = sensitivities_of_layer.mean().clamp(min=1e-30)
        relative = (sensitivities_of_layer / mean).clamp(min=FLOOR)
        thetas[name] = torch.sqrt(cost / mean) * relative**-0.25
    return thetas
