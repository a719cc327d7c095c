"""A network that onnxruntime runs, in place of the simulator."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, shapes
from spiking_yolo.onnx.complete import sends_complete_values
from spiking_yolo.onnx.model import Conversion, spiking_model
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn import operations
from spiking_yolo.snn.coding import ImageInput
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.plan import NetworkPlan
from spiking_yolo.snn.readout import Quiet, Run, Snapshot, checked_times


class OnnxNetwork:
    """What SpikingNetwork is to its callers, computed by onnxruntime on the processor.

    The graph is exported when it is first needed, which takes seconds; that of a photograph has no
    states, so a network that methods of complete values are followed with has another for frames.

    Args:
        converted: A converted network.
        like: Another one of it, whose sessions it shares.

    Raises:
        UserError: A package is missing, or the method is no step of a graph.
    """

    def __init__(self, converted: Conversion, like: "OnnxNetwork | None" = None):
        recipe, spec = converted.recipe, converted.spec
        if recipe.neuron.events == "switches":
            raise UserError(
                "neuron.events=switches counts spikes and switches apart: leave the backend to the"
                " simulator"
            )
        self._converted = converted
        self._complete = sends_complete_values(recipe)
        self._plan = NetworkPlan.of(converted.spiking_graph, converted.neurons, recipe)
        self._sizes = shapes(self._plan.graph, spec.height, spec.width)
        self._input = ImageInput(recipe, event_driven=False)
        self._like = like
        self._sessions: dict[bool, Session] = {}
        self._session(stateful=False)

    @property
    def recipe(self) -> Recipe:
        """The method."""
        return self._converted.recipe

    @property
    def graph(self) -> Graph:
        """See SpikingNetwork.graph."""
        return self._plan.graph

    @property
    def image(self) -> Tensor:
        """See SpikingNetwork.image."""
        return self._input.image

    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        T: int,
        steps: Iterable[int] = (),
        *,
        keep: bool = False,
        hysteresis: float = 1.0,
        maps: bool = False,
        probes: Iterable[Any] = (),
        progress: Callable[[int], Any] | None = None,
    ) -> Run:
        """See SpikingNetwork.forward; there are no probes, and the hysteresis is whole."""
        times = checked_times(T, steps, self.recipe.readout.skip)
        if tuple(probes):
            raise ValueError("probes need the simulator")
        if keep:
            self._feed(x)
        else:
            self._start(x)
        snapshots: dict[int, Snapshot] = {}
        for t in range(1, T + 1):
            self._step()
            if t in times or self._complete:
                snapshots[t] = self._snapshot(t, maps)
            if progress is not None:
                progress(t)
            if self._complete:
                # Nothing changes up to T.
                snapshots = {time: replace(snapshots[t], t=time) for time in times}
                break
        neurons = {node.name: self._neurons(node) for node in self._plan.graph.activations}
        activations = sum(self._sizes[source][1:].numel() for source in self._plan.sources.values())
        macs, analogue = operations.total_macs(
            self._plan.graph, self._sizes, self._counts.keys(), self._input.shown
        )
        simulated = 1 if self._complete else T
        quiet = Quiet(1) if self._complete else None
        return Run(snapshots, neurons, activations, simulated, macs, analogue, quiet)

    __call__ = run

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has no run, as one of the simulator; onnxruntime's sessions cannot be copied."""
        return OnnxNetwork, (self._converted,)

    def _session(self, stateful: bool) -> "Session":
        if stateful not in self._sessions:
            if self._like is None:
                self._sessions[stateful] = Session(self._converted, stateful)
            else:
                self._sessions[stateful] = self._like._session(stateful).shared()
        return self._sessions[stateful]

    def _start(self, x: Tensor) -> None:
        self._input.start(x)
        self._changed = torch.ones(len(x), dtype=torch.bool)
        self._later = False
        self._updates = torch.zeros(len(x), dtype=torch.float64)
        self._counts: dict[str, Tensor] = {}
        self._first: dict[str, Tensor] | None = None
        # A stream that is started again stays a stream.
        self._current = self._sessions.get(True) or self._session(False)
        self._current.start(len(x))

    def _feed(self, x: Tensor) -> None:
        if not self._current.stateful:
            self._current = self._session(stateful=True)
            self._current.start(len(x))
            self._current.step(self.image)
        before = self.image
        self._input.feed(x)
        self._changed = (self.image != before).flatten(1).any(1)
        self._later = True

    def _step(self) -> None:
        self.outputs, events = self._current.step(self.image)
        new: dict[str, Tensor] = {}
        for name, counts in events.items():
            # [N, 3, ...] or [N, 3 C, ...]; see Counts.stacked.
            new[name] = Counts(*counts.double().chunk(3, 1)).stacked()
        self._updates += self._updated(new)
        for name, counts in new.items():
            before = self._counts.get(name)
            self._counts[name] = counts if before is None else before + counts
        if self._first is None and any(node.product for node in self._plan.graph.nodes):
            self._first = dict(self._counts)

    def _updated(self, new: Mapping[str, Tensor]) -> Tensor:
        """Neurons that received something in this step, [N]; all in the first, and in rate coding.

        new: The events of this step.
        """
        total = torch.zeros(len(self._changed), dtype=torch.float64)
        everything = not (self._complete and self._later)
        changed: dict[str, Tensor] = {}
        for node in self._plan.graph.nodes:
            received = self._changed
            if node.inputs:
                received = torch.stack([changed[name] for name in node.inputs]).any(0)
            changed[node.name] = received
            if node.name in new:
                messages = Counts.unstacked(new[node.name]).messages
                changed[node.name] = messages.flatten(1).any(1)
            if node.op == "activation":
                total += self._neurons(node) * (1 if everything else received)
        return total

    def _snapshot(self, t: int, maps: bool) -> Snapshot:
        return Snapshot.of(
            self._plan.graph,
            t,
            self.outputs,
            self._counts,
            self._sizes,
            self._updates,
            torch.full((len(self._updates),), t, dtype=torch.int64),
            {node.name: self._neurons(node) for node in self._plan.graph.activations},
            self._first,
            maps=maps,
        )

    def _neurons(self, node: Node) -> int:
        """Of an activation; a pair of ON and OFF neurons at each value counts as two."""
        pair = bool(node.phi.slope) and not self.recipe.neuron_kind.signed
        return self._sizes[node.name][1:].numel() * (2 if pair else 1)


