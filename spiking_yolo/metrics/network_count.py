"""What a spiking network of any library did for an image: by layer, in total, as a table."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.json import json_text
from spiking_yolo.io.tables import columns
from spiking_yolo.metrics.energy import SRAM, NetworkSize, Value, Work, accounts
from spiking_yolo.snn.counting import Counting, Counts


@dataclass(frozen=True)
class LayerCount:
    """What one convolution or linear layer received and did, per image.

    Attributes:
        name: As in `named_modules()`.
        kind: Its class.
        runs: How often it ran.
        ann_runs: How often it runs in the ANN, the same network without time.
        unit: What one spike is worth; None: the input is analogue.
        largest: Spikes of the largest input value; 0 where no event arrived.
        signed: Whether values below zero arrived.
        inputs: Input values of all runs, zeros included.
        outputs: Output values of all runs.
        weights: Number of weights; 0 if a layer above has the same ones.
        macs: Multiply-accumulates of all runs, without those on padding.
        events: Events that arrived; none if the input is analogue.
        operations: Synaptic operations: every event times the outputs that it reaches.
        effective_macs: Multiply-accumulates of analogue input values other than zero.
    """

    name: str
    kind: str
    runs: float
    ann_runs: float
    unit: float | None
    largest: int
    signed: bool
    inputs: float
    outputs: float
    weights: int
    macs: float
    events: Counts
    operations: Counts
    effective_macs: float

    @property
    def analogue(self) -> bool:
        return self.unit is None

    @property
    def ann_macs(self) -> float:
        """Multiply-accumulates of the ANN."""
        return self._in_ann(self.macs)

    def _in_ann(self, work: float) -> float:
        return work * self.ann_runs / self.runs

    @property
    def events_per_value(self) -> Counts:
        """Events per input value and run: a firing rate."""
        return Counts.of(lambda events: events / self.inputs, self.events)

    @property
    def input(self) -> str:
        """What kind of values arrived, in a word or two."""
        if self.analogue:
            return "analogue"
        if self.largest > 1:
            return f"up to {'+-' if self.signed else ''}{self.largest} spikes"
        return "signed spikes" if self.signed else "spikes"


@dataclass(frozen=True)
class NetworkCount:
    """Events, synaptic operations and multiply-accumulates of a network, per image.

    Printed, it is a table.

    Attributes:
        layers: In the order in which they ran first.
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
        return sum(layer.macs for layer in self.layers if layer.analogue)

    @property
    def events(self) -> Counts:
        """Events as they arrive: those that two layers read count twice."""
        return self._sum(lambda layer: layer.events)

    @property
    def operations(self) -> Counts:
        """Synaptic operations."""
        return self._sum(lambda layer: layer.operations)

    @property
    def operations_per_mac(self) -> Counts:
        """Synaptic operations per multiply-accumulate of the ANN."""
        return Counts.of(lambda operations: operations / self.macs, self.operations)

    def _sum(self, counts: Callable[[LayerCount], Counts]) -> Counts:
        return Counts.of(lambda *each: sum(each), *map(counts, self.layers))

    def energy(self, counting: Counting = "spikes", sram: float = SRAM) -> dict[str, float]:
        """Estimates in mJ of both networks, by account: "snn_fp32", "ann_fp32", ...

        Every output of a layer is taken for a neuron that is updated in each run, and layers with
        analogue input compute in each of their runs. See metrics.energy.Account for the formulas.

        Args:
            counting: What travels: spikes without a payload, signed powers of two ("digits"), or
                messages whose payload is multiplied.
            sram: pJ per byte.

        Raises:
            UserError: There is no such counting.
        """
        carried: dict[Counting, Value] = {
            "spikes": "none",
            "digits": "power of two",
            "messages": "any",
        }
        if counting not in carried:
            raise UserError(f"counting is spikes, digits or messages, not {counting!r}")
        outputs = sum(layer.outputs for layer in self.layers)
        neurons = sum(layer._in_ann(layer.outputs) for layer in self.layers)
        size = NetworkSize(
            macs=self.macs,
            weights=sum(layer.weights for layer in self.layers),
            inputs=sum(layer._in_ann(layer.inputs) for layer in self.layers),
            outputs=neurons,
            neurons=neurons,
        )
        work = Work(
            t=self.T,
            operations=getattr(self.operations, counting),
            events=getattr(self.events, counting),
            updates=outputs,
            analogue_macs=self.analogue_macs,
            value=carried[counting],
        )
        estimates: dict[str, float] = {}
        for account in accounts(sram):
            estimates[f"snn_{account.key}"] = account.snn(work, size)
            estimates[f"ann_{account.key}"] = account.ann(size)
        return estimates

    def to_json(self) -> str:
        """All figures as JSON: {"images", "T", "total", "layers", "energy_mJ", "uncounted"}."""
        total = {
            "macs": self.macs,
            "analogue_macs": self.analogue_macs,
            "events": self.events._asdict(),
            "operations": self.operations._asdict(),
            "operations_per_mac": self.operations_per_mac._asdict(),
        }
        layers: list[dict[str, Any]] = []
        for layer in self.layers:
            counts = {key: getattr(layer, key)._asdict() for key in ("events", "operations")}
            layers.append({**asdict(layer), **counts})
        content = {
            "images": self.images,
            "T": self.T,
            "total": total,
            "layers": layers,
            "energy_mJ": self.energy(),
            "uncounted": self.uncounted,
        }
        return json_text(content, indent=2)

    def __str__(self) -> str:
        return "\n".join([self._title(), columns(self._rows()), *self._remarks()])

    def _title(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images, means per image"
        return f"{images}, T = {self.T}"

    def _countings(self) -> tuple[str, ...]:
        """Those that differ."""
        return Counts._fields if len(set(self.operations)) > 1 else ("spikes",)

    def _rows(self) -> list[list[str]]:
        names = self._countings()
        headings = ["operations"] if len(names) == 1 else [f"in {name}" for name in names]
        rows = [["layer", "input", "runs", "MACs", "events/value", *headings, "per MAC"]]
        for layer in self.layers:
            row = [layer.name or layer.kind, layer.input, f"{layer.runs:g}", short(layer.macs)]
            if layer.analogue:
                rows.append([*row, *"-" * (len(names) + 2)])
                continue
            operations = [short(getattr(layer.operations, name)) for name in names]
            rate = f"{layer.events_per_value.spikes:.3f}"
            per_mac = f"{layer.operations.spikes / layer.ann_macs:.3f}"
            rows.append([*row, rate, *operations, per_mac])
        macs = short(sum(layer.macs for layer in self.layers))
        operations = [short(getattr(self.operations, name)) for name in names]
        per_mac = f"{self.operations_per_mac.spikes:.3f}"
        return [*rows, ["total", "", "", macs, "", *operations, per_mac]]

    def _remarks(self) -> list[str]:
        estimates = self.energy()
        remarks = [
            f"per MAC of the ANN, which has {short(self.macs)};"
            f" MACs on analogue values: {short(self.analogue_macs)}"
        ]
        table = [["energy in mJ", *(account.name for account in accounts())]]
        for network in ("snn", "ann"):
            cells = [f"{estimates[f'{network}_{account.key}']:.3g}" for account in accounts()]
            table.append([network.upper(), *cells])
        remarks.append(columns(table))
        if self.uncounted:
            remarks.append(f"not counted: {', '.join(self.uncounted)}")
        return remarks


def short(number: float) -> str:
    """A count for a table: 512, 12.34 k, 4.567 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.4g} {letter}"
    return f"{number:.4g}"
