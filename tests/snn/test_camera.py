"""A camera that moves: the state goes with the window, and what is seen again is not sent again."""

from collections.abc import Mapping
from itertools import product

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, spiking
from scipy.ndimage import shift as spline_shift
from torch import Tensor
from torch.nn.functional import interpolate

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import OPS
from spiking_yolo.snn.camera import MovingCameraStream, stride_of
from spiking_yolo.snn.counting import count_digits
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.plan import SimulationOptions
from spiking_yolo.snn.registration import displacement, resampled
from spiking_yolo.snn.stream import FrameRun, Stream
from spiking_yolo.snn.window import Window, common_stride, moved, seam_operations

H = 0.25
METHOD = get_recipe("signed-digits").with_settings(
    {"neuron.hysteresis": H, "encoding.tau": 0, "calibration.steps": 2}
)
SIDE = 72


CONVERTED = spiking(make(TinyLeaky), images(2), METHOD)


def network(dtype: torch.dtype = torch.float64, event_driven: bool = True) -> SpikingNetwork:
    simulation = SimulationOptions(event_driven=event_driven)
    return CONVERTED.network(dtype, simulation=simulation)


def world(height: int = 160, width: int = 180, seed: int = 0) -> Tensor:
    """A picture with structure of every size, [3, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(3, height, width, dtype=torch.float64)
    for cell in (3, 6, 12, 40):
        coarse = torch.rand(
            1, 3, height // cell + 2, width // cell + 2, generator=generator, dtype=torch.float64
        )
        total += torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0] / 4
    return total.clamp(0, 1)


def frame_at(picture: Tensor, x: float, y: float, side: int = SIDE) -> Tensor:
    """What a camera sees there, [1, 3, side, side]: by splines, another kernel than Lanczos'."""
    left, top = int(x) - 4, int(y) - 4
    columns, rows = slice(max(left, 0), left + side + 12), slice(max(top, 0), top + side + 12)
    part = picture[:, rows, columns].numpy()
    moved_part = spline_shift(part, (0, rows.start - y, columns.start - x), order=5, mode="mirror")
    return torch.from_numpy(moved_part)[None, :, :side, :side].clamp(0, 1).contiguous()


