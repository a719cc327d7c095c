"""A video, frame by frame: neurons remember what they have sent, and only changes travel. A stream
can check itself against frames computed anew, and hold the agreement asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.noise import NoiseFilter
from spiking_yolo.integer.step import Frame
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.readout import Run

# What computes photographs.
Network = IntegerNetwork | SpikingNetwork
# Steps of the factor on the dead zone.
STEPS = 4
# Two frames that have nothing in common differ by twice the variance of one.
UNLIKE = 1.0

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
# The dead zone until the first check: where more is lost, it is lost for ten frames.
START = 0.2
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
        dead_zone: Of the next frame, in thetas; whatever the recipe says.
        every: Frames from one check to the next, at most.
        filters: Whether noise may be averaged out.
        agreement: Share of the boxes that agreed in the last checks; 1 where there were none.
    """

    target: float
    compare: Compare
    dead_zone: float = START
    every: int = 50
    filters: bool = True
    agreement: float = 1.0
    _lost: float = 0.0
    _difference: float = 0.0
    _total: float = 0.0
    _wait: int = SOON
    _waited: int = 0

    def restart(self) -> None:
        """Begin anew: the scene is another one."""
        self.dead_zone = START
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


class Stream:
    """A video, frame by frame: stream(x) -> Run, with the costs of this frame alone.

    The first frame costs what a photograph costs. The state starts anew for a frame of another
    size, and at a cut (see `unlike`), because cancelling the old scene would cost as much again. A
    frame that resembles the one before but costs more than a first frame is reported as a cut too,
    in hindsight. Whole numbers do not drift, however long the video. Without recipe.keeps_frames
    every frame is a first one.

    With neuron.busy the dead zone (neuron.hysteresis) follows what the frame before took: where
    little changes, smaller changes are sent too, as a video codec spends its bits.

    With a keeper some frames are computed anew as well, at the cost of both, and the stream goes on
    from there. The keeper then chooses the dead zone, and whether noise is filtered.
    """

    def __init__(self, network: Network, T: int = 1, keeper: Keeper | None = None):
        self.network, self.T, self._recipe = network, T, network.recipe
        self._keeper = keeper
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of a video."""
        self._last: Frame | None = None
        # The image as transmitted so far.
        self._image: Tensor | None = None
        self._noise: NoiseFilter | None = None
        # Operations of the last fresh frame.
        self._first = 0.0
        # Factor on the dead zone in the next frame.
        self._factor = 1.0

    @torch.no_grad()
    def __call__(self, x: Tensor, **options: Any) -> Run:
        """Compute the next frame.

        Args:
            x: The frame, uint8 [N, C, H, W]; N videos at once share cuts and dead zone.
            **options: steps and maps, as of `run`.
        """
        if not isinstance(self.network, IntegerNetwork) or not self._recipe.keeps_frames:
            return self.network.run(x, self.T, **options)
        # The caller may write to x later.
        x = self.network.parameters_of.image(x.clone())
        image = self._image
        cut = image is not None and (x.shape != image.shape or unlike(x, image))
        if image is None or cut:
            return replace(self._start(x, options), cut=cut)
        self._image = self._noise(x) if self._noise is not None else x
        dead_zone = self._factor * self._recipe.neuron.hysteresis
        if self._keeper is not None:
            dead_zone = self._keeper.dead_zone
        later = options | {"before": self._last, "dead_zone": dead_zone}
        run = self.network.run(self._image, self.T, **later)
        self._last = run.frame
        spent = self._operations(run)
        self._factor = 1.0
        if busy := self._recipe.neuron.busy * self._first:
            self._factor = min(1.0, round(STEPS * spent / busy) / STEPS)
        run = replace(run, fresh=False, cut=spent > self._first)
        if self._keeper is not None and self._keeper.due():
            return self._checked(run, x, options)
        return run

    def _checked(self, run: Run, x: Tensor, options: dict[str, Any]) -> Run:
        """The frame x computed anew, at the cost of that and of `run`, from which the next frame
        goes on unless noise is averaged out.
        """
        assert isinstance(self.network, IntegerNetwork)
        assert self._keeper is not None and self._image is not None
        anew = self.network.run(x, self.T, **options)
        outputs, expected = run.snapshots[self.T].outputs, anew.snapshots[self.T].outputs
        noisy = self._noise is not None and bool(self._noise.level.any())
        if not self._keeper.check(outputs, expected) and noisy:
            filtered = self.network.run(self._image, self.T, **options)
            self._keeper.check_filter(filtered.snapshots[self.T].outputs, expected)
            run = run.at_cost_of(filtered)
        if not self._keeper.filters:
            self._noise, noisy = None, False
        if not noisy:
            self._image, self._last = x, anew.frame
        checked = anew.at_cost_of(run)
        return replace(checked, fresh=not noisy, cut=run.cut, agreement=self._keeper.agreement)

    def _start(self, x: Tensor, options: dict[str, Any]) -> Run:
        """A first frame."""
        assert isinstance(self.network, IntegerNetwork)
        self._image, self._noise, self._factor = x, None, 1.0
        if self._keeper is not None:
            self._keeper.restart()
        if self._recipe.encoding.denoise and (self._keeper is None or self._keeper.filters):
            self._noise = NoiseFilter(self._image)
        run = self.network.run(self._image, self.T, **options)
        self._last = run.frame
        self._first = self._operations(run)
        return run

    def _operations(self, run: Run) -> float:
        """What the frame took, in the counting of the method."""
        return getattr(run.snapshots[self.T].operations, self._recipe.counting).sum().item()


def unlike(x: Tensor, sent: Tensor) -> bool:
    """Whether a frame, [N, C, H, W], shows another scene than the frame transmitted so far.

    It does if the two differ by more than the frame differs from its own mean colour.
    """
    # A sample of the pixels is enough.
    k = max(min(x.shape[2:]) // 100, 1)
    x, sent = x[:, :, ::k, ::k].float(), sent[:, :, ::k, ::k].float()
    own = (x - x.mean((2, 3), keepdim=True)).square_().sum((1, 2, 3))
    return bool(((x - sent).square_().sum((1, 2, 3)) > UNLIKE * own).any())
