"""The base class of all layers of spiking neurons.

A layer receives a current in the units of the ANN and sends spikes in thetas: rate/__init__.py says
what one is worth.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from spiking_yolo.graph import Activation
from spiking_yolo.rate.library import OnePass
from spiking_yolo.recipe import KINDS, Kind, Recipe
from spiking_yolo.spikes.counting import Counts, Tally
from spiking_yolo.spikes.layout import Tensors, collapse_equal, empty, per_channel
from spiking_yolo.spikes.plan import LayerPlan


@dataclass
class Parameters:
    """The parameters of a step, in shapes that broadcast against [N, C, ...].

    Attributes:
        theta: The threshold.
        initial: The initial potential, in thresholds.
        bias: Added to the current.
        cap: The largest activation, in thresholds.
    """

    theta: Tensor
    initial: Tensor
    bias: Tensor | None = None
    cap: Tensor | None = None


class Clock(NamedTuple):
    """When a step happens.

    Attributes:
        t: Steps before this one.
        spike_weight: The value of a spike in this step, in thetas.
    """

    t: int
    spike_weight: float


class NeuronLayer(ABC):
    """A layer of neurons at an activation site: parameters, and the state of a run.

    A kind of neuron is a subclass that says how it starts and what a step does. Calling the layer
    is one timestep of all its neurons.

    Args:
        parameters: theta [C], the threshold; initial, the potential at the start in thresholds
            (scalar, [C] or [C, H, W]); where calibrated, bias [C], added to the current.
        recipe: The method.
        phi: The activation to follow. Its cap bounds the sum of what is sent: to cap * t in rate
            coding, and to cap in differential coding.
        plan: What the layer may rely on.
        sign: Sign of the current; -1 for an OFF neuron, which integrates -z.

    Attributes:
        p: The parameters in the dtype and on the device of the run.
        out: What was sent in the last step, in thetas, [N, C, ...].
        potential: Membrane potential, or the sum of the input for neurons that remember it.
        tally: Spikes and events so far.
        one_pass: Computes the same as `step` in C, or None.
    """

    neurons_per_site: ClassVar[int] = 1
    # Whether a neuron that has sent nothing stays silent until it receives something.
    settles: ClassVar[bool] = True
    p: Parameters
    out: Tensor
    potential: Tensor
    tally: Tally
    one_pass: OnePass | None

    def __init__(
        self, parameters: Tensors, recipe: Recipe, phi: Activation, plan: LayerPlan, sign: int = 1
    ):
        self.parameters = parameters
        self.theta, self.initial = parameters["theta"], parameters["initial"]
        self.recipe = recipe
        self.settings = recipe.neuron
        self.plan = plan
        self.phi = phi.continuous
        self.slope = phi.slope
        self.sign = sign
        self.reset()

    # Methods that a kind of neuron defines

    @abstractmethod
    def step(self, z: Tensor, clock: Clock) -> Tensor:
        """One timestep: updates the state, tallies spikes, and returns what is sent, in thetas.

        z: What the neurons received, [N, C, ...]. The result may be `out`.
        """

    def start(self, z: Tensor) -> None:
        """Before the first step, in which z arrives: `p` and `out` are there."""
        self.potential = torch.empty_like(self.out).copy_(self.p.initial * self.p.theta)
        bursts, switches = self.settings.gamma > 1, self.settings.events == "switches"
        self.tally = Tally(self.out, bursts, self.plan.by_channel, switches)

    # The course of a run

    def reset(self) -> None:
        """Forget everything: the next step starts a new run, of any shape."""
        self.t = 0

    def __call__(self, current: Tensor, spike_weight: float = 1.0) -> Tensor:
        """One timestep.

        Args:
            current: What was received, [N, C, ...], in the units of the ANN; with plan.reads_sums
                the sum of all input so far.
            spike_weight: What a spike is worth, in thetas.

        Returns:
            What is sent, in thetas, [N, C, ...], a tensor that the next step overwrites.
        """
        if self.t == 0:
            self.begin(current)
        if self.one_pass is not None:
            self.one_pass(current, self.t)
        else:
            self.emit(self.biased(current), Clock(self.t, spike_weight))
        self.t += 1
        return self.out

    def begin(self, current: Tensor) -> None:
        """Start a run of currents of this shape, dtype and device."""
        self.out = empty(current.shape, current, torch.promote_types(current.dtype, torch.float32))
        theta, initial = self._own("theta"), self._own("initial")
        self.p = Parameters(theta, initial)
        if "bias" in self.parameters:
            self.p.bias = self._own("bias")
        if self.phi.cap is not None:
            self.p.cap = self.phi.cap / theta
        self.start(current)
        self.one_pass = self.in_one_pass()

    def in_one_pass(self) -> OnePass | None:
        """What computes the steps of this run in C; None where PyTorch does."""
        side = self.side()
        return None if side is None else OnePass(self.out, [side], self.p.bias)

    def side(self) -> dict[str, Any] | None:
        """What C takes of neurons of one sign, see `OnePass`; None where it does not know them."""
        return None

    def emit(self, z: Tensor, clock: Clock) -> Tensor:
        """One `step`; counts switches."""
        self.out = self.step(z, clock)
        if self.settings.events == "switches":
            self.tally.switch(self.out, clock.spike_weight)
        return self.out

    def biased(self, z: Tensor) -> Tensor:
        """The current with the calibrated bias, in the dtype of the state.

        Differential coding adds it once: to the first current, or to the sum.
        """
        z = z.to(self.out.dtype)
        added = self.recipe.differential and self.t > 0 and not self.plan.reads_sums
        if self.p.bias is None or added:
            return z
        return z + self.p.bias

    # Results of a run

    @property
    def neurons(self) -> int:
        """Neurons of one image."""
        return self.out[0].numel() * self.neurons_per_site

    @property
    def count(self) -> Tensor:
        """Spikes so far per neuron, [N, C, ...]."""
        return self.tally.count

    @property
    def counts(self) -> Counts:
        """The events so far, see Tally.counts."""
        return self.tally.counts()

    @property
    def sends_at_most_one(self) -> bool:
        """Whether what is sent in a step is never worth more than one spike."""
        return self.settings.gamma == 1

    @property
    def threshold(self) -> Tensor:
        """theta(t) of the last step, in a shape that broadcasts against the state."""
        return per_channel(self.theta, self.count)

    @property
    def sides(self) -> "tuple[NeuronLayer, ...]":
        """The neurons of the layer: (ON, OFF) of a pair, else the layer itself."""
        return (self,)

    def rate_grid(self, current: Tensor, thetas: Sequence[Tensor], T: int) -> Tensor:
        """The value that is sent in T steps of a constant current when nothing goes wrong.

        For rate coding. This default is integrate and fire: n * theta / T with
        n = clip(floor((T z + U(0)) / theta), 0, gamma T).

        Args:
            current: [N, C, ...], float64.
            thetas: The mean threshold of each of the `sides`.
            T: Number of timesteps.
        """
        theta = thetas[0]
        own = per_channel(self.theta, current)
        if self.settings.shift:
            current = current + own / (2 * self.settings.shift)
        charge = T * current + per_channel(self.initial, current) * own
        counts = (charge / theta).floor().clamp(min=0)
        if self.phi.cap is not None:
            counts = counts.minimum((T * self.phi.cap / theta + 0.5).floor())
        return self._bounded(counts, theta, T)

    def _bounded(self, counts: Tensor, theta: Tensor, T: int) -> Tensor:
        """The mean of `counts` spikes in T steps, of at most gamma in each."""
        most = self.settings.gamma * T
        return counts.clamp(-most, most) * theta / T

    def _own(self, name: str) -> Tensor:
        """A parameter as the steps take it."""
        return per_channel(collapse_equal(self.parameters[name]).to(self.out), self.out)


Builder = Callable[..., NeuronLayer]
B = TypeVar("B", bound=Builder)

# neuron.kind -> what makes a layer of it, from the arguments of NeuronLayer.
BUILDERS: dict[str, Builder] = {}


def register(kind: str, **properties: Any) -> Callable[[B], B]:
    """Decorator: let neuron.kind=KIND ask for this subclass of NeuronLayer, or for this function.

    Args:
        kind: Its name.
        properties: The fields of `spiking_yolo.recipe.Kind` that say what it is and can do;
            the kinds of this package have theirs in that file.

    Example:
        >>> @register("leaky", follows=("slope",))
        ... class Leaky(NeuronLayer): ...
    """

    def add(builder: B) -> B:
        new = KINDS.get(kind)
        if new is None or properties:
            new = Kind(**properties)
        KINDS[kind] = new
        BUILDERS[kind] = builder
        return builder

    return add
