"""Thresholds from activation statistics: maximum, percentile, and minimum mean squared error.

Statistics are of pre-activations z. Where the activation has a cap (clipped ReLU, ReLU6, QCFS),
every rule sees min(z, cap), and no threshold exceeds the cap: a spike would be worth more than the
activation can be.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spiking_yolo.convert.learn.statistics import Histogram, edges
from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Graph
from spiking_yolo.integer.neuron import LARGEST
from spiking_yolo.integer.parameters import on_grid
from spiking_yolo.recipe import RULES, Recipe
from spiking_yolo.spikes.layout import NeuronParameters, Tensors

YAML = Path(__file__).parents[1] / "models" / "yolov8n-relu.yaml"


def check_activations(graph: Graph, recipe: Recipe) -> None:
    """Raise UserError, naming the node, if the recipe's neurons cannot follow the graph."""
    kind = recipe.neuron_kind
    for node in graph.nodes:
        if node.product and not (recipe.complete and "softmax" in kind.follows):
            raise UserError(f"node {node.name!r} is attention: it needs --method {DEFAULT}")
    for node in graph.activations:
        phi = node.phi
        for what in ("slope", "cap", "silu", "mish"):
            if getattr(phi, what) and what not in kind.follows:
                own = "slope (leaky ReLU)" if what == "slope" else what
                raise UserError(
                    f"node {node.name!r} has a {own}, which neurons of the kind"
                    f" {recipe.neuron.kind} do not compute: use --method {DEFAULT}, a network with"
                    f" ReLU such as yolov1-voc, or train with it (Ultralytics: model={YAML})"
                )


# Quantisation levels below theta for rule=mmse: the T of the methods that use it.
LEVELS = 32
# The range of a layer has at most so many thetas.
FINEST = 1 << 14
# A threshold has settled when a step raises it by no more than this share.
_SETTLED = 1e-3
# The grid has 95 steps of 1 % down from the maximum (Li 2021).
_MMSE_GRID = torch.arange(100, 5, -1, dtype=torch.float64) / 100


# A rule of one's own: the threshold of a node, [C] or, with scope=layer, [1], from its statistics,
# the sign (0: of positive values, 1: magnitudes of negative ones) and the recipe.
Rule = Callable[[Histogram, int, Recipe], Tensor]
_OWN: dict[str, Rule] = {}


def register(name: str, doc: str) -> Callable[[Rule], Rule]:
    """Decorator: let threshold.rule=NAME ask for this function. doc: What it is, for lists.

    Its thresholds are clipped at the cap of the activation. Channels without values of the sign
    take the layer's largest threshold, whatever it returns for them.

    Raises:
        UserError: A rule of this package has the name.

    Example:
        >>> @register("half", "half of the largest activation")
        ... def half(histogram, sign, recipe):
        ...     return extreme(histogram, sign) / 2
    """
    if name in RULES and name not in _OWN:
        raise UserError(f"threshold.rule={name} is there already: give yours another name")

    def add(rule: Rule) -> Rule:
        RULES[name], _OWN[name] = doc, rule
        return rule

    return add


def own_threshold(histogram: Histogram, sign: int, recipe: Recipe, cap: float | None) -> Tensor:
    """The threshold that a rule of the user's returns, checked."""
    name = recipe.threshold.rule
    found: Any = _OWN[name](histogram, sign, recipe)
    top = extreme(histogram, sign)
    if not isinstance(found, Tensor) or found.shape not in (top.shape, (1,)):
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"threshold.rule={name} returns {what}, not [{len(top)}] or [1]")
    values = found.double().expand(len(top))
    wrong = values[(top > 0) & ~(values.isfinite() & (values > 0))]
    if len(wrong):
        raise UserError(f"threshold.rule={name} returns {wrong[0].item():g}, not a number above 0")
    return at_most(torch.where(top > 0, values, 0.0), cap)


def threshold(histogram: Histogram, sign: int, recipe: Recipe, cap: float | None = None) -> Tensor:
    """The threshold of one node before scaling.

    Args:
        sign: 0 for the positive side, 1 for magnitudes of the negative side.
        cap: Cap of the activation; rule=max then gives the cap itself (Deng 2021, Bu 2022).

    Returns:
        float64 [C], or [1] for scope=layer; 0 for channels without values of this sign.
    """
    settings = recipe.threshold
    if settings.scope == "layer":
        histogram = histogram.pooled()
    if settings.rule in _OWN:
        return own_threshold(histogram, sign, recipe, cap)
    # For rule=balance and rule=sensitivity a measurement replaces the maximum later.
    if settings.rule in ("max", "balance", "sensitivity"):
        top = extreme(histogram, sign)
        if cap is not None:
            top = torch.full_like(top, cap)
        return top
    if settings.rule in ("percentile", "shared"):
        top = percentile(histogram, sign, settings.percentile)
        if settings.rule == "shared":
            top = top / recipe.neuron.gamma
        return at_most(top, cap)
    if settings.rule == "excess":
        return at_most(local_balance(histogram, sign, cap), cap)
    gamma = recipe.neuron.gamma
    if recipe.differential:
        # Differential coding has no highest rate: a neuron catches up later, and nothing is
        # clipped.
        gamma = 1
    return mmse(histogram, sign, LEVELS, gamma, recipe.neuron.initial == 0.5, cap)


