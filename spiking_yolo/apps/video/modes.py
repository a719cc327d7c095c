"""The networks that are compared on a video, and what an evaluation keeps of every frame."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch

from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.video import VideoOptions
from spiking_yolo.apps.video.delta import DeltaNetwork, gates, uniform_gates
from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.mot import VideoSequence
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.log import prediction_from
from spiking_yolo.metrics.energy import NetworkSize, Value
from spiking_yolo.observe import (
    FrameNetwork,
    Input,
    Observation,
    Observer,
    Want,
    read_input,
)
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.stream import Stream


@dataclass(frozen=True)
class Bench:
    """A converted network, and what its modes cost. size: of the ANN. model: of the spiking
    network.
    """

    converted: Converted
    device: torch.device
    options: VideoOptions
    size: NetworkSize
    model: CostModel

    @classmethod
    def of(
        cls,
        converted: Converted,
        device: torch.device,
        options: VideoOptions,
    ) -> "Bench":
        """Raises UserError for a classifier, a mode that the method does not have, and a T without
        output.
        """
        recipe, spec = converted.recipe, converted.spec
        if spec.task != "detect":
            raise UserError(
                "this network is a classifier, which finds no boxes: give the weights of a detector"
            )
        if "stream" in options.modes and not recipe.keeps_frames:
            others = ",".join(mode for mode in options.modes if mode != "stream") or "reset"
            raise UserError(
                f"method {recipe.name} cannot keep its state between frames, which mode stream"
                f" does: give --modes {others}, or {_way_out(converted)}"
            )
        model = CostModel.of(converted)
        empty = torch.zeros(1, 3, spec.height, spec.width)
        run = converted.network().run(empty, min(options.T, recipe.readout.skip + 1))
        return cls(
            converted,
            device,
            options,
            model.size(run.macs, sum(run.neurons.values())),
            model,
        )

    def network(self, mode: str) -> FrameNetwork:
        """The network of a mode other than ann, which has seen no frame yet."""
        if mode == "delta":
            return self._delta()
        converted = self.converted
        if mode == "reset":
            recipe = converted.recipe.with_settings({"encoding.frames": "reset"})
            converted = replace(converted, recipe=recipe)
        network, options = converted.network(self.device), self.options
        return Stream(network, options.T, options.refresh)

    def value(self, mode: str) -> Value:
        """What an event carries."""
        return "any" if mode == "delta" else self.model.value

    def _delta(self) -> DeltaNetwork:
        converted, options, spec = self.converted, self.options, self.converted.spec
        graph = converted.graph.to(self.device)
        if options.delta_unit == "absolute":
            assert options.delta_threshold is not None  # checked by the options
            chosen = uniform_gates(graph, options.delta_threshold)
        else:
            theta = {
                name: own["theta"] for name, own in converted.neurons.items() if "theta" in own
            }
            chosen = gates(
                graph, spec.height, spec.width, theta, *delta_thresholds(converted, options)
            )
        return DeltaNetwork(graph, chosen, converted.recipe.encoding.denoise)


def delta_thresholds(converted: Converted, options: VideoOptions) -> tuple[float, float]:
    """In thetas between layers, and of the image: by default those of the spiking network."""
    recipe = converted.recipe
    own = 0.5 + recipe.neuron.hysteresis
    return own if options.delta_threshold is None else options.delta_threshold, recipe.encoding.tau


def _way_out(converted: Converted) -> str:
    if converted.recipe.differential:
        return "--set encoding.frames=keep"
    return "another --method"


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """What an evaluation keeps of a frame.

    Attributes:
        frame: Its number in the video, from 0.
        boxes: What the network of this mode sees.
        sent, events, operations, updates, analogue_macs: See StepObservation and Observation.
        error: Of all head outputs, relative to the ANN's.
        seconds: Of the network alone, without reading the frame and decoding boxes.
        fresh, cut: See Observation.
        layers: Operations of each layer, as `operations`; empty where they are not known.
    """

    frame: int
    boxes: Detections
    sent: dict[str, float]
    events: dict[str, float]
    operations: dict[str, float]
    updates: float
    analogue_macs: float
    error: float
    seconds: float
    fresh: bool
    cut: bool
    layers: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def index(self) -> int:
        return self.frame

    @classmethod
    def of(cls, seen: Observation) -> "FrameRecord":
        """What the spiking network, or another that keeps its state, makes of a frame."""
        step = seen.last
        return cls(
            frame=seen.input.frame or 0,
            boxes=step.boxes,
            sent=step.sent,
            events=step.events,
            operations=step.operations,
            updates=step.updates,
            analogue_macs=seen.analogue_macs,
            error=seen.error(seen.T),
            seconds=seen.seconds.network,
            fresh=seen.fresh,
            cut=seen.cut,
            layers=step.operations_by_layer,
        )

    @classmethod
    def of_ann(cls, seen: Observation, macs: float) -> "FrameRecord":
        """What the ANN makes of a frame, whose operations are multiply-accumulates."""
        return cls(
            frame=seen.input.frame or 0,
            boxes=seen.ann_boxes,
            sent=dict.fromkeys(Counts._fields, 0.0),
            events=dict.fromkeys(Counts._fields, 0.0),
            operations=dict.fromkeys(Counts._fields, macs),
            updates=0.0,
            analogue_macs=0.0,
            error=0.0,
            seconds=seen.seconds.ann,
            fresh=True,
            cut=False,
        )

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "FrameRecord":
        return cls(**{**content, "boxes": prediction_from(content["boxes"])})


def measure(
    bench: Bench, sequence: VideoSequence, mode: str, progress: Callable[[int], Any]
) -> list[FrameRecord]:
    """All frames that the options ask for, one after the other; progress(n) after the n-th."""
    options, spec = bench.options, bench.converted.spec
    graph = bench.converted.graph.to(bench.device)
    observer = Observer(None, graph, spec, Selection.of(options, multi_label=True))

    def inputs() -> Iterator[Input]:
        numbered = islice(enumerate(sequence.frames()), 0, None, options.every)
        for number, image in islice(numbered, options.limit_frames):
            yield read_input(image, spec, frame=number)

    records: list[FrameRecord] = []
    want: tuple[Want, ...] = ("boxes", "ann")
    if mode == "ann":
        for seen in observer.observe(inputs(), T=0, want=want):
            records.append(FrameRecord.of_ann(seen, bench.size.macs))
            progress(len(records))
    else:
        for seen in observer.follow(inputs(), bench.network(mode), want=(*want, "layers")):
            records.append(FrameRecord.of(seen))
            progress(len(records))
    return records
