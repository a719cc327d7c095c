"""What all layers of spiking neurons have in common.

A layer receives a current in the units of the ANN and sends spikes in thetas: snn/__init__.py says
what one is worth.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.fast import Backend, BlockedStep
from spiking_yolo.snn.layout import collapse_equal, empty, on_cpu, per_channel, to_like
from spiking_yolo.snn.plan import LayerPlan
from spiking_yolo.snn.state import Buffers, Clock, Parameters, PotentialState, leaves


class NeuronLayer(nn.Module, ABC):
    """A layer of neurons at an activation site: parameters, a state, and the pure function `step`.

    A kind of neuron is a subclass that says which State it keeps, how it starts and what a step
    does. Calling the layer is one timestep of all its neurons.

    Args:
        parameters: theta [C], the threshold; initial, the potential at the start in thresholds
            (scalar, [C] or [C, H, W]); where calibrated, bias [C], added to the current.
        recipe: The method.
        phi: The activation to follow. Its cap bounds the sum of what is sent: to cap * t in rate
            coding, and to cap in differential coding.
        plan: What the layer may rely on.
        backend: How its steps are computed.
        sign: Sign of the current; -1 for an OFF neuron, which integrates -z.
    """

    neurons_per_site: ClassVar[int] = 1
    # Whether it sends changes, see Kind.differential.
    differential: ClassVar[bool] = False
    state_type: ClassVar[type[Any]] = PotentialState
    theta: Tensor
    initial: Tensor
    bias: Tensor
    out: Tensor
    state: Any

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        recipe: Recipe,
        phi: Activation,
        plan: LayerPlan = LayerPlan(),
        backend: Backend | None = None,
        sign: int = 1,
    ):
        super().__init__()
        for name, value in parameters.items():
            # Loading others must not change the converted network.
            self.register_buffer(name, value.clone())
        self.recipe = recipe
        self.settings = recipe.neuron
        self.plan = plan
        self.phi = phi.continuous
        self.slope = phi.slope
        self.sign = sign
        # A softmax is taken of the sum of all scores, before the neurons step.
        self.reads_sums = plan.reads_sums or phi.softmax
        self.backend = backend or Backend()
        self._forget()

    # What a kind of neuron defines

    @abstractmethod
    def step(self, s: Any, p: Any, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        """One timestep of some of the neurons: a pure function but for the state, which it updates.

        Args:
            s: Their state, in which spikes are tallied.
            p: Their parameters.
            z: What they received, [n, C]; None for nothing.
            clock: The time.
            buffers: Room for intermediate results, a to e, and for the result, out.

        Returns:
            What is sent, in thetas.
        """

    def start(self, s: Any, p: Any, z: Tensor | None, buffers: Buffers) -> None:
        """Before the first step, in which z arrives. The state holds zeros."""
        s.potential.copy_(p.initial * p.theta)

    def unneeded(self) -> tuple[str, ...]:
        """Fields of the state that this layer can do without."""
        if self.settings.events == "switches":
            return ("events",)
        if self.settings.gamma > 1:
            return "switches", "previous"
        return "events", "switches", "previous"

    def new_state(self, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Any:
        return self.state_type.allocate(shape, like, dtype, self.unneeded(), self.plan.by_channel)

    def step_parameters(self, like: Tensor) -> Any:
        """The p of `step`, [], [C] or [C, H, W] each, in the dtype and on the device of `like`."""
        p = Parameters(
            theta=to_like(collapse_equal(self.theta), like),
            initial=to_like(collapse_equal(self.initial), like),
            bias=self._optional("bias", like),
        )
        if self.phi.cap is not None:
            p.cap = self.phi.cap / p.theta
        return p

    def bind(self, p: Any) -> None:
        """Derive what depends on the parameters alone, once for each shape and dtype."""

    def settles(self) -> bool:
        """Whether nothing will be sent until something is received: asked after a step, in
        differential coding.
        """
        return self.silent()

    # Time

    def reset(self) -> None:
        """Forget everything: the next step starts a new run, of any shape."""
        self.t = 0
        self.spike_weight = 1.0
        # Whether nothing was sent, and nothing will be until something is received.
        self.settled = False
        # Of each block, or of all together: 0 if nothing was sent.
        self._largest: Sequence[Tensor | int] = []

    def forward(self, current: Tensor | None, spike_weight: float = 1.0) -> Tensor:
        """One timestep.

        Args:
            current: What was received, [N, C, ...], in the units of the ANN; None for nothing new;
                with plan.reads_sums the sum of all input so far.
            spike_weight: What a spike is worth, in thetas.

        Returns:
            What is sent, in thetas, [N, C, ...], a tensor that the next step overwrites.
        """
        if self.t == 0:
            if current is None:
                raise ValueError("the first step needs a current")
            self._allocate(current)
        clock = Clock(self.t, spike_weight, self.t == 0)
        received = self._received(current, clock.first)
        if clock.first:
            for value in leaves(self.state):
                value.zero_()
            self._run.each(self.start, received)
        self._largest = self._run(self.emit, received, clock, on_cpu(self.out))
        self.t += 1
        self.spike_weight = spike_weight
        self.settled = self.recipe.differential and self.settles()
        return self.out

    def _received(self, current: Tensor | None, first: bool) -> Tensor | None:
        """What the neurons see in this step: the current, the sum of all, or its softmax."""
        if not self.reads_sums:
            return current
        if current is not None and self.phi.softmax:
            if not first:
                current = self._scores + current
            self._scores, current = current, self.phi(current)
        if current is not None:
            self._sum = current
        return self._sum

    def emit(self, s: Any, p: Any, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        """One `step` with the calibrated bias; counts switches."""
        out = self.step(s, p, self.biased(p, z, clock.first), clock, buffers)
        if s.switches is not None:
            s.switches.add_((out - s.previous).abs_().div_(clock.spike_weight))
            s.previous.copy_(out)
        return out

    def biased(self, p: Any, z: Tensor | None, first: bool) -> Tensor | None:
        """The current with the calibrated bias, in the dtype of the state.

        Differential coding adds it once: to the first current, or to the sum.
        """
        if z is None:
            return None
        z = z.to(p.theta.dtype)
        added = self.recipe.differential and not first and not self.reads_sums
        if p.bias is None or added:
            return z
        return z + p.bias

    def silent(self) -> bool:
        """Whether nothing was sent in the last step of differential coding; False where one would
        have to wait for the answer.
        """
        return on_cpu(self.out) and not any(map(bool, self._largest))

    # What a run left behind

    @property
    def count(self) -> Tensor:
        """Spikes so far per neuron, [N, C, ...]."""
        return self.state.count

    @property
    def counts(self) -> Counts:
        """The events so far, see State.counts."""
        counts: Counts = self.state.counts(self.plan.by_channel)
        return counts

    @property
    def sends_at_most_one(self) -> bool:
        """Whether what is sent in a step is never worth more than one spike."""
        return self.settings.gamma == 1

    @property
    def potential(self) -> Tensor:
        """Membrane potential, or the sum of the input for neurons that remember it; [N, C, ...]."""
        if not self.reads_sums:
            return self.state.potential
        bias = self._optional("bias", self._sum)
        if bias is None:
            return self._sum
        return self._sum + per_channel(bias, self._sum)

    @property
    def threshold(self) -> Tensor:
        """theta(t) of the last step, in a shape that broadcasts against the state."""
        return per_channel(self.theta, self.count) * self.spike_weight

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

    # Memory

    def _allocate(self, current: Tensor) -> None:
        """Tensors for currents of this shape, dtype and device, unless they are there already."""
        dtype = torch.promote_types(current.dtype, torch.float32)
        key = current.shape, dtype, current.device
        if self._allocated == key:
            return
        self.state = self.new_state(current.shape, current, dtype)
        self.out = empty(current.shape, current, dtype)
        like = current.new_empty((0,), dtype=dtype)
        self.bind(self._run.bind(self.state, self.step_parameters(like), self.out))
        self._allocated = key

    def _forget(self) -> None:
        """Drop the state: parameters, dtype or device have changed, and the run is over."""
        self._run = BlockedStep(self.backend.scratch, reports=self.recipe.differential)
        self._allocated: tuple[Any, ...] | None = None
        self.reset()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moved to another device or dtype: the run is over.

        Parameters stay with the host, which reads them without waiting, and follow the state when
        it is allocated.
        """
        self._forget()
        super()._apply(fn, recurse)
        for name, value in self.named_buffers(recurse=False):
            self.register_buffer(name, value.cpu())
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Other parameters: the run is over."""
        self._forget()
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no run: a step works on views of the state, which pickling would separate."""
        attributes = dict(self.__dict__)
        for name in ("state", "out"):
            attributes.pop(name, None)
        run = BlockedStep(self.backend.scratch, reports=self.recipe.differential)
        attributes.update(_run=run, _allocated=None, t=0)
        return attributes

    def _optional(self, name: str, like: Tensor) -> Tensor | None:
        value = getattr(self, name, None)
        if value is None:
            return None
        return to_like(collapse_equal(value), like)
