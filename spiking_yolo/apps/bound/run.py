"""Allocations at many prices, and the networks that follow from them, run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.bound.figures import (
    EQUAL,
    LEAST,
    ONE_EVENT,
    SPATIAL,
    Point,
    draw_accuracy,
    draw_error,
)
from spiking_yolo.apps.bound.laws import Laws, take_laws
from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.differentiable import CompleteNetwork, Values
from spiking_yolo.convert.sensitivity import Measure, boxes_and_scores, relative_outputs
from spiking_yolo.convert.statistics import preprocessed
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.convert.train_thresholds import budget
from spiking_yolo.data.images import Picture
from spiking_yolo.draw import FigureFormat
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, forward
from spiking_yolo.io.tables import columns, write_csv
from spiking_yolo.metrics.energy import accounts
from spiking_yolo.metrics.rate_distortion import (
    QUANTILES,
    Allocation,
    CheapestDigits,
    Code,
    OneEvent,
    Rounding,
    allocate,
    bits,
)
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import Observer
from spiking_yolo.recipe import Recipe

NEAREST = "nearest integer"
# Operations per MAC between which codes are compared, in multiples of `budget`'s.
RANGE = (0.25, 0.9)
# From price to price, and the smallest that is tried.
RATIO = 2.5
SMALLEST = 1e-12
# Accounts of energy whose break-even is drawn.
ACCOUNTS = ("sram16", "sram32")


@dataclass(frozen=True)
class Scheme:
    """A code, and how it may be used: see `allocate`."""

    code: Code
    rests: Sequence[float] = QUANTILES
    spatial: bool = False


def schemes(slack: float) -> dict[str, Scheme]:
    """The codes that are compared. slack: neuron.slack of the recipe."""
    return {
        "nearest integer, 0 at rest": Scheme(Rounding(), ()),
        NEAREST: Scheme(Rounding()),
        EQUAL: Scheme(Rounding(slack)),
        LEAST: Scheme(CheapestDigits()),
        SPATIAL: Scheme(Rounding(), (0.3,), spatial=True),
        ONE_EVENT: Scheme(OneEvent()),
    }


@dataclass(frozen=True)
class Measured:
    """A network, as predicted and as it is: operations per MAC, squared and relative error of the
    output, means over the photographs.
    """

    name: str
    predicted: tuple[float, float, float]
    measured: tuple[float, float, float]


@dataclass(frozen=True)
class Bound:
    """What codes of the activations need.

    Attributes:
        title: The network's method, and what was changed for it.
        rows: Of every code and price: code, price, operations, squared_error, relative_error, and
            where integers are rounded to the nearest the bits of an entropy code and Shannon's.
        networks: The network as it is, and those with equal slopes.
        converted: The latter, by operations per MAC.
        even: Account of energy -> operations per MAC at which SNN and ANN need the same.
    """

    title: str
    rows: list[dict[str, Any]]
    networks: list[Measured]
    converted: dict[float, Converted]
    even: dict[str, float]

    def curve(self, code: str, key: str = "operations") -> tuple[np.ndarray, np.ndarray]:
        """Squared error of the output, ascending, and what the code needs for it."""
        pairs = sorted((row["squared_error"], row[key]) for row in self.rows if row["code"] == code)
        errors, needs = np.array(pairs).T
        return errors, needs

    def needed(self, code: str, errors: Sequence[float], key: str = "operations") -> np.ndarray:
        """What a code needs for these squared errors: interpolated, nan outside of the curve."""
        known, needs = self.curve(code, key)
        logs = np.interp(np.log(errors), np.log(known), np.log(needs), math.nan, math.nan)
        return np.exp(logs)

    def text(self) -> str:
        """A table of codes, and one of networks, within 100 columns."""
        errors = [network.predicted[1] for network in self.networks]
        head = ["operations per MAC, by error of"]
        head += [network.name.removeprefix(EQUAL) for network in self.networks]
        codes = dict.fromkeys(row["code"] for row in self.rows)
        rows = [head]
        for code in codes:
            rows.append([code, *(_number(n) for n in self.needed(code, errors))])
        for key in ("entropy_bits", "shannon_bits"):
            rows.append(
                [
                    f"{NEAREST}: {key.replace('_', ', ')}",
                    *(_number(n) for n in self.needed(NEAREST, errors, key)),
                ]
            )
        networks = [["", "digits/MAC", "", "squared error", "", "relative error", ""]]
        networks.append(["network", *(["predicted", "measured"] * 3)])
        for one in self.networks:
            cells = []
            for pair in zip(one.predicted, one.measured, strict=True):
                cells += [f"{value:.3g}" for value in pair]
            networks.append([one.name, *cells])
        return f"{columns(rows)}\n\n{columns(networks)}"

    def save(self, folder: Path, points: Sequence[Point], figures: FigureFormat = "png") -> None:
        """Write bound.csv, networks.json, the networks, and the figures."""
        write_csv(folder / "bound.csv", self.rows)
        draw_error(self, folder / "bound.png", figures)
        if points:
            draw_accuracy(self, points, folder / "accuracy.png", figures)
        for operations, converted in self.converted.items():
            converted.save(folder / f"equal-slopes-{operations:g}.safetensors")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def measure(
    converted: Converted,
    pictures: Sequence[Picture],
    operations: Sequence[float],
    seed: int,
    progress: Callable[..., Any],
) -> Bound:
    """Take the laws of a network's activations, and see what codes make of them.

    Args:
        operations: Per MAC, of the networks with equal slopes that are run.
        progress: Called as the progress of a study.

    Raises:
        UserError: The method does not send digits of complete values.
    """
    recipe = converted.recipe
    if not recipe.by_gradient:
        raise UserError(
            f"the bound is about digits of complete values, which {recipe.name} does not send: use"
            " --method signed-digits, or leave it out"
        )
    graph, spec, neuron = converted.spiking_graph, converted.spec, recipe.neuron
    images = preprocessed(pictures, spec)
    network = CompleteNetwork(graph, (spec.height, spec.width), neuron.slack, neuron.pool_first)
    judge = measure_of(spec)
    laws = take_laws(network, judge, images, seed, progress)
    codes = schemes(neuron.slack)
    ends = [share * budget(graph, 1.0) for share in RANGE] + list(operations)
    rows = []
    for k, price in enumerate(prices(laws, codes[EQUAL], min(ends), max(ends))):
        for name, scheme in codes.items():
            progress("codes", len(rows) + 1, None, f"{name}, price {k + 1}")
            rows.append(_row(name, price, laws, scheme))
    with torch.no_grad():
        outputs = [forward(graph, x) for x in images]
    study = _Study(network, laws, judge, images, outputs)
    progress("networks", 1, None)
    neurons = converted.neurons
    networks = [study.measured("as it is", laws.converted(network, neurons), neurons)]
    built = {}
    for goal in operations:
        progress("networks", len(networks) + 1, None)
        price = _price_of(rows, goal)
        allocations = allocations_at(price, laws, codes[EQUAL])
        neurons = laws.neurons(allocations)
        networks.append(study.measured(f"{EQUAL} {goal:g}", allocations, neurons))
        built[goal] = replace(converted, neurons=neurons)
    title = ", ".join(filter(None, (recipe.name, recipe.remark)))
    return Bound(title, rows, networks, built, _break_even(converted, pictures))


@torch.no_grad()
def equal_slopes(
    graph: Graph,
    spec: Spec,
    recipe: Recipe,
    images: Sequence[Tensor],
    operations: float,
    seed: int,
    progress: Callable[..., Any],
) -> NeuronParameters:
    """Parameters of neurons with equal slopes that take so many operations per MAC, as predicted.

    Args:
        images: Batches, [N, C, H, W]; laws and sensitivities are taken from them.

    Raises:
        UserError: The network cannot take so many.
    """
    neuron = recipe.neuron
    network = CompleteNetwork(graph, (spec.height, spec.width), neuron.slack, neuron.pool_first)
    laws = take_laws(network, measure_of(spec), images, seed, progress)
    scheme = schemes(neuron.slack)[EQUAL]
    rows = []
    for price in prices(laws, scheme, operations, operations):
        progress("equal slopes", len(rows) + 1, None)
        rows.append(_row(EQUAL, price, laws, scheme))
    return laws.neurons(allocations_at(_price_of(rows, operations), laws, scheme))


def measure_of(spec: Spec) -> Measure:
    """What errors of a network's outputs are measured in."""
    return partial(boxes_and_scores, spec=spec) if spec.task == "detect" else relative_outputs


