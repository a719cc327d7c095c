"""Is it worth it? Where a spiking network's energy meets that of the ANN."""

from collections.abc import Sequence
from dataclasses import dataclass

from spiking_yolo.metrics.energy import EnergyCosts, Work
from spiking_yolo.studies.evaluate.rows import Row, Table

ACCOUNTS = ("optimistic", "conservative")


@dataclass(frozen=True)
class BreakEven:
    """Where the spiking network's energy falls below `budget` mJ of `rival`.

    T, measured_rate: of the longest run measured. rate: mean spikes per neuron and step below which it uses less in T
    steps, with as many operations per spike as measured; negative: never. until: the T up to which it uses less, by
    linear interpolation between the measured ones; None: at every T measured.
    """

    rival: str
    account: str
    budget: float
    T: int
    measured_rate: float
    rate: float
    until: float | None

    def text(self) -> str:
        if self.rate <= 0:
            verdict = "never: what does not depend on spikes costs more already"
        else:
            reach = f"all T measured, up to {self.T}" if self.until is None else f"T <= {self.until:.1f}"
            verdict = f"{reach}; at T={self.T} below {self.rate:.4f} spikes/neuron/step ({self.measured_rate:.4f})"
        return f"{self.rival} ({self.budget:.2f} mJ), {self.account}: {verdict}"


def break_even(table: Table, costs: EnergyCosts) -> list[BreakEven]:
    """For the float ANN, and the 8-bit one where it was evaluated, under both accounts."""
    rivals = {"ANN": table.ann["energy_mJ"]}
    rivals |= {f"ANN {row['bits']} bit": row["energy_mJ"] for row in table.baseline if row["bits"] == 8}
    last = table.steps[-1]
    work = table.works[str(last["T"])]
    results = []
    for rival, budget in rivals.items():
        for account in ACCOUNTS:
            operations = work.break_even_operations(costs, budget, account == "conservative")
            per_spike = last["sops_per_image"] / last["spikes_per_image"] if last["spikes_per_image"] else 0.0
            rate = operations / per_spike / (work.neurons * work.t) if per_spike else float("inf")
            until = crossing(table.steps, f"energy_mJ_{account}", start(work, costs), budget)
            results.append(BreakEven(rival, account, budget, last["T"], last["mean_rate"], rate, until))
    return results


def start(work: Work, costs: EnergyCosts) -> float:
    """mJ before the first spike: what analogue layers cost."""
    return Work(0, 0, work.analogue_macs, 0).optimistic(costs)


def crossing(steps: Sequence[Row], key: str, before: float, budget: float) -> float | None:
    """The T at which the energy, linear between (0, before) and the rows, first passes the budget; None: never."""
    t, energy = 0.0, before
    if energy > budget:
        return 0.0
    for row in steps:
        if row[key] > budget:
            return t + (row["T"] - t) * (budget - energy) / (row[key] - energy)
        t, energy = float(row["T"]), row[key]
    return None
