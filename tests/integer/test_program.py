"""The program in C against the reference in PyTorch, which computes every frame everywhere."""

import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Barrier
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.attention import Attending
from helpers.networks import TinyLeaky, engine, images, make, spiking
from helpers.random_networks import random_frames, random_network
from hypothesis import example, given, reject
from hypothesis import strategies as st
from torch import Tensor, nn

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.integer import plan, program
from spiking_yolo.integer.library import library
from spiking_yolo.integer.network import potential_bytes
from spiking_yolo.integer.packing import SLACK
from spiking_yolo.integer.plan import Convolution
from spiking_yolo.integer.state import Counted
from spiking_yolo.integer.video import Stream

pytestmark = pytest.mark.skipif(library() is None, reason="not built")
SETTINGS = {"calibration.kind": "none", "threshold.rule": "percentile", "threshold.scale": 0.003}
DEAD_ZONES = 0.0, 0.35, 0.35, 0.0, 0.8, 0.8, 0.0
# Entries from which a layer is computed everywhere: always, never, or as its times say.
LIMITS = 0.0, 1e18, None
# Threads; weights from which they share outputs, not rows.
WAYS = [*product((1, 4), (0, 1 << 60)), (2, 0), (3, 400_000)]
# Inputs up to which a layer has no events.
FEW = 20, 144


class Both:
    """A network in C and by the reference, step by step: the same to the bit."""

    def __init__(self, converted: Converted, way: int = 0):
        number, program.MANY_WEIGHTS = WAYS[way % len(WAYS)]
        plan.FEW_INPUTS = dict.fromkeys((True, False), FEW[way % len(FEW)])
        torch.set_num_threads(number)
        self.networks = [engine(converted, fast) for fast in (True, False)]
        # Threads share the work of any network.
        self.networks[0].program.large = True
        self.start()

    def start(self, images: int = 1) -> None:
        self.maps = False
        self.states: Any = [network.start(images) for network in self.networks]

    def step(self, image: Tensor, limit: float | None = None, **options: Any) -> Counted:
        image = self.networks[0].plan.parameters.as_bytes(image)
        for sums in self.states[0].memory.sums.values():
            sums.limit = sums.limit if limit is None else limit
        # What costs the same everywhere is counted without a map, where none is asked for.
        self.maps = not self.maps
        one, other = (one.step(image, maps=self.maps, **options) for one in self.states)
        shown = [counted.shown or () for counted in (one, other)]
        for a, b in ((one.outputs, other.outputs), shown):
            assert len(a) == len(b) and all(map(torch.equal, a, b))
        assert one.widest == other.widest > 0
        sent = [one.sent() for one in self.states]
        pairs = [(one.spent, other.spent), sent, *[(one.maps, other.maps)] * self.maps]
        for a, b in pairs:
            assert a.keys() == b.keys()
            for name in a:
                assert torch.equal(a[name], b[name]), name
        return one

    def check(self, frames: Sequence[Tensor], way: int = 0) -> None:
        """Two photographs at once; a video with dead zones that change; and, after a restart, a
        lossless one, whose frames are photographs.
        """
        self.start(2)
        self.step(torch.cat([frames[0], frames[-1]]))
        self.start()
        # Beyond the end of its memory C writes nothing.
        memory = [one for one in self.states[0].memory._all if isinstance(one, Tensor)]
        ends = [(one, one[-SLACK:].clone()) for one in memory]
        for k, (x, dead_zone) in enumerate(zip(frames, DEAD_ZONES, strict=True)):
            self.step(x, LIMITS[(way + k) % 3], dead_zone=dead_zone)
        for one in self.states:
            one.restart()
        for k, x in enumerate(frames):
            counted = self.step(x, LIMITS[(way + k) % 3], lossless=k > 0)
            anew = self.networks[0].run(x).snapshots[1].outputs
            assert all(map(torch.equal, counted.outputs, anew))
        assert all(torch.equal(one[-SLACK:], before) for one, before in ends)


@pytest.fixture(autouse=True)
def ways(monkeypatch: pytest.MonkeyPatch):
    """What `Both` changes is as it was afterwards; threads share the work of any frame."""
    monkeypatch.setattr(program, "MANY_WEIGHTS", program.MANY_WEIGHTS)
    monkeypatch.setattr(plan, "FEW_INPUTS", plan.FEW_INPUTS)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# In this one a pooling reads sums that 32 bits do not hold, because of its border.
