"""Count what a spiking network in PyTorch does, whichever library its neurons come from.

Forward hooks look at the input of every convolution and linear layer. Values that are whole
multiples of one value are spikes: each is worth as many synaptic operations as it reaches outputs.
Other values, such as those of a photograph, are multiplied with the weights.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import multimode
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spiking_yolo.errors import UserError, notice
from spiking_yolo.io.text import columns
from spiking_yolo.spikes.counting import Counts, count_digits

COUNTED = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
# Spikes of one value, where the values are not whole numbers: an 8-bit image has 255 levels.
MOST_SPIKES = 64
# The largest value that may count as a whole number: above it float32 has no others.
MOST_WHOLE = 2**23
# A layer is followed for so many different sizes of values.
MOST_LEVELS = 1024


@dataclass(frozen=True)
class LayerCount:
    """What one convolution or linear layer received and did, per image.

    Attributes:
        name: Its name in `named_modules()`.
        runs: How often it ran.
        ann_runs: How often it runs in the ANN, the same network without time.
        unit: What one spike is worth; None: the input is analogue.
        inputs: Input values of all runs, zeros included.
        macs: Multiply-accumulates of all runs, without those on padding.
        events: Events that arrived; none if the input is analogue.
        operations: Synaptic operations: every event times the outputs that it reaches.
    """

    name: str
    runs: float
    ann_runs: float
    unit: float | None
    inputs: float
    macs: float
    events: Counts
    operations: Counts

    @property
    def ann_macs(self) -> float:
        """Multiply-accumulates of the ANN."""
        return self.macs * self.ann_runs / self.runs if self.runs else 0.0


@dataclass(frozen=True)
class NetworkCount:
    """Events, synaptic operations and multiply-accumulates of a network, per image.

    Printed, it is a table.

    Attributes:
        layers: The layers, in the order in which they ran first.
        images: How many images the figures are means of.
        T: Timesteps.
        uncounted: Modules with weights whose work is not in the figures.

    Example:
        >>> counted = count(model, images)
        >>> counted.operations.spikes, counted.operations_per_mac.spikes
        >>> print(counted)
    """

    layers: tuple[LayerCount, ...]
    images: int
    T: int
    uncounted: tuple[str, ...] = ()

    @property
    def macs(self) -> float:
        """Multiply-accumulates of one pass of the ANN."""
        return sum(layer.ann_macs for layer in self.layers)

    @property
    def analogue_macs(self) -> float:
        """Multiply-accumulates of layers with analogue input, in all of their runs."""
        return sum(layer.macs for layer in self.layers if layer.unit is None)

    @property
    def operations(self) -> Counts:
        """Synaptic operations."""
        return Counts.of(lambda *each: sum(each), *(layer.operations for layer in self.layers))

    @property
    def operations_per_mac(self) -> Counts:
        """Synaptic operations per multiply-accumulate of the ANN."""
        return Counts.of(lambda operations: operations / self.macs, self.operations)

    def __str__(self) -> str:
        rows = [["layer", "runs", "MACs", "events", "in spikes", "in digits", "in messages"]]
        for layer in self.layers:
            cells = [f"{n:,.0f}" for n in (layer.events.spikes, *layer.operations)]
            if layer.unit is None:
                cells = ["analogue", "-", "-", "-"]
            rows.append([layer.name or "-", f"{layer.runs:g}", f"{layer.macs:,.0f}", *cells])
        total = [f"{n:,.0f}" for n in self.operations]
        rows.append(["total", "", f"{sum(one.macs for one in self.layers):,.0f}", "", *total])
        lines = [f"means of {self.images} images, T = {self.T}", columns(rows)]
        ratio = self.operations_per_mac.spikes
        lines.append(f"{ratio:.3f} operations per MAC of the ANN, which has {self.macs:,.0f}")
        if self.uncounted:
            lines.append(f"not counted: {', '.join(self.uncounted)}")
        return "\n".join(lines)


def count(
    model: nn.Module, images: Tensor, *more: Any, T: int | None = None, N: int | None = None
) -> NetworkCount:
    """Run a spiking network once and count its events, synaptic operations and MACs.

    Convolutions of 1 to 3 dimensions and linear layers are counted, also subclasses, as
    spikingjelly's are. The fan-out is exact: what a spike sends beyond the border of
    a map is no operation. The network runs as in `eval()` and without gradients. Reset neurons that
    keep their state before every call, as their library does.

    Args:
        model: The network; it may loop over timesteps itself. If you loop, use `counting`.
        images: Its input: [N, ...], or [T, N, ...] if the network takes all timesteps at once.
        *more: Further arguments of `model`.
        T: Timesteps. By default how often most of the convolutions ran per image.
        N: Number of images. By default read off the shape of `images`; a network without
            convolutions needs it, unless it takes [N, features].

    Raises:
        UserError: The model has no layer that can be counted, or T and N are needed.

    Example:
        >>> print(count(model, images))
    """
    training = [module for module in model.modules() if module.training]
    with counting(model) as counts:
        try:
            with torch.no_grad():
                model.eval()(images, *more)
        finally:
            for module in training:
                module.training = True
    return counts.result(T=T, N=N)


@contextmanager
def counting(model: nn.Module) -> Iterator["Counter"]:
    """Count what a spiking network does inside of a `with` block, for your own loop over time.

    Raises:
        UserError: The model has no layer that can be counted.

    Example:
        >>> with counting(model) as counts:
        ...     for t in range(8):
        ...         model(images)
        >>> print(counts.result())
    """
    counter = Counter(model)
    try:
        yield counter
    finally:
        for hook in counter.hooks:
            hook.remove()
    for name, before, after in counter.states():
        if not torch.equal(before, after):
            said = f"{name} went on from an earlier call: reset the network before it is counted"
            notice(said)
            break


def _states(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that a neuron keeps from call to call, such as its potential."""
    values = {**vars(module), **dict(module.named_buffers(recurse=False))}
    # spikingjelly has a dictionary of its own.
    values |= values.get("_memories", {})
    return {key: value for key, value in values.items() if isinstance(value, Tensor)}