def prices(laws: Laws, scheme: Scheme, least: float, most: float) -> list[float]:
    """Prices at which a code takes from `most` to `least` operations per MAC, from the smallest.

    Raises:
        UserError: It takes fewer at any price.
    """

    def spent(price: float) -> float:
        return laws.totals(allocations_at(price, laws, scheme))[0]

    price = 1.0
    while spent(price) > most:
        price *= RATIO
    while spent(price) < most:
        price /= RATIO
        if price < SMALLEST:
            raise UserError(
                f"thresholds as fine as can be take fewer than {most:g} operations per MAC: give"
                " smaller --operations"
            )
    result = [price]
    while spent(result[-1]) > least:
        result.append(result[-1] * RATIO)
    return result


def allocations_at(price: float, laws: Laws, scheme: Scheme) -> dict[str, Allocation]:
    """The best codes of all channels at a price."""
    result = {}
    for name, site in laws.sites.items():
        rests = () if name in laws.products else scheme.rests
        result[name] = allocate(site, price, scheme.code, rests, scheme.spatial)
    return result


def _row(name: str, price: float, laws: Laws, scheme: Scheme) -> dict[str, Any]:
    allocations = allocations_at(price, laws, scheme)
    operations, squared, relative = laws.totals(allocations)
    row = {
        "code": name,
        "price": price,
        "operations": operations,
        "squared_error": squared,
        "relative_error": relative,
        "entropy_bits": None,
        "shannon_bits": None,
    }
    if name == NEAREST:
        assert isinstance(scheme.code, Rounding)
        pairs = [bits(site, scheme.code, allocations[key]) for key, site in laws.sites.items()]
        row["entropy_bits"] = sum(entropy for entropy, _ in pairs)
        row["shannon_bits"] = sum(shannon for _, shannon in pairs)
    return row


