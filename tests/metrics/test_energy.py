"""The cost models against the published table, and against every access of a three-layer network, one
by one.
"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from spiking_yolo.metrics.energy import BY_KEY, LOIHI, NetworkSize, Work, charged

KEYS = "fp32", "int8", "sram", "sram1m", "reuse", "dataflow"
FP32, INT8, SRAM, LARGE, REUSE, DATAFLOW = (BY_KEY[key] for key in KEYS)
# pJ of a byte of 8 KB SRAM and of 1 MB, of Horowitz's 10 and 100 pJ for 64 bits.
BUS, LARGE_BUS = 10 / 8, 100 / 8


def test_costs_of_an_operation_are_the_published_ones():
    """pJ per MAC and per synaptic operation, with potentials of so many bytes."""
    table = [
        (FP32, 4.6, {3: 0.9}),
        (INT8, 0.3, {3: 0.1}),
        (SRAM, 2.8, {2: 6.3, 3: 8.825, 4: 11.35}),
        (LARGE, 25.3, {3: 12.5 + 75 + 0.075}),
        (DATAFLOW, 0.3, {3: 8.825}),
    ]
    for cost_model, mac, operations in table:
        assert cost_model.mac(cost_model.ann_reuse) == pytest.approx(mac)
        for width, operation in operations.items():
            assert cost_model.operation(potential_bytes=width) == pytest.approx(operation)


def test_ann_of_tiny_yolo():
    # mJ: 2.78 G times 4.6 pJ.
    assert FP32.ann(NetworkSize(2_782_480_896)) == pytest.approx(12.7994, abs=1e-4)
    assert SRAM.ann(NetworkSize(2e9)) == pytest.approx(5.6)
    for reuse in (REUSE, DATAFLOW):
        assert reuse.ann(NetworkSize(2e9, 8e6, 3e6, 1e6)) == pytest.approx(0.6 + 12e6 * BUS / 1e9)
    assert FP32.ann(NetworkSize(0)) == FP32.snn(Work(1, 0, 0), NetworkSize(0)) == 0
    # Ten multiply-accumulates each, as in a spiking network.
    silu = NetworkSize(1e9, exponentials=1e6)
    assert FP32.ann(silu) == pytest.approx(4.6 + 0.046)
    assert INT8.ann(silu) == pytest.approx(0.3 + 10e-3 * (3.1 + 0.1))


def test_graded_events_multiply_powers_shift_and_exponentials_are_paid():
    plain = Work(10, 4e9)
    for cost_model, shift, multiply in ((FP32, 0.03, 3.7), (INT8, 0.03, 0.2), (SRAM, 0.03, 0.2)):
        for value, more in (("power of two", shift), ("any", multiply)):
            work = dataclasses.replace(plain, value=value)
            spent, least = (cost_model.snn(one, NetworkSize(1)) for one in (work, plain))
            assert spent - least == pytest.approx(4 * more)
    dear = dataclasses.replace(plain, exponentials=1e7)
    assert FP32.snn(dear, NetworkSize(1)) - FP32.snn(plain, NetworkSize(1)) == pytest.approx(0.46)
    assert INT8.snn(dear, NetworkSize(1)) - INT8.snn(plain, NetworkSize(1)) == pytest.approx(0.32)
    assert charged("none") == charged("power of two") == "digits" and charged("any") == "messages"


def test_loihi_charges_what_its_simulator_does():
    """SANA-FE 2.2.9 prints these totals in pJ, with its loihi.yaml: 4 neurons connected to 3 on
    another core of the tile, by synapses of convolutions, of which some fire in every step.
    """
    size = NetworkSize(macs=12, neurons=7)
    # No neuron fires or is touched: 7 * 51.2.
    assert LOIHI.snn(Work(1, 0), size) * 1e9 == pytest.approx(358.4)
    # One fires, 3 synapses: 3 * 24.0 + 7 * 51.2 + 21.6 + 69.3 + 111.0.
    assert LOIHI.snn(Work(1, 3, 1, 1), size) * 1e9 == pytest.approx(632.3)
    # Two fire in both steps; in the second, the other neurons are touched too.
    assert LOIHI.snn(Work(2, 12, 4, 7), size) * 1e9 == pytest.approx(1877.2)
    # An analogue product like an event.
    assert LOIHI.snn(Work(1, 0, analogue_macs=5), NetworkSize(5)) * 1e9 == pytest.approx(120)


class Meter:
    """Adds up pJ access by access, from Horowitz's table and nothing of the package."""

    def __init__(self, potential: int = 0, bus: float = 0.0, fp: bool = False):
        self.pj, self.potential, self.bus = 0.0, potential, bus
        self.multiply, self.add = (3.7, 0.9) if fp else (0.2, 0.1)
        # An adder of 24 bits lies between those of 16 and 32.
        self.accumulate = {2: 0.05, 3: 0.075, 4: 0.1, 0: self.add}[potential]

    def move(self, size: int) -> None:
        self.pj += size * self.bus

    def mac(self) -> None:
        self.move(1)  # the activation
        self.move(1)  # the weight
        self.pj += self.multiply + self.add

    def update(self) -> None:
        self.move(self.potential)
        self.pj += self.accumulate
        self.move(self.potential)

    def synapse(self, shifted: bool) -> None:
        self.move(1)
        self.pj += 0.03 if shifted else 0
        self.update()

    def event(self) -> None:
        self.move(4)
        self.move(4)
        self.pj += 2 * (3.1 + 0.1) if self.bus else 0