@example(143119, False)
@given(st.integers(0, 10**6), st.booleans())
def test_random_networks(seed: int, narrow: bool):
    """As many networks as Hypothesis draws examples. For 400, whose seeds are printed:
    pytest -n0 -s --hypothesis-profile=many tests/integer/test_program.py -k random_networks
    """
    converted = random_network(seed, narrow)
    try:
        # Two threads that wait for each other take long on a busy machine.
        both = Both(converted, seed % 8)
    except UserError as error:
        # A sum of maps that a pooling reads is no network of whole numbers.
        assert "adds maps of several scales" in str(error)
        reject()
    both.check(random_frames(converted, seed, len(DEAD_ZONES)), seed)


class Kernels(nn.Module):
    """A layer for each kernel, and neurons of each kind. [N, 3, 12, 12]."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 144, 3, 2, 1)
        self.each, self.few = nn.Conv2d(144, 144, 3, padding=1, groups=144), nn.Conv2d(144, 9, 1)
        self.last, self.head = nn.Conv2d(9, 9, 3, padding=1), nn.Conv2d(9, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.leaky_relu(self.stem(x), 0.9), 3, 1, 1)
        x = self.few(F.relu(self.each(F.silu(self.body(x)))))
        y = F.leaky_relu(x)
        return self.head(F.relu6(self.last(y)) + F.relu(x + y))


def small(
    cls: Any, size: int = 8, method: str = "signed-digits", settings: Any = SETTINGS
) -> Converted:
    """A network of a class, or a module."""
    x = images(2, size=size).float()
    model = cls if isinstance(cls, nn.Module) else make(cls).float()
    return spiking(with_identities(trace(model, x[:1])), x, get_recipe(method), settings)


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_every_kernel(level: str, way: int):
    """Of each set of instructions: where a few pixels change, and where neurons change by more than
    an entry holds, or a position has room for.
    """
    both = Both(small(Kernels, 12), way)
    kernels = {step.kernel for step in both.networks[0].plan.steps if isinstance(step, Convolution)}
    assert kernels == {"events", "direct", "depthwise"}
    x = images(1, size=12).float()
    y, z = 1 - x.round(), x.clone()
    z[:, :, 3, 4:6] *= 0.9
    both.check([x, y, x, z, z, x, y], way)
    change = both.states[0].sent()["leaky_relu"] - both.networks[0].sent(x)["leaky_relu"]
    assert change.abs().max() > 127 and both.states[0].memory.maps["leaky_relu"].overflow


class Sums(nn.Module):
    """Neurons that read sums, the largest sums of windows, and two maps. [N, 3, 12, 12]."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 20, 3, padding=1), nn.Conv2d(20, 40, 3)
        self.last, self.head = nn.Conv2d(40, 40, 1), nn.Conv2d(40, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(F.max_pool2d(F.relu(self.stem(x)), 2)))
        return self.head(F.relu(x + self.last(x)))


def brute_force(network: Any, sent: Mapping[str, Tensor]) -> float:
    """The largest |sum| of all layers, product by product."""
    widest = 0.0
    for step in network.plan.steps:
        if not isinstance(step, Convolution):
            continue
        levels, border = step.whole.levels.double(), step.node.attrs["padding"][0]
        x = F.pad(sent[step.node.inputs[0]].double(), [border] * 4)
        kernel = levels.shape[2]
        sums = torch.zeros(1, len(levels), *(side - kernel + 1 for side in x.shape[2:]))
        for y, z in product(range(kernel), repeat=2):
            part = x[:, :, y : y + sums.shape[2], z : z + sums.shape[3]]
            sums = sums + torch.einsum("oc,nchw->nohw", levels[:, :, y, z], part)
        widest = max(widest, sums.abs().max().item())
    return widest


@pytest.mark.parametrize("threads", [1, 4])
def test_the_widest_sum_is_that_of_a_convolution_by_hand(level: str, threads: int):
    """Of a photograph, and of a video so far, also where a frame repeats the one before."""
    both = Both(small(Sums, 12))
    torch.set_num_threads(threads)
    x, dark = images(1, size=12).float(), torch.zeros(1, 3, 12, 12)
    most = 0.0
    for frame in (dark, x, x, dark):
        counted = both.step(frame, dead_zone=0.35)
        most = max(most, brute_force(both.networks[0], both.states[0].sent()))
        assert counted.widest == most
    assert potential_bytes(most) == 3
    # What was read before a restart is forgotten.
    both.states[0].restart()
    both.states[1].restart()
    counted = both.step(dark)
    assert counted.widest == brute_force(both.networks[0], both.states[0].sent()) < most
    assert both.networks[0].run(x).potential_bytes == 3


