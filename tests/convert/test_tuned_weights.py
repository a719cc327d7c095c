"""Weights that were tuned: what a file holds of them, worked out by hand, and networks that have
them beside the ANN's.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.calibrating import tune_on
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, spiking, statistics
from helpers.tiny import write_tiny

from spiking_yolo.convert.calibration_file import (
    CalibrationFile,
    CalibrationResult,
    calibrations_path,
    save_calibrations,
)
from spiking_yolo.convert.learn.statistics import ImageList
from spiking_yolo.convert.learn.weight_bits import restored_weights, stored_weights
from spiking_yolo.convert.load import Converted, convert, load
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.spec import Spec

CONV = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
RECIPE = get_recipe(DEFAULT, "tuned-weights")


def chain(first: list[float], last: list[list[float]]) -> Graph:
    """image -> 1 x 1 convolution of one of its channels -> ReLU -> 1 x 1 convolution."""
    nodes = (
        Node("image", "input", (), {}),
        Node("first", "conv", ("image",), CONV),
        Node("relu", "activation", ("first",), {"slope": 0.0}),
        Node("last", "conv", ("relu",), CONV),
    )
    weight = torch.zeros(len(first), 3, 1, 1)
    weight[:, 0, 0, 0] = torch.tensor(first)
    tensors = {
        "first.weight": weight,
        "last.weight": torch.tensor(last)[..., None, None],
        "last.bias": torch.zeros(len(last)),
    }
    return Graph(nodes, ("last",), tensors)


def test_levels_by_hand():
    """A chip holds 0.5 * 1 and 2 * -0.3: of -0.6, the largest, 127 levels, of 0.5 so 105.8."""
    graph = chain([1.0, 2.0], [[1.0, -0.3]])
    stored = stored_weights(graph, graph.tensors, {"relu": torch.tensor([0.5, 2.0])})
    kept = {"first.weight": "levels step", "last.weight": "levels step unit", "last.bias": "value"}
    assert stored.keys() == {f"{key}/{part}" for key in kept for part in kept[key].split()}
    levels = stored["last.weight/levels"]
    assert levels.dtype == torch.int8 and levels.flatten().tolist() == [106, -127]
    torch.testing.assert_close(stored["last.weight/step"], torch.tensor([0.6 / 127]))
    # An image comes in plain values, and a channel of weight 0 has levels 0.
    assert stored["first.weight/levels"].flatten().tolist() == [127, 0, 0, 127, 0, 0]
    restored = restored_weights(stored)
    expected = torch.tensor([106 * 0.6 / 127 / 0.5, -0.3])
    torch.testing.assert_close(restored["last.weight"].flatten(), expected)
    assert torch.equal(restored["last.bias"], graph.tensors["last.bias"])


@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
def test_files_hold_all_of_it(cls: Any, tmp_path: Path):
    """Of linear layers behind a flattened map, concatenations and residuals: to float rounding."""
    net = spiking(make(cls).float(), images(2).float(), RECIPE)
    thetas = {node.name: net.neurons[node.name]["theta"] for node in net.graph.activations}
    stored = stored_weights(net.graph, net.weights, thetas)
    result = CalibrationResult(RECIPE, net.neurons, ImageList.of(["x"]), stored)
    save_calibrations(tmp_path / "a.safetensors", "a" * 64, (8, 8), [result])
    loaded = CalibrationFile.read(tmp_path / "a.safetensors").calibration(DEFAULT, "tuned-weights")
    assert loaded.neurons.keys() == net.neurons.keys()
    assert loaded.weights.keys() == net.weights.keys()
    for name, weight in net.weights.items():
        torch.testing.assert_close(loaded.weights[name], weight, rtol=1e-5, atol=1e-7)
    net.save(tmp_path / "b.safetensors")
    again = Converted.load(tmp_path / "b.safetensors")
    assert again.sha256() == net.sha256() != replace(net, weights={}).sha256()
    assert again.provenance["weights_tuned"] == "without labels"
    x = images(2, seed=3).float()
    runs = [one.network().run(x, 2).snapshots[2] for one in (net, again)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0].outputs, runs[1].outputs, strict=True))


def test_the_tuned_network_is_simulated_and_the_ann_stays():
    """2 x 3 and 4 x 3 instead of 2 x 1: the outputs are 6 and 12 times the image, the ANN's 2; to
    half a theta times 3.
    """
    graph = chain([2.0], [[1.0]])
    spec, x = Spec("classify", ("a",), 8, 8), images(1).float()
    recipe = RECIPE.with_settings({"neuron.slack": 0})
    neurons = {"relu": {"theta": torch.full((1,), 0.05), "initial": torch.tensor(0.5)}}
    weights = {"last.weight": torch.tensor([[3.0]])[..., None, None]}
    plain = {"graph": graph, "spec": spec, "statistics": statistics(graph, x), "recipe": recipe}
    for first, factor in ((None, 6), (4.0, 12)):
        if first is not None:
            weights = {**weights, "first.weight": graph.tensors["first.weight"] * (first / 2)}
        net = convert(**plain, neurons=neurons, weights=weights)
        (output,) = net.network().run(x, 1).snapshots[1].outputs
        torch.testing.assert_close(output, factor * x[:, :1], rtol=0, atol=0.075 + factor / 510)
        torch.testing.assert_close(forward(net.graph, x)[0], 2 * x[:, :1])
        torch.testing.assert_close(forward(net.spiking_graph, x)[0], factor * x[:, :1])
    with pytest.raises(UserError, match=r"tunes weights.*tune"):
        convert(**plain, neurons=neurons)
    for name, wrong in (("last.weight", torch.ones(2, 1, 1, 1)), ("other.weight", torch.ones(1))):
        with pytest.raises(UserError, match=f"{name}.* not of this network"):
            convert(**plain, neurons=neurons, weights={name: wrong})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with what `tune` writes beside it."""
    folder = tmp_path_factory.mktemp("tuned")
    path = write_tiny(folder)
    tune_on(path, folder / "photos" / "a.png")
    return path


