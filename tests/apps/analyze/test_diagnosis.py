"""What analyze.py says about conversions that are wrong on purpose."""

from dataclasses import replace

import pytest
import torch

from spiking_yolo.apps.analyze.chain import Chain
from spiking_yolo.apps.analyze.diagnosis import _first_layer, advice, diagnose, layer_table, starts
from spiking_yolo.apps.analyze.records import LayerTotals, LayerWatch
from spiking_yolo.apps.analyze.run import analyze
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.graph import Activation
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons import build_neurons
from spiking_yolo.snn.plan import LayerPlan


def diagnosis(weights, method, T=16, tolerance=0.1, **settings) -> str:
    converted = load(weights, method, {k.replace("__", "."): v for k, v in settings.items()})
    analysis = analyze(converted, [str(weights.parent / "photos" / "a.png")], T)
    assert max(map(len, layer_table(analysis).splitlines())) <= 100
    return "\n".join(diagnose(analysis, tolerance))


def test_low_thresholds_clip(weights):
    said = diagnosis(weights, "p-norm", threshold__scale="0.1")
    assert "Layer 0 is the first whose error exceeds 0.1" in said and "is clipping" in said
    assert "--set threshold.percentile=100" in said and "--set neuron.gamma=2" in said


def test_few_steps_quantise(weights):
    said = diagnosis(weights, "p-norm", T=2)
    assert "is quantisation" in said and "--T 4" in said and "--set neuron.initial=0.5" in said


def test_reset_to_zero_is_blamed(weights):
    said = diagnosis(weights, "p-norm", T=64, tolerance=0.05, neuron__reset="zero")
    assert "is spike-inherent" in said and "--set neuron.reset=subtract" in said


def test_random_input_is_blamed(weights):
    said = diagnosis(
        weights,
        "p-norm",
        encoding__input="poisson",
        threshold__percentile="100",
        neuron__initial="0.5",
    )
    assert "the image arrives as random spikes" in said


def test_a_bias_that_mends_the_mean_is_named():
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    links = [torch.zeros_like(x) + value for value in (1.0, 1.0, 0.9, 0.9, 0.5, 0.5)]
    seen = LayerWatch(x, Activation(), 4)
    layer = build_neurons(
        {"theta": torch.ones(3), "initial": torch.tensor(0.0)},
        Recipe("r"),
        Activation(),
        LayerPlan("x"),
    )
    layer.reset()
    for t in range(1, 5):
        layer(x)
        seen.see(t, layer, x)
    totals = LayerTotals("layers_0_act", 4)
    totals.add(Chain(*links), torch.ones(3, 1, 1), seen, {4: 1.0}, 192, 4)
    said = " ".join(_first_layer([totals], get_recipe("calibration-light"), 4, 0.1))
    assert (
        "a calibrated bias only corrects the channel's mean" in said
        and "Try more steps (--T 8)" in said
    )


def test_inherited_errors_point_above(weights):
    settings = {"neuron__pool_first": "false", "threshold__scale": "0.5"}
    converted = load(
        weights, "signed-memory", {k.replace("__", "."): v for k, v in settings.items()}
    )
    analysis = analyze(converted, [str(weights.parent / "photos" / "a.png")], 8)
    first, second = analysis.layers
    limit = (first.relative_error + second.relative_error) / 2
    assert (
        first.relative_error < limit < second.relative_error and second.dominant() == "wrong input"
    )
    said = "\n".join(diagnose(analysis, limit))
    assert "Layer 2 is the first" in said and "Of the layers before it, layer 0 adds" in said


ALL = "MSAT's thresholds start at {} of Theta in every layer."


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"msat__gain": "1"},
            f"{ALL.format(0.67)} That is outside 0.1 to 0.35, where MSAT helps most: try --set msat.gain=3.1",
        ),
        ({"msat__gain": "3"}, ALL.format(0.21)),
        ({"msat__gain": "3", "msat__det": "false"}, f"{ALL.format(0.091)} That is outside"),
        ({"msat__gain": "2", "msat__det": "false"}, ALL.format(0.21)),
        (
            {"msat__dtt": "false", "msat__gain": "1"},
            "the only term that depends on Theta (--set msat.dtt=true",
        ),
        (
            {"msat__units": "raw", "msat__gain": "1"},
            "try --set msat.units=normalised --set msat.gain=3.1",
        ),
    ],
)
def test_where_msat_starts(weights, settings, says):
    """sigmoid(ln 2 + 1 - 3) = .21, which a gain of ln 2 + 1 + ln(.8 / .2) = 3.1 makes .2."""
    said = diagnosis(weights, "msat", T=2, msat__confidence="off", **settings).replace("\n", " ")
    assert says in said and ("outside" in said) == (
        "outside" in says or "try" in says or "only" in says
    )


def test_a_start_that_differs_between_layers(weights):
    converted = load(weights, "msat", {"msat.gain": 1, "msat.confidence": "off"})
    names = [node.name for node in converted.graph.activations]
    neurons = {
        n: {**converted.neurons[n], "gain": torch.tensor(k)}
        for n, k in zip(names, (3.0, 1.0), strict=True)
    }
    open_gain = replace(
        converted, neurons=neurons, recipe=converted.recipe.with_settings({"msat.gain": 0})
    )
    first, second = starts(open_gain)
    assert (
        first
        == "MSAT's thresholds start at these fractions of Theta: 0.21 in layer 0, 0.67 in layer 2."
    )
    assert second.startswith("In layer 2 that is outside") and second.endswith(
        "the calibration found it best there."
    )
    assert starts(load(weights, "msat-plus")) == starts(load(weights, "p-norm")) == []


def test_nothing_to_complain_about(weights):
    assert "No layer's error exceeds 0.9" in diagnosis(
        weights, "signed-memory", T=32, tolerance=0.9
    )


def test_unused_and_silent_channels_are_named(weights):
    converted = load(weights, "p-norm", {"threshold.scale": "1000"})
    analysis = analyze(converted, [str(weights.parent / "photos" / "a.png")], 4)
    said = "\n".join(diagnose(analysis, 0.1))
    assert "are active in the ANN but never fired" in said
    assert all(
        layer.count("silent") == len(layer.channels["positive"]) - layer.count("dead")
        for layer in analysis.layers
    )


@pytest.mark.parametrize(
    "part", ["clipping", "quantisation", "spike-inherent", "wrong input", "uneven arrival"]
)
@pytest.mark.parametrize("name", list(list_methods()))
def test_advice_can_be_followed(name, part):
    """Every --set that is suggested is accepted and changes something, and every --method
    exists.
    """
    recipe = get_recipe(name)
    if part == "wrong input":
        # Advice is asked for where the image itself is the wrong input.
        recipe = get_recipe("spike-norm")
    words = advice(part, recipe, 16).replace(",", " ").replace(")", " ").replace("(", " ").split()
    suggested = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert all(recipe.with_settings(dict([setting.split("=")])) != recipe for setting in suggested)
    assert all(words[i + 1] in list_methods() for i, word in enumerate(words) if word == "--method")
    assert suggested or "--method" in words or "--T" in words
