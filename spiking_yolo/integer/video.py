"""A video, frame by frame: neurons remember what they have sent, and only changes travel."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.data.noise import NoiseFilter
from spiking_yolo.errors import UserError
from spiking_yolo.graph import own_dtypes
from spiking_yolo.integer.library import threads
from spiking_yolo.integer.network import IntegerNetwork, Reference
from spiking_yolo.integer.state import State
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.readout import Network, Run

# Two frames that have nothing in common differ by twice the variance of one.
UNLIKE = 1.0


def check_lossless(recipe: Recipe) -> None:
    """Raise UserError unless a video of this method can be lossless."""
    if not recipe.keeps_frames:
        raise UserError(f"{recipe.label} computes every frame of a video anew: leave lossless out")


class Stream:
    """A video, frame by frame: stream(x) -> Run, with the costs of this frame alone.

    The first frame costs what a photograph costs. The state starts anew for a frame of another
    size, and at a cut (see `unlike`), because cancelling the old scene would cost as much again. A
    frame that resembles the one before but costs more than a first frame is reported as a cut too,
    in hindsight, unless the stream is lossless. Whole numbers do not drift, however long the video.
    Without recipe.keeps_frames every frame is a first one.

    Args:
        network: What computes the frames.
        T: Timesteps per frame, of networks that need several.
        lossless: Whether every frame has, to the bit, the outputs that it has as a first frame:
            without a dead zone, and without the filter of noise.

    Raises:
        UserError: lossless, and the method keeps no state.
    """

    def __init__(self, network: Network, T: int = 1, lossless: bool = False):
        self.network, self.T, self.lossless = network, T, lossless
        self._recipe = network.recipe
        if lossless:
            check_lossless(self._recipe)
        self.reset()

    def reset(self) -> None:
        """The next frame is the first of a video, perhaps of another network."""
        self._state: State | Reference | None = None
        # The image as transmitted so far.
        self._image: Tensor | None = None
        self._noise: NoiseFilter | None = None
        # Operations of the last fresh frame.
        self._first = 0.0

    @own_dtypes()
    @torch.no_grad()
    def __call__(self, x: Tensor, **options: Any) -> Run:
        """Compute the next frame.

        Args:
            x: The frame, uint8 [N, 3, H, W]; N videos at once share cuts.
            **options: steps and maps, as of `run`.
        """
        if not isinstance(self.network, IntegerNetwork) or not self._recipe.keeps_frames:
            return self.network.run(x, self.T, **options)
        with threads(1):
            x, image = self.network.plan.parameters.as_bytes(x), self._image
            cut = image is not None and (x.shape != image.shape or unlike(x, image))
            # The caller may write to x later.
            x = x.clone() if cut or self._noise is None else self._noise(x)
        if image is None or cut:
            return replace(self._start(x, options), cut=cut)
        self._image = x
        dead_zone = 0.0 if self.lossless else self._recipe.neuron.dead_zone
        later = {"state": self._state, "dead_zone": dead_zone, "lossless": self.lossless}
        run = self.network.run(x, self.T, **later, **options)
        dear = self._operations(run) > self._first and not self.lossless
        return replace(run, fresh=False, cut=dear)

    def _start(self, x: Tensor, options: dict[str, Any]) -> Run:
        """A first frame."""
        assert isinstance(self.network, IntegerNetwork)
        self._image, self._noise = x, None
        if self._recipe.encoding.denoise and not self.lossless:
            self._noise = NoiseFilter(x)
        if self._state is None or self._state.images != len(x):
            self._state = self.network.start(len(x))
        self._state.restart()
        run = self.network.run(x, self.T, state=self._state, **options)
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
