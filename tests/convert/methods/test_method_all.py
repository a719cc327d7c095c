"""What holds for every method of the registry."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from helpers.methods import record, relative_error
from helpers.networks import UNTUNED, Pooled, Residual, TinyLeaky, images, make, spiking
from helpers.tiny import run_tool

from spiking_yolo.apps.methods import methods_text
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import DEFAULT, TUNED, VIDEO, get_recipe, list_methods

METHODS = list(list_methods())
TABLES = (
    "p-norm channel-norm spike-norm rmp tsc opt calibration-light calibration-advanced burst msat"
)
POISSON = {name for name in METHODS if get_recipe(name).encoding.input == "poisson"}


@cache
def converted(cls: type, name: str) -> Converted:
    """Calibrated on images(2)."""
    return spiking(make(cls), images(2), get_recipe(name))


@torch.no_grad()
@pytest.mark.parametrize("cls", [TinyLeaky, Residual, Pooled])
@pytest.mark.parametrize("name", METHODS)
def test_it_runs_on_leaky_and_on_relu_networks(name: str, cls: Any):
    """With images that it was not calibrated on. Reset to zero never comes close; all others do,
    and keep doing so.
    """
    x, steps = images(2, seed=7), [1, 8, 64]
    run = converted(cls, name).network().run(x, 64, steps)
    errors = [relative_error(run.snapshots[t].outputs, make(cls)(x)) for t in steps]
    assert all(o.isfinite().all() for s in run.snapshots.values() for o in s.outputs)
    assert errors[2] < (0.4 if name == "spike-norm" else 0.15), errors
    complete = name in ("few-spikes", "sfn", DEFAULT, TUNED, VIDEO)  # in one step
    assert errors[2] < errors[0] or (complete and errors[2] == errors[0]), errors
    assert all((count > 0).all() for count in run.snapshots[64].spikes.values())
    assert (run.snapshots[64].operations.spikes > 0).all() and run.neurons.keys() == run.snapshots[
        64
    ].spikes.keys()


@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
@pytest.mark.parametrize("name", METHODS)
def test_runs_repeat_and_do_not_depend_on_the_batch(name: str, cls: Any):
    """Repeated, bit by bit. In another batch, up to how a linear layer rounds its sums."""
    x = images(3, seed=7)
    network = converted(cls, name).network(observed=True)
    together = record(network, x, 18)
    network.run(images(2, seed=8), 3)
    again = record(network, x, 18)
    assert all(torch.equal(again[k], v) for k, v in together.items())
    alone = record(network, x[1:2], 18)
    assert all(
        torch.allclose(alone[k][:, 0], v[:, 1], rtol=0, atol=1e-12) for k, v in together.items()
    )


@pytest.mark.parametrize("j", [-3, 5])
@pytest.mark.parametrize("cls", [TinyLeaky, Pooled])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in POISSON])
def test_scaled_input_and_biases_give_identical_spikes(name: str, cls: Any, j: int):
    """Times 2^j, calibrated again.

    A Poisson image is not scaled: its spikes come with a chance that is the intensity itself. Nor
    does training scale: it looks at the scores, and its sums are rounded.
    """
    settings = UNTUNED if get_recipe(name).calibration.kind == "trained" else {}
    plain = spiking(make(cls), images(2), get_recipe(name), settings)
    tensors = {k: v * 2.0**j if k.endswith(".bias") else v for k, v in plain.graph.tensors.items()}
    scaled = spiking(
        replace(plain.graph, tensors=tensors), images(2) * 2.0**j, get_recipe(name), settings
    )
    x = images(2, seed=7)
    before, after = (
        record(plain.network(observed=True), x, 20),
        record(scaled.network(observed=True), x * 2.0**j, 20),
    )
    assert all(torch.equal(before[k], after[k]) and before[k].any() for k in before)


def test_every_method_is_named_as_its_function_which_names_its_paper():
    for name, entry in list_methods().items():
        assert entry.name == name == entry.recipe.name
        assert entry.build.__name__ == name.replace("-", "_")
        assert entry.build.__doc__ and str(entry.year)[:2] == "20" and entry.reference
    assert set(TABLES.split()) <= set(METHODS)


def test_methods_are_told_apart():
    recipes = [replace(get_recipe(name), name="x") for name in METHODS]
    assert len(set(recipes)) == len(recipes)


def test_list_methods_lists_all(capsys: pytest.CaptureFixture[str]):
    """A line each: name, year, timesteps, thresholds, neuron, events per step, calibration, limits,
    default marked.
    """
    assert run_tool("methods") == 0
    header, *lines, note = capsys.readouterr().out.strip().splitlines()
    assert header.split() == [
        "method",
        "year",
        "T",
        "thresholds",
        "neuron",
        "events/step",
        "calibration",
        "limits",
    ]
    assert [line.split()[0] for line in lines] == METHODS and methods_text() == "\n".join(
        [header, *lines, note]
    )
    for name, line in zip(METHODS, lines, strict=True):
        method = list_methods()[name]
        assert f"{method.year}  {method.needs} " in line and line.endswith(method.limits)
        assert ("(default)" in line) == (name == DEFAULT)
