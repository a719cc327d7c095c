"""Ratios that can be trusted on a machine that others use too: each run is timed beside a reference of its own."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Runs of one case. seconds: of each run; reference: of one reference call beside it; steps: timesteps of a run."""

    seconds: tuple[float, ...]
    reference: tuple[float, ...]
    steps: int = 1

    @property
    def run(self) -> float:
        """Seconds of a run, the median."""
        return median(self.seconds)

    @property
    def ratios(self) -> list[float]:
        """One step as a multiple of the reference, for each run."""
        return [s / self.steps / r for s, r in zip(self.seconds, self.reference, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios, which a machine that is busy for a while does not move."""
        return median(self.ratios)

    @property
    def faster(self) -> float:
        """The reference as a multiple of a whole run."""
        return median(r / s for s, r in zip(self.seconds, self.reference, strict=True))


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
    progress: Callable[[str], Any] = lambda name: None,
) -> dict[str, Timing]:
    """Time the cases in turn, `repeats` rounds of them after one that does not count.

    cases: name -> a run, which returns its timesteps. reference: called `calls` times before and after each run; the
    median of both counts, so that a machine that becomes faster or slower does not favour either side.
    progress(name) is called before every run.
    """
    runs: dict[str, list[float]] = {name: [] for name in cases}
    beside: dict[str, list[float]] = {name: [] for name in cases}
    steps = dict.fromkeys(cases, 1)
    before = [seconds(reference, device)[0] for _ in range(calls)]
    for turn in range(repeats + 1):
        for name, case in cases.items():
            progress(name)
            taken, steps[name] = seconds(case, device)
            after = [seconds(reference, device)[0] for _ in range(calls)]
            if turn:
                runs[name].append(taken)
                beside[name].append(median(before + after))
            before = after
    return {name: Timing(tuple(runs[name]), tuple(beside[name]), steps[name]) for name in cases}