class Session:
    """An exported network in onnxruntime, and its states.

    Args:
        converted: A converted network.
        stateful: Whether frames follow one another. Rate coding always has states.
    """

    def __init__(self, converted: Conversion, stateful: bool):
        model = spiking_model(converted, stateful=stateful, counts="maps", normalised=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait for the next run would slow down what runs in between.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Warnings are about its own choices.
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        self._states: dict[str, np.ndarray] = {}
        self.stateful = stateful

    def shared(self) -> "Session":
        """The same network, with states of its own."""
        other = copy(self)
        other._states = {}
        return other

    def start(self, batch: int) -> None:
        """Forget everything."""
        for value in self._session.get_inputs():
            if value.name != "images":
                shape = [batch if isinstance(size, str) else size for size in value.shape]
                self._states[value.name] = np.zeros(shape, np.float32)

    def step(self, x: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """One step of normalised images [N, 3, H, W].

        Returns:
            The outputs, and events by sender: see `spiking_model`.
        """
        feed = {"images": x.contiguous().numpy(), **self._states}
        outputs: list[Tensor] = []
        events: dict[str, Tensor] = {}
        results: Any = self._session.run(None, feed)
        for name, value in zip(self._names, results, strict=True):
            group, _, rest = name.partition(".")
            if group == "next":
                self._states[f"state.{rest}"] = value
            elif group == "events":
                events[rest] = torch.from_numpy(value)
            else:
                outputs.append(torch.from_numpy(value))
        return tuple(outputs), events
