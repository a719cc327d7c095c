"""A neuron registered here is treated everywhere as the one of the package that it equals."""

from spiking_yolo.convert.load import load
from spiking_yolo.metrics.costs import NetworkCosts
from spiking_yolo.observe import Observer
from spiking_yolo.rate.neurons.layer import register
from spiking_yolo.rate.neurons.sigma_delta import SigmaDelta
from spiking_yolo.recipe import Recipe


@register(
    "renamed-sigma-delta",
    signed=True,
    differential=True,
    follows=("slope", "cap", "silu"),
    supports=("gamma", "initial", "digits", "schedule"),
)
class RenamedSigmaDelta(SigmaDelta):
    pass


def test_events_and_energy_are_the_same(weights):
    found = []
    for settings in ({}, {"neuron.kind": "renamed-sigma-delta"}):
        network = load(weights, "css", settings)
        observer = Observer(network.network(), network.graph, network.spec)
        (seen,) = observer.observe([str(weights.parent / "photos" / "a.png")], 8)
        found.append((seen.last.spikes, seen.last.operations, NetworkCosts.of(network)))
    assert str(found[0]) == str(found[1])


def test_what_an_event_carries():
    @register("heavy", signed=True, differential=True, carries="any", events="digits")
    class Heavy(SigmaDelta):
        pass

    recipe = Recipe("test").with_settings({"neuron.kind": "heavy", "neuron.gamma": 7})
    assert recipe.neuron_kind.carries == "any"
    assert recipe.counting == "digits"
