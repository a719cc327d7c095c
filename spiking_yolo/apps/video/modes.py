"""The networks that are compared on a video, behind one face: a frame in, its outputs and costs
out.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.evaluate.costs import CostModel
from spiking_yolo.apps.evaluate.records import check_call
from spiking_yolo.apps.evaluate.tasks import BoxRecord, to_json
from spiking_yolo.apps.video import VideoOptions
from spiking_yolo.apps.video.delta import DeltaNetwork, Pass, gates, uniform_gates
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.output_error import relative_error
from spiking_yolo.data.images import preprocess
from spiking_yolo.data.mot import VideoSequence
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.io.files import atomic_write
from spiking_yolo.io.json import exact_json
from spiking_yolo.io.names import file_name
from spiking_yolo.metrics.energy import Size, Value
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.plan import SimulationOptions
from spiking_yolo.snn.stream import Stream

Network = Callable[[Tensor], Pass]


@dataclass(frozen=True)
class Bench:
    """A converted network, and what its modes cost. size: of the ANN. model: of the spiking
    network.
    """

    converted: Converted
    device: torch.device
    simulation: SimulationOptions
    options: VideoOptions
    size: Size
    model: CostModel

    @classmethod
    def of(
        cls,
        converted: Converted,
        device: torch.device,
        simulation: SimulationOptions,
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
            simulation,
            options,
            model.size(run.macs, sum(run.neurons.values())),
            model,
        )

    def network(self, mode: str) -> Network:
        """One that has seen no frame yet."""
        if mode == "ann":
            return self._ann()
        if mode == "delta":
            return self._delta()
        return self._spiking(keep=mode == "stream")

    def value(self, mode: str) -> Value:
        """What an event carries."""
        return "any" if mode == "delta" else self.model.value

    def _ann(self) -> Network:
        graph = self.converted.graph.to(self.device)
        macs, none = Counts.alike(self.size.macs)._asdict(), Counts.alike(0.0)._asdict()

        @torch.no_grad()
        def ann(x: Tensor) -> Pass:
            return Pass(forward(graph, x), none, macs, 0.0, 0.0)

        return ann

    def _spiking(self, keep: bool) -> Network:
        converted, options = self.converted, self.options
        if not keep:
            recipe = converted.recipe.with_settings({"encoding.frames": "reset"})
            converted = replace(converted, recipe=recipe)
        network = converted.network(self.device, simulation=self.simulation)
        stream = Stream(network, options.T, options.refresh)

        def spiking(x: Tensor) -> Pass:
            of = stream(x)
            last = of.run.snapshots[options.T]
            sent, operations = last.sent.of_image(0), last.operations.of_image(0)
            updates, analogue_macs = last.updates.item(), of.run.analogue_macs
            return Pass(last.outputs, sent, operations, updates, analogue_macs, of.fresh, of.cut)

        return spiking

    def _delta(self) -> Network:
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
        return DeltaNetwork(graph, chosen)


def delta_thresholds(converted: Converted, options: VideoOptions) -> tuple[float, float]:
    """In thetas between layers, and of the image: by default those of the spiking network."""
    recipe = converted.recipe
    own = 0.5 + recipe.neuron.hysteresis
    return own if options.delta_threshold is None else options.delta_threshold, recipe.encoding.tau


def _way_out(converted: Converted) -> str:
    encoding = converted.recipe.encoding
    return "another --method" if encoding.coding == "rate" else "--set encoding.frames=keep"


@dataclass(frozen=True)
class FrameRecord:
    """What a network found in a frame and what that cost.

    frame: its number in the video, from 0. error: of all head outputs, relative to the ANN's.
    seconds: of the network alone, without reading the frame and decoding boxes. The others as in
    Pass.
    """

    frame: int
    boxes: BoxRecord
    sent: dict[str, float]
    operations: dict[str, float]
    updates: float
    analogue_macs: float
    error: float
    seconds: float
    fresh: bool
    cut: bool


@torch.no_grad()
def measure(
    bench: Bench, sequence: VideoSequence, mode: str, progress: Callable[[int], Any]
) -> list[FrameRecord]:
    """All frames that the options ask for, one after the other; progress(n) after the n-th."""
    options, spec = bench.options, bench.converted.spec
    graph, network = bench.converted.graph.to(bench.device), bench.network(mode)
    records: list[FrameRecord] = []
    taken = islice(enumerate(sequence.frames()), 0, None, options.every)
    for number, image in islice(taken, options.limit_frames):
        x, placement = preprocess(image, spec)
        x = x[None].to(bench.device)
        start = time.perf_counter()
        found = network(x)
        outputs = [output.cpu() for output in found.outputs]  # which waits for an accelerator
        seconds = time.perf_counter() - start
        exact = outputs if mode == "ann" else [output.cpu() for output in forward(graph, x)]
        (boxes,) = Selection.of(options, multi_label=True).boxes(outputs, spec, [placement])
        error = relative_error(outputs, exact)
        costs = {name: value for name, value in vars(found).items() if name != "outputs"}
        records.append(FrameRecord(number, to_json(boxes), error=error, seconds=seconds, **costs))
        progress(len(records))
    return records


def kept(folder: Path, sequence: str, mode: str) -> Path:
    """Where a finished sequence and mode is kept."""
    return folder / f"frames-{file_name(sequence)}-{mode}.json"


def save(path: Path, call: dict[str, Any], records: list[FrameRecord]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(
            exact_json({"call": call, "frames": [asdict(record) for record in records]}) + "\n"
        )


def load(path: Path, call: dict[str, Any]) -> list[FrameRecord] | None:
    """The records of an interrupted run, None where there are none.

    Raises UserError for a file that is damaged, or was made by another call.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        known, frames = content["call"], [FrameRecord(**frame) for frame in content["frames"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: remove it, and it is measured again") from None
    check_call(known, call, path)
    return frames