def at_most(values: Tensor, cap: float | None) -> Tensor:
    """Values, clipped at the cap if there is one."""
    return values if cap is None else values.clamp(max=cap)


def extreme(histogram: Histogram, sign: int) -> Tensor:
    """Largest magnitude of one sign, float64 [C]."""
    return (-histogram.minimum if sign else histogram.maximum).clamp(min=0)


def percentile(histogram: Histogram, sign: int, percent: float) -> Tensor:
    """The percentile of one sign's magnitudes, float64 [C]; linear within a bin."""
    counts = histogram.counts[sign].double()
    cumulative = counts.cumsum(1)
    target = cumulative[:, -1:] * percent / 100
    index = torch.searchsorted(cumulative, target).clamp(max=counts.shape[1] - 1)
    inside = counts.gather(1, index)
    below = cumulative.gather(1, index) - inside
    fraction = ((target - below) / inside.clamp(min=1)).clamp(0, 1)
    edge = edges()
    value = edge[index] + fraction * (edge[index + 1] - edge[index])
    value = value[:, 0] * 2.0**histogram.exponent
    return torch.where(cumulative[:, -1] > 0, torch.minimum(value, extreme(histogram, sign)), 0.0)


class _Moments:
    """Zeroth to second moments of one sign's distribution below a point; each bin is taken as
    uniform.

    cap: values above it count as the cap.
    """

    def __init__(self, histogram: Histogram, sign: int, cap: float | None = None):
        self.scale = (2.0**histogram.exponent)[:, None]
        self.cap = cap
        self.top = at_most(extreme(histogram, sign), cap)
        self.edge = edges()
        self.density = histogram.counts[sign].double() / self.edge.diff()
        self.sums: list[Tensor] = []
        for p in (1, 2, 3):
            in_bins = self.density * (self.edge**p).diff() / p
            self.sums.append(F.pad(in_bins.cumsum(1), (1, 0)))

    def below(self, points: Tensor) -> list[Tensor]:
        """Moments 0, 1, 2 of the values below points [C, k]: three float64 [C, k]."""
        if self.cap is None:
            return self._below(points)
        ends = torch.tensor([[self.cap, torch.inf]], dtype=torch.float64).expand(len(self.scale), 2)
        clipped = self._below(ends)[0].diff(dim=1) * (points > self.cap)
        inside = self._below(points.clamp(max=self.cap))
        return [moment + clipped * self.cap**p for p, moment in enumerate(inside)]

    def _below(self, points: Tensor) -> list[Tensor]:
        x = (points / self.scale).clamp(0, 1)
        index = torch.searchsorted(self.edge, x, right=True).sub_(1).clamp_(0, len(self.edge) - 2)
        density = self.density.gather(1, index)
        edge = self.edge[index]
        moments = []
        for p, total in enumerate(self.sums, 1):
            in_bin = density * (x**p - edge**p) / p
            moments.append((total.gather(1, index) + in_bin) * self.scale ** (p - 1))
        return moments


def local_balance(histogram: Histogram, sign: int, cap: float | None = None) -> Tensor:
    """Local threshold balancing (Bu 2025): theta += 2 mean(relu(a - theta)) from 0 until it
    settles, float64 [C]. The mean is over all activations a, zeros too, clipped at `cap`.
    """
    moments = _Moments(histogram, sign, cap)
    theta = torch.zeros_like(moments.top)
    active = torch.ones_like(theta, dtype=torch.bool)
    everything = torch.full_like(theta, torch.inf)
    while active.any():
        count, total, _ = moments.below(torch.stack([theta, everything], 1))
        excess = total.diff(dim=1)[:, 0] - theta * count.diff(dim=1)[:, 0]
        step = torch.where(active, 2 * excess / max(histogram.total, 1), 0.0)
        theta = theta + step
        active &= step > _SETTLED * theta
    return theta