# A cost model, the bytes of a potential, and the meters of the ANN and of the spiking network.
METERS = [
    (FP32, 4, {"fp": True}, {"fp": True}),
    (INT8, 4, {}, {}),
    (SRAM, 2, {"bus": BUS}, {"bus": BUS, "potential": 2}),
    (SRAM, 3, {"bus": BUS}, {"bus": BUS, "potential": 3}),
    (SRAM, 4, {"bus": BUS}, {"bus": BUS, "potential": 4}),
    (LARGE, 3, {"bus": LARGE_BUS}, {"bus": LARGE_BUS, "potential": 3}),
    (REUSE, 3, {}, {}),
    (DATAFLOW, 3, {}, {"bus": BUS, "potential": 3}),
]


def test_three_layers_access_by_access():
    """conv 3x3 of the image, conv 3x3 with stride 2, linear: two steps of random events, all loops
    written out.
    """
    for cost_model, width, of_ann, of_snn in METERS:
        for shifted in [False, True]:
            random = torch.Generator().manual_seed(0)
            first, second, classes = (4, 7, 7), (5, 3, 3), 6  # of an image of 3 x 9 x 9
            fired = [
                [torch.randint(-1, 2, shape, generator=random) for shape in (first, second)]
                for _ in range(2)
            ]
            analogue = 4 * 49 * 3 * 9
            size = NetworkSize(
                analogue + 5 * 9 * 4 * 9 + 45 * classes,
                4 * 27 + 5 * 36 + 45 * classes,
                243 + 196 + 45,
                196 + 45 + 6,
            )
            operations = events = 0.0
            for one, two in fired:
                ones = torch.ones(5, 4, 3, 3, dtype=torch.float64)
                reached = F.conv2d(one.abs()[None].double(), ones, stride=2)
                operations += reached.sum().item() + int(two.abs().sum()) * classes
                events += int(one.abs().sum() + two.abs().sum())
            value = "power of two" if shifted else "none"
            work = Work(2, operations, events, 2 * (196 + 45), analogue, value, 0, width)

            reuse = cost_model is REUSE
            ann, snn = Meter(**of_ann), Meter(**of_snn)
            queue = Meter(bus=BUS if reuse else snn.bus)
            for _ in range(size.macs):
                ann.mac()
            for _ in range(analogue):
                snn.mac()
            for one, two in fired:
                for _, y, x in one.nonzero().tolist():
                    queue.event()
                    for oy in range(3):
                        for ox in range(3):
                            if 0 <= y - 2 * oy < 3 and 0 <= x - 2 * ox < 3:
                                for _out in range(5):
                                    snn.synapse(shifted)
                for _ in two.nonzero().tolist():
                    queue.event()
                    for _ in range(classes):
                        snn.synapse(shifted)
                for _ in range(196 + 45):
                    snn.update()
            if reuse or cost_model is DATAFLOW:
                ann.pj += (size.weights + size.inputs + size.outputs) * BUS
            if reuse:
                snn.pj += 2 * (size.weights + (196 + 45) * 4 * 2) * BUS
            assert cost_model.ann(size) == pytest.approx(ann.pj / 1e9, rel=0.01)
            assert cost_model.snn(work, size) == pytest.approx((snn.pj + queue.pj) / 1e9, rel=0.01)
