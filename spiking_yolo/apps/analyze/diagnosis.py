"""What an analysis prints: tables of layers and methods, and what is wrong, with what to try."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import torch

from spiking_yolo.apps.analyze.chain import INHERITED, OWN
from spiking_yolo.apps.analyze.records import Analysis, LayerTotals, MethodCost
from spiking_yolo.convert.converted import Converted
from spiking_yolo.graph.graph import layer_labels, short_name
from spiking_yolo.io.tables import WIDTH, columns, percent
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.msat import fraction_at_rest, gain_for, scale_of

_HEAD = (
    *("error", "clip", "quant", "spike", "below", "uneven"),
    *("sat", "silent", "dead", "SIN16", "SIN", "rate", "spikes"),
)

NOTE = """\
error: norm of the difference between SNN and ANN, in % of the norm of the ANN's activation. Norms
of its parts: clip(ping), quant(isation), spike(-inherent), and what comes from the layers below,
of which uneven (arrival). Parts cancel each other, so norms do not add up; what parts contribute,
in error.png and below, does: their projections on the whole difference. sat: % of neurons at their
highest rate. silent: channels that are active in the ANN and never fired; dead: channels that are
never active in the ANN. SIN: % of inactivated neurons that fired, by t = 16 and in all. Neurons
stand in front of max pooling here (neuron.pool_first=false), so that layers compare one to one with
the ANN's."""


def layer_table(analysis: Analysis) -> str:
    """One line per layer, of at most 100 columns; NOTE explains the columns."""
    rows = []
    for layer in analysis.layers:
        norms = layer.norms()
        cells = [percent(layer.relative_error)]
        for part in (*OWN, "inherited", "uneven arrival"):
            cells.append(percent(norms[part]))
        cells.append(percent(layer.saturated / layer.sites))
        cells += [str(layer.count("silent")), str(layer.count("dead"))]
        cells += [percent(layer.sin(16)), percent(layer.sin(layer.T))]
        rows.append([*cells, f"{layer.rate:.3f}", _compact(layer.spikes[layer.T] / layer.images)])
    room = WIDTH
    for cells in zip(_HEAD, *rows, strict=True):
        room -= 2 + max(map(len, cells))
    table = [["layer", *_HEAD]]
    labels = layer_labels(analysis.converted.graph)
    for layer, row in zip(analysis.layers, rows, strict=True):
        name = short_name(layer.name)
        both = f"{labels[layer.name]}, {name}" if layer.name in labels else name
        table.append([both if len(both) <= room else _cut(name, max(room, 5)), *row])
    return columns(table)


def cost_table(costs: Mapping[str, MethodCost]) -> str:
    """Spikes and error of the output by method and timestep, each method as the tools run it."""
    times = sorted(next(iter(costs.values())).spikes)
    rows = [["method", *(f"spikes T={t}" for t in times), *(f"error T={t}" for t in times)]]
    for name, cost in costs.items():
        spikes = [_compact(cost.spikes[t]) for t in times]
        errors = [_number(cost.error[t]) for t in times]
        rows.append([name, *spikes, *errors])
    return columns(rows)


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.3g}"


def _compact(count: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count:.3g}"


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[1 - room :]


def wrapped(sentences: Sequence[str]) -> str:
    """Sentences as lines that fit the width, each beginning a line of its own."""
    lines = []
    for sentence in sentences:
        lines += textwrap.wrap(sentence, WIDTH, break_on_hyphens=False, subsequent_indent="  ")
    return "\n".join(lines)


_REASON = {
    "clipping": "activations above the highest rate are cut off",
    "quantisation": "few spikes make a coarse grid",
    "spike-inherent": "the neuron does not reach its value even with ideal input",
    "wrong input": "the layers below send wrong values",
    "uneven arrival": "input arrives unevenly, so neurons fire that should not",
}
# Share of channels or neurons that is worth a sentence.
_MANY = 0.1
# Share of an error that is.
_NOTABLE = 0.2


def diagnose(analysis: Analysis, tolerance: float) -> list[str]:
    """What is wrong, and what to try.

    Names the output's error, the first layer whose relative error exceeds `tolerance` with its
    largest part and a remedy, where MSAT's thresholds start, and conspicuous channels and spikes.
    """
    layers = analysis.layers
    T = analysis.T
    lines = [f"The output's relative error is {analysis.output_error[T]:.3g} after {T} steps."]
    for i, layer in enumerate(layers):
        if layer.relative_error > tolerance:
            lines += _first_layer(layers[: i + 1], analysis.converted.recipe, T, tolerance)
            break
    else:
        worst = max(layers, key=lambda layer: _or_zero(layer.relative_error))
        lines.append(
            f"No layer's error exceeds {tolerance:g}; the largest is {worst.relative_error:.3g}, "
            f"in layer {short_name(worst.name)}."
        )
    return lines + starts(analysis.converted) + _oddities(layers)


