"""Is it worth it? Where a spiking network's energy meets that of the ANN, in every account."""

from collections.abc import Sequence
from dataclasses import dataclass

from spiking_yolo.metrics.energy import Account
from spiking_yolo.metrics.work import Size, Work
from spiking_yolo.studies.evaluate.rows import Row, Table


@dataclass(frozen=True)
class BreakEven:
    """Where the spiking network's energy falls below `ann` mJ, in one account.

    T: of the longest run measured; operations: below so many per MAC of the ANN it uses less in T steps, measured: how
    many it had; negative: never. until: the T up to which it uses less, by linear interpolation between the measured
    ones; None: at every T measured.
    """

    account: str
    ann: float
    T: int
    measured: float
    operations: float
    until: float | None

    def text(self) -> str:
        if self.operations <= 0 or self.until == 0:
            return "never"
        return "all T" if self.until is None else f"T <= {self.until:.1f}"


def break_even(table: Table, accounts: Sequence[Account]) -> list[BreakEven]:
    """In the account "fp32" against the float ANN, in the others against the 8-bit one."""
    last = table.steps[-1]
    work, size = table.works[str(last["T"])], table.size
    return [
        BreakEven(
            account.key,
            account.ann(size),
            last["T"],
            work.operations / size.macs,
            account.break_even(work, size),
            crossing(table.steps, account.energy, start(account, work, size), account.ann(size)),
        )
        for account in accounts
    ]


def start(account: Account, work: Work, size: Size) -> float:
    """mJ before the first spike: what analogue layers cost."""
    return account.snn(Work(0, 0, analogue_macs=work.analogue_macs), size)


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
