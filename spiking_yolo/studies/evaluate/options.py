"""What an evaluation is asked for. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spiking_yolo.errors import UserError
from spiking_yolo.metrics.energy import EnergyCosts
from spiking_yolo.studies.ranges import check_range

LONGEST = 64  # timesteps where nothing is said


@dataclass(frozen=True)
class EvaluationOptions:
    """Which images, timesteps and rows an evaluation has, of a detector or of a classifier.

    T: timesteps simulated (default: the last of `steps`, or 64). steps: timesteps that are reported besides T (default:
    powers of two from 4). limit: evaluate so many images only, drawn by `seed`, which also draws the bootstrap. batch:
    images simulated together (default: 1 of a detector, 25,000 pixels of them of a classifier).
    conf, iou, max_det: which boxes count. rule: mAP as COCO or as VOC defines it. exit_conf: what early exit looks at:
    boxes above this confidence (0.25), or images whose class has more (0.5). early_exit: adds a row in which an image
    stops when its predictions have not changed for so many steps. bootstrap: resamplings of the 95 % intervals.
    mac_energy, ac_energy, exp_energy, shift_energy: see EnergyCosts, pJ.
    Raises UserError for values out of range.
    """

    T: int | None = None
    steps: tuple[int, ...] = ()
    limit: int | None = None
    seed: int = 0
    batch: int | None = None
    conf: float = 0.001
    iou: float = 0.45
    max_det: int = 100
    rule: Literal["coco", "voc"] = "coco"
    exit_conf: float | None = None
    early_exit: int = 0
    bootstrap: int = 0
    mac_energy: float = 4.6
    ac_energy: float = 0.9
    exp_energy: float = 46.0
    shift_energy: float = 0.03

    def __post_init__(self) -> None:
        check_range(self, "T limit batch max_det", 1)
        check_range(self, "bootstrap early_exit mac_energy ac_energy exp_energy shift_energy", 0)
        check_range(self, "conf iou exit_conf", 0, 1)
        if self.steps and not 1 <= min(self.steps) <= max(self.steps) <= (self.T or max(self.steps)):
            reach = f"lie in 1..{self.T} (--T)" if self.T else "start at 1"
            raise UserError(f"--steps must {reach}, not {','.join(map(str, self.steps))}")
        if self.seed and self.limit is None and not self.bootstrap:
            raise UserError("--seed draws the images of --limit and the bootstrap: give one of them, or leave it out")

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The timesteps that are reported, ascending; the last one is T."""
        T = self.T or max(self.steps, default=LONGEST)
        return tuple(sorted({*(self.steps or [2**k for k in range(2, 31) if 2**k < T]), T}))

    @property
    def energy(self) -> EnergyCosts:
        return EnergyCosts(self.mac_energy, self.ac_energy, self.exp_energy, self.shift_energy)