def _first_layer(
    layers: Sequence[LayerTotals], recipe: Recipe, T: int, tolerance: float
) -> list[str]:
    """On the last of `layers`, the first one of the network that exceeds the tolerance."""
    layer = layers[-1]
    part = layer.dominant()
    what = f"inherited ({part})" if part in INHERITED else part
    reason = _REASON[part]
    if part == "wrong input" and len(layers) == 1:
        # The input of a first layer is the image, and what a calibration added to it.
        reason = "a calibrated bias only corrects the channel's mean"
        if recipe.encoding.input == "poisson":
            reason = "the image arrives as random spikes"
    lines = [
        f"Layer {short_name(layer.name)} is the first whose error exceeds {tolerance:g}:"
        f" {layer.relative_error:.3g}. Its largest part is {what}, which contributes"
        f" {layer.shares()[part]:.3g}: {reason}."
    ]
    if part == "wrong input" and len(layers) > 1:
        source = max(layers[:-1], key=_own_error)
        part = source.dominant(OWN)
        lines.append(
            f"Of the layers before it, layer {short_name(source.name)} adds the largest error of"
            f" its own, {_own_error(source):.3g}, mostly {part}: {_REASON[part]}."
        )
        if layer.shares()["uneven arrival"] > _NOTABLE * layer.relative_error:
            lines.append(f"Uneven arrival adds to it: try {advice('uneven arrival', recipe, T)}.")
    elif part == "wrong input" and recipe.encoding.input == "analogue":
        part = layer.dominant(OWN)
    return [*lines, f"Try {advice(part, recipe, T)}."]


def _own_error(layer: LayerTotals) -> float:
    return _or_zero(layer.relative(layer.squares["own"]))


def advice(part: str, recipe: Recipe, T: int) -> str:
    """What makes one part of the error smaller, for this recipe."""
    kind = recipe.neuron_kind
    bursts = ""
    if "gamma" in kind.supports and recipe.preparation.kind != "shift":
        bursts = f" or more spikes per step (--set neuron.gamma={2 * recipe.neuron.gamma})"
    if part == "wrong input":
        return "the image itself instead of random spikes (--set encoding.input=analogue)"
    if recipe.neuron.events == "digits" and not recipe.neuron.digits:
        return (
            f"a lower threshold ({_scaled_threshold(recipe, 0.5)}): neurons send complete values,"
            " and only rounding loses anything"
        )
    if part == "clipping":
        return _against_clipping(recipe, T, bursts)
    if part == "quantisation":
        return _against_quantisation(recipe, T)
    if recipe.neuron.reset == "zero":
        return "a reset that keeps the rest of the charge (--set neuron.reset=subtract)"
    if part == "spike-inherent" and recipe.msat.confidence != "off":
        return (
            "MSAT that drops no spikes (--set msat.confidence=off), and for comparison --method"
            " fixed-fraction"
        )
    if not kind.memory:
        return (
            "neurons that take back wrong spikes: --method signed-memory, or a differential one"
            " (coarse-to-fine)"
        )
    if recipe.msat.enabled and part == "spike-inherent":
        return "a constant threshold (--set msat.enabled=false)"
    return f"more steps (--T {2 * T}){bursts}, so that neurons catch up sooner"


def _scaled_threshold(recipe: Recipe, factor: float) -> str:
    return f"--set threshold.scale={factor * recipe.threshold.scale:.3g}"


def _against_clipping(recipe: Recipe, T: int, bursts: str) -> str:
    if recipe.encoding.coding == "differential":
        return f"more steps (--T {2 * T}){bursts}"
    if recipe.threshold.rule == "percentile" and recipe.threshold.percentile < 100:
        return f"a higher percentile (--set threshold.percentile=100),{bursts}"
    return f"a higher threshold ({_scaled_threshold(recipe, 2)}),{bursts}"


