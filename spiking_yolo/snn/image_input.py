"""What the image sends: itself or random spikes in every step, or, where it is sent once, what of it is new."""

from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import encoding
from spiking_yolo.snn.backend.active import Active, dense
from spiking_yolo.snn.backend.layout import channels_last, immediate
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.random import image_keys


class ImageInput:
    """A batch of images, [N, C, H, W], as it enters a network, and the next of the same scene after it.

    event_driven: of what has changed in a later image, keep the positions. image: what has been sent of the images so
    far, the last one but for pixels that hardly changed. shown: which of it was new in a later image, else None. keys:
    of the images, for everything that is random.
    """

    def __init__(self, recipe: Recipe, event_driven: bool):
        self._settings, self._event_driven = recipe.encoding, event_driven
        self._once = encoding.CODINGS[recipe.encoding.coding].once
        self._random = recipe.encoding.input != "analogue" or recipe.msat.confidence != "off"

    def start(self, x: Tensor) -> None:
        """Forget everything and present other images."""
        self.keys = image_keys(x) if self._random else []
        self.image: Tensor = x.clone() if self._once else channels_last(x)  # x may be written to
        self.shown: Active | None = None
        self._unsent: Tensor | Active | None = self.image
        self._fired: dict[str, Tensor] = {}

    def feed(self, x: Tensor) -> None:
        """Present the next images, of which what has changed is sent. Raises UserError where that cannot be."""
        if not self._once:
            raise UserError(
                "feeding another image needs encoding.coding=differential: start anew, or change the method"
            )
        if x.shape != self.image.shape:
            raise UserError(f"the next image must have the shape {tuple(self.image.shape)}, not {tuple(x.shape)}")
        few = immediate(x)
        change, self.image = encoding.change(x, self.image, self._settings.tau, every=not few)
        self.shown = change
        if self._unsent is not None:
            self._unsent = dense(self._unsent) + change.dense()
        elif len(change.where):
            self._unsent = change if few and self._event_driven else change.dense()

    def send(self, name: str, t: int) -> Tensor | Active | None:
        """What the node of this name sends in step t; None for nothing new."""
        if self._once:
            new, self._unsent = self._unsent, None
            return new
        sent, fired = encoding.INPUTS[self._settings.input](self.image, self._settings.seed, self.keys, name, t)
        if fired is not None:
            self._fired[name] = fired if t == 1 else self._fired[name].add_(fired)
        return sent

    def counts(self) -> dict[str, Counts]:
        """Spikes so far at each position, where it sends spikes."""
        return {name: Counts.alike(fired) for name, fired in self._fired.items()}
