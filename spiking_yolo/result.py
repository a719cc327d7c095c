"""The result of a detection: boxes of one image, their costs, and how to draw and write them."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import Boxes, Detections, Index, counted, listed
from spiking_yolo.decode.tracking import NO_TRACK
from spiking_yolo.errors import UserError, no_attribute
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.text import json_text, printable
from spiking_yolo.metrics.costs import NetworkCosts
from spiking_yolo.observe import Observation, StepObservation, mean_rate
from spiking_yolo.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Attributes of Ultralytics' results, and what does the same here.
ELSEWHERE = {
    "orig_img": "Result.image, which is RGB",
    "tojson": "Result.to_json()",
    "to_df": "pandas.DataFrame(Result.entries())",
    "to_csv": "pandas.DataFrame(Result.entries()).to_csv(FILE)",
    "verbose": "Result.summary()",
}


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The boxes of one image and what they cost: a view of an `Observation`.

    Attributes:
        seen: What was observed: all costs, by step and layer, and the image with its place in the
            input of the network.
        names: Class names, by id.
        method: Name of the conversion method; "ann" for the original network, which takes no step.
        costs: What the energy rests on besides what was observed.
        detections: The boxes after T steps, in pixels of the image, best first; see also `boxes`.

    Example:
        >>> result = SpikingYOLO().detect("dog.jpg", T=1)
        >>> for box in result.boxes:
        ...     print(result.names[int(box.cls)], float(box.conf), box.xyxy[0].tolist())
    """

    seen: Observation
    names: tuple[str, ...]
    method: str
    costs: NetworkCosts
    detections: Detections

    @classmethod
    def of(
        cls, seen: Observation, names: tuple[str, ...], recipe: Recipe, costs: NetworkCosts
    ) -> "Result":
        """The result of the spiking network in an observation."""
        return cls(seen, names, recipe.label, costs, seen.last.boxes)

    @classmethod
    def of_ann(cls, seen: Observation, names: tuple[str, ...], costs: NetworkCosts) -> "Result":
        """The result of the ANN in an observation."""
        return cls(seen.of_ann(), names, "ann", costs, seen.ann_boxes)

    def __getattr__(self, name: str) -> Any:
        """Answer an attribute of Ultralytics' class with its name here."""
        raise no_attribute("Result", name, ELSEWHERE)

    def __len__(self) -> int:
        return len(self.detections)

    def __getitem__(self, index: Index) -> "Result":
        """A result with some of the boxes: an index, a slice, positions or a mask.

        Its costs are still those of the image, and its boxes at earlier steps are all there.
        """
        return replace(self, detections=self.boxes[index].detections)

    @property
    def ann(self) -> "Result":
        """What the original network finds in the image, where `want` of the call has "ann".

        Raises:
            UserError: It has not.
        """
        if self.seen.ann is None:
            raise UserError('the ANN was not observed: give the call want=["ann"]')
        return Result.of_ann(self.seen, self.names, self.costs)

    @property
    def boxes(self) -> Boxes:
        """The boxes by the names of Ultralytics: xyxy, conf, cls, id, xywh, xyxyn, xywhn."""
        return Boxes(self.detections, self.orig_shape)

    @property
    def image(self) -> np.ndarray:
        """The image, uint8 [H, W, 3] RGB, upright."""
        assert self.seen.input.image is not None
        return self.seen.input.image

    @property
    def path(self) -> str | None:
        """The image's file; None if it was given as pixels."""
        return self.seen.input.path

    @property
    def placement(self) -> Placement:
        """Where the image lies in the input of the network."""
        assert self.seen.input.placement is not None
        return self.seen.input.placement

    @property
    def frame(self) -> int | None:
        """Number of the frame in a video, from 0; None for an image."""
        return self.seen.input.frame

    @property
    def time(self) -> float:
        """Time of the frame in seconds."""
        return self.seen.input.time

    @property
    def cut(self) -> bool:
        """Whether this frame shows another scene than the one before."""
        return self.seen.cut

    @property
    def T(self) -> int:
        """Timesteps; 0 for the ANN."""
        return self.seen.T

    @property
    def seconds(self) -> float:
        """Wall time of reading, simulating and decoding."""
        return sum(self.speed.values()) / 1e3

    @property
    def speed(self) -> dict[str, float]:
        """Milliseconds by the names of Ultralytics: preprocess, inference, postprocess."""
        spent = self.seen.seconds
        network, decode = 1e3 * spent.network, 1e3 * spent.decode
        return {"preprocess": 1e3 * spent.read, "inference": network, "postprocess": decode}

    @property
    def orig_shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        height, width = self.image.shape[:2]
        return height, width

    @property
    def steps(self) -> dict[int, Detections]:
        """t -> boxes, for the requested steps and T; empty for the ANN."""
        steps = {t: step.boxes for t, step in self.seen.steps.items()}
        if self.T in steps:
            steps[self.T] = self.detections
        return steps

    @property
    def last(self) -> StepObservation:
        """What the network sent after T steps, the ANN nothing: see StepObservation."""
        return self.seen.last

    @property
    def spikes(self) -> float:
        """Spikes that the neurons of all layers sent; a burst of n counts n."""
        return self.last.total_spikes

    @property
    def spikes_by_layer(self) -> dict[str, float]:
        """Spikes of each layer."""
        return self.last.spikes

    @property
    def neurons_by_layer(self) -> dict[str, int]:
        """Neurons of each layer; of an ON/OFF pair both count."""
        return self.seen.neurons_by_layer

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass of the ANN."""
        return self.seen.macs

    @property
    def mean_rate(self) -> float:
        """Spikes per neuron and timestep until nothing was sent any more."""
        return mean_rate(self.spikes, self.seen.neurons, self.last.active_steps)

    @property
    def operations(self) -> dict[str, float]:
        """Synaptic operations by counting: "spikes", "digits" and "messages"."""
        return self.last.operations

    @property
    def operations_per_mac(self) -> float:
        """Synaptic operations, as this method counts them, per multiply-accumulate of the ANN."""
        return self.operations.get(self.costs.counting, 0.0) / self.seen.macs

    @property
    def energy(self) -> dict[str, float]:
        """Key of a cost model, such as "int8" -> mJ: see `spiking_yolo.metrics.energy`."""
        return self.costs.energies(self.seen, self.T) if self.T else self.ann_energy

    @property
    def ann_energy(self) -> dict[str, float]:
        """The energy of one pass of the ANN; nan on a chip where it does not run."""
        return self.costs.ann_energies(self.seen)

    def _cost(self) -> str:
        if not self.T:
            return "ANN"
        return f"T={self.T}, {self.operations_per_mac:.2f} operations per MAC"

    def __repr__(self) -> str:
        if not len(self):
            return f"no boxes; {self._cost()}"
        count = "1 box" if len(self) == 1 else f"{len(self)} boxes"
        return f"{count}: {listed(self.detections, self.names)}; {self._cost()}"

    def plot(self) -> np.ndarray:
        """The image with its boxes, uint8 [H, W, 3] RGB."""
        from spiking_yolo.draw.boxes import draw_detections

        return draw_detections(self.image, self.detections, self.names)

    def save(self, path: str | Path) -> None:
        """Write the image with its boxes to a .png or .jpg.

        Raises:
            UserError: The name has no such ending, or the file cannot be written.
        """
        Image.init()
        if Image.EXTENSION.get(Path(path).suffix.lower()) not in Image.SAVE:
            raise UserError(f"cannot save a picture as {path}: let its name end in .png or .jpg")
        with atomic_write(path) as temporary:
            Image.fromarray(self.plot()).save(temporary, quality=95)

    def save_txt(self, path: str | Path, save_conf: bool = False) -> None:
        """Write a line per box as YOLO's labels have it: class, centre x, centre y, width, height.

        They are fractions of the image; with `save_conf` the confidence follows.

        Raises:
            UserError: The file cannot be written.
        """
        boxes, text = self.boxes, ""
        rows = zip(boxes.cls.tolist(), boxes.xywhn.tolist(), boxes.conf.tolist(), strict=True)
        for class_id, box, confidence in rows:
            numbers = [*box, confidence] if save_conf else box
            text += " ".join([str(class_id), *(f"{number:.6f}" for number in numbers)]) + "\n"
        with atomic_write(path) as temporary:
            temporary.write_text(text)

    def overlay(
        self, layer: str | Sequence[str] | None = None, tops: Mapping[str, float] | None = None
    ) -> "Figure":
        """The spike rates of layers over the image with its boxes, a matplotlib Figure.

        Args:
            layer: One or several keys of `spikes_by_layer`; by default the first, a middle and the
                last layer.
            tops: Scales of a video, see `spiking_yolo.draw.figure.draw_rates`.

        Raises:
            UserError: There is no such layer, or the call had no want=["maps"].

        Example:
            >>> result = SpikingYOLO(method="msat").detect("dog.jpg", T=16, want=["maps"])
            >>> result.overlay("layers_8_act").savefig("dog-rates.pdf")
        """
        from spiking_yolo.draw.figure import chosen_layers, draw_rates

        if not self.last.maps:
            raise UserError('no maps of spikes were kept: give the call want=["maps"]')
        wanted = (layer,) if isinstance(layer, str) else layer or ()
        rates = self.last.rates
        rates = {name: rates[name].numpy() for name in chosen_layers(wanted, rates)}
        how = self.names, self.figure_title, tops
        return draw_rates(self.image, rates, self.placement, self.detections, *how)

    def timeline(self) -> "Figure":
        """The spikes of each layer at every timestep, a matplotlib Figure.

        Spans of time end at the steps that were observed: `detect(image, T=16, steps=range(1, 17))`
        has a column for each.
        """
        from spiking_yolo.draw.figure import draw_timeline

        times = sorted(self.steps)
        layers = list(self.spikes_by_layer)
        sums = [[0.0] * len(layers)]
        for t in times:
            sums.append([self.seen.steps[t].spikes[name] for name in layers])
        spans = np.diff([0, *times])
        each = np.diff(np.array(sums), axis=0).T / spans
        # Timestep t is drawn around t.
        ends = [t + 0.5 for t in (0, *times)]
        return draw_timeline(each, ends, layers, "timestep", self.figure_title)

    @property
    def figure_title(self) -> str:
        """Image, method and T, for a figure."""
        name = "" if self.path is None else f"{Path(self.path).name}: "
        parts = [f"{name}{self.method}", f"T = {self.T}"]
        if self.frame is not None:
            parts.append(f"frame {self.frame}")
        return ", ".join(parts)

    def show(self) -> None:
        """Show the image with its boxes in the system's viewer."""
        Image.fromarray(self.plot()).show()

    def _repr_html_(self) -> str:
        """What a notebook displays: the picture, and below it what was found, if anything."""
        from spiking_yolo.draw.page import picture_uri

        return f'<img src="{picture_uri(self.plot())}"><br>{html.escape(repr(self))}'

    def summary(self, steps: Iterable[int] | None = None, name: str | None = None) -> str:
        """One line for the image and one for each of `steps`: by default all steps before T.

        name: Name of the image; by default its path.
        """
        height, width = self.image.shape[:2]
        seen = f"{width}x{height}, {listed(self.detections, self.names)}; {self._cost()}"
        title = printable(name or self.path or "image")
        lines = [f"{title}: {seen}; {1e3 * self.seconds:.0f} ms"]
        if steps is None:
            steps = sorted(self.steps.keys() - {self.T})
        for t in steps:
            lines.append(f"  T={t}: {listed(self._at(t), self.names)}")
        return "\n".join(lines)

    def counts(self, t: int | None = None) -> str:
        """Objects by class, such as "dog, 2 x car", after timestep t or the last one; the most
        confident class comes first.
        """
        return counted(self.detections if t is None else self._at(t), self.names)

    def _at(self, t: int) -> Detections:
        """The boxes after timestep t."""
        steps = self.steps
        if t not in steps:
            raise UserError(f"nothing was observed at T={t}: pass it to detect in steps=")
        return steps[t]

    def to_dict(self, steps: Iterable[int] | None = None) -> dict[str, Any]:
        """The content of `to_json`; for a frame of a video also its number and further costs.

        Args:
            steps: Timesteps to list besides T; by default all.
        """
        height, width = self.image.shape[:2]
        chosen = sorted(self.steps if steps is None else {*steps, self.T})
        by_step = [{"T": t, "detections": _entries(self._at(t), self.names)} for t in chosen]
        content: dict[str, Any] = {
            "image": self.path,
            "width": width,
            "height": height,
            "T": self.T,
            "method": self.method,
            "detections": self.entries(),
            "spikes": self.spikes,
            "mean_rate": self.mean_rate,
            "sent": self.last.sent,
            "pooled": self.last.pooled,
            "operations": self.operations,
            "macs": self.seen.macs,
            "steps": by_step,
        }
        if self.frame is not None:
            content |= {"frame": self.frame, "time": self.time}
            content |= {"fresh": self.seen.fresh, "cut": self.cut}
            content["analogue_macs"] = self.seen.analogue_macs
            content["updates"] = self.last.updates
        return content

    def entries(self) -> list[dict[str, Any]]:
        """Each box as `to_dict` has it: class_id, class, confidence, box_xyxy, and track_id where
        objects are tracked.
        """
        return _entries(self.detections, self.names)

    def to_json(self) -> str:
        """Boxes at every timestep and costs, as JSON; boxes in pixels, not rounded."""
        return json_text(self.to_dict(), indent=1)

    def to_supervision(self) -> Any:
        """The boxes as supervision.Detections; class names are in `data`.

        Raises:
            UserError: supervision is not installed.
        """
        found = self.detections
        tracks: np.ndarray | None = None
        if found.track_id is not None:
            tracks = found.track_id.numpy()
        try:
            from supervision import Detections as Supervised
        except ImportError:
            raise UserError("to_supervision() needs supervision: pip install supervision") from None
        return Supervised(
            xyxy=found.xyxy.numpy(),
            confidence=found.confidence.numpy(),
            class_id=found.class_id.numpy(),
            tracker_id=tracks,
            data={"class_name": np.array([self.names[k] for k in found.class_id], dtype=str)},
        )


def _entries(found: Detections, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each box as files have it."""
    entries: list[dict[str, Any]] = []
    rows = zip(found.class_id.tolist(), found.confidence.tolist(), found.xyxy.tolist(), strict=True)
    for number, (class_id, confidence, corners) in enumerate(rows):
        entry = {"class_id": class_id, "class": names[class_id], "confidence": confidence}
        if found.track_id is not None:
            track = int(found.track_id[number])
            entry["track_id"] = None if track == NO_TRACK else track
        entries.append({**entry, "box_xyxy": corners})
    return entries
