"""The networks that are compared on a video, behind one face: a frame in, its outputs and costs out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spiking_yolo.convert.converted import Converted
from spiking_yolo.errors import UserError
from spiking_yolo.graph import forward
from spiking_yolo.metrics.work import Size, Value
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.options import SimulationOptions
from spiking_yolo.snn.stream import Stream
from spiking_yolo.studies.evaluate.cost_model import CostModel
from spiking_yolo.studies.video.delta import DeltaNetwork, Pass, gates, uniform_gates
from spiking_yolo.studies.video.options import VideoOptions

Network = Callable[[Tensor], Pass]


@dataclass(frozen=True)
class Bench:
    """A converted network, and what its modes cost. size: of the ANN. model: of the spiking network."""

    converted: Converted
    device: torch.device
    simulation: SimulationOptions
    options: VideoOptions
    size: Size
    model: CostModel

    @classmethod
    def of(
        cls, converted: Converted, device: torch.device, simulation: SimulationOptions, options: VideoOptions
    ) -> "Bench":
        """Raises UserError for a classifier, a mode that the method does not have, and a T without output."""
        recipe, spec = converted.recipe, converted.spec
        if spec.task != "detect":
            raise UserError("this network is a classifier, which finds no boxes: give the weights of a detector")
        if "stream" in options.modes and not recipe.keeps_frames:
            others = ",".join(mode for mode in options.modes if mode != "stream") or "reset"
            raise UserError(
                f"method {recipe.name} cannot keep its state between frames, which mode stream does: give --modes "
                f"{others}, or {_way_out(converted)}"
            )
        model = CostModel.of(converted)
        empty = torch.zeros(1, 3, spec.height, spec.width)
        run = converted.network().run(empty, min(options.T, recipe.readout.skip + 1))
        return cls(converted, device, simulation, options, model.size(run.macs, sum(run.neurons.values())), model)

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
            theta = {name: own["theta"] for name, own in converted.neurons.items() if "theta" in own}
            chosen = gates(graph, spec.height, spec.width, theta, *delta_thresholds(converted, options))
        return DeltaNetwork(graph, chosen)


def delta_thresholds(converted: Converted, options: VideoOptions) -> tuple[float, float]:
    """In thetas between layers, and of the image: by default those of the spiking network."""
    recipe = converted.recipe
    own = 0.5 + recipe.neuron.hysteresis
    return own if options.delta_threshold is None else options.delta_threshold, recipe.encoding.tau


def _way_out(converted: Converted) -> str:
    encoding = converted.recipe.encoding
    return "another --method" if encoding.coding == "rate" else "--set encoding.frames=keep"
