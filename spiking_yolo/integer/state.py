"""The state of a photograph or a video that program.c computes; what has no kernel runs through
the reference.
"""

import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.integer.execute import events, largest, move, widest_read
from spiking_yolo.integer.library import ZERO, library, threads
from spiking_yolo.integer.memory import SUMS, Memory, layer_of
from spiking_yolo.integer.neuron import fire
from spiking_yolo.integer.plan import Convolution, Neurons, Pooling
from spiking_yolo.integer.program import Program

# Frames in a row for which several threads were slower than one, since another program has the
# cores, and frames that one thread then computes.
FRAMES_LATE, FRAMES_ALONE = 2, 20


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

    Attributes:
        memory: Where C computes.
        fresh: Whether nothing was computed before.
    """

    def __init__(self, program: Program, images: int):
        self._program, self._plan, self.images = program, program.plan, images
        self.memory = Memory(program, images)
        # Senders that the reference has computed, and other nodes in this frame.
        self._sent: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._changed: dict[str, bool] = {}
        self._outputs: dict[str, Tensor] = {}
        # Frames in a row for which threads were slower, and that one computes from now on.
        self._late = self._alone = 0
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
        call.fresh = int(self.fresh)
        smaller = dead_zone < self._dead_zone or (lossless and not self._lossless)
        call.everywhere = int(self.fresh or smaller)
        call.anew, call.due = int(lossless), 0.5 + dead_zone if dead_zone else 0.0
        # Threads that wait for each other take longer than a small network.
        several = self._program.large and not self._alone
        count = torch.get_num_threads() if several else 1
        self.memory.scratch_for(count)
        with threads(count):
            self._prepare(maps)
            self._run_steps()
            result = self._counted()
        self.fresh, self._dead_zone, self._lossless = False, dead_zone, lossless
        return result

    def _run_steps(self) -> None:
        memory, at, waited = self.memory, 0, 0
        while True:
            start = time.perf_counter_ns()
            at = library().run(ctypes.byref(memory.call), at)
            waited += time.perf_counter_ns() - start
            if at == len(memory.commands):
                break
            self._outside(*memory.commands[at])
            at += 1
        self._alone = max(self._alone - 1, 0)
        several = memory.call.threads > 1
        late = several and waited > sum(step.nanoseconds for step in memory.steps)
        self._late = self._late + 1 if late else 0
        if self._late == FRAMES_LATE:
            self._alone = FRAMES_ALONE

    def _prepare(self, maps: bool) -> None:
        self._values.clear()
        self._changed.clear()
        self._counts: dict[str, Tensor] = {}
        self._spent_outside: dict[str, Tensor] = {}
        self._with_maps = maps
        # The columns of later frames are others where there are products.
        prices, plan = self._program.prices(self.fresh), self._plan
        for name in self.memory.spent.keys() - {plan.input}:
            one = self.memory.maps[name]
            one.costs, one.maps = prices[name].data_ptr(), None
            if maps:
                shape = 3 * self.images, len(plan.ends[name]), *plan.sizes[name][2:]
                self._counts[name] = torch.zeros(shape)
                one.maps = self._counts[name].data_ptr()

    def _outside(self, kind: int, what: Any, name: str) -> None:
        """What the reference computes."""
        step = self._program.steps[name]
        if kind == SUMS:
            assert isinstance(step, Convolution) and step.parts is not None
            start = time.process_time_ns()
            self.memory.absorb(what, name, step.whole.exact(self.memory.bytes(step.parts)))
            spent = time.process_time_ns() - start
            what.dense = min(what.dense or spent, spent)
        elif what is None:
            assert isinstance(step, Neurons | Pooling)
            self._send(step)
        elif self.fresh or self._has_changed(name):
            self.memory.absorb(what, name, self.value(name))
        else:
            self.memory.fill_marks(what, name, 0)

    def _send(self, step: Neurons | Pooling) -> None:
        """A sender that the reference computes."""
        name, before = step.node.name, self._sent.get(step.node.name)
        read = step.terms if isinstance(step, Neurons) else step.node.inputs
        asked = self.memory.call.everywhere and isinstance(step, Neurons)
        changed = asked or self._with_maps or any(self._has_changed(one) for one in read)
        columns = self._program.columns(self.fresh)[name]
        if before is not None and not changed:
            k, spent = before, columns.new_zeros(3 * self.images, columns.shape[1])
        else:
            values = [self.value(one) for one in read]
            if isinstance(step, Neurons):
                self._see(widest_read(step, self.value))
            in_c = name in self._program.softmaxes and not self._with_maps
            if isinstance(step, Neurons) and in_c:
                k, counts = self._softmax(step, values[0], before)
                spent = counts[:, None] * columns[0]
            else:
                k = self._reference(step, values, before)
                self._counts[name] = counts = events(self._plan, name, k, before)
                spent = counts.flatten(1).double() @ columns
        self._sent[name], self._spent_outside[name] = k, spent
        self._changed[name] = before is None or bool(spent.any())
        if name in self.memory.maps:
            given = (k + ZERO).to(torch.uint8).movedim(1, -1).contiguous()
            parameters = ctypes.byref(self.memory.call), ctypes.byref(self.memory.maps[name])
            library().receive(*parameters, given.data_ptr())

    def _reference(
        self, step: Neurons | Pooling, values: Sequence[Tensor], before: Tensor | None
    ) -> Tensor:
        """What a sender has sent by now, in PyTorch."""
        if not isinstance(step, Neurons):
            return move(step.node, values)
        dead_zone = max(self.memory.call.due - 0.5, 0.0)
        old = None if self.memory.call.anew else before
        return fire(values, step.layer, old, 0.0 if self.fresh else dead_zone)

    def _softmax(
        self, step: Neurons, value: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the neurons of a softmax have sent by now, and their events, [3 * N]."""
        sums = value.contiguous()
        old = torch.zeros_like(sums) if before is None else before
        k, counts = torch.empty_like(sums), torch.zeros(self.images, 3, dtype=torch.int64)
        layer = layer_of(step, self._program.layers[step.node.name])
        size = (ctypes.c_int64 * 4)(*sums.shape)
        given = ctypes.byref(self.memory.call), ctypes.byref(layer), size
        library().softmax(*given, *[x.data_ptr() for x in (sums, old, k, counts)])
        return k, counts.T.flatten().double()

    def _see(self, widest: Tensor) -> None:
        """Remember the largest |sum| that was read outside of C."""
        self.memory.widest[0].clamp_(min=widest)

    def _has_changed(self, name: str) -> bool:
        """Whether the value of a node differs from the frame before."""
        if name not in self._changed:
            step = self._program.steps[name]
            if name in self.memory.maps and name not in self._sent:
                self._changed[name] = self.memory.maps[name].changes > 0
            else:
                self._changed[name] = any(self._has_changed(one) for one in step.node.inputs)
        return self._changed[name]

    def value(self, name: str) -> Tensor:
        """A node's whole numbers, float32 [N, C, ...]."""
        if name in self._sent:
            return self._sent[name]
        if name not in self._values:
            self._values[name] = self._compute(name)
        return self._values[name]

    def _compute(self, name: str) -> Tensor:
        step = self._program.steps[name]
        if name in self.memory.maps:
            value = self.memory.bytes_of(name).float()
            if name == self._plan.input:
                return value - self._program.zero.float()[:, None, None]
            return value - ZERO
        if isinstance(step, Convolution):
            if step.kernel == "reference":
                return step.whole(self.value(step.node.inputs[0]))
            return self.memory.view(name, self.memory.sums[name].outs).float()
        return move(step.node, [self.value(one) for one in step.node.inputs])

    def _counted(self) -> Counted:
        plan = self._plan
        for name, terms in plan.outputs.items():
            if self.fresh or name not in self._outputs or self._has_changed(name):
                values = {term: self.value(term) for term in terms}
                # Values lie channels last, where torch is many times faster.
                every = [largest(value.movedim(1, -1)) for value in values.values()]
                self._see(torch.stack(every).max())
                self._outputs[name] = plan.parameters.output(name, values)
        outputs = tuple([self._outputs[name] for name in plan.outputs])
        # What senders in C have counted, [senders, 3 * N, columns].
        counted = [name for name in plan.senders if name in self.memory.spent]
        spent: dict[str, Tensor] = {}
        if counted:
            every = torch.stack([self.memory.spent[name] for name in counted]).double()
            rows = every.permute(0, 3, 1, 2).flatten(1, 2).unbind()
            spent = dict(zip(counted, rows, strict=True))
        spent |= self._spent_outside
        shown = None
        if not self.fresh:
            values, operations = self.memory.spent[plan.input][:, :, 0].double().unbind(1)
            shown = values, operations
        return Counted(outputs, spent, shown, self._counts, self.memory.widest.max().item())

    def sent(self) -> dict[str, Tensor]:
        """What the image and all senders have sent by now: whole numbers."""
        return {name: self.value(name).clone() for name in (self._plan.input, *self._plan.senders)}
