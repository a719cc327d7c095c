"""Clocks: runs beside a reference, so that ratios hold on a machine that others use too."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import torch

# Seconds in which threads that wait for more work of one library stop spinning.
PAUSE = 0.05


@dataclass(frozen=True)
class Timing:
    """Runs of one case.

    Attributes:
        seconds: Of each run.
        reference: Seconds of one call of the reference beside each run.
        steps: Timesteps of a run.
    """

    seconds: tuple[float, ...]
    reference: tuple[float, ...]
    steps: int = 1

    @property
    def ratios(self) -> list[float]:
        """One step as a multiple of the reference, for each run."""
        return [s / self.steps / r for s, r in zip(self.seconds, self.reference, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios, which a machine that is busy for a while does not move."""
        return median(self.ratios)

    def figures(self) -> dict[str, Any]:
        """As benchmark.json holds them.

        "ratio" is of medians, "mean" of all runs together, for frames that differ; "ms" are of one
        step.
        """
        return {
            "ratio": self.ratio,
            "mean": mean(self.seconds) / mean(self.reference) / self.steps,
            "ratios": self.ratios,
            "ms": 1e3 * median(self.seconds) / self.steps,
            "ann_ms": 1e3 * median(self.reference),
            "steps": self.steps,
        }


def seconds(f: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds that f takes, with the work that it leaves on a GPU, and what it returns."""
    synchronize(device)
    start = time.perf_counter()
    value = f()
    synchronize(device)
    return time.perf_counter() - start, value


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; a CPU has done its work when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    cases: Mapping[str, Callable[[], int]],
    reference: Callable[[], Any],
    repeats: int,
    device: torch.device,
    calls: int = 3,
    pause: float = 0.0,
) -> dict[str, Timing]:
    """Time the cases in turn, `repeats` rounds of them after one that does not count.

    Args:
        cases: Name -> a run, which returns its timesteps.
        reference: Called before and after each run. The median of both counts, so that a machine
            that becomes faster or slower favours neither side.
        repeats: Runs of each case.
        device: That the runs use.
        calls: Of the reference, before and after a run.
        pause: Seconds to wait between a run and the reference, see PAUSE.
    """

    def referred() -> list[float]:
        time.sleep(pause)
        times = [seconds(reference, device)[0] for _ in range(calls)]
        time.sleep(pause)
        return times

    runs: dict[str, list[float]] = {name: [] for name in cases}
    beside: dict[str, list[float]] = {name: [] for name in cases}
    steps = dict.fromkeys(cases, 1)
    before = referred()
    for turn in range(repeats + 1):
        for name, case in cases.items():
            duration, steps[name] = seconds(case, device)
            after = referred()
            if turn:
                runs[name].append(duration)
                beside[name].append(median(before + after))
            before = after
    return {name: Timing(tuple(runs[name]), tuple(beside[name]), steps[name]) for name in cases}
