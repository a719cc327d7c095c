"""The result of a detection: boxes of one image, their costs, and how to draw and write them."""

import csv
import importlib
import io
import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, cast, overload

import numpy as np
from PIL import Image
from torch import Tensor

from spiking_yolo.data.images import Placement
from spiking_yolo.decode.boxes import (
    Boxes,
    Detections,
    Several,
    counted,
    is_several,
    listed,
    positions,
)
from spiking_yolo.decode.selection import check_count, check_flags
from spiking_yolo.decode.tracking import NO_TRACK, Tracker
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import json_text
from spiking_yolo.io.names import file_name, printable
from spiking_yolo.observe import Observation, mean_rate
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.readout import Quiet

_COLUMNS: tuple[str, ...] = (
    "image",
    "T",
    "class_id",
    "class",
    "confidence",
    "x1",
    "y1",
    "x2",
    "y2",
)
_IN_REPR = 5  # boxes


class Box(NamedTuple):
    """One box.

    Attributes:
        xyxy: Corners x1, y1, x2, y2 in pixels of the image.
        confidence: In 0..1.
        class_id: Index of the class.
        name: Name of the class.
        track_id: Of the object in a video; None where nothing is tracked, or of a box in no track.
    """

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    name: str
    track_id: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The boxes of one image and what they cost; a sequence of `Box`, best first.

    Attributes:
        image: The image, uint8 [H, W, 3] RGB, upright; boxes are in its pixels.
        path: Its file; None if it was given as pixels.
        names: Class names, by id.
        method: Name of the conversion method; "ann" for the original network.
        T: Timesteps; 0 for the ANN, which has no spikes and no steps.
        detections: The boxes after T steps.
        placement: Where the image lies in the input of the network.
        seconds: Wall time of reading, simulating and decoding.
        steps: t -> boxes, for the requested steps and T.
        simulated: Steps that were simulated; fewer than T if the rest would change nothing.
        quiet: Since when nothing changes, and until when; see also `settled`.
        spikes_by_layer: Spikes of each layer.
        neurons_by_layer: Neurons of each layer.
        activations: Activations of the ANN.
        sent: Events that the neurons sent, by counting: "spikes", "digits" and "messages".
        pooled: Those that max poolings sent, which are events of neurons, merged.
        operations: Synaptic operations by counting.
        counting: The counting of this method.
        macs: Multiply-accumulates of one pass of the ANN.
        analogue_macs: Those of layers that receive analogue values.
        updates: Neurons updated, summed over the steps.
        active_steps: t -> steps until nothing was sent any more, for the requested steps and T: the
            last one in which a neuron sent something, with those of a preparation; in rate coding
            all.
        frame: Number of the frame in a video, from 0; None for an image.
        time: Time of the frame in seconds.
        fresh: Whether the network's state started anew for this frame.
        cut: Whether this frame shows another scene than the one before.
        maps: t -> layer -> spikes so far per neuron at each position of the network input, [h, w],
            if requested.
        remark: "weights tuned without labels", of a method that does that.

    Example:
        >>> result = SpikingYOLO().detect("dog.jpg", T=1)
        >>> for box in result:
        ...     print(box.name, box.confidence, box.xyxy)
    """

    image: np.ndarray
    path: str | None
    names: tuple[str, ...]
    method: str
    T: int
    detections: Detections
    placement: Placement
    seconds: float
    steps: dict[int, Detections] = field(default_factory=dict)
    simulated: int = 0
    quiet: Quiet | None = None
    spikes_by_layer: dict[str, float] = field(default_factory=dict)
    neurons_by_layer: dict[str, int] = field(default_factory=dict)
    activations: int = 0
    sent: dict[str, float] = field(default_factory=dict)
    pooled: dict[str, float] = field(default_factory=dict)
    operations: dict[str, float] = field(default_factory=dict)
    counting: str = "spikes"
    macs: int = 0
    analogue_macs: int = 0
    updates: float = 0.0
    active_steps: dict[int, int] = field(default_factory=dict)
    frame: int | None = None
    time: float = 0.0
    fresh: bool = True
    cut: bool = False
    maps: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    remark: str = ""

    @classmethod
    def of(cls, seen: Observation, names: tuple[str, ...], recipe: Recipe) -> "Result":
        """The result of an observation of the spiking network."""
        seconds = seen.seconds
        return cls(
            **_of_image(seen, names),
            seconds=seconds.read + seconds.network + seconds.decode,
            method=recipe.name,
            T=seen.T,
            detections=seen.last.boxes,
            steps={t: step.boxes for t, step in seen.steps.items()},
            simulated=seen.simulated,
            quiet=seen.quiet,
            spikes_by_layer=seen.last.spikes,
            neurons_by_layer=seen.neurons_by_layer,
            activations=seen.activations,
            sent=seen.last.sent,
            pooled=seen.last.pooled,
            operations=seen.last.operations,
            counting=recipe.counting,
            macs=seen.macs,
            analogue_macs=seen.analogue_macs,
            updates=seen.last.updates,
            active_steps={t: step.active_steps for t, step in seen.steps.items()},
            maps={t: step.maps for t, step in seen.steps.items() if step.maps},
            remark=recipe.remark,
        )

    @classmethod
    def of_ann(cls, seen: Observation, names: tuple[str, ...]) -> "Result":
        """The result of the ANN in an observation."""
        seconds = seen.seconds
        return cls(
            **_of_image(seen, names),
            seconds=seconds.read + seconds.ann + seconds.ann_decode,
            method="ann",
            T=0,
            detections=seen.ann_boxes,
        )

    def tracked(self, tracker: Tracker) -> "Result":
        """The same frame of a video with the ids of its objects: see Tracker."""
        boxes = tracker.update(self.detections, self.cut)
        steps = self.steps | ({self.T: boxes} if self.T in self.steps else {})
        return replace(self, detections=boxes, steps=steps)

    def __len__(self) -> int:
        return len(self.detections)

    def __iter__(self) -> Iterator[Box]:
        return iter(_boxes(self.detections, self.names))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Box: ...
    @overload
    def __getitem__(self, index: slice) -> list[Box]: ...
    @overload
    def __getitem__(self, index: Several) -> "Result": ...
    def __getitem__(self, index: SupportsIndex | slice | Several) -> "Box | list[Box] | Result":
        """One box, a list of them, or by a mask or positions a Result with these alone.

        Its costs are still those of the image, and its boxes at earlier steps are all there.
        """
        if isinstance(index, slice):
            return _boxes(self.detections, self.names)[index]
        if is_several(index):
            chosen = self.detections.take(positions(index, len(self)))
            steps = self.steps | ({self.T: chosen} if self.T in self.steps else {})
            return replace(self, detections=chosen, steps=steps)
        return _boxes(self.detections, self.names)[operator.index(cast(SupportsIndex, index))]

    def __repr__(self) -> str:
        boxes = list(self)
        labels = [f"{box.name} {box.confidence:.2f}" for box in boxes[:_IN_REPR]] + ["..."] * (
            len(boxes) > _IN_REPR
        )
        count = "1 box" if len(boxes) == 1 else f"{len(boxes) or 'no'} boxes"
        cost = f"T={self.T}, {self._events()}" if self.T else "ANN"
        if self.remark:
            cost += f"; {self.remark}"
        return f"{count}{': ' * bool(boxes)}{', '.join(labels)}; {cost}"

    @property
    def xyxy(self) -> Tensor:
        """Corners x1, y1, x2, y2 in pixels of the image, float32 [n, 4], best first."""
        return self.detections.xyxy

    @property
    def boxes(self) -> Boxes:
        """The boxes by the names of Ultralytics: xyxy, conf, cls, id, xywh, xyxyn, xywhn."""
        height, width = self.image.shape[:2]
        return Boxes(self.detections, (height, width))

    @property
    def xywhn(self) -> Tensor:
        """Centre, width and height as fractions of the image, float32 [n, 4]."""
        return self.boxes.xywhn

    @property
    def confidence(self) -> Tensor:
        """Confidence of each box, float32 [n]."""
        return self.detections.confidence

    @property
    def class_id(self) -> Tensor:
        """Indices into `names`, int64 [n]."""
        return self.detections.class_id

    @property
    def track_id(self) -> Tensor | None:
        """Ids of the tracks, int64 [n], -1 for a box in none; None where nothing is tracked."""
        return self.detections.track_id

    @property
    def settled(self) -> int | None:
        """The step after which no later one changes anything, however large T; None where that is
        not certain.

        Rate coding never settles, and a method that refines its spikes only after the last
        refinement.
        """
        return self.quiet and self.quiet.settled

    @property
    def spikes(self) -> float:
        """Spikes that the neurons of all layers sent; a burst of n counts n."""
        return sum(self.spikes_by_layer.values())

    @property
    def mean_rate(self) -> float:
        """Spikes per neuron and timestep until nothing was sent any more, see `active_steps`."""
        neurons = sum(self.neurons_by_layer.values())
        return mean_rate(self.spikes, neurons, self.active_steps.get(self.T, 0))

    @property
    def operations_per_mac(self) -> float:
        """Synaptic operations, as this method counts them, per multiply-accumulate of the ANN."""
        return self.operations[self.counting] / self.macs if self.T else 0.0

    def _events(self) -> str:
        count = self.spikes if self.counting == "spikes" else self.sent[self.counting]
        return (
            f"{count / 1e6:.1f} M {self.counting}"
            if count >= 1e6
            else f"{count:,.0f} {self.counting}"
        )

    def plot(
        self,
        title: str | None = None,
        *,
        line_width: int | None = None,
        hide_labels: bool = False,
        hide_conf: bool = False,
    ) -> np.ndarray:
        """Draw the boxes.

        Args:
            title: Text above the picture, which it makes higher.
            line_width: Of the boxes in pixels; by default as the size of the picture needs.
            hide_labels: Draw the boxes alone.
            hide_conf: Write the class alone.

        Returns:
            A picture, uint8 [H, W, 3] RGB.

        Raises:
            UserError: `line_width` is no whole number of at least 1, or a flag is none.
        """
        from spiking_yolo.draw.boxes import draw_detections

        check_flags(hide_labels=hide_labels, hide_conf=hide_conf)
        if line_width is not None:
            line_width = check_count("line_width", line_width)
        return draw_detections(
            self.image,
            self.detections,
            self.names,
            title,
            line_width=line_width,
            hide_labels=hide_labels,
            hide_conf=hide_conf,
        )

    def save(self, path: str | Path, **style: Any) -> None:
        """Write the image with its boxes to a .png or .jpg.

        Args:
            path: The file.
            style: As of `plot`: title, line_width, hide_labels, hide_conf.

        Raises:
            UserError: The name has no such ending, or the file cannot be written.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise UserError(f"the picture needs a path such as dog.png, not {path!r}")
        Image.init()
        if Image.EXTENSION.get(Path(path).suffix.lower()) not in Image.SAVE:
            raise UserError(
                f"cannot save a picture as {path}: give a name that ends in .png or .jpg"
            )
        with atomic_write(path) as temporary:
            Image.fromarray(self.plot(**style)).save(temporary, quality=95)

    def save_txt(self, path: str | Path, save_conf: bool = False) -> None:
        """Write a line per box as YOLO's labels have it: class, centre x, centre y, width, height.

        They are fractions of the image; with `save_conf` the confidence follows.

        Raises:
            UserError: The file cannot be written.
        """
        text = ""
        for class_id, box, confidence in zip(
            self.class_id.tolist(), self.xywhn.tolist(), self.confidence.tolist(), strict=True
        ):
            numbers = [*box, confidence] if save_conf else box
            text += " ".join([str(class_id), *(f"{number:.6f}" for number in numbers)]) + "\n"
        with atomic_write(path) as temporary:
            temporary.write_text(text)

    def save_crop(self, folder: str | Path, name: str | None = None) -> list[Path]:
        """Write what is inside of each box to FOLDER/CLASS/NAME-N.jpg.

        Args:
            folder: Made where it is missing.
            name: By default that of the image's file. N counts the boxes of the image from 1.

        Returns:
            The files; a box without a pixel has none.

        Raises:
            UserError: A file cannot be written.
        """
        stem = name or (Path(self.path).stem if self.path else "image")
        height, width = self.image.shape[:2]
        paths: list[Path] = []
        for number, box in enumerate(self, 1):
            left, top = (max(0, math.floor(side)) for side in box.xyxy[:2])
            right, bottom = (math.ceil(side) for side in box.xyxy[2:])
            inside = self.image[top : min(bottom, height), left : min(right, width)]
            if inside.size:
                path = Path(folder) / file_name(box.name) / f"{file_name(stem)}-{number}.jpg"
                with atomic_write(path) as temporary:
                    Image.fromarray(inside).save(temporary, quality=95)
                paths.append(path)
        return paths

    def show(self) -> None:
        """Show the image with its boxes: below the cell of a notebook, else in the system's
        viewer.
        """
        from spiking_yolo.draw.notebook import display_inline

        if not display_inline(self):
            Image.fromarray(self.plot()).show()

    def _repr_html_(self) -> str:
        """What a notebook displays: the picture, or a slider over the recorded timesteps."""
        from spiking_yolo.draw.notebook import CELL_SIDE, figure_html, slider_html

        small = self.shrunk(CELL_SIDE)
        if len(self.steps) < 2:
            return figure_html(small.plot(), self._caption())
        return slider_html(small.image, small.steps, self.names, self._caption(), repr(self))

    def _repr_png_(self) -> bytes:
        """The picture where a notebook is exported to a format without HTML."""
        from spiking_yolo.draw.notebook import CELL_SIDE

        png = io.BytesIO()
        Image.fromarray(self.shrunk(CELL_SIDE).plot()).save(png, "png")
        return png.getvalue()

    def _caption(self) -> str:
        """Its file, and what was found; for a cell."""
        name = printable(Path(self.path).name) if self.path else "image"
        if self.frame is not None:
            name = f"frame {self.frame}"
        return f"{name}: {self.counts()}"

    def summary(self, steps: Iterable[int] | None = None) -> str:
        """One line for the image and one for each of `steps`: by default all steps before T."""
        height, width = self.image.shape[:2]
        first = (
            f"{printable(self.path or 'image')}: {width}x{height},"
            f" {listed(self.detections, self.names)}; "
        )
        if self.T:
            quiet = (
                f" ({self.quiet})" if self.quiet is not None and self.quiet.since < self.T else ""
            )
            first += (
                f"T={self.T}{quiet}, {self._events()}, {self.operations_per_mac:.2f} operations per"
                " MAC; "
            )
            if self.remark:
                first += f"{self.remark}; "
            duration = (
                f"{1e3 * self.seconds:.0f} ms, {1e3 * self.seconds / self.simulated:.1f} ms per"
                " step"
            )
        else:
            duration = f"ANN; {1e3 * self.seconds:.0f} ms"
        steps = sorted(self.steps.keys() - {self.T}) if steps is None else steps
        return "\n".join(
            [first + duration, *(f"  T={t}: {listed(self.steps[t], self.names)}" for t in steps)]
        )

    def counts(self, t: int | None = None) -> str:
        """Objects by class, such as "dog, 2 x car", after timestep t or the last one; the most
        confident class comes first.
        """
        return counted(self.detections if t is None else self.steps[t], self.names)

    def to_dict(self, steps: Iterable[int] | None = None) -> dict[str, Any]:
        """The content of `to_json`; for a frame of a video also its number and further costs.

        Args:
            steps: Timesteps to list besides T; by default all.
        """
        height, width = self.image.shape[:2]
        chosen = self.steps if steps is None else {*steps, self.T}
        by_step: list[dict[str, Any]] = []
        for t in sorted(chosen):
            by_step.append({"T": t, "detections": _entries(self.steps[t], self.names)})
        content: dict[str, Any] = {
            "image": self.path,
            "width": width,
            "height": height,
            "T": self.T,
            "method": self.method,
            "detections": _entries(self.detections, self.names),
            "spikes": self.spikes,
            "mean_rate": self.mean_rate,
            "sent": self.sent,
            "pooled": self.pooled,
            "operations": self.operations,
            "macs": self.macs,
            "steps": by_step,
        }
        if self.remark:
            content["remark"] = self.remark
        if self.frame is not None:
            for name in ("frame", "time", "fresh", "cut", "analogue_macs", "updates"):
                content[name] = getattr(self, name)
        return content

    def to_json(self) -> str:
        """Boxes at every timestep and costs, as JSON; boxes in pixels, not rounded."""
        return json_text(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """CSV with one line per box: image, T, class_id, class, confidence, x1, y1, x2, y2, and
        where objects are tracked track_id.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows())
        return text.getvalue()

    def to_df(self) -> Any:
        """The rows of `to_csv` as a pandas DataFrame.

        Raises:
            UserError: pandas is not installed.
        """
        return _optional("pandas", "to_df").DataFrame(self._rows(), columns=list(self._columns))

    def to_coco(
        self, image_id: int = 0, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a COCO results file: image_id, category_id, bbox (x, y, width, height in pixels)
        and score.

        Args:
            image_id: The id of this image in the annotations.
            category_ids: The category of each class; -1 drops a class. Default: COCO's own if the
                network has COCO's 80 classes, else the ids of the classes.

        Raises:
            UserError: `category_ids` does not have one category per class.
        """
        from spiking_yolo.data.coco import COCO_IDS
        from spiking_yolo.metrics.coco import to_coco

        if category_ids is None:
            category_ids = range(len(self.names))
            ends = self.names[0], self.names[-1]
            if len(self.names) == len(COCO_IDS) and ends == ("person", "toothbrush"):
                category_ids = COCO_IDS
        if len(category_ids) != len(self.names):
            raise UserError(
                f"category_ids: {len(category_ids)} for {len(self.names)} classes; give one per"
                " class"
            )
        return to_coco(self.detections, image_id, category_ids)

    def to_supervision(self) -> Any:
        """The boxes as supervision.Detections; class names are in `data`, method and costs in
        `metadata`.

        Raises:
            UserError: supervision is not installed.
        """
        return _optional("supervision", "to_supervision").Detections(
            xyxy=self.xyxy.numpy(),
            confidence=self.confidence.numpy(),
            class_id=self.class_id.numpy(),
            tracker_id=None if self.track_id is None else self.track_id.numpy(),
            data={"class_name": np.array([box.name for box in self], dtype=str)},
            metadata={
                "method": self.method,
                "T": self.T,
                "spikes": self.spikes,
                "mean_rate": self.mean_rate,
                **({"remark": self.remark} if self.remark else {}),
            },
        )

    def shrunk(self, side: int) -> "Result":
        """The same result for a copy of the image whose longer side has at most `side` pixels."""
        height, width = self.image.shape[:2]
        scale = side / max(height, width)
        if scale >= 1:
            return self
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BOX))
        ratio = self.xyxy.new_tensor([size[0] / width, size[1] / height] * 2)
        return replace(
            self,
            image=small,
            placement=replace(self.placement, image=size),
            detections=replace(self.detections, xyxy=self.xyxy * ratio),
            steps={t: replace(d, xyxy=d.xyxy * ratio) for t, d in self.steps.items()},
        )

    @property
    def _columns(self) -> tuple[str, ...]:
        return _COLUMNS if self.track_id is None else (*_COLUMNS, "track_id")

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for box in self:
            values = (self.path, self.T, box.class_id, box.name, box.confidence, *box.xyxy)
            if self.track_id is not None:
                values = (*values, box.track_id)
            rows.append(dict(zip(self._columns, values, strict=True)))
        return rows


