"""What a method spends and how far its output is off, as the tools run it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.analyze.chain import chain
from spiking_yolo.apps.analyze.totals import LayerTotals, short
from spiking_yolo.apps.analyze.watch import NeuronSample, Watch, choose
from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Activation, Node, forward
from spiking_yolo.observe import relative_error
from spiking_yolo.snn.coding import image_keys
from spiking_yolo.snn.layout import per_channel
from spiking_yolo.snn.msat import fraction_at_rest, gain_for, scale_of


def steps(T: int) -> list[int]:
    """The timesteps at which spikes are reported: a quarter, half and all of the run."""
    return sorted({max(1, T // 4), max(1, T // 2), T})


def load(converted: Converted, paths: Iterable[str], device: str) -> Iterable[Tensor]:
    """The network's input for each image file, [1, 3, H, W]."""
    for path in paths:
        yield preprocess(read_image(path), converted.spec)[0][None].to(device)


@dataclass(frozen=True)
class MethodCost:
    """What a method spends as the tools run it: means over images, by timestep.

    error: of the output, relative to the ANN's.
    """

    spikes: Mapping[int, float]
    error: Mapping[int, float]


def method_cost(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> MethodCost:
    """Spikes and error of a method at `steps(T)`. progress() is called T times per image."""
    graph, network = converted.graph.to(device), converted.network(device)
    spikes, errors = dict.fromkeys(steps(T), 0.0), dict.fromkeys(steps(T), 0.0)
    for x in load(converted, paths, device):
        with torch.no_grad():
            expected = forward(graph, x)
        run = network.run(x, T, steps(T), progress=lambda t: progress())
        for _ in range(T - run.steps):
            progress()
        for t, snapshot in run.snapshots.items():
            spikes[t] += float(sum(n.sum() for n in snapshot.spikes.values())) / len(paths)
            errors[t] += relative_error(snapshot.outputs, expected) / len(paths)
    return MethodCost(spikes, errors)


# Of Theta; docs/msat/scale.md has the curves.
LOWEST, AIM, HIGHEST = 0.1, 0.2, 0.35


def starting_fractions(converted: Converted) -> dict[str, tuple[float, float]]:
    """Layer -> theta / Theta in the second step at a small input: of its neurons the least and the
    most.

    Empty where thresholds do not adapt, or are not those of rate coding by Eq. 17.
    """
    s, found = converted.recipe.msat, {}
    if (
        not s.enabled
        or s.variant != "eq17"
        or not (s.dtt or s.det)
        or converted.recipe.encoding.coding != "rate"
    ):
        return found
    for node in converted.graph.activations:
        own = converted.neurons[node.name]
        theta = torch.cat([own[key] for key in ("theta", "theta_off") if key in own])
        fraction = fraction_at_rest(scale_of(theta, s, s.gain or own["gain"].item()), s)
        found[node.name] = fraction.min().item(), fraction.max().item()
    return found


def starts(converted: Converted) -> list[str]:
    """The fractions by layer, and how to bring those outside LOWEST..HIGHEST between them.

    Of gains that the calibration chose nothing is to be mended: it has measured what the range is a
    rule of thumb for.
    """
    fractions = starting_fractions(converted)
    if not fractions:
        return []
    ranges = {
        short(name): " to ".join(sorted({f"{value:.2g}" for value in both}))
        for name, both in fractions.items()
    }
    if len(set(ranges.values())) == 1:
        which = f"{next(iter(ranges.values()))} of Theta in every layer"
    else:
        which = "these fractions of Theta: " + ", ".join(
            f"{text} in layer {name}" for name, text in ranges.items()
        )
    lines = [f"MSAT's thresholds start at {which}."]
    outside = [short(n) for n, (low, high) in fractions.items() if low < LOWEST or high > HIGHEST]
    if outside:
        where = "That" if len(outside) == len(fractions) else f"In layer {', '.join(outside)} that"
        lines.append(
            f"{where} is outside {LOWEST:g} to {HIGHEST:g}, where MSAT is mostly of use:"
            f" {_mend(converted)}."
        )
    return lines


def _mend(converted: Converted) -> str:
    s = converted.recipe.msat
    if not (s.dtt and s.tau_mp):
        return (
            "try the tracking threshold, which alone knows Theta (--set msat.dtt=true --set"
            " msat.tau_mp=1)"
        )
    if not s.gain:
        return "the calibration found it best there"
    units = "" if s.units == "normalised" else "--set msat.units=normalised "
    gain = f"{units}--set msat.gain={max(gain_for(AIM, s), 0.1):.2g}"
    return f"try {gain}, or let the calibration choose ({units}--set msat.gain=0)"


@dataclass(frozen=True)
class Analysis:
    """converted: with neurons in front of the pooling, so that layers compare one to one with the
    ANN's activations.

    layers: in order. sample: neurons of one layer on the first image. output_error: of the head's
    tensors at some timesteps, norm of the difference over norm of the ANN's, mean over images.
    """

    converted: Converted
    T: int
    images: tuple[str, ...]
    layers: tuple[LayerTotals, ...]
    sample: NeuronSample
    output_error: Mapping[int, float]

    @property
    def method(self) -> str:
        return self.converted.recipe.name


def analyze(
    converted: Converted,
    paths: Sequence[str],
    T: int,
    layer: str | None = None,
    device: str = "cpu",
    progress: Callable[[], Any] = lambda: None,
) -> Analysis:
    """Run every image for T steps. layer: where neurons are sampled; None is the middle of the
    network.

    progress() is called `work(converted, T)` times per image. One image is in memory at a time.
    Raises UserError for an unknown layer and for files that are not images.
    """
    neuron = replace(converted.recipe.neuron, pool_first=False)
    converted = replace(converted, recipe=replace(converted.recipe, neuron=neuron))
    graph, network = converted.graph.to(device), converted.network(device, observed=True)
    names = [node.name for node in graph.activations]
    layer = (
        names[len(names) // 2]
        if layer is None
        else {short(name): name for name in names}.get(layer, layer)
    )
    if layer not in names:
        raise UserError(f"no layer {layer!r}: choose from {', '.join(map(short, names))}")
    totals = {name: LayerTotals(name, T) for name in names}
    sample: NeuronSample | None = None
    errors = dict.fromkeys(steps(T), 0.0)
    for x in load(converted, paths, device):
        before: dict[str, tuple[Tensor, Activation]] = {}

        def tap(
            node: Node,
            pre: Tensor,
            post: Tensor,
            before: dict[str, tuple[Tensor, Activation]] = before,
        ) -> None:
            before[node.name] = pre, node.phi

        with torch.no_grad():
            expected = forward(graph, x, tap)
        watch = Watch(before, T)
        if sample is None:
            z, phi = before[layer]
            sample = watch.sample = choose(layer, phi(z), converted.neurons[layer]["theta"])
        run = network.run(x, T, steps(T), probes=[watch], progress=lambda t: progress())
        for _ in range(T - run.steps):
            progress()
        for t, snapshot in run.snapshots.items():
            errors[t] += relative_error(snapshot.outputs, expected) / len(paths)
        for name, (z, phi) in before.items():
            seen = watch.layers.pop(name)
            seen.finish()
            site, sums, keys = converted.neurons[name], (seen.received, seen.sent), image_keys(x)
            links = chain(
                site, converted.recipe, phi, name, z, *sums, T, network.spike_weight, keys
            )
            spikes = {t: float(s.spikes[name].sum()) for t, s in run.snapshots.items()}
            totals[name].add(
                links,
                per_channel(converted.neurons[name]["theta"], z),
                seen,
                spikes,
                run.neurons[name],
            )
            progress()
    assert sample is not None
    names_ = tuple(str(path) for path in paths)
    return Analysis(converted, T, names_, tuple(totals.values()), sample, errors)


def work(converted: Converted, T: int) -> int:
    """Calls of progress for one image."""
    return T + len(converted.graph.activations)