def sums_of(net: SpikingNetwork) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What each layer must have received, and the outputs, of what is known to have been sent."""
    graph, values, received = net.graph, {}, {}
    sent = net.sent()
    for node in graph.nodes:
        weight, bias = graph.parameters(node)
        inputs = [values[name] for name in node.inputs]
        if node.op == "input":
            values[node.name] = net.image
        elif node.op == "activation":
            layer = net.layer(node.name)
            received[node.name] = inputs[0] + layer.bias[:, None, None]
            values[node.name] = sent[node.name] * layer.theta[:, None, None]
        else:
            values[node.name] = OPS[node.op](node.attrs, weight, bias, *inputs)
    corrections = [CONVERTED.neurons[name]["bias"][:, None, None] for name in graph.outputs]
    outputs = [values[name] + c for name, c in zip(graph.outputs, corrections, strict=True)]
    return received, outputs


def assert_consistent(net: SpikingNetwork) -> None:
    """Every sum is what its inputs have sent, and no neuron owes more than its hysteresis."""
    received, outputs = sums_of(net)
    for name, layer in net.layers():
        torch.testing.assert_close(layer.potential, received[name], atol=1e-9, rtol=1e-9)
        due = layer.residual() / layer.theta[:, None, None]
        # Rounding to fewer digits may send up to a whole theta too much.
        assert due.abs().max() < 1 + H
    for output, expected in zip(net.snapshot().outputs, outputs, strict=True):
        torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)


PATH = [(0, 0), (1.3, 0), (3, 1.6), (9, 4), (9.4, 4.2), (30, 12), (33.3, 9.1), (27, 0), (0.5, 0)]


def test_the_state_is_what_was_sent_after_any_motion():
    """Against a plain pass over the graph: at every neuron, in every window."""
    picture, net = world(), network()
    stream = MovingCameraStream(net)
    windows, seen = set(), stream(frame_at(picture, 0, 0))
    for x, y in PATH[1:]:
        seen = stream(frame_at(picture, x, y))
        assert not seen.cut
        assert_consistent(net)
        windows.add(tuple(net.image.shape[2:]))
    assert len(windows) > 1
    corner = seen.view
    assert corner is not None
    assert corner.seen.shape == net.image.shape and torch.equal(corner.seen, net.image)


def test_a_new_network_goes_on_from_what_another_has_sent():
    """Also where sums are of more than is seen: outputs and potentials, with nothing counted."""
    net, other = network(), network()
    net.run(images(1, size=SIDE), 1)
    other.resume(net.image, net.sent())
    snapshot = other.snapshot()
    assert float(snapshot.operations.digits + snapshot.sent.digits + snapshot.pooled.digits) == 0
    for (name, layer), (_, own) in zip(net.layers(), other.layers(), strict=True):
        assert torch.allclose(layer.potential, own.potential), name
    # From here on both do the same.
    x = images(1, size=SIDE) * 0.9
    before = net.snapshot()
    costs = [one.run(x, 1, keep=True).snapshots[1] for one in (net, other)]
    assert torch.equal(costs[0].since(before).operations.digits, costs[1].operations.digits)
    assert all(map(torch.allclose, costs[0].outputs, costs[1].outputs))


def test_the_kernels_in_c_take_over_a_state():
    """In float32, with and without them."""
    results = []
    for driven in (False, True):
        net = network(torch.float32, driven)
        stream = MovingCameraStream(net)
        picture = world()
        seen = stream(frame_at(picture, 0, 0).float())
        for x, y in PATH[1:]:
            seen = stream(frame_at(picture, x, y).float())
        results.append(seen.run.snapshots[1])
        for name, layer in net.layers():
            torch.testing.assert_close(layer.potential, sums_of(net)[0][name], atol=1e-4, rtol=1e-4)
    assert all(map(torch.allclose, results[0].outputs, results[1].outputs))


def test_the_operations_of_a_move_by_brute_force():
    """Of head2, which hears act3, upsampled, and act1 through a kernel of 3 x 3: the digits of what
    differs about each input, times the outputs that it reaches over a seam.
    """
    net, old, new = network(), Window(0, 0, 12, 8), Window(4, -2, 10, 12)
    both, generator = old.common(new), torch.Generator().manual_seed(2)

    def random_spikes(window: Window) -> dict[str, Tensor]:
        strides = {"act1": (4, 1), "act2": (6, 2), "act3": (4, 2)}
        spikes = {}
        for name, (channels, stride) in strides.items():
            shape = (1, channels, window.height // stride, window.width // stride)
            spikes[name] = torch.randint(-9, 10, shape, generator=generator).double()
        return spikes

    def heard(spikes: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([interpolate(spikes["act3"], scale_factor=2), spikes["act1"]], 1)

    sent, empty = random_spikes(old), random_spikes(new)
    difference = heard(moved(sent, empty, old, new)) - heard(empty)
    assert (new.of(difference, both) != 0).any()
    lost = crossing(heard(sent), old, both, into=True)
    gained = crossing(heard(empty), new, both, into=True)
    changed = crossing(difference, new, both, into=False)
    seam = seam_operations(net.graph, sent, empty, old, new)
    assert float(seam["head2"].digits) == 5 * (lost + gained + changed) > 0
    # A kernel of 1 x 1 reaches nothing beyond its own place.
    assert float(seam["conv3"].digits) == 0


def crossing(n: Tensor, window: Window, both: Window, into: bool) -> int:
    """Digits of each value times its 3 x 3 neighbours on the other side of the border of `both`:
    inside, or outside.
    """
    height, width = n.shape[2:]

    def is_inside(y: int, x: int) -> bool:
        left, top = both.left - window.left, both.top - window.top
        return top <= y < top + both.height and left <= x < left + both.width

    total = 0
    for y, x, dy, dx in product(range(height), range(width), (-1, 0, 1), (-1, 0, 1)):
        on_map = 0 <= y + dy < height and 0 <= x + dx < width
        if on_map and is_inside(y + dy, x + dx) == into != is_inside(y, x):
            total += int(count_digits(n[0, :, y, x]).sum())
    return total


def test_where_nothing_crosses_a_seam_sums_move_as_they_are():
    """So the operations of a move are all that it takes."""
    net = network()
    net.run(frame_at(world(), 0, 0), 1)
    old, new = Window(0, 0, SIDE, SIDE), Window(8, 4, SIDE, SIDE)
    both = old.common(new)
    before = {name: layer.potential.clone() for name, layer in net.layers()}
    image, sent = net.image.clone(), net.sent()
    picture = torch.full_like(image, 0.5)
    net.run(picture, 1)
    empty, before_empty = net.sent(), {n: layer.potential.clone() for n, layer in net.layers()}
    new.of(picture, both).copy_(old.of(image, both))
    net.resume(picture, moved(sent, empty, old, new))
    for name, layer in net.layers():
        expected = moved(before, before_empty, old, new)[name]
        stride = new.height // expected.shape[2]
        # conv2 reaches two places, with its pooling three; conv1 one.
        reach = 4 * stride
        sides = both.width - 2 * reach, both.height - 2 * reach
        kept = Window(both.left + reach, both.top + reach, *sides)
        torch.testing.assert_close(new.of(layer.potential, kept), new.of(expected, kept))
        corner = Window(new.left + new.width - stride, new.top, stride, stride)
        torch.testing.assert_close(new.of(layer.potential, corner), new.of(expected, corner))


def test_a_camera_that_stands_still_is_that_of_any_stream():
    """Operations, outputs and pixels, with a letterbox and with moving things."""
    x = torch.full((1, 3, SIDE, SIDE), 0.5).double()
    x[:, :, 8:56] = frame_at(world(), 0, 0)[:, :, :48]
    content = Window(0, 8, SIDE, 48)
    a, b = MovingCameraStream(network()), Stream(network())
    for k in range(4):
        x = x.clone()
        x[:, :, 20:26, 10 + 4 * k : 16 + 4 * k] = 1 - 0.1 * k
        p, q = a(x, content=content), b(x)
        assert p.view is None and (p.fresh, p.cut) == (q.fresh, q.cut)
        p, q = p.run, q.run
        assert torch.equal(p.snapshots[1].operations.digits, q.snapshots[1].operations.digits)
        assert p.macs == q.macs and p.analogue_macs == q.analogue_macs
        assert all(map(torch.equal, p.snapshots[1].outputs, q.snapshots[1].outputs))
    assert torch.equal(a.network.image, b.network.image)


def digits(run: FrameRun) -> float:
    return float(run.run.snapshots[1].operations.digits)


def test_what_is_seen_again_is_not_sent_again():
    """Of whole pixels only what enters is sent, and what feels it."""
    picture = world()
    moving, fixed = MovingCameraStream(network()), Stream(network())
    costs = []
    for k in range(8):
        frame = frame_at(picture, 4 * k, 0)
        seen, other = moving(frame), fixed(frame)
        costs.append((digits(seen), digits(other)))
    assert costs[0][0] == costs[0][1]
    assert sum(a for a, _ in costs[1:]) < 0.6 * sum(b for _, b in costs[1:])


@pytest.mark.parametrize("step", [(1.37, 0.61), (-3.2, 1.0)])
def test_a_camera_is_followed_between_pixels(step: tuple[float, float]):
    picture, generator = world(), torch.Generator().manual_seed(3)
    stream = MovingCameraStream(network())
    seen = None
    for k in range(8):
        x, y = 60 + k * step[0], 20 + k * step[1]
        frame = frame_at(picture, x, y)
        seen = stream(frame + torch.randn(frame.shape, generator=generator) * 2 / 255)
        assert not seen.cut
        if seen.view is not None:
            where = stream._window.left + seen.view.left, stream._window.top + seen.view.top
            # What has left the view can drift away.
            assert where == pytest.approx((k * step[0], k * step[1]), abs=0.4)
    assert seen is not None and seen.view is not None


def test_a_picture_that_moves_in_its_letterbox_needs_no_other_window():
    picture = world()
    stream = MovingCameraStream(network())
    seen = None
    for k in range(5):
        x = torch.full((1, 3, SIDE, SIDE), 0.5).double()
        x[:, :, 12:60] = frame_at(picture, 0, 2 * k)[:, :, :48]
        seen = stream(x, content=Window(0, 12, SIDE, 48))
    assert stream.network.image.shape == (1, 3, SIDE, SIDE)
    assert seen is not None and seen.view is not None
    assert (seen.view.left, seen.view.top) == pytest.approx((0, 8), abs=0.2)
    # The picture lies 8 pixels further down in the world, and what left it is still there.
    torch.testing.assert_close(stream.network.image[:, :, 12:18], frame_at(picture, 0, 0)[:, :, :6])


def test_a_cut_a_dark_frame_and_another_size_start_anew():
    stream = MovingCameraStream(network())
    first, other = frame_at(world(), 0, 0), frame_at(world(seed=5), 40, 30)
    assert stream(first).fresh and not stream(frame_at(world(), 1, 0)).fresh
    cut = stream(other)
    assert cut.fresh and cut.cut and cut.view is None and stream.network.image.shape == other.shape
    dark = torch.zeros_like(first)
    for _ in range(2):
        seen = stream(dark)
        # Nothing can be registered, and nothing fails.
        assert seen.view is None
    bigger = stream(frame_at(world(), 0, 0, side=80))
    assert bigger.fresh and bigger.cut


def test_frames_are_refreshed_as_in_any_stream():
    stream = MovingCameraStream(network(), refresh=2)
    fresh = [stream(frame_at(world(), 3 * k, 0)).fresh for k in range(5)]
    assert fresh == [True, False, True, False, True]


def test_a_state_that_cannot_move_stays_where_it_is():
    """Of a network with layers without a place: what does not fit is sent as change."""
    net = spiking(make(Pooled), images(2), METHOD).network()
    assert stride_of(net, 8, 8) is None and common_stride(net.graph, 8, 8) is None
    assert stride_of(network(), SIDE, SIDE) == 2


def test_registration_finds_the_camera_whatever_walks_by():
    """A third of the picture moves otherwise."""
    picture, generator = world(), torch.Generator().manual_seed(4)
    for x, y in ((0, 0), (0.4, -0.3), (3.7, 2.2), (17.5, -8.25)):
        a, b = (frame_at(picture, *at, side=120)[0] for at in ((30, 20), (30 + x, 20 + y)))
        a[:, 30:90, 20:60] = frame_at(world(seed=9), 5, 5, side=120)[0, :, 30:90, 20:60]
        b[:, 30:90, 26:66] = a[:, 30:90, 20:60]
        a, b = (p + torch.randn(p.shape, generator=generator) * 2 / 255 for p in (a, b))
        shift = displacement(a, b)
        assert shift is not None and shift == pytest.approx((-x, -y), abs=0.12)
    assert displacement(torch.zeros(3, 96, 96), torch.zeros(3, 96, 96)) is None


def test_resampling_against_splines():
    """The same picture to a part in a hundred, inside of the border; whole pixels exactly."""
    picture = frame_at(world(), 10, 10, side=80)[0]
    between, exact = resampled(picture, 0.25, -0.5), frame_at(world(), 10.25, 9.5, side=80)[0]
    assert (between - exact)[:, 6:-6, 6:-6].abs().max() < 0.01 < (picture - exact).abs().max()
    assert resampled(picture, 0, 0) is picture
    torch.testing.assert_close(
        resampled(picture, 2, 1)[:, :-1, :-2], picture[:, 1:, 2:], atol=1e-6, rtol=0
    )
