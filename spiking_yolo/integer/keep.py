"""A stream that checks itself against frames computed anew, and holds the agreement asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Recipe

# Outputs of the stream, and of the same frame computed anew -> confidence of boxes: lost, the
# difference, and in total.
Compare = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[float, float, float]]
# Frames until the next check where too much was lost; from there each wait is twice as long.
SOON = 10
# Weight of what earlier checks found beside the last one.
MEMORY = 0.5
# Confidence that is taken to differ as it may, so that a few boxes do not decide.
PRIOR = 2.0
# The share of boxes that are lost is at most so many times the square of the share that differs.
LOSS = 1.5
# What must be due for a neuron to fire, 1/2 + dead zone, in thetas: least and most. The difference
# grows in proportion to it.
LEAST, MOST = 0.5, 1.5
# The factor on it from one check to the next: its exponent, least and most. One below SMALLER is a
# reason to check soon.
GAIN, DOWN, UP, SMALLER = 0.7, 0.6, 1.25, 0.9


def check_keep(keep: float | None, recipe: Recipe) -> None:
    """Raise UserError unless this method can keep so many percent; None asks for nothing."""
    if keep is None:
        return
    if not isinstance(keep, int | float) or not 50 <= keep <= 99.9:
        raise UserError(f"keep is in percent, from 50 to 99.9, such as 98, not {keep!r}")
    if not recipe.keeps_frames:
        raise UserError(f"{recipe.label} computes every frame of a video anew: leave keep out")


@dataclass
class Keeper:
    """Chooses the dead zone of a stream so that its boxes agree with those of frames computed anew.

    Boxes are lost too rarely to steer by. By how much their confidence and their place differ is
    known after a few frames, and tells how many are lost: see LOSS.

    Attributes:
        target: Share of the boxes that shall agree.
        compare: Compares outputs.
        dead_zone: Of the next frame, in thetas.
        every: Frames from one check to the next, at most.
        filters: Whether noise may be averaged out.
        agreement: Share of the boxes that agreed in the last checks; 1 where there were none.
    """

    target: float
    compare: Compare
    dead_zone: float
    every: int = 50
    filters: bool = True
    agreement: float = 1.0
    _lost: float = 0.0
    _difference: float = 0.0
    _total: float = 0.0
    _wait: int = SOON
    _waited: int = 0

    def restart(self) -> None:
        """Check soon: the scene is another one."""
        self._wait, self._waited = SOON, 0

    def due(self) -> bool:
        """Whether a later frame is checked; asked once for each."""
        self._waited += 1
        return self._waited >= min(self._wait, self.every)

    def check(self, outputs: Sequence[Tensor], anew: Sequence[Tensor]) -> bool:
        """Compare a frame with the same computed anew, and choose the dead zone.

        Returns:
            Whether enough agrees.
        """
        lost, difference, total = self.compare(outputs, anew)
        self._lost = MEMORY * self._lost + lost
        self._difference = MEMORY * self._difference + difference
        self._total = MEMORY * self._total + total
        if self._total:
            self.agreement = 1 - self._lost / self._total
        excess = self._excess(self._difference, self._total)
        factor = min(max(excess**-GAIN, DOWN), UP)
        self._wait, self._waited = 2 * self._wait, 0
        if factor < SMALLER:
            self._wait = SOON
        before = 0.5 + self.dead_zone
        fires = min(max(factor * before, LEAST), MOST)
        self.dead_zone = fires - 0.5
        # What the checks so far would have found.
        self._difference *= fires / before
        return excess <= 1

    def check_filter(self, filtered: Sequence[Tensor], anew: Sequence[Tensor]) -> None:
        """Do without the noise filter if the frame that it sends, computed anew, differs by more
        from the frame itself than is allowed.
        """
        _, difference, total = self.compare(filtered, anew)
        self.filters = self._excess(difference, total) <= 1

    def _excess(self, difference: float, total: float) -> float:
        """How many times the difference is what is allowed."""
        allowed = ((1 - self.target) / LOSS) ** 0.5
        return (difference / allowed + PRIOR) / (total + PRIOR)