def mmse(
    histogram: Histogram, sign: int, levels: int, gamma: int, rounds: bool, cap: float | None = None
) -> Tensor:
    """The theta = c * maximum that minimises mean((q(a) - a)^2), float64 [C] (Li 2021, section
    3.1).

    q(a) = clip(floor(a * levels / theta), 0, gamma * levels) * theta / levels, or with round
    instead of floor: what a neuron with at most gamma spikes of theta per step makes of a in
    `levels` steps. a is clipped at `cap`.
    """
    moments = _Moments(histogram, sign, cap)
    top = moments.top
    best = torch.full_like(top, float("inf"))
    theta = top.clone()
    for c in _MMSE_GRID:
        error = _quantisation_error(moments, c * top, levels, gamma, rounds)
        better = error < best
        best = torch.where(better, error, best)
        theta = torch.where(better, c * top, theta)
    return theta


def _quantisation_error(
    moments: _Moments, theta: Tensor, levels: int, gamma: int, rounds: bool
) -> Tensor:
    """Sum of squared quantisation errors, float64 [C].

    It is one integral per level, between its decision points.
    """
    step = (theta / levels)[:, None]
    highest = (moments.top / step[:, 0].clamp(min=1e-300)).max().ceil().item()
    levels_used = min(gamma * levels, int(highest) + 1)
    level = torch.arange(levels_used + 1, dtype=torch.float64)
    points = (level[1:] - 0.5 * rounds) * step
    zero, infinity = torch.zeros_like(step), torch.full_like(step, float("inf"))
    m0, m1, m2 = (m.diff(dim=1) for m in moments.below(torch.cat([zero, points, infinity], 1)))
    value = level * step
    return (m2 - 2 * value * m1 + value**2 * m0).sum(1)


def base_parameters(
    graph: Graph, histograms: Mapping[str, Histogram], recipe: Recipe
) -> NeuronParameters:
    """Thresholds and initial potential of every activation node, from the statistics."""
    neurons = {}
    for node in graph.activations:
        try:
            thresholds = layer_thresholds(histograms[node.name], node.phi, recipe)
        except UserError as error:
            raise UserError(f"node {node.name!r}: {error}") from error
        capped = {k: at_most(theta, node.phi.cap) for k, theta in thresholds.items()}
        neurons[node.name] = {**capped, "initial": torch.tensor(recipe.neuron.initial)}
    return neurons


def least_thetas(graph: Graph, histograms: Mapping[str, Histogram]) -> dict[str, Tensor]:
    """The smallest theta of each channel, [C] by activation, for which events fit 8 bits: its range
    / 127.
    """
    thetas: dict[str, Tensor] = {}
    for node in graph.activations:
        histogram = histograms[node.name]
        above = histogram.maximum.clamp(min=0).float()
        below = (-histogram.minimum).clamp(min=0).float()
        highest, lowest = node.phi.reach(above, below)
        largest = torch.maximum(highest.abs(), lowest.abs())
        # Channels that are always silent have a range of 0.
        least = max(largest.max().item(), 1e-6) / FINEST
        thetas[node.name] = (largest / LARGEST).clamp(min=least)
    return thetas


def scaled(
    graph: Graph, neurons: NeuronParameters, factor: float, least: Tensors | None = None
) -> NeuronParameters:
    """The parameters with all thetas times a factor, at most the cap of the activation and at least
    what `least` has for it, see `least_thetas`.

    A resting value stays the same, counted in other thetas.
    """
    result = dict(neurons)
    for node in graph.activations:
        own = neurons[node.name]
        theta = at_most(own["theta"] * factor, node.phi.cap)
        if least and node.name in least:
            theta = theta.maximum(least[node.name])
        result[node.name] = {**own, "theta": theta}
        if "rest" in own:
            rest = on_grid(own["rest"] * (own["theta"] / theta))
            result[node.name] = {**own, "theta": theta, "rest": rest}
    return result


def layer_thresholds(histogram: Histogram, phi: Activation, recipe: Recipe) -> dict[str, Tensor]:
    """The thresholds of one activation node, float32: "theta" [C], and "theta_off" of a pair.

    A pair has a threshold per side. A signed memory neuron serves both sides, with the larger of
    their thresholds. A channel without activations takes the layer's largest threshold.
    """
    thresholds = {"theta": threshold(histogram, 0, recipe, phi.cap)}
    kind = recipe.neuron_kind
    if (phi.slope or phi.gate) and (kind.differential or not kind.signed):
        off = threshold(histogram, 1, recipe)
        if kind.differential:
            thresholds["theta"] = torch.maximum(*phi.reach(thresholds["theta"], off))
        else:
            thresholds["theta_off"] = off
    channels = len(histogram.exponent)
    scale = recipe.threshold.scale
    for name, theta in thresholds.items():
        largest = theta.max()
        if largest <= 0:
            largest = torch.ones_like(largest)
        theta = torch.where(theta > 0, theta, largest) * scale
        thresholds[name] = theta.float().expand(channels).contiguous()
    return thresholds
