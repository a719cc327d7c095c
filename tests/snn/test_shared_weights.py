"""Several videos at once: the weights of the network are held once, each state is its own."""

import pytest
import torch
from helpers.tiny import write_tiny
from helpers.video import walk

from spiking_yolo import SpikingYOLO


@pytest.fixture
def detector(tmp_path) -> SpikingYOLO:
    return SpikingYOLO(write_tiny(tmp_path))


def addresses(network: torch.nn.Module) -> dict[str, int]:
    """Where everything lies that a map multiplies with."""
    found = {}
    for name, linear in network.synapses.maps.items():
        found[name] = linear.weight.data_ptr()
        found[f"{name} folded"] = linear.folded.data_ptr()
        found[f"{name} packed"] = id(linear._convolution)
        if linear._events is not None:
            found[f"{name} events"] = linear._events._weight.data_ptr()
    return found


def test_weights_are_held_once(detector):
    frames = walk(3)
    networks = []
    for _ in range(3):
        observer = detector.observer()
        list(observer.observe([frames[0]], T=1))
        networks.append(observer.network)
    first, *others = map(addresses, networks)
    assert len(first) > 3 * 2 and others == [first, first]
    # What a call writes to is not.
    for name, linear in networks[1].synapses.maps.items():
        other = networks[2].synapses.maps[name]
        assert linear is not other
        if linear._events is not None:
            assert linear._events is not other._events
            assert linear._events._kernels.scratch is not other._events._kernels.scratch
    graph = detector.converted.graph.tensors
    held = {tensor.data_ptr() for tensor in graph.values()}
    assert not held & {linear.weight.data_ptr() for linear in networks[0].synapses.maps.values()}


def test_states_are_apart(detector):
    videos = [walk(4), walk(4, seed=1)]
    alone = [list(detector.stream(video, conf=0.3)) for video in videos]
    in_turn = zip(*(detector.stream(video, conf=0.3) for video in videos), strict=True)
    for k, results in enumerate(in_turn):
        for own, result in zip(alone, results, strict=True):
            assert torch.equal(result.boxes.xyxy, own[k].boxes.xyxy) and len(result)
            assert result.operations == own[k].operations


def test_other_thresholds_are_folded_anew(detector):
    first, second = detector.observer().network, detector.observer().network
    x = torch.rand(1, 3, 64, 64)
    before = [output.clone() for output in first.run(x, 1).snapshots[1].outputs]
    for _, layer in second.layers():
        layer.theta.mul_(2)
    changed = second.run(x, 1).snapshots[1].outputs
    again = first.run(x, 1).snapshots[1].outputs
    assert all(torch.equal(*pair) for pair in zip(before, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(before, changed, strict=True))
