"""The chain of errors of one layer, against numbers computed by hand and against loops over single
neurons.
"""

import math
from dataclasses import replace

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, spiking

from spiking_yolo.apps.analyze.run import ERROR_PARTS, Chain, Watch, chain, whole_chain
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Activation, forward
from spiking_yolo.recipe import Recipe

IF = Recipe("test")


def column(values) -> torch.Tensor:
    """One channel, a neuron per value: [1, 1, n, 1]."""
    return torch.tensor(values, dtype=torch.float64)[None, None, :, None]


def pre_activations(converted, x):
    """What each layer of neurons of the ANN receives, and its function."""
    seen = {}
    forward(converted.graph, x, lambda node, pre, post: seen.update({node.name: (pre, node.phi)}))
    return seen


def links(recipe, z, T, slope=0.0, received=None, sent=None, phi=None, **site) -> Chain:
    """The chain of neurons with pre-activations z; the SNN's input and output are the ideal ones
    unless given.
    """
    site = {k: torch.tensor([v], dtype=torch.float64) for k, v in site.items()}
    site["initial"] = torch.tensor(recipe.neuron.initial)
    ideal = column(z) * T
    got = ideal if received is None else column(received)
    out = torch.zeros_like(ideal) if sent is None else column(sent)
    return chain(site, recipe, phi or Activation(slope), column(z), got, out, T)


def values(tensor) -> list[float]:
    return pytest.approx(tensor.flatten().tolist(), abs=1e-12)


def test_integrate_and_fire_by_hand():
    result = links(
        IF, [0.3, 1.7, -0.2], 4, received=[2.4, 6.8, 1.2], sent=[3.0, 4.0, 2.0], theta=1.0
    )
    assert values(result.ann) == [0.3, 1.7, 0.0]
    assert values(result.clipped) == [0.3, 1.0, 0.0]
    assert values(result.grid) == [0.25, 1.0, 0.0]  # floor(1.2) of 4 steps
    assert values(result.ideal) == [0.25, 1.0, 0.0]
    # 0.6 in each step: floor(2.4); 0.3: floor(1.2).
    assert values(result.even) == [0.5, 1.0, 0.25]
    assert values(result.snn) == [0.75, 1.0, 0.5]
    parts = result.parts()
    assert values(parts["clipping"]) == [0.0, -0.7, 0.0]
    assert values(parts["quantisation"]) == [-0.05, 0.0, 0.0]
    assert values(parts["spike-inherent"]) == [0.0, 0.0, 0.0]
    assert values(parts["wrong input"]) == [0.25, 0.0, 0.25]
    assert values(parts["uneven arrival"]) == [0.25, 0.0, 0.25]


def test_on_off_pair_by_hand():
    result = links(IF, [-0.3, -0.7, 0.6], 4, slope=0.1, theta=1.0, theta_off=0.5)
    # The OFF neuron reaches 0.5, worth 0.05.
    assert values(result.clipped) == [-0.03, -0.05, 0.6]
    # OFF: floor(1.2 / 0.5) = 2 of 4 steps.
    assert values(result.grid) == [-0.025, -0.05, 0.5]
    assert values(result.ideal) == [-0.025, -0.05, 0.5]


def test_imbalanced_threshold_by_hand():
    ibt = IF.with_settings({"neuron.kind": "ibt"})
    result = links(ibt, [-3.0, -0.5, 0.6], 4, slope=0.1, theta=1.0)
    assert values(result.ann) == [-0.3, -0.05, 0.6]
    # The potential passes -10 once, within 4 steps of -3.
    assert values(result.grid) == [-0.25, 0.0, 0.5]
    assert values(result.ideal) == [-0.25, 0.0, 0.5]


def test_what_lies_beyond_a_cap_is_no_error():
    """The ANN clips as well; neurons with bursts stop there, 1.5 after 4 steps of at most 2."""
    clip, double = Activation(cap=1.5), {"neuron.gamma": 2}
    result = links(IF.with_settings(double), [0.5, 1.25, 3.0], 4, phi=clip, theta=1.0)
    assert values(result.ann) == [0.5, 1.25, 1.5] and values(result.clipped) == [0.5, 1.25, 1.5]
    assert values(result.grid) == [0.5, 1.25, 1.5] and values(result.ideal) == [0.5, 1.25, 1.5]
    assert values(links(IF, [3.0], 4, phi=clip, theta=1.0).parts()["clipping"]) == [-0.5]


def test_the_levels_of_qcfs_are_the_anns():
    """2 levels of 0.5. After 2 steps the neuron's grid is the same, after 4 it is finer: that is
    quantisation.
    """
    half, phi = IF.with_settings({"neuron.initial": 0.5}), Activation(cap=1.0, levels=2)
    assert values(links(half, [0.3, 0.7, 3.0], 2, phi=phi, theta=1.0).grid) == [0.5, 0.5, 1.0]
    result = links(half, [0.3, 0.7, 3.0], 4, phi=phi, theta=1.0)
    assert values(result.ann) == [0.5, 0.5, 1.0] and values(result.ideal) == [0.25, 0.75, 1.0]
    assert values(result.parts()["quantisation"]) == [-0.25, 0.25, 0.0]