class Results(list[Result]):
    """The results of several images, which a notebook displays as a grid."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> "Results": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Result | Results":
        chosen = super().__getitem__(index)
        return Results(chosen) if isinstance(chosen, list) else chosen

    def _repr_html_(self) -> str:
        from spiking_yolo.draw.notebook import MOST_TILES, TILE_SIDE, grid_html

        tiles: list[tuple[np.ndarray, str]] = []
        for result in self[:MOST_TILES]:
            tiles.append((result.shrunk(TILE_SIDE).plot(), result._caption()))
        return grid_html(tiles, len(self) - len(tiles))


def _of_image(seen: Observation, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "image": seen.input.image,
        "path": seen.input.path,
        "names": names,
        "placement": seen.input.placement,
        "frame": seen.input.frame,
        "time": seen.input.time,
        "fresh": seen.fresh,
        "cut": seen.cut,
    }


def _boxes(detections: Detections, names: Sequence[str]) -> list[Box]:
    track_ids: list[int | None] = [None] * len(detections)
    if detections.track_id is not None:
        track_ids = [None if one == NO_TRACK else one for one in detections.track_id.tolist()]
    rows = zip(
        detections.xyxy.tolist(),
        detections.confidence.tolist(),
        detections.class_id.tolist(),
        track_ids,
        strict=True,
    )
    return [
        Box(tuple(xyxy), confidence, c, names[int(c)], track) for xyxy, confidence, c, track in rows
    ]


def _entries(detections: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for box in _boxes(detections, names):
        entry = {"class_id": box.class_id, "class": box.name, "confidence": box.confidence}
        if detections.track_id is not None:
            entry["track_id"] = box.track_id
        entries.append({**entry, "box_xyxy": list(box.xyxy)})
    return entries


def _optional(package: str, method: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(f"{method}() needs {package}: pip install {package}") from None
