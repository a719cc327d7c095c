"""A spiking network as an nn.Module: its parameters, hooks, devices and dtypes, and runs step by
step.
"""

import copy
import pickle
from functools import cache

import pytest
import torch
from helpers.methods import recipe_of
from helpers.networks import TinyLeaky, images, make, same, spiking
from torch import Tensor, nn

from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import NeuronLayer
from spiking_yolo.snn.readout import Snapshot

T = 12
METHODS = ("p-norm", "channel-norm", "msat", "dcgs")


@cache
def converted(method: str) -> Converted:
    return spiking(make(TinyLeaky), images(2), recipe_of(method))


def network(method: str = "p-norm") -> SpikingNetwork:
    return converted(method).network()


def last(network: SpikingNetwork, x: Tensor) -> Snapshot:
    return network.run(x, T).snapshots[T]


def test_parameters_have_names_and_can_be_loaded():
    """The weights are the ANN's; a network of other weights and thresholds becomes this one."""
    ours, x = network(), images(2)
    state = ours.state_dict()
    names = {"synapses.maps.conv1.weight", "synapses.maps.head2.bias", "neurons.act1.theta"}
    assert names <= set(state) and [name for name, _ in ours.layers()] == ["act1", "act2", "act3"]
    assert all(isinstance(layer, nn.Module) for _, layer in ours.layers())
    assert torch.equal(state["synapses.maps.conv2.weight"], ours.graph.tensors["conv2.weight"])
    other = spiking(make(TinyLeaky, seed=1), images(2, seed=1), get_recipe("p-norm")).network()
    before = last(other, x)
    assert other.load_state_dict({k: v.clone() for k, v in state.items()})
    after = last(other, x)
    assert same(after, last(ours, x)) and not same(after, before)


@pytest.mark.parametrize("method", METHODS)
def test_another_dtype_and_copies(method: str):
    """As if it had been made in it, also in the middle of a run. Copies of it, whose weights are
    packed, have no run to go on with.
    """
    moved, x = network(method), images(2).float()
    moved.run(images(2), 3)
    assert moved.to(torch.float32) is moved
    run = last(moved, x)
    assert {output.dtype for output in run.outputs} == {torch.float32}
    assert same(run, last(network(method).float(), x))
    for copied in (copy.deepcopy(moved), pickle.loads(pickle.dumps(moved))):
        with pytest.raises(ValueError, match="start"):
            copied.step()
        assert same(last(copied, x), run) and same(last(moved, x), run)


def test_forward_hooks_see_spikes_and_the_run():
    ours, seen, runs = network(), [], []
    layer = ours.neurons["act2"]
    hook = layer.register_forward_hook(
        lambda module, args, out: seen.append((module.t, (out != 0).sum()))
    )
    ours.register_forward_hook(lambda module, args, run: runs.append(run))
    run = ours(images(2), T)
    hook.remove()
    again = ours.run(images(2), T)
    assert [t for t, _ in seen] == list(range(1, T + 1)) and isinstance(layer, NeuronLayer)
    assert run.snapshots[T].spikes["act2"].sum() >= sum(fired for _, fired in seen) > 0
    assert len(runs) == 2 and run is runs[0] and again is runs[1]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_its_steps_and_can_go_on(method: str):
    x, ours = images(2), network(method)
    expected = ours.run(x, T, [5]).snapshots
    ours.start(x)
    for t in range(1, T + 1):
        ours.step()
        assert t not in expected or same(ours.snapshot(), expected[t])
    ours.run(x, 5)
    for _ in range(5, T):
        ours.step()
    assert same(ours.snapshot(), expected[T])


def test_what_cannot_be_simulated():
    with pytest.raises(ValueError, match="IntegerNetwork"):
        spiking(make(TinyLeaky), images(2), get_recipe("sfn")).simulator()
    with pytest.raises(ValueError, match="observed=True"):
        network().run(images(2), 2, probes=[lambda *_: None])


def test_without_a_run_there_is_no_step():
    ours = network()
    for call in (ours.step, ours.snapshot):
        with pytest.raises(ValueError, match="start"):
            call()
    ours.start(images(2))
    with pytest.raises(ValueError, match="step"):
        ours.snapshot()
    ours.run(images(2), 3)
    ours.float()
    with pytest.raises(ValueError, match="start"):
        ours.step()