def test_a_potential_holds_its_sign():
    """16 bits hold 32,767, and the sums of Tiny-YOLOv3 need 24."""
    widths = {100: 1, 127: 1, 128: 2, 32_767: 2, 32_768: 3, 254_590: 3, 2**23: 4}
    assert {widest: potential_bytes(float(widest)) for widest in widths} == widths


@pytest.mark.parametrize(("areas", "seed"), [(1, 0), (2, 1), (1, 2)])
def test_a_softmax_in_c(areas: int, seed: int):
    """Rows of 16 and of 8 tokens, which fill no whole vectors; a frame that does not change."""
    converted = small(Attending(areas).eval())
    both = Both(converted, seed)
    kinds = [type(one).__name__ for one in both.networks[0].program.records]
    assert kinds.count("Attention") == 1
    both.check(random_frames(converted, seed, len(DEAD_ZONES)), seed)


def outputs(network: Any, clip: Sequence[Tensor]) -> list[Tensor]:
    """Of a stream, and its operations."""
    stream, found = Stream(network), list[Tensor]()
    for x in clip:
        snapshot = stream(x).snapshots[1]
        found += [*snapshot.outputs, *snapshot.operations]
    return found


@pytest.mark.parametrize("cls", [TinyLeaky, Attending])
def test_streams_at_once_are_those_one_after_the_other(cls: type[nn.Module]):
    """Eight threads share a network that has computed nothing yet."""
    converted, barrier = small(cls), Barrier(8)
    clips = [images(5, seed=seed).split(1) for seed in range(8)]
    expected = [outputs(engine(converted), clip) for clip in clips]
    network = engine(converted)

    def together(clip: Sequence[Tensor]) -> list[Tensor]:
        barrier.wait()
        return outputs(network, clip)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(together, clips))
    for one, other in zip(found, expected, strict=True):
        assert all(map(torch.equal, one, other))


def test_an_abandoned_stream_frees_its_memory():
    network = engine(small(TinyLeaky))
    stream, videos = Stream(network), network.start(2)
    stream(images(1))
    network.run(images(2), state=videos)
    left = [weakref.ref(one) for one in (stream._state, videos)]
    left += [weakref.ref(x) for one in left for x in one().memory._tensors.values()]
    assert len(left) > 10
    del stream, videos
    assert all(one() is None for one in left)


class Maxima(nn.Module):
    """Maxima of what neurons have sent, which other layers read too. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(F.relu(self.body(F.max_pool2d(x, 3, 1, 1)) + self.body(x)))


def test_maxima_of_binary_digits():
    """Neurons that C does not have, of which it takes the largest."""
    both = Both(small(Maxima, method="few-spikes", settings={"neuron.gamma": 100}))
    for x in images(3).split(1):
        both.step(x)


class Reaching(nn.Module):
    """Sums beyond 2^24, to which small changes are added. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 256, 1), nn.Conv2d(256, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.stem(x)))


@pytest.mark.parametrize("way", [0, 1])
def test_sums_beyond_24_bits_do_not_drift(way: int):
    model: Any = make(Reaching).float()
    model.stem.weight.data.mul_(0.1).add_(0.3)
    model.head.weight.data.mul_(0.05).add_(1)
    both = Both(small(model, settings=SETTINGS | {"threshold.scale": 0.008}), way)
    x = images(1) / 5 + 0.8
    for k in range(8):
        both.step(x, 1e18)
        x[:, :, k, 2:5] -= 0.1
    assert both.states[1].frame is not None
    step = both.networks[1].plan.step("head")
    assert step.whole(both.states[1].sent()["relu"]).max() > 1 << 24


class Tall(nn.Module):
    """The largest of 65 rows. [N, 3, 65, 65]."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(F.max_pool2d(self.stem(x), 65)))


def test_poolings_of_any_height():
    both = Both(small(Tall, 65))
    for x in images(2, size=65).split(1):
        both.step(x)
