"""What methods learn by running the network: balanced thresholds and corrections, and the file that
keeps them.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.methods import Chain, points
from helpers.networks import Pooled, TinyLeaky, images, make, spiking, statistics
from helpers.tiny import SIZE, write_tiny
from torch import Tensor

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import CalibrationResult, calibration_path
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import load, load_statistics
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, forward
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe, Threshold
from spiking_yolo.snn.network import SpikingNetwork

SPEC = Spec("classify", tuple("abcde"), 8, 8)
BALANCE = {"threshold.rule": "balance", "threshold.scope": "layer"}


def balanced(model: Any, beta: float, T: int, scope: str) -> list[Tensor]:
    """A second implementation for Chain: carries values n * theta, one layer after the other."""
    thetas: list[Tensor] = []
    for wanted in (model.conv1, model.conv2):
        highest = torch.zeros(6, dtype=torch.float64)
        for x in images(2).split(1):
            u = torch.zeros(())
            for _ in range(T):
                s = x
                if wanted is model.conv2:
                    theta = thetas[0][:, None, None]
                    u = u + model.conv1(x)
                    fired = (u >= theta).double()
                    u = u - fired * theta
                    s = model.pool(fired * theta)
                highest = torch.maximum(highest, wanted(s).amax((0, 2, 3)))
        theta = (
            torch.where(highest > 0, highest, highest.max())
            if scope == "channel"
            else highest.max().expand(6)
        )
        thetas.append((theta * beta).float().double())
    return thetas


@torch.no_grad()
@pytest.mark.parametrize("scope", ["layer", "channel"])
@pytest.mark.parametrize(("beta", "T"), [(1.0, 4), (0.7, 30)])
def test_balance_against_a_second_implementation(beta: float, T: int, scope: str):
    model = make(Chain)
    settings = {**BALANCE, "threshold.scope": scope, "threshold.scale": beta, "calibration.T": T}
    neurons = spiking(model, images(2), Recipe("tested"), settings).neurons
    for name, theta in zip(("relu1", "relu2"), balanced(model, beta, T, scope), strict=True):
        torch.testing.assert_close(neurons[name]["theta"].double(), theta, rtol=1e-6, atol=0)
    z = model.conv2(model.pool(torch.relu(model.conv1(images(2)))))  # type: ignore[operator]
    assert (neurons["relu2"]["theta"].max() / beta - z.max()).abs() > 0.01, (
        "the ANN's maximum would do"
    )


def test_both_sides_of_a_pair_are_balanced_by_hand():
    """Slope 1/2. Layer 1: z = 1, -0.6, -1, both thetas 1. It sends 1 in every step, and -1/2 by
    turns for -0.6.

    Layer 2, weights 1, 4, 0: its currents are 1 and 1 - 2 = -1. The ANN's pre-activation is 1 - 4 *
    0.3 = -0.2.
    """
    graph = points(
        [([[1.0], [-0.6], [-1.0]], [0.0] * 3), ([[1.0, 4.0, 0.0]], [0.0]), ([[1.0]], [0.0])],
        slope=0.5,
    )
    neurons = spiking(
        graph, torch.ones(1, 1, 1, 1, dtype=torch.float64), Recipe("tested"), BALANCE
    ).neurons
    assert neurons["act1"]["theta"].tolist() == neurons["act1"]["theta_off"].tolist() == [1.0] * 3
    assert (neurons["act2"]["theta"].item(), neurons["act2"]["theta_off"].item()) == (1.0, 1.0)


def test_channels_that_never_receive_a_positive_current():
    graph = points([([[2.0], [-1.0]], [0.0, 0.0]), ([[-1.0, 0.0]], [-1.0]), ([[1.0]], [0.0])])
    settings = {**BALANCE, "threshold.scope": "channel", "threshold.scale": 0.5}
    neurons = spiking(
        graph, torch.ones(1, 1, 1, 1, dtype=torch.float64), Recipe("tested"), settings
    ).neurons
    assert neurons["act1"]["theta"].tolist() == [1.0, 1.0]  # the layer's largest
    assert neurons["act2"]["theta"].tolist() == [0.5]  # a silent layer takes one


def one_layer(kind: str, **settings: Any) -> Converted:
    """theta = 1, half-threshold start, T = 4, on the places 1 and 0.35; the head is 2 a + 1."""
    graph = points([([[1.0]], [0.0]), ([[2.0]], [1.0])])
    x = torch.tensor([1.0, 0.35], dtype=torch.float64).reshape(1, 1, 1, 2)
    start = {
        "threshold.rule": "max",
        "neuron.initial": 0.5,
        "calibration.T": 4,
        "calibration.kind": kind,
    }
    return spiking(graph, x, Recipe("tested"), {**start, **settings})


@pytest.mark.parametrize("kind", ["light", "advanced"])
def test_corrections_by_hand(kind: str):
    """Rates 1 and floor(1/2 + 1.4) / 4 = 1/4: (0 - 0.1) / 2 too little. light: 0.05 more current;
    advanced: 4 * 0.05.

    Either way the second place then fires floor(2.1) times in 4 steps. The head gives 3 and 2, the
    ANN 3 and 1.7: its bias falls by 0.15.
    """
    converted = one_layer(kind)
    site, head = converted.neurons["act1"], converted.neurons["head"]
    if kind == "light":
        assert site["bias"].tolist() == pytest.approx([0.05]) and site["initial"].item() == 0.5
    else:
        assert site["initial"].tolist() == pytest.approx([0.7]) and "bias" not in site
    assert head["bias"].tolist() == pytest.approx([-0.15]) and set(head) == {"bias"}
    x = torch.tensor([1.0, 0.35], dtype=torch.float64).reshape(1, 1, 1, 2)
    output = converted.network().run(x, 4).snapshots[4].outputs[0]
    assert output.flatten().tolist() == pytest.approx([2.85, 1.85])


@pytest.mark.parametrize(
    ("kind", "key", "value"), [("light", "bias", 0.175), ("advanced", "initial", 0.675)]
)
def test_corrections_of_differential_coding(kind: str, key: str, value: float):
    """It sends 1 and 0 of 1 and 0.35, once and for all: 0.175 too little, whatever T."""
    memory = {"neuron.kind": "sigma-delta"}
    assert one_layer(kind, **memory).neurons["act1"][key].tolist() == pytest.approx([value])


def test_an_activation_that_is_an_output_is_corrected_once():
    """Its bias is added to its current, and not to what is read as well."""
    graph = replace(points([([[1.0]], [0.0]), ([[2.0]], [1.0])]), outputs=("act1", "head"))
    x = torch.tensor([1.0, 0.35], dtype=torch.float64).reshape(1, 1, 1, 2)
    converted = one_layer("light")
    network = SpikingNetwork(graph, converted.neurons, converted.recipe)
    assert network.run(x, 4).snapshots[4].outputs[0].flatten().tolist() == [1.0, 0.5]


def excess(graph: Graph, converted: Converted, name: str, plain: bool) -> float:
    """Norm of the mean difference between SNN and ANN, per channel, at node `name`; plain: without
    corrections.
    """
    part = graph.up_to(name)
    neurons = converted.neurons
    if plain:
        initial = torch.tensor(converted.recipe.neuron.initial)
        kept = ("theta", "theta_off")
        neurons = {
            k: {**{q: v[q] for q in kept if q in v}, "initial": initial} for k, v in neurons.items()
        }
    network = SpikingNetwork(part, neurons, converted.recipe)
    T = converted.recipe.calibration.T
    got, expected = network.run(images(12), T).snapshots[T].outputs[0], forward(part, images(12))[0]
    return (got - expected).transpose(0, 1).flatten(1).mean(1).norm().item()


@pytest.mark.parametrize("kind", ["light", "advanced"])
@pytest.mark.parametrize("cls", [Pooled, TinyLeaky])
def test_corrections_reduce_the_mean_error(cls: Any, kind: str):
    """Of the heads to nothing, on the calibration images: on a classifier and on a detector with
    two heads.

    A start at zero floors every rate, which is what layers are corrected for.
    """
    graph = spiking(make(cls), images(2), Recipe("tested")).graph
    settings = {"calibration.T": 8, "neuron.initial": 0.0}
    converted = spiking(graph, images(12), get_recipe(f"calibration-{kind}"), settings)
    layers = [node.name for node in graph.activations]
    before, after = (
        {n: excess(graph, converted, n, p) for n in (*layers, *graph.outputs)}
        for p in (True, False)
    )
    for name in graph.outputs:
        assert before[name] > 1e-3 and after[name] < 1e-6
    assert sum(after[n] for n in layers) < 0.8 * sum(before[n] for n in layers)


def test_everything_together_and_progress_names_the_parts():
    """Balance and corrections run before there is a confidence; the readout of the state does not
    matter.
    """
    graph = spiking(make(Pooled), images(2), Recipe("tested")).graph
    said: list[str] = []
    recipe = get_recipe("msat").with_settings(
        {
            **BALANCE,
            "msat.gain": 1,
            "msat.confidence": "after",
            "calibration.kind": "light",
            "calibration.T": 2,
            "readout.skip": 40,
        }
    )
    neurons = calibrate(
        graph, SPEC, statistics(graph, images(2)), recipe, list(images(2).split(1)), said.append
    )
    assert all(
        neurons[node.name].keys() >= {"theta", "bias", "confidence"} for node in graph.activations
    )
    names = [node.name for node in graph.activations]
    parts = [f"balance {n}" for n in names] + [f"correct {n}" for n in (*names, *graph.outputs)]
    assert said == [*parts, "spike confidence"]


@pytest.mark.parametrize("method", ["rmp", "calibration-light", "calibration-advanced", "msat"])
def test_it_does_not_matter_how_the_images_are_batched(method: str):
    """Three images one by one, and as two and one."""
    x, recipe = images(3), get_recipe(method).with_settings({"calibration.T": 4})
    graph = spiking(make(TinyLeaky), x, Recipe("tested")).graph
    one, two = (
        calibrate(graph, SPEC, statistics(graph, x), recipe, list(x.split(n))) for n in (1, 2)
    )
    for name, site in one.items():
        for key, value in site.items():
            torch.testing.assert_close(two[name][key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["rmp", "calibration-light", "calibration-advanced", "msat"])
def test_state_round_trip(method: str, tmp_path: Path):
    recipe = get_recipe(method)
    neurons = spiking(make(TinyLeaky), images(1), recipe, {"calibration.T": 2}).neurons
    state = CalibrationResult(
        {k: dict(v) for k, v in neurons.items()}, recipe, "a" * 64, (416, 608), ("a.jpg", "b.jpg")
    )
    state.save(tmp_path / "state.safetensors")
    loaded = CalibrationResult.load(tmp_path / "state.safetensors")
    assert replace(loaded, neurons=state.neurons) == state
    assert loaded.neurons.keys() == state.neurons.keys()
    for name, site in state.neurons.items():
        assert loaded.neurons[name].keys() == site.keys()
        assert all(torch.equal(loaded.neurons[name][k], v) for k, v in site.items())


def test_a_state_fits_its_own_network_and_recipe_only(tmp_path: Path):
    recipe = get_recipe("rmp")
    state = CalibrationResult({}, recipe, "a" * 64, (64, 64), ())
    assert state.fits(recipe, "a" * 64, (64, 64))
    assert state.fits(recipe.with_settings({"readout.skip": 3}), "a" * 64, (64, 64))
    assert not state.fits(recipe.with_settings({"threshold.scale": 0.7}), "a" * 64, (64, 64))
    assert not state.fits(recipe, "b" * 64, (64, 64)) and not state.fits(recipe, "a" * 64, (64, 32))
    spiking(make(Pooled), images(1), Recipe("tested")).save(tmp_path / "net.safetensors")
    with pytest.raises(UserError, match="not a calibration"):
        CalibrationResult.load(tmp_path / "net.safetensors")


def test_load_says_how_to_make_a_missing_state_and_finds_the_made_one(tmp_path: Path):
    weights = write_tiny(tmp_path)
    with pytest.raises(
        UserError,
        match=r"rmp runs the network .*does not exist.* calibrate .*--method rmp",
    ):
        load(weights, "rmp")
    with pytest.raises(
        UserError, match=r"no activation statistics .* calibrate .*--method rmp"
    ) as e:
        load(weights, "rmp", imgsz=96)
    assert (
        "\n" not in str(e.value) and str(weights) in str(e.value) and "--imgsz 96" in str(e.value)
    )
    ann, recipe = load_ann(weights), get_recipe("rmp").with_settings({"calibration.T": 2})
    x = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    neurons = calibrate(ann.graph, ann.spec, load_statistics(ann), recipe, [x])
    CalibrationResult(neurons, recipe, ann.sha256, ann.imgsz, ("x",)).save(
        calibration_path(weights, ann.imgsz, recipe)
    )
    found = load(weights, "rmp", {"calibration.T": 2})
    assert all(torch.equal(found.neurons[n]["theta"], s["theta"]) for n, s in neurons.items())
    with pytest.raises(UserError, match="does not exist"):
        load(weights, "rmp")
    calibration_path(weights, ann.imgsz, recipe).rename(
        calibration_path(weights, ann.imgsz, get_recipe("rmp"))
    )
    with pytest.raises(UserError, match="of other settings, weights or size"):
        load(weights, "rmp")


def test_the_file_of_changed_settings_has_its_own_name():
    """And so it does not take the place of the method's own; the readout needs no other file."""
    msat, weights, size = get_recipe("msat"), Path("net.weights"), (416, 608)
    assert calibration_path(weights, size, msat).name == "net.416x608.msat.safetensors"
    changed = {"msat.gain": 1, "threshold.layers": "conv1:0.5", "readout.skip": 3}
    name = calibration_path(weights, size, msat.with_settings(changed)).name
    assert name.startswith("net.416x608.msat.threshold.layers=") and name.endswith(
        ".msat.gain=1.safetensors"
    )
    assert re.fullmatch(r"[\w.=-]+", name) and "skip" not in name
    assert (
        calibration_path(weights, size, Recipe("own", Threshold(scale=2.0))).name
        == "net.416x608.own.safetensors"
    )
