"""Count what a spiking network in PyTorch does, whichever library its neurons come from.

The input of every convolution and linear layer is looked at while the network runs. Values that are
whole multiples of one value are spikes: each is worth as many synaptic operations as it reaches
outputs. Other values, such as those of a photograph, are multiplied with the weights.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from numbers import Integral
from statistics import multimode
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import did_you_mean, reason
from spiking_yolo.metrics.network_count import LayerCount, NetworkCount
from spiking_yolo.snn.counting import Counts, count_digits
from spiking_yolo.snn.operations import over_axes, paths

# Spikes of one value, where the values are not whole numbers: an 8-bit image has 255 levels.
MOST_SPIKES = 64
# What a whole number may be: above it float32 knows whole numbers only.
MOST_WHOLE = 2**23
# Different sizes of values that a layer is followed for.
MOST_LEVELS = 1024
# What a network raises that does not take its input.
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)


def count(
    model: nn.Module,
    images: Tensor,
    *more: Any,
    T: int | None = None,
    N: int | None = None,
    analogue: Collection[str] = (),
) -> NetworkCount:
    """Run a spiking network once and count its events, synaptic operations and MACs.

    Convolutions of 1 to 3 dimensions, transposed ones, and linear layers are counted, also
    subclasses, as spikingjelly's are. The fan-out is exact: what a spike sends beyond the border of
    a map is no operation. The network runs as in `eval()` and without gradients; neurons that keep
    their state are the caller's to reset.

    Args:
        model: The network; it may loop over timesteps itself. If you loop, use `counting`.
        images: Its input: [N, ...], or [T, N, ...] if the network takes all timesteps at once.
        *more: Further arguments of `model`.
        T: Timesteps. By default the first dimension of [T, N, ...], or how often most of the
            convolutions ran per image.
        N: Number of images. By default read off the shape of `images`; a network without
            convolutions that takes all timesteps at once needs it.
        analogue: Names of layers whose input is analogue although it looks like spikes, such as a
            picture of black and white.

    Raises:
        UserError: The model has no layer that can be counted, or does not take the images.

    Example:
        >>> print(count(model, images))
    """
    with counting(model, analogue=analogue) as counts:
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            with torch.no_grad():
                model(images, *more)
        except FAILURES as error:
            shape = tuple(getattr(images, "shape", ()))
            raise UserError(
                f"the network does not take images of {shape}: {reason(error)}"
            ) from error
        finally:
            for module in training:
                module.training = True
    return counts.result(T=T, N=N)


@contextmanager
def counting(model: nn.Module, analogue: Collection[str] = ()) -> Iterator["Counter"]:
    """Count what a spiking network does inside of a `with` block, for your own loop over time.

    Args:
        model: The network.
        analogue: See `count`.

    Raises:
        UserError: The model has no layer that can be counted.

    Example:
        >>> with counting(model) as counts:
        ...     for t in range(8):
        ...         model(images)
        >>> print(counts.result())
    """
    counter = Counter(model, analogue)
    try:
        yield counter
    finally:
        counter.stop()


class Counter:
    """Follows the layers of a network until it is stopped; see `counting`."""

    def __init__(self, model: nn.Module, analogue: Collection[str]):
        if not isinstance(model, nn.Module):
            raise UserError(f"a torch.nn.Module can be counted, not {type(model).__name__}")
        if isinstance(analogue, str):
            analogue = (analogue,)
        self._model = model
        self._tallies = {
            name: Tally(module, name in analogue)
            for name, module in model.named_modules()
            if isinstance(module, _ConvNd | nn.Linear)
        }
        if not self._tallies:
            raise UserError(
                f"{type(model).__name__} has no convolution or linear layer that could be counted"
            )
        for name in analogue:
            if name not in self._tallies:
                hint = did_you_mean(name, self._tallies)
                raise UserError(f"no convolution or linear layer is named {name!r}{hint}")
        # In the order in which layers ran first.
        self._ran: dict[str, Tally] = {}
        self._shape: torch.Size | None = None
        self._hooks = [model.register_forward_pre_hook(self._see_images, with_kwargs=True)]
        for name, tally in self._tallies.items():
            hook = self._follow(name, tally)
            self._hooks.append(tally.module.register_forward_hook(hook, with_kwargs=True))

    def stop(self) -> None:
        """Count no further."""
        for hook in self._hooks:
            hook.remove()

    def _see_images(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._shape is None:
            tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            self._shape = tensors[0].shape if tensors else None

    def _follow(self, name: str, tally: "Tally") -> Any:
        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
        ) -> None:
            self._ran[name] = tally
            tally.add(args[0] if args else kwargs["input"], output)

        return hook

    def result(self, T: int | None = None, N: int | None = None) -> NetworkCount:
        """The figures so far, per image.

        Args:
            T: Timesteps; see `count`.
            N: Number of images; needed where several batches were shown.

        Raises:
            UserError: The network has not run, or T and N do not follow from what was seen.
        """
        if not self._ran:
            raise UserError(
                "no convolution or linear layer ran: call the network inside of the `with` block"
            )
        if not any(tally.inputs for tally in self._ran.values()):
            raise UserError("the layers received no values: show at least one image")
        for name, number in (("T", T), ("N", N)):
            whole = isinstance(number, Integral) and not isinstance(number, bool)
            if number is not None and (not whole or number < 1):
                raise UserError(f"{name} is a whole number above zero, not {number!r}")
        seen_T, seen_N = self._read_shape()
        N = int(N) if N else seen_N
        if N is None:
            shape = f" of {tuple(self._shape)}" if self._shape else ""
            raise UserError(f"how many images{shape} there were is not known: give N")
        T = int(T) if T else seen_T or self._timesteps(N)
        weights: set[int] = set()
        layers: list[LayerCount] = []
        for name, tally in self._ran.items():
            weight = id(tally.weight)
            layers.append(tally.result(name, T, N, shared=weight in weights))
            weights.add(weight)
        return NetworkCount(tuple(layers), N, T, tuple(self._uncounted()))

    def _read_shape(self) -> tuple[int | None, int | None]:
        """T, if the network takes all timesteps at once, and N, from the shape of the images."""
        shape = self._shape
        if shape is None:
            return None, None
        maps = [tally.axes for tally in self._ran.values() if tally.axes]
        # Linear layers alone may have run shape[1] times for shape[0] images, or the reverse.
        if not maps and len(shape) > 2 and shape[1] > 1 and self._runs() == shape[0] * shape[1]:
            return None, None
        single = maps[0] + 1 if maps else max(1, len(shape) - 1)
        if len(shape) == single + 2:
            return shape[0], shape[1]
        return None, shape[0] if len(shape) > single else 1

    def _runs(self) -> int:
        """How often most layers ran, for all images."""
        tallies = [tally for tally in self._ran.values() if tally.axes] or self._ran.values()
        return max(multimode(tally.runs for tally in tallies))

    def _timesteps(self, N: int) -> int:
        """How often most layers ran per image."""
        runs = self._runs()
        if runs % N:
            raise UserError(f"layers ran {runs} times, no multiple of {N} images: give T and N")
        return runs // N

    def _uncounted(self) -> Iterator[str]:
        """Modules with weights of their own that nothing was counted of."""
        for name, module in self._model.named_modules():
            # What computes the weights of a layer lies below it.
            within = any(name == layer or name.startswith(f"{layer}.") for layer in self._ran)
            if not within and any(map(is_matrix, module.parameters(recurse=False))):
                yield f"{name} ({type(module).__name__})".strip()


def is_matrix(parameter: Tensor) -> bool:
    """Whether it connects values, and is not one number per channel."""
    return sum(size > 1 for size in parameter.shape) > 1


class Tally:
    """What one layer has received so far."""

    def __init__(self, module: nn.Module, analogue: bool):
        self.module: Any = module
        # Dimensions of a map.
        self.axes = len(module.kernel_size) if isinstance(module, _ConvNd) else 0
        self.analogue = analogue
        self.runs = 0
        self.inputs = 0
        self.outputs = 0
        self.macs = 0.0
        self.signed = False
        # Outputs that values other than zero reach.
        self.reached = 0.0
        # Relative precision of the values.
        self.precision = 0.0
        # Events, and outputs that they reach, by the size of a value.
        self.levels: defaultdict[float, list[float]] = defaultdict(lambda: [0, 0.0])

    @property
    def weight(self) -> object:
        """The same object in layers that share it."""
        return dict(self.module.named_parameters(recurse=False)).get("weight", self.module)

    @torch.no_grad()
    def add(self, x: Tensor, output: Tensor) -> None:
        """Count a run of the layer.

        Args:
            x: Its input, [..., C, H, W] or [..., C]; as many axes as the layer has.
            output: Its output.
        """
        # There may be no float64 on other devices.
        x = x.detach().cpu()
        reach = self._fan_out(x, output).expand(x.shape)
        image = x.shape[-1 - self.axes :].numel()
        self.runs += x.numel() // image
        self.inputs += x.numel()
        self.outputs += output.numel()
        self.macs += reach.sum().item()
        sent = x != 0
        sizes = x[sent]
        reached = reach[sent]
        self.signed = self.signed or bool((sizes < 0).any())
        self.reached += reached.sum().item()
        if not self.analogue:
            self._add_levels(sizes.abs(), reached)

    def _add_levels(self, sizes: Tensor, reached: Tensor) -> None:
        if sizes.is_floating_point():
            self.precision = max(self.precision, torch.finfo(sizes.dtype).eps)
        levels, index, events = sizes.unique(return_inverse=True, return_counts=True)
        if len(levels) > MOST_LEVELS:
            self.analogue = True
            return
        operations = reached.new_zeros(len(levels)).index_add_(0, index, reached)
        for level, *work in zip(*(x.tolist() for x in (levels, events, operations)), strict=True):
            self.levels[level][0] += work[0]
            self.levels[level][1] += work[1]
        self.analogue = len(self.levels) > MOST_LEVELS

    def _fan_out(self, x: Tensor, output: Tensor) -> Tensor:
        """How many outputs each input value reaches, broadcasting against [..., C, H, W]."""
        m = self.module
        if not self.axes:
            return torch.tensor(float(m.out_features), dtype=torch.float64)
        transposed = isinstance(m, _ConvTransposeNd)
        along: list[Tensor] = []
        for axis, size in enumerate(x.shape[-self.axes :]):
            taps = (m.kernel_size[axis], m.stride[axis], m.dilation[axis])
            outputs = output.shape[axis - self.axes]
            padding = m.padding if isinstance(m.padding, str) else m.padding[axis]
            along.append(axis_reach(size, taps, padding, m.padding_mode, outputs, transposed))
        return over_axes(along, m.out_channels // m.groups)

    def result(self, name: str, T: int, N: int, shared: bool) -> LayerCount:
        """Per image.

        Args:
            name: Of the layer.
            T: Timesteps.
            N: Number of images.
            shared: Whether its weights are those of another layer.
        """
        unit = None if self.analogue else spike_unit(list(self.levels), self.precision)
        events = operations = Counts.alike(0.0)
        largest = 0
        if unit is not None and self.levels:
            n = (torch.tensor(list(self.levels), dtype=torch.float64) / unit).round()
            largest = int(n.max())
            work = torch.tensor(list(self.levels.values()), dtype=torch.float64)
            per_value = Counts(n, count_digits(n), n.sign())
            events = Counts.of(lambda each: (each @ work[:, 0]).item() / N, per_value)
            operations = Counts.of(lambda each: (each @ work[:, 1]).item() / N, per_value)
        runs = self.runs / N
        return LayerCount(
            name=name,
            kind=type(self.module).__name__,
            runs=runs,
            # A layer that ran less often, or out of step, is none of the loop over time.
            ann_runs=runs if runs % T else runs / T,
            unit=unit,
            largest=largest,
            signed=self.signed,
            inputs=self.inputs / N,
            outputs=self.outputs / N,
            weights=0 if shared else self.module.weight.numel(),
            macs=self.macs / N,
            events=events,
            operations=operations,
            effective_macs=self.reached / N if unit is None else 0.0,
        )


@lru_cache(maxsize=1024)
def axis_reach(
    size: int,
    taps: tuple[int, int, int],
    padding: int | str,
    mode: str,
    outputs: int,
    transposed: bool,
) -> Tensor:
    """How many outputs each input position reaches along one axis, float64 [size].

    Args:
        size: Of the input.
        taps: Kernel, stride, dilation.
        padding: At either end, or "same" or "valid".
        mode: "zeros", or a mode of torch.nn.functional.pad, which copies values into the padding.
        outputs: Size of the output.
        transposed: Of a transposed convolution.
    """
    kernel, stride, dilation = taps
    before = after = padding if isinstance(padding, int) else 0
    if padding == "same":
        before = dilation * (kernel - 1) // 2
        after = dilation * (kernel - 1) - before
    if mode == "zeros":
        return paths(size, kernel, stride, before, dilation, outputs, transposed)
    source = F.pad(torch.arange(size).double()[None, None], (before, after), mode)[0, 0].long()
    reached = paths(len(source), kernel, stride, 0, dilation, outputs)
    return torch.zeros(size, dtype=torch.float64).index_add_(0, source, reached)


def spike_unit(levels: Sequence[float], precision: float = 0.0) -> float | None:
    """What one spike is worth: the largest value of which all levels are whole multiples.

    Whole numbers count spikes of 1. Of other levels the largest may be 64
    spikes, a sum or mean of as many: finer ones are analogue, as those of an 8-bit image are.

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
        if all(is_multiple(level / unit, precision) for level in levels):
            return unit
    return None


def is_multiple(spikes: float, precision: float) -> bool:
    if not spikes < MOST_SPIKES + 0.5:
        return False
    return abs(spikes - round(spikes)) <= min(0.05, 8 * precision * spikes)