def test_a_file_beside_the_weights_is_found(weights: Path, tmp_path: Path):
    net = load(weights, calibration=TUNED)
    assert net.weights and net.provenance["weights_tuned"] == "without labels"
    ann = load_ann(weights).graph.tensors
    assert all(torch.equal(net.graph.tensors[name], tensor) for name, tensor in ann.items())
    # Finer thetas take the same calibration, other goals another one.
    finer = load(weights, None, {"threshold.scale": 0.5}, calibration=TUNED)
    assert all(torch.equal(finer.weights[name], weight) for name, weight in net.weights.items())
    with pytest.raises(UserError, match="with these settings"):
        load(weights, None, {"calibration.operations": 0.28}, calibration=TUNED)


TUNED = "tuned-weights"
KERNEL = "layers_0_conv.weight"


def test_damaged_weights_are_refused_by_one_line(weights: Path, tmp_path: Path):
    for change in [
        lambda t: t.pop(f"{KERNEL}/step"),
        lambda t: t.update({f"{KERNEL}/levels": t[f"{KERNEL}/levels"][:, :, 0]}),
        lambda t: t.update({f"{KERNEL}/step": t[f"{KERNEL}/step"][1:]}),
        lambda t: t.update({f"{KERNEL}/step": t[f"{KERNEL}/step"] * torch.nan}),
        lambda t: t.update({f"{KERNEL}/unit": torch.ones(4)}),
        lambda t: t.update({"layers_9_conv.bias/value": torch.ones(3)}),
        lambda t: t.clear(),
    ]:
        file = CalibrationFile.read(calibrations_path(weights, (64, 64)))
        own = file.calibration(DEFAULT, TUNED)
        stored = dict(own.stored)
        change(stored)
        path = tmp_path / "a.safetensors"
        bad = replace(own, stored=stored)
        save_calibrations(path, file.weights_sha256, file.imgsz, [bad])
        with pytest.raises(UserError) as refused:
            load(weights, calibration=TUNED, statistics=path)
        assert "\n" not in str(refused.value)


def test_weights_of_a_method_that_leaves_them_are_refused(weights: Path, tmp_path: Path):
    file = CalibrationFile.read(calibrations_path(weights, (64, 64)))
    own = replace(file.calibration(DEFAULT, TUNED), recipe=get_recipe(DEFAULT))
    save_calibrations(tmp_path / "a.safetensors", file.weights_sha256, file.imgsz, [own])
    with pytest.raises(UserError, match="not the method's"):
        CalibrationFile.read(tmp_path / "a.safetensors").calibration(DEFAULT, "default")