def _price_of(rows: Sequence[Mapping[str, Any]], operations: float) -> float:
    """The price at which equal slopes take these operations, interpolated."""
    pairs = sorted((row["operations"], row["price"]) for row in rows if row["code"] == EQUAL)
    spent, price = np.log(np.array(pairs)).T
    return float(np.exp(np.interp(math.log(operations), spent, price)))


@dataclass(frozen=True)
class _Study:
    network: CompleteNetwork
    laws: Laws
    judge: Measure
    images: Sequence[Tensor]
    # Of the ANN, by batch.
    outputs: Sequence[Sequence[Tensor]]

    @torch.no_grad()
    def measured(
        self, name: str, allocations: Mapping[str, Allocation], neurons: Values
    ) -> Measured:
        """A network, predicted and run."""
        rows = []
        for x, ann in zip(self.images, self.outputs, strict=True):
            outputs, spent = self.network(x, neurons)
            squared = squared_error(self.judge, outputs, ann)
            relative = squared_error(relative_outputs, outputs, ann).sqrt()
            rows.append(torch.stack([spent, squared, relative]))
        operations, squared, relative = torch.cat(rows, 1).mean(1).tolist()
        predicted = self.laws.totals(allocations)
        return Measured(name, predicted, (operations, squared, relative))


def squared_error(judge: Measure, outputs: Sequence[Tensor], ann: Sequence[Tensor]) -> Tensor:
    """Of each image, [N], in units of the ANN's outputs."""
    pairs = zip(judge(outputs, units=ann), judge(ann), strict=True)
    return torch.stack([(y - e).square().flatten(1).sum(1) for y, e in pairs]).sum(0)


def _break_even(converted: Converted, pictures: Sequence[Picture]) -> dict[str, float]:
    """Operations per MAC at which SNN and ANN need the same energy, on the first photograph."""
    observer = Observer(converted.network(), converted.graph, converted.spec)
    seen = next(iter(observer.observe([pictures[0].source], 1, (1,), want=())))
    work, size = CostModel.of(converted).observed(seen, 1)
    chosen = [account for account in accounts() if account.key in ACCOUNTS]
    return {account.name: account.break_even(work, size) for account in chosen}