class Counter:
    """Follows the layers of a network; see `counting`."""

    def __init__(self, model: nn.Module):
        self._model = model
        # The layers are in the order in which they ran first.
        self._ran: dict[str, LayerTally] = {}
        self._shape = torch.Size()
        # Module -> its states other than zero when it ran first.
        self._before: dict[nn.Module, dict[str, Tensor]] = {}
        self.hooks = [model.register_forward_pre_hook(self._see_images, with_kwargs=True)]
        for module in model.modules():
            if not isinstance(module, _BatchNorm):
                self.hooks.append(module.register_forward_pre_hook(self._see_state))
        neurons = len(self.hooks)
        for name, module in model.named_modules():
            if isinstance(module, COUNTED):
                hook = partial(self._see_input, name)
                self.hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        if len(self.hooks) == neurons:
            raise UserError(f"{type(model).__name__} has no convolution or linear layer to count")

    def _see_images(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._shape:
            self._shape = next(iter((*args, *kwargs.values()))).shape

    def _see_state(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in self._before:
            states = _states(module).items()
            self._before[module] = {key: one.clone() for key, one in states if one.count_nonzero()}

    def states(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Module, value at first and value now of each state that was other than zero at first."""
        for name, module in self._model.named_modules():
            now = _states(module)
            for key, before in self._before.get(module, {}).items():
                yield name, before, now.get(key, before)

    def _see_input(self, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._ran.setdefault(name, LayerTally(module)).add(*args[:1], **kwargs)

    def result(self, T: int | None = None, N: int | None = None) -> NetworkCount:
        """The figures so far, per image.

        Args:
            T: Timesteps; see `count`.
            N: Number of images; needed where several batches were shown.

        Raises:
            UserError: The network has not run, or T and N do not follow from what was seen.
        """
        if not any(tally.inputs for tally in self._ran.values()):
            raise UserError("no layer received a value: call the network with at least one image")
        axes = max([tally.axes for tally in self._ran.values()])
        # The shape is [N], [T, N] or, of a single image, nothing.
        batch = self._shape[: len(self._shape) - axes - 1]
        if N is None and len(batch) > 1 + bool(axes):
            raise UserError(f"{tuple(self._shape)} may be any number of images: give N")
        N = N or [1, *batch][-1]
        T = T or self._runs() // N
        if T < 1:
            raise UserError(f"layers ran {self._runs()} times for {N} images: give T and N")
        layers = [tally.result(name, T, N) for name, tally in self._ran.items()]
        return NetworkCount(tuple(layers), N, T, tuple(self._uncounted()))

    def _runs(self) -> int:
        """How often most layers ran, for all images."""
        tallies = [tally for tally in self._ran.values() if tally.axes] or self._ran.values()
        return max(multimode(tally.runs for tally in tallies))

    def _uncounted(self) -> Iterator[str]:
        """Modules with weights of their own that nothing was counted of."""
        for name, module in self._model.named_modules():
            # What computes the weights of a layer lies below it.
            within = any(name == layer or name.startswith(f"{layer}.") for layer in self._ran)
            own = module.parameters(recurse=False)
            if not within and any(sum(size > 1 for size in one.shape) > 1 for one in own):
                yield f"{name} ({type(module).__name__})".strip()


class LayerTally:
    """What one layer has received so far."""

    def __init__(self, module: nn.Module):
        self.module: Any = module
        # How many dimensions a map has.
        self.axes = len(getattr(module, "kernel_size", ()))
        self.analogue = False
        self.runs = 0
        self.inputs = 0
        self.macs = 0.0
        # The relative precision of the values.
        self.precision = 0.0
        # Size of a value -> how many events have it, and how many outputs they reach.
        self.levels: defaultdict[float, list[float]] = defaultdict(lambda: [0, 0.0])
        self._reach: dict[torch.Size, Tensor] = {}

    @torch.no_grad()
    def add(self, input: Tensor, **_: Any) -> None:
        """Count a run of the layer. input: [..., C, H, W] or [..., C]."""
        # There may be no float64 on other devices.
        x = input.detach().cpu()
        image = x.shape[-1 - self.axes :]
        if image not in self._reach:
            self._reach[image] = fan_out(self.module, image)
        reach = self._reach[image].expand(x.shape)
        self.runs += x.numel() // image.numel()
        self.inputs += x.numel()
        self.macs += reach.sum().item()
        if self.analogue:
            return
        if x.is_floating_point():
            self.precision = max(self.precision, torch.finfo(x.dtype).eps)
        sizes, index, events = x.abs().unique(return_inverse=True, return_counts=True)
        if len(sizes) > MOST_LEVELS:
            self.analogue = True
            return
        operations = reach.new_zeros(len(sizes))
        operations.index_add_(0, index.flatten(), reach.flatten())
        for size, n, work in zip(*map(Tensor.tolist, (sizes, events, operations)), strict=True):
            if size:
                self.levels[size][0] += n
                self.levels[size][1] += work
        self.analogue = len(self.levels) > MOST_LEVELS

    def result(self, name: str, T: int, N: int) -> LayerCount:
        """The figures of the layer per image."""
        unit = None
        if not self.analogue:
            unit = spike_unit(list(self.levels), self.precision)
        events = operations = Counts.alike(0.0)
        if unit is not None and self.levels:
            n = (torch.tensor(list(self.levels), dtype=torch.float64) / unit).round()
            work = torch.tensor(list(self.levels.values()), dtype=torch.float64) / N
            per_value = Counts(n, count_digits(n), n.sign())
            events = Counts.of(lambda each: (each @ work[:, 0]).item(), per_value)
            operations = Counts.of(lambda each: (each @ work[:, 1]).item(), per_value)
        runs = self.runs / N
        ann_runs = runs
        # A layer that ran less often, or out of step, is none of the loop over time.
        if not runs % T:
            ann_runs = runs / T
        macs, inputs = self.macs / N, self.inputs / N
        return LayerCount(name, runs, ann_runs, unit, inputs, macs, events, operations)


def fan_out(module: Any, image: Sequence[int]) -> Tensor:
    """How many outputs each value of an image [C, ...] reaches, float64 [C, ...].

    It is the gradient of the sum of all outputs, where every weight is one.
    """
    x = torch.ones(1, *image, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(module.weight.shape, dtype=torch.float64)
    with torch.enable_grad():
        if isinstance(module, nn.Linear):
            y = F.linear(x, ones)
        else:
            # This pads as the mode of the convolution says.
            y = module._conv_forward(x, ones, None)
        (reached,) = torch.autograd.grad(y.sum(), x)
    return reached[0]


def spike_unit(levels: Sequence[float], precision: float = 0.0) -> float | None:
    """What one spike is worth: the largest value of which all levels are whole multiples.

    Whole numbers count spikes of 1. Of other levels the largest may be 64 spikes, a sum or mean of
    as many: finer ones are analogue, as those of an 8-bit image are.

    Args:
        levels: Sizes of values, all above zero.
        precision: Their relative error.

    Returns:
        None for analogue values.

    Example:
        >>> spike_unit([0.5, 0.75]), spike_unit([1.0, 2.0, 7.0]), spike_unit([0.301, 0.772])
        (0.25, 1.0, None)
    """
    if all(level.is_integer() and level <= MOST_WHOLE for level in levels):
        return 1.0
    smallest = min(levels)
    for divisor in range(1, MOST_SPIKES + 1):
        unit = smallest / divisor
        for level in levels:
            spikes = level / unit
            within = spikes < MOST_SPIKES + 0.5
            if not within or abs(spikes - round(spikes)) > min(0.05, 8 * precision * spikes):
                break
        else:
            return unit
    return None
