"""What is wrong with a conversion, in words, and what to try."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from spiking_yolo.apps.analyze import AnalyzeOptions
from spiking_yolo.apps.analyze.chain import INHERITED, OWN
from spiking_yolo.apps.analyze.run import Analysis, MethodCost, analyze, method_cost, starts, work
from spiking_yolo.apps.analyze.tables import NOTE, cost_table, layer_table, wrapped
from spiking_yolo.apps.analyze.totals import LayerTotals, short
from spiking_yolo.convert.converted import Converted
from spiking_yolo.draw import FigureFormat
from spiking_yolo.io.json import write_json
from spiking_yolo.io.tables import write_csv
from spiking_yolo.options import versions
from spiking_yolo.recipe import Recipe

_REASON = {
    "clipping": "activations above the highest rate are cut off",
    "quantisation": "few spikes make a coarse grid",
    "spike-inherent": "the neuron does not reach its value even with ideal input",
    "wrong input": "the layers below send wrong values",
    "uneven arrival": "input arrives unevenly, so neurons fire that should not",
}
# Share of channels or neurons that is worth a sentence.
_MANY = 0.1
_NOTABLE = 0.2  # share of an error


def diagnose(analysis: Analysis, tolerance: float) -> list[str]:
    """Sentences: the output's error, the first layer whose relative error passes `tolerance`, what
    to try, where MSAT starts, oddities.
    """
    recipe, T, layers = analysis.converted.recipe, analysis.T, analysis.layers
    lines = [f"The output's relative error is {analysis.output_error[T]:.3g} after {T} steps."]
    first = next((i for i, layer in enumerate(layers) if layer.relative_error > tolerance), None)
    if first is None:
        worst = max(layers, key=lambda layer: _or_zero(layer.relative_error))
        lines.append(
            f"No layer's error passes {tolerance:g}; the largest is {worst.relative_error:.3g}, "
            f"in layer {short(worst.name)}."
        )
    else:
        lines += _first_layer(layers[: first + 1], recipe, T, tolerance)
    return lines + starts(analysis.converted) + _oddities(layers)


def _first_layer(
    layers: Sequence[LayerTotals], recipe: Recipe, T: int, tolerance: float
) -> list[str]:
    """layers: up to the one that passes the tolerance."""
    layer = layers[-1]
    part = layer.dominant()
    what = f"inherited, {part}" if part in INHERITED else part
    reason = _REASON[part]
    if part == "wrong input" and len(layers) == 1:
        # What comes into a first layer is the image, and what a calibration added to it.
        poisson = recipe.encoding.input == "poisson"
        reason = (
            "the image arrives as random spikes"
            if poisson
            else "a calibrated bias mends the channel's mean only"
        )
    lines = [
        f"Layer {short(layer.name)} is the first whose error passes {tolerance:g}:"
        f" {layer.relative_error:.3g}, of which {layer.shares()[part]:.3g} is {what}: {reason}."
    ]
    if part == "wrong input" and len(layers) > 1:
        source = max(layers[:-1], key=_own)
        part = source.dominant(OWN)
        lines.append(
            f"Look above: of the layers before it layer {short(source.name)} adds the largest error"
            f" of its own, {_own(source):.3g}, mostly {part}: {_REASON[part]}."
        )
        if layer.shares()["uneven arrival"] > _NOTABLE * layer.relative_error:
            lines.append(f"Uneven arrival adds to it: try {advice('uneven arrival', recipe, T)}.")
    elif part == "wrong input" and recipe.encoding.input == "analogue":
        part = layer.dominant(OWN)
    return [*lines, f"Try {advice(part, recipe, T)}."]


def _own(layer: LayerTotals) -> float:
    return _or_zero(layer.relative(layer.squares["own"]))


def advice(part: str, recipe: Recipe, T: int) -> str:
    """What makes one part of the error smaller, for this recipe."""
    t, n, e = recipe.threshold, recipe.neuron, recipe.encoding
    kind = recipe.neuron_kind
    lower, higher = (
        f"--set threshold.scale={t.scale / 2:.3g}",
        f"--set threshold.scale={2 * t.scale:.3g}",
    )
    spikes = ""
    if "gamma" in kind.supports:
        spikes = f" or more spikes per step (--set neuron.gamma={2 * n.gamma})"
    differential = e.coding == "differential"
    if n.events == "digits" and not n.digits and part != "wrong input":
        return (
            f"a lower threshold ({lower}): neurons send complete values, all that they lose is by"
            " rounding"
        )
    if part == "clipping":
        if differential:
            return f"more steps (--T {2 * T}){spikes}"
        percentile = t.rule == "percentile" and t.percentile < 100
        highest = (
            "a higher percentile (--set threshold.percentile=100)"
            if percentile
            else f"a higher threshold ({higher})"
        )
        return f"{highest},{spikes}"
    if part == "quantisation":
        if differential:
            finer = (
                ", or let spikes become finer (encoding.refine in --list-settings)"
                if "schedule" in kind.supports
                else ""
            )
            return f"a lower threshold ({lower}){finer}"
        half = (
            (kind.memory or not kind.signed)
            and not n.initial
            and not n.shift
            and recipe.calibration.kind != "advanced"
        )
        # Of Theta, and MSAT's second threshold is a fifth of it.
        u0 = 0.1 if recipe.msat.enabled else 0.5
        start = f", or a start at half a threshold (--set neuron.initial={u0:g})" if half else ""
        return f"more steps (--T {2 * T}), a lower threshold ({lower}){start}"
    if part == "wrong input":
        return "the image itself instead of random spikes (--set encoding.input=analogue)"
    if n.reset == "zero":
        return "a reset that keeps the rest of the charge (--set neuron.reset=subtract)"
    if part == "spike-inherent" and recipe.msat.confidence != "off":
        return (
            "MSAT that drops no spikes (--set msat.confidence=off), and beside it --method"
            " fixed-fraction"
        )
    if not kind.memory:
        return (
            "neurons that take back wrong spikes: --method signed-memory, or a differential one"
            " (coarse-to-fine)"
        )
    if recipe.msat.enabled and part == "spike-inherent":
        return "a constant threshold (--set msat.enabled=false)"
    return f"more steps (--T {2 * T}){spikes}, so that neurons catch up sooner"


def _oddities(layers: Sequence[LayerTotals]) -> list[str]:
    lines = []
    for kind, what in (
        ("silent", "are active in the ANN and never fired"),
        ("dead", "are never active in the ANN"),
    ):
        counts = {one.name: (one.count(kind), len(one.channels["fired"])) for one in layers}
        name, (count, channels) = max(counts.items(), key=lambda item: item[1][0] / item[1][1])
        if count > _MANY * channels:
            lines.append(
                f"{count} of {channels} channels of layer {short(name)} {what} on these images."
            )
    sin = max(layers, key=lambda one: _or_zero(one.sin(one.T)))
    if _or_zero(sin.sin(sin.T)) > _MANY:
        lines.append(
            f"Layer {short(sin.name)} has the most spikes of inactivated neurons: "
            f"{100 * sin.sin(sin.T):.0f} % of them fired."
        )
    return lines


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0


@dataclass(frozen=True)
class Explanation:
    """analysis: of the first method. costs: of all methods, by name, if there are several.
    diagnosis: sentences.
    """

    analysis: Analysis
    costs: Mapping[str, MethodCost]
    diagnosis: Sequence[str]
    tolerance: float

    def text(self) -> str:
        """Tables that fit 100 columns, and the diagnosis."""
        parts = [
            layer_table(self.analysis),
            NOTE,
            *([cost_table(self.costs)] if self.costs else []),
        ]
        return "\n\n".join([*parts, wrapped(self.diagnosis)])

    def save(self, folder: Path, figures: FigureFormat = "png") -> None:
        """Write layers.csv, analysis.json and the figures, as .png and in the format `figures`."""
        from spiking_yolo.apps.analyze.figures import draw_all

        write_csv(folder / "layers.csv", [layer.row() for layer in self.analysis.layers])
        write_json(folder / "analysis.json", self.content(), indent=1)
        draw_all(self.analysis, self.costs, folder, figures)

    def content(self) -> dict[str, Any]:
        """analysis.json: rows as in layers.csv, SIN ratios of every step, the sampled neurons, and
        their origin.
        """
        analysis, sample = self.analysis, self.analysis.sample
        network = analysis.converted
        return {
            "method": analysis.method,
            "recipe": json.loads(network.recipe.to_json()),
            "weights_sha256": network.provenance.get("weights_sha256"),
            "versions": versions(),
            "T": analysis.T,
            "images": [Path(image).name for image in analysis.images],
            "limit": self.tolerance,
            "diagnosis": list(self.diagnosis),
            "output_error": {str(t): error for t, error in analysis.output_error.items()},
            "layers": [
                {**layer.row(), "sin": [layer.sin(t) for t in range(1, layer.T + 1)]}
                for layer in analysis.layers
            ],
            "sample": {
                "layer": sample.name,
                "activation": sample.activation.tolist(),
                "Theta": sample.top.tolist(),
                "t": sample.t,
                "theta": [values.tolist() for values in sample.theta],
                "potential": [values.tolist() for values in sample.potential],
            },
            "methods": {name: asdict(cost) for name, cost in self.costs.items()},
        }


def explain(
    networks: Mapping[str, Converted],
    photographs: Sequence[str],
    options: AnalyzeOptions = AnalyzeOptions(),  # noqa: B008
    progress: Callable[[str, int, int], Any] = lambda what, done, total: None,
) -> Explanation:
    """Analyse the first network on image files; of several, compare also what each spends and how
    far it is off.

    networks: by method. progress(what, done, total) is called after each timestep. Raises UserError
    for an unknown layer, a device that is not there, and files that are not images.
    """
    T, device = options.T, options.device
    first = next(iter(networks.values()))
    compared = networks if len(networks) > 1 else {}

    def ticks(what: str, per_image: int) -> Callable[[], Any]:
        done = count(1)
        return lambda: progress(what, next(done), len(photographs) * per_image)

    analysis = analyze(
        first, photographs, T, options.layer, device, ticks("layers", work(first, T))
    )
    costs = {
        name: method_cost(network, photographs, T, device, ticks(name, T))
        for name, network in compared.items()
    }
    return Explanation(analysis, costs, diagnose(analysis, options.tolerance), options.tolerance)
