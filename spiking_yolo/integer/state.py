"""The state of a photograph or a video that program.c computes; what has no kernel runs through
the reference.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spiking_yolo.integer.execute import events, largest, move, widest_read
from spiking_yolo.integer.library import ZERO, library, threads
from spiking_yolo.integer.memory import Memory
from spiking_yolo.integer.neuron import fire
from spiking_yolo.integer.plan import Convolution, Neurons
from spiking_yolo.integer.program import Outside, Program


@dataclass(frozen=True)
class Counted:
    """What a frame has sent, and what that costs.

    Attributes:
        outputs: Head tensors in values of the ANN, [N, ...].
        spent: Sender -> its events, the operations that they cause, and those of them in products,
            as of EventCosts.of.
        shown: Values of pixels that differ from the frame before, and the operations of layers
            that read them, [N] each; None in a first frame.
        maps: Sender -> events at each position, Counts.stacked; empty unless asked for.
        widest: The largest |sum| that neurons and outputs have read since the first frame.
    """

    outputs: tuple[Tensor, ...]
    spent: Mapping[str, Tensor]
    shown: tuple[Tensor, Tensor] | None
    maps: Mapping[str, Tensor]
    widest: float


class State:
    """What a photograph or a video has sent and added up so far.

    Args:
        program: What runs.
        images: Photographs or videos at once.
        kept: Whether later frames follow, for which sums are kept.

    Attributes:
        memory: Where C computes.
        fresh: Whether nothing was computed before.
    """

    def __init__(self, program: Program, images: int, kept: bool = True):
        self._program, self._plan, self.images = program, program.plan, images
        self.memory = Memory(program, images)
        self.memory.call.kept = kept
        # Senders that the reference has computed, and other nodes in this frame.
        self._sent: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Forget what was computed before."""
        self.fresh, self._dead_zone, self._lossless = True, 0.0, False
        self._sent.clear()
        self.memory.widest.zero_()

    def step(
        self, image: Tensor, dead_zone: float = 0.0, lossless: bool = False, maps: bool = False
    ) -> Counted:
        """Compute a photograph, where nothing was computed before, or the next frame.

        Args:
            image: Bytes [N, 3, H, W].
            dead_zone: The dead zone of neurons in a later frame, in thetas.
            lossless: Whether a later frame rounds values as a photograph does.
            maps: Whether to say where events were.
        """
        pixels = image.movedim(1, -1).contiguous()
        self.memory.image.bytes, call = pixels.data_ptr(), self.memory.call
        call.first = self.fresh
        smaller = dead_zone < self._dead_zone or (lossless and not self._lossless)
        call.all = self.fresh or smaller
        call.lossless, call.due = lossless, 0.5 + dead_zone if dead_zone else 0.0
        # Threads that wait for each other take longer than a small network.
        count = torch.get_num_threads() if self._program.large else 1
        self.memory.scratch_for(count)
        with threads(count):
            self._prepare(maps)
            at = 0
            while (at := library().run(ctypes.byref(call), at)) < len(self._program.records):
                record = self._program.records[at]
                assert isinstance(record, Outside)
                self._outside(record)
                at += 1
            result = self._counted()
        self.fresh, self._dead_zone, self._lossless = False, dead_zone, lossless
        return result

    def _prepare(self, maps: bool) -> None:
        self._values.clear()
        self._changed: dict[str, bool] = {}
        self._counts: dict[str, Tensor] = {}
        self._spent_outside: dict[str, Tensor] = {}
        # The columns of later frames are others where there are products.
        prices, plan = self._program.prices(self.fresh), self._plan
        for name in self.memory.counted[1:]:
            one = self.memory.maps[name]
            costs, price = prices[name]
            one.costs, one.price, one.maps = costs.data_ptr(), price.data_ptr(), None
            if maps:
                shape = 3 * self.images, len(plan.ends[name]), *plan.sizes[name][2:]
                self._counts[name] = torch.zeros(shape)
                one.maps = self._counts[name].data_ptr()
        self._with_maps = maps

    def _outside(self, record: Outside) -> None:
        """What the reference computes."""
        name = record.step.node.name
        if record.sums is None:
            self._send(record)
        elif self.fresh or self._has_changed(name):
            if isinstance(record.step, Convolution):
                value = record.step.whole.exact(self.value(record.step.node.inputs[0]))
                self._values[name] = value.float()
            else:
                value = self.value(name)
            self.memory.absorb(name, value)
        else:
            self.memory.absorb(name, None)

    def _send(self, record: Outside) -> None:
        """A sender that the reference computes."""
        step, name = record.step, record.step.node.name
        before, call = self._sent.get(name), self.memory.call
        if isinstance(step, Neurons):
            dead_zone = max(call.due - 0.5, 0.0)
            old = None if call.lossless else before
            self._see(widest_read(step, self.value))
            terms = [self.value(one) for one in step.terms]
            k = fire(terms, step.layer, old, 0.0 if self.fresh else dead_zone)
        else:
            k = move(step.node, [self.value(one) for one in step.node.inputs])
        self._counts[name] = counts = events(self._plan, name, k, before)
        columns = self._program.costs_of(self.fresh)[name]
        self._sent[name], self._spent_outside[name] = k, counts.flatten(1).double() @ columns
        self._changed[name] = before is None or bool(counts.any())
        if name in self.memory.maps:
            bytes_of = (k + ZERO).to(torch.uint8).movedim(1, -1).contiguous()
            given = ctypes.byref(call), ctypes.byref(self.memory.maps[name])
            library().receive(*given, bytes_of.data_ptr())

    def _see(self, widest: Tensor) -> None:
        """Remember the largest |sum| that was read outside of C."""
        self.memory.widest[0].clamp_(min=widest)

    def _has_changed(self, name: str) -> bool:
        """Whether the value of a node differs from the frame before."""
        if name not in self._changed:
            if name in self.memory.counted:
                self._changed[name] = self.memory.maps[name].changes > 0
            else:
                inputs = self._program.steps[name].node.inputs
                self._changed[name] = any(self._has_changed(one) for one in inputs)
        return self._changed[name]

    def value(self, name: str) -> Tensor:
        """A node's whole numbers, float32 [N, C, ...]."""
        if name in self._sent:
            return self._sent[name]
        if name not in self._values:
            self._values[name] = self._compute(name)
        return self._values[name]

    def _compute(self, name: str) -> Tensor:
        step, memory = self._program.steps[name], self.memory
        if name in memory.maps:
            zero = ZERO
            if name == self._plan.input:
                zero = self._program.zero[:, None, None]
            return (memory.view(name).int() - zero).float()
        if isinstance(step, Convolution) and step.kernel != "reference":
            return memory.view(name).float()
        given = [self.value(one) for one in step.node.inputs]
        if isinstance(step, Convolution):
            return step.whole(given[0])
        if name in memory.sums and step.node.product:
            return memory.view(name).float()
        return move(step.node, given)

    def _counted(self) -> Counted:
        plan, memory = self._plan, self.memory
        for name, terms in plan.outputs.items():
            if name in memory.heads:
                values, parts = memory.heads[name]
                if self.fresh or any(part.changes for part in parts):
                    self._outputs[name] = values.clone().movedim(-1, 1)
            elif self.fresh or self._has_changed(name):
                numbers = {term: self.value(term) for term in terms}
                self._see(torch.stack([largest(value) for value in numbers.values()]).max())
                self._outputs[name] = plan.parameters.output(name, numbers)
        outputs = tuple([self._outputs[name] for name in plan.outputs])
        # What senders in C have counted, [senders, 3 * N, columns].
        every = memory.spent.double()
        rows = every.permute(0, 3, 1, 2).flatten(1, 2).unbind()
        spent = dict(zip(memory.counted[1:], rows[1:], strict=True)) | self._spent_outside
        shown = None
        if not self.fresh:
            shown = every[0, :, 0, 0], every[0, :, 1, 0]
        return Counted(outputs, spent, shown, self._counts, memory.widest.max().item())

    def sent(self) -> dict[str, Tensor]:
        """What the image and all senders have sent by now: whole numbers."""
        names = (self._plan.input, *self._plan.senders)
        # A sender is in C, or was computed outside.
        return {name: self.value(name).clone() for name in names}