def test_reset_to_zero_is_spike_inherent():
    zero = IF.with_settings({"neuron.reset": "zero"})
    # Fires in every second step and loses 0.4.
    result = links(zero, [0.7], 10, theta=1.0)
    assert values(result.grid) == [0.7] and values(result.ideal) == [0.5]
    assert values(result.parts()["spike-inherent"]) == [-0.2]


def test_an_adaptive_threshold_is_judged_by_what_it_became():
    msat = get_recipe("msat").with_settings({"msat.gain": 1})
    T, theta, z = 16, 2.0, 5.0
    result = links(msat, [z], T, theta=theta)
    s, potential, history, total = msat.msat, 0.0, [], 0.0
    for t in range(T):
        now = theta
        if t:
            mean = sum(history) / t
            x = history[-1] - mean
            u = s.tau_mp * (s.alpha * x - 1 + math.log1p(math.exp(x)))
            u += s.tau_rd * math.exp(-z / theta / 5)
            now = theta / (1 + math.exp(-u))
        potential += z - now
        total += now
        history.append(potential / theta)
    assert total < 0.96 * theta * T
    assert [total / T] == values(result.clipped) and [total / T] == values(result.ideal)


def test_a_calibrated_bias_belongs_to_the_input():
    result = links(IF, [0.5], 4, theta=1.0, bias=0.25)
    assert values(result.ideal) == [0.5] and values(result.even) == [0.75]


# One of each kind of neurons.
METHODS = ("p-norm", "channel-norm", "msat")


@pytest.mark.parametrize("name", METHODS)
def test_the_parts_add_up(name):
    x = images(2)
    recipe = get_recipe(name).with_settings({"neuron.pool_first": False, "calibration.T": 4})
    converted, T = spiking(make(TinyLeaky), x, recipe), 12
    network, before = converted.simulator(observed=True), pre_activations(converted, x)
    watch = Watch({name: z for name, (z, _) in before.items()})
    network.run(x, T, probes=[watch])
    for i, (site, (z, phi)) in enumerate(before.items()):
        given = z, watch.received[site], watch.sent[site]
        result = chain(converted.neurons[site], converted.recipe, phi, *given, T)
        parts = result.parts()
        assert tuple(parts) == ERROR_PARTS
        assert (sum(parts.values()) - (result.snn - result.ann)).abs().max() < 1e-13
        corrected = "bias" in converted.neurons[site]
        if i == 0 and not corrected and recipe.encoding.input == "analogue":
            assert parts["wrong input"].abs().max() < 1e-9
            assert parts["uneven arrival"].abs().max() < 1e-9


def test_what_was_sent_is_what_the_next_layer_received():
    """Conservation: sum of input + U(0) - U(T) = sum of what was sent, for an IF neuron on ReLU."""
    x = images(1)
    recipe = replace(get_recipe("p-norm"), name="p")
    converted = spiking(make(Pooled), x, recipe)
    network, before = converted.simulator(observed=True), pre_activations(converted, x)
    watch = Watch({name: z for name, (z, _) in before.items()})
    network.run(x, 9, probes=[watch])
    for name, sent in watch.sent.items():
        left = network.neurons[name].potential
        assert torch.allclose(watch.received[name] - left, sent, atol=1e-9)
        assert sent.max() > 0


def in_whole_numbers(name, model, x):
    """Layer -> its chain; the ANN's pre-activations with their functions; and the network."""
    recipe = get_recipe(name).with_settings({"neuron.pool_first": False})
    converted = spiking(model, x, recipe)
    network, before, chains = converted.network(), pre_activations(converted, x), {}
    sent = network.sent(x)
    for site, (z, phi) in before.items():
        chains[site] = whole_chain(network, site, z, phi, sent[site])
    return chains, before, converted


@pytest.mark.parametrize("name", ["sfn", "signed-digits"])
def test_the_parts_of_whole_numbers_add_up(name):
    chains, before, converted = in_whole_numbers(name, make(TinyLeaky), images(2))
    for site, result in chains.items():
        parts = result.parts()
        assert (sum(parts.values()) - (result.snn - result.ann)).abs().max() < 1e-13
        assert not parts["spike-inherent"].any() and not parts["uneven arrival"].any()
        z, phi = before[site]
        assert torch.equal(result.ann, phi(z.float()).double())
        # What was sent is a whole number of thetas beyond the value at rest.
        own = converted.neurons[site]
        n = result.snn / own["theta"].double()[:, None, None]
        n -= own.get("rest", torch.zeros(1)).double()[:, None, None]
        assert (n - n.round()).abs().max() < 1e-6 and n.abs().max() > 0


def test_whole_numbers_on_the_anns_input_by_a_loop():
    chains, before, converted = in_whole_numbers("sfn", make(TinyLeaky), images(1))
    for site, result in chains.items():
        theta, z = converted.neurons[site]["theta"].double(), before[site][0][0].double()
        for c, plane in enumerate(z):
            for value, grid in zip(
                plane.flatten().tolist(), result.grid[0, c].flatten(), strict=True
            ):
                value = value if value > 0 else 0.1 * value
                n = min(math.floor(abs(value) / theta[c].item() + 0.5), 32)
                assert float(grid) == pytest.approx(math.copysign(n * theta[c].item(), value))
