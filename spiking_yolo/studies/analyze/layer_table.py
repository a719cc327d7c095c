"""What is printed of an analysis: one line per layer, one per method, and sentences."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from spiking_yolo.io.tables import WIDTH, columns, percent
from spiking_yolo.studies.analyze.chain import OWN
from spiking_yolo.studies.analyze.cost import MethodCost
from spiking_yolo.studies.analyze.run import Analysis
from spiking_yolo.studies.analyze.totals import short

_ERRORS = ("error", "clip", "quant", "spike", "below", "uneven")
_HEAD = [*_ERRORS, "sat", "silent", "dead", "SIN16", "SIN", "rate", "spikes"]


def layer_table(analysis: Analysis) -> str:
    """One line per layer, of at most 100 columns; NOTE explains the columns."""
    rows = [_HEAD]
    for layer in analysis.layers:
        norms = layer.norms()
        errors = (layer.relative_error, *(norms[name] for name in (*OWN, "inherited", "uneven arrival")))
        cells = [percent(value) for value in (*errors, layer.saturated / layer.sites)]
        cells += [str(layer.count("silent")), str(layer.count("dead"))]
        cells += [percent(layer.sin(16)), percent(layer.sin(layer.T)), f"{layer.rate:.3f}"]
        rows.append([*cells, _compact(layer.spikes[layer.T] / layer.images)])
    room = WIDTH - sum(2 + max(len(row[i]) for row in rows) for i in range(len(_HEAD)))
    names = ["layer", *(_cut(short(layer.name), max(room, 5)) for layer in analysis.layers)]
    return columns([[name, *row] for name, row in zip(names, rows, strict=True)])


NOTE = """error: norm of the difference to the ANN, in % of the ANN activation's norm. Its parts, as norms:
clipping, quantisation, spike-inherent, and what comes from below, of which uneven arrival. sat: %
of neurons at their highest rate. silent: channels that the ANN uses and that never fired; dead:
channels that the ANN does not use. SIN: % of inactivated neurons that fired, by t = 16 and in
all. Here neurons stand in front of max pooling (neuron.pool_first=false): layers compare one to
one with the ANN's."""


def cost_table(costs: Mapping[str, MethodCost]) -> str:
    """Spikes and error of the output by method and timestep, each method as the tools run it."""
    times = sorted(next(iter(costs.values())).spikes)
    rows = [["method", *(f"spikes T={t}" for t in times), *(f"error T={t}" for t in times)]]
    for name, cost in costs.items():
        rows.append([name, *(_compact(cost.spikes[t]) for t in times), *(_number(cost.error[t]) for t in times)])
    return columns(rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value < 10 else f"{value:.3g}"


def _compact(count: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count:.3g}"


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[1 - room :]


def wrapped(words: Sequence[str]) -> str:
    """Sentences as lines that fit the width."""
    return "\n".join(textwrap.fill(line, WIDTH, break_on_hyphens=False, subsequent_indent="  ") for line in words)
