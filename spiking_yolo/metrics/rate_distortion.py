"""How few signed digits the activations of a network need at a given error of its output.

A channel of an activation sends each value x as n, a sum of signed powers of two, and its receivers
see s + n theta, where s is the value at rest. With w(n) the digits of n's non-adjacent form, of
which no sum of signed powers of two has fewer (Reitwiesner 1960), a code costs

    D = E[(x - s - n theta)^2]    a value's distortion,
    R = E[c w(n)]                 operations per MAC, c those of an event at each of its positions,

where the expectation is over the measured law of the channel. In first order, and if errors do not
depend on each other, the squared error of the output is the sum of S D over layers and channels;
S is its sensitivity (convert/sensitivity.py) times the positions. The least R at a given error is
found as in reverse water-filling (Cover and Thomas, section 10.3.3), with digits in place of bits:
every channel by itself minimises

    J = S D + price R,

and where the sum of R over channels is a convex function of the error, one price for all channels
gives all of it: all slopes dR / d(S D) are -1 / price. For any code whatsoever, by duality,

    R >= (sum of the least J - squared error) / price.

Within a channel the least J over all maps from x to n is taken value by value, by

    n(x) = argmin (x - s - n theta)^2 + mu w(n),  mu = price c / S,

so that lengths count in units of sqrt(mu), the scale of the channel. `CheapestDigits` finds that n.
Since w(2n) = w(n), theta / 2 is never worse than theta: with this rounding only theta's place in
its octave matters, and fine thetas stand for all others. Where n is the nearest whole number and
theta is small, D = theta^2 / 12 and w grows by 1/3 per octave, so that theta = 1.70 scales, and
rounding should lean by ln 2 / 4 = 0.17 of theta to the neighbour of fewer digits: neuron.slack.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spiking_yolo.snn.counting import count_digits, thrifty_round

# Candidates for the value at rest: quantiles of a channel, besides 0.
QUANTILES = tuple(k / 10 for k in range(1, 9))
# Scales that a channel's values spread over, at most: 12 bits per value.
FINEST = 1 << 12
# The largest number that is sent.
LARGEST = 1 << 15
# How often the value at rest is moved to where errors have the mean 0.
CENTRINGS = 1


@dataclass(frozen=True)
class Sender:
    """Some values of a feature map that travels as events.

    Attributes:
        values: At R positions of some images, [R, C].
        cost: Operations per MAC of an event there, times the number of positions, so that the mean
            over rows is the sum over an image; [R, C or 1].
        neighbours: The values to the left, above, and above to the left of these, [3, R, C]; nan
            beyond the border.
    """

    values: Tensor
    cost: Tensor
    neighbours: Tensor


@dataclass(frozen=True)
class Site:
    """An activation whose channels are to be coded.

    Attributes:
        sensitivity: Squared error of the output by unit noise at all positions of a channel, [C].
        senders: The activation itself, and the max poolings behind it that send events of their
            own: the maximum of what was rounded is the maximum rounded.
    """

    sensitivity: Tensor
    senders: Sequence[Sender]

    @property
    def values(self) -> Tensor:
        """Those of the activation, [R, C]."""
        return self.senders[0].values

    @property
    def cost(self) -> Tensor:
        """Operations per MAC of an image in which every value of a channel sends one event, [C]."""
        total = torch.zeros_like(self.sensitivity)
        for sender in self.senders:
            total += sender.cost.mean(0)
        return total

    def scale(self, price: float) -> Tensor:
        """sqrt(price c / S), [C]: the size of an error that is worth an event."""
        largest = self.values.abs().amax(0).clamp(min=1e-12)
        spread = self.values.amax(0) - self.values.amin(0)
        scale = torch.sqrt(price * self.cost / self.sensitivity.clamp(min=1e-30))
        return scale.maximum(spread / FINEST).clamp(min=1e-12).minimum(4 * largest)


class Code(Protocol):
    """A map from values to events."""

    @property
    def steps(self) -> Sequence[float]:
        """Thetas to try, in scales."""
        ...

    def __call__(self, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """What a receiver sees of x, and how many events that takes; both lengths in thetas.

        step: theta, in scales.
        """
        ...


@dataclass(frozen=True)
class Rounding:
    """The neighbour that `thrifty_round` chooses; the nearest with slack = 0."""

    slack: float = 0.0
    steps: Sequence[float] = tuple(2 ** (k / 3) for k in range(-1, 6))

    def __call__(self, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
        n = thrifty_round(x, self.slack)
        return n, count_digits(n)


class CheapestDigits:
    """The n of least (x - n)^2 + w(n) / step^2: no map from values to digits has a smaller J.

    (x - n)^2 + m w(n) is x^2 plus a line of slope -2n through n^2 + m w(n) at 0, so the n that are
    ever chosen are the corners of the lower convex hull of the points (n, n^2 + m w(n)), and
    between two corners the decision falls at half the slope of their edge.
    """

    steps = tuple(2 ** (k / 4 - 2) for k in range(4))

    def __init__(self) -> None:
        self._corners: dict[tuple[float, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
        size = x.abs().clamp(max=LARGEST)
        largest = 1 << math.ceil(math.log2(size.max().item() + 1))
        key = step, largest
        if key not in self._corners:
            self._corners[key] = corners(largest, step**-2)
        levels, cuts = self._corners[key]
        n = levels[torch.bucketize(size, cuts)]
        return n.copysign(x), count_digits(n)


def corners(largest: int, m: float) -> tuple[Tensor, Tensor]:
    """The whole numbers 0..largest that CheapestDigits sends, and the values between which it
    changes from one to the next.
    """
    numbers = torch.arange(largest + 1)
    heights = (numbers.square().double() + m * count_digits(numbers.double())).tolist()
    hull: list[int] = []
    for n, height in enumerate(heights):
        while len(hull) > 1:
            a, b = hull[-2:]
            if (heights[b] - heights[a]) * (n - a) < (height - heights[a]) * (b - a):
                break
            hull.pop()
        hull.append(n)
    cuts = []
    for a, b in itertools.pairwise(hull):
        cuts.append((heights[b] - heights[a]) / (b - a) / 2)
    return torch.tensor(hull).float(), torch.tensor(cuts).float()


class OneEvent:
    """A value stays at rest or is sent exactly, by one event.

    No code whose values cost an event or more has a smaller J, whatever events can carry.
    """

    steps = (1.0,)

    def __call__(self, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
        sent = (x.abs() >= 1).to(x)
        return x * sent, sent


@dataclass(frozen=True)
class Allocation:
    """How the channels of a site are coded, [C] each.

    Attributes:
        theta, rest: The code: a receiver sees rest + n theta.
        distortion: Mean square error of a value.
        operations: Per MAC of the ANN, those of one image.
        error: Mean of what a value is more than a receiver sees.
    """

    theta: Tensor
    rest: Tensor
    distortion: Tensor
    operations: Tensor
    error: Tensor


def evaluate(
    site: Site, code: Code, step: float, theta: Tensor, rest: Tensor, spatial: bool = False
) -> Allocation:
    """What it costs to send the values of a site, and their distortion.

    Args:
        step: theta, in scales; for codes that depend on it.
        theta, rest: [C].
        spatial: Whether values are predicted by their neighbours, see `predicted`.
    """
    operations = torch.zeros_like(theta)
    for sender in site.senders:
        if spatial:
            operations += predicted(sender, code, step, theta, rest)
        else:
            events = code((sender.values - rest) / theta, step)[1]
            operations += (events * sender.cost).mean(0)
    x = (site.values - rest) / theta
    error = (x - code(x, step)[0]) * theta
    return Allocation(theta, rest, error.square().mean(0), operations, error.mean(0))


def predicted(sender: Sender, code: Code, step: float, theta: Tensor, rest: Tensor) -> Tensor:
    """Operations per MAC, [C], of channels that send the difference of n from a prediction, by the
    best of four for each channel: 0; n to the left; n above; left + above - their common neighbour.

    The prediction is what the receiver knows (closed loop): neighbours are rounded too, so that the
    distortion is that of n itself. Only linear predictions can be undone behind a convolution, by
    sums along rows and columns of its result.
    """
    n = code((sender.values - rest) / theta, step)[0]
    before = code(((sender.neighbours - rest) / theta).nan_to_num_(0.0), step)[0]
    left, above, corner = before
    costs = []
    for guess in (torch.zeros_like(n), left, above, left + above - corner):
        costs.append((count_digits(n - guess) * sender.cost).mean(0))
    return torch.stack(costs).amin(0)


def allocate(
    site: Site,
    price: float,
    code: Code,
    rests: Sequence[float] = QUANTILES,
    spatial: bool = False,
) -> Allocation:
    """Theta and rest of every channel, for the least S D + price R.

    Rests are tried with a typical theta, then thetas with the best rest, which moves to where
    errors have the mean 0: there the derivative of J by rest, -2 S E[x - s - n theta], vanishes.
    With CheapestDigits or OneEvent no code is better, as far as the grids are fine.

    Args:
        price: Squared error of the output that an operation per MAC is worth.
        rests: Values at rest to try, as quantiles of the channel; 0 is tried besides, and
            nothing else without any.
        spatial: See `evaluate`.
    """
    scale = site.scale(price)
    typical = code.steps[len(code.steps) // 2]
    zero = torch.zeros_like(scale)
    best = evaluate(site, code, typical, typical * scale, zero, spatial)
    if rests:
        quantiles = torch.quantile(site.values[:4096], torch.tensor(rests), 0)
        for rest in quantiles:
            trial = evaluate(site, code, typical, typical * scale, rest, spatial)
            best = better(site, price, best, trial)
    rest = best.rest
    for step in code.steps:
        trial = evaluate(site, code, step, step * scale, rest, spatial)
        best = better(site, price, best, trial)
        for _ in range(CENTRINGS if rests else 0):
            centre = trial.rest + trial.error
            trial = evaluate(site, code, step, step * scale, centre, spatial)
            best = better(site, price, best, trial)
    return best


def better(site: Site, price: float, a: Allocation, b: Allocation) -> Allocation:
    """Of each channel the one of the smaller S D + price R."""
    of_a = site.sensitivity * a.distortion + price * a.operations
    of_b = site.sensitivity * b.distortion + price * b.operations
    chosen = of_b < of_a
    fields = ("theta", "rest", "distortion", "operations", "error")
    return Allocation(*(torch.where(chosen, getattr(b, f), getattr(a, f)) for f in fields))


def bits(site: Site, code: Rounding, allocation: Allocation) -> tuple[float, float]:
    """What entropy coding of the same values would need: bits per MAC, where an operation per MAC
    with an event stands for so many bits; summed over channels.

    Returns:
        The entropy of n, and Shannon's lower bound for the law of the values at the distortion.
    """
    entropies = shannon = 0.0
    for sender in site.senders:
        n = code((sender.values - allocation.rest) / allocation.theta, 1.0)[0]
        cost = sender.cost.mean(0)
        entropies += float((cost * entropy(n)).sum())
        shannon += float((cost * shannon_bound(sender.values, allocation.distortion)).sum())
    return entropies, shannon


def entropy(n: Tensor) -> Tensor:
    """Bits per value of whole numbers [R, C], [C]; with Miller's and Madow's correction (1955)."""
    results = []
    for column in n.T:
        counts = column.unique(return_counts=True)[1].double()
        p = counts / counts.sum()
        correction = (len(counts) - 1) / (2 * len(column) * math.log(2))
        results.append(-(p * p.log2()).sum() + correction)
    return torch.stack(results).float()


def shannon_bound(x: Tensor, distortion: Tensor) -> Tensor:
    """Bits per value that any code of independent values needs, h(x) - log2(2 pi e D) / 2, and at
    least 0; [C].

    h is estimated from the m-spacings of the R samples (Vasicek 1976), m = sqrt(R). A law with
    atoms, such as ReLU's zeros, has no density, and the bound says nothing.

    Args:
        x: [R, C].
        distortion: Mean square error, [C].
    """
    rows = len(x)
    m = math.isqrt(rows)
    ordered = x.double().sort(0).values
    k = torch.arange(rows)
    widths = ordered[(k + m).clamp(max=rows - 1)] - ordered[(k - m).clamp(min=0)]
    h = (widths.clamp(min=1e-30) * (rows / (2 * m))).log2().mean(0)
    noise = (2 * math.pi * math.e * distortion.double().clamp(min=1e-30)).log2() / 2
    return (h - noise).clamp(min=0).float()