def _against_quantisation(recipe: Recipe, T: int) -> str:
    kind, neuron = recipe.neuron_kind, recipe.neuron
    lower = f"a lower threshold ({_scaled_threshold(recipe, 0.5)})"
    if recipe.encoding.coding == "differential":
        if "schedule" in kind.supports:
            return f"{lower}, or let spikes become finer (encoding.refine in --list-settings)"
        return lower
    text = f"more steps (--T {2 * T}), {lower}"
    rounds = neuron.initial or neuron.shift or recipe.calibration.kind == "advanced"
    if rounds or (kind.signed and not kind.memory):
        return text
    # Of Theta, and MSAT's second threshold is a fifth of it.
    start = 0.1 if recipe.msat.enabled else 0.5
    return f"{text}, or a start at half a threshold (--set neuron.initial={start:g})"


# The range of theta / Theta in which MSAT's thresholds should start, and its usual value;
# docs/msat/scale.md has the curves.
LOWEST, AIM, HIGHEST = 0.1, 0.2, 0.35


def starting_fractions(converted: Converted) -> dict[str, tuple[float, float]]:
    """Where MSAT's thresholds start, by layer.

    Returns:
        Layer -> theta / Theta in the second step at a small input, the smallest and the largest of
        its neurons. Empty where thresholds do not adapt, or not by Eq. 17 in rate coding.
    """
    s = converted.recipe.msat
    adapts = s.enabled and s.variant == "eq17" and (s.dtt or s.det)
    if not adapts or converted.recipe.encoding.coding != "rate":
        return {}
    fractions = {}
    for node in converted.graph.activations:
        own = converted.neurons[node.name]
        theta = torch.cat([own[key] for key in ("theta", "theta_off") if key in own])
        fraction = fraction_at_rest(scale_of(theta, s, s.gain or own["gain"].item()), s)
        fractions[node.name] = fraction.min().item(), fraction.max().item()
    return fractions


def starts(converted: Converted) -> list[str]:
    """Where MSAT's thresholds start, and how to bring those outside LOWEST..HIGHEST between them.

    Gains that the calibration chose need no correction: it has measured what the range is a rule of
    thumb for.
    """
    texts, outside = {}, []
    for name, (low, high) in starting_fractions(converted).items():
        texts[short_name(name)] = " to ".join(sorted({f"{low:.2g}", f"{high:.2g}"}))
        if low < LOWEST or high > HIGHEST:
            outside.append(short_name(name))
    if not texts:
        return []
    if len(set(texts.values())) == 1:
        where = f"{next(iter(texts.values()))} of Theta in every layer"
    else:
        by_layer = ", ".join(f"{text} in layer {name}" for name, text in texts.items())
        where = f"these fractions of Theta: {by_layer}"
    lines = [f"MSAT's thresholds start at {where}."]
    if outside:
        where = "That" if len(outside) == len(texts) else f"In layer {', '.join(outside)} that"
        lines.append(
            f"{where} is outside {LOWEST:g} to {HIGHEST:g}, where MSAT helps most:"
            f" {_start_advice(converted)}."
        )
    return lines


def _start_advice(converted: Converted) -> str:
    s = converted.recipe.msat
    if not (s.dtt and s.tau_mp):
        return (
            "try the tracking threshold, the only term that depends on Theta (--set msat.dtt=true"
            " --set msat.tau_mp=1)"
        )
    if not s.gain:
        return "the calibration found it best there"
    units = "" if s.units == "normalised" else "--set msat.units=normalised "
    gain = f"{units}--set msat.gain={max(gain_for(AIM, s), 0.1):.2g}"
    return f"try {gain}, or let the calibration choose ({units}--set msat.gain=0)"


def _oddities(layers: Sequence[LayerTotals]) -> list[str]:
    """The layers with the most silent and dead channels and wrong spikes, if these are many."""
    lines = []
    for kind, what in (
        ("silent", "are active in the ANN but never fired"),
        ("dead", "are never active in the ANN"),
    ):
        worst = max(layers, key=lambda layer: layer.count(kind) / len(layer.channels["fired"]))
        number, channels = worst.count(kind), len(worst.channels["fired"])
        if number > _MANY * channels:
            lines.append(
                f"{number} of {channels} channels of layer {short_name(worst.name)} {what} on these"
                " images."
            )
    worst = max(layers, key=lambda layer: _or_zero(layer.sin(layer.T)))
    sin = _or_zero(worst.sin(worst.T))
    if sin > _MANY:
        lines.append(
            f"Layer {short_name(worst.name)} has the most spikes of inactivated neurons:"
            f" {100 * sin:.0f} % of them fired."
        )
    return lines


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
