"""Spikes and their rate have one definition: in results, files, tables, pages and pictures."""

import json
from functools import cache
from statistics import fmean
from typing import Any

import pytest
from helpers.evaluating import make_scene
from helpers.networks import TinyLeaky, images, make, spiking
from helpers.tiny import write_tiny

from spiking_yolo import SpikingYOLO
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.detect.run import DetectRun
from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.apps.evaluate.run import evaluate, scorer_of
from spiking_yolo.apps.page import PhotographsPage
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.data.coco import load_coco
from spiking_yolo.observe import Input, Observer, mean_rate

# Of every kind: complete values, differential coding that settles later, rate coding with pairs.
METHODS = ("signed-digits", "dcgs", "p-norm")
T, STEPS = 24, (1, 2, 5, 24)
QUICK = {"calibration.T": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@cache
def observed(method: str, batch: int) -> list[Any]:
    settings = QUICK | ({"calibration.steps": 2} if method == "signed-digits" else {})
    converted = spiking(make(TinyLeaky), images(3), get_recipe(method), settings)
    observer = Observer(converted.network(), converted.graph, converted.spec)
    seen = observer.observe(map(Input, images(3)), T, range(1, T + 1), want=("maps",), batch=batch)
    return list(seen)


@pytest.mark.parametrize("method", METHODS)
def test_steps_count_until_the_last_spike(method):
    """By brute force, from the spikes of every step, of each image alone and in a batch."""
    recipe = get_recipe(method)
    for batch in (1, 3):
        for one in observed(method, batch):
            spikes = [0.0, *(one.steps[t].total_spikes for t in range(1, T + 1))]
            for t, step in one.steps.items():
                last = t
                while recipe.differential and last > 1 and spikes[last] == spikes[last - 1]:
                    last -= 1
                assert step.active_steps == last
                assert one.mean_rate(t) == pytest.approx(spikes[t] / one.neurons / last)


@pytest.mark.parametrize("method", METHODS)
def test_every_spike_is_of_a_neuron_and_in_the_maps(method):
    """What max pooling passes on has a name of its own."""
    for one in observed(method, 3):
        for step in one.steps.values():
            for name, heat in step.maps.items():
                total = heat.mean().item() * one.neurons_by_layer[name]
                assert total == pytest.approx(step.spikes[name], rel=1e-5)
        last = one.last
        assert last.sent["spikes"] == last.total_spikes > 0
        assert last.events == {name: n + last.pooled[name] for name, n in last.sent.items()}
    assert any(one.last.pooled["spikes"] for one in observed("p-norm", 3))


@pytest.mark.parametrize("method", METHODS)
def test_one_number_everywhere(method, tmp_path):
    path = make_scene(tmp_path)[0]
    dataset = load_coco(tmp_path)
    network = load(path, method)
    detector = SpikingYOLO(network)
    photos = [sample.path for sample in dataset.samples]
    results = [detector.detect(photo, T, STEPS) for photo in photos]
    expected = results[0].mean_rate
    assert json.loads(results[0].to_json())["mean_rate"] == expected
    seen, last = results[0].seen, results[0].last
    assert expected == mean_rate(results[0].spikes, seen.neurons, last.active_steps)
    # The row of an evaluation is the mean over images.
    options = EvalOptions(T=T, steps=STEPS)
    found = evaluate({method: network}, scorer_of(dataset, network.spec, options), options)
    assert found
    row = found.rows[-1].costs
    assert row["mean_rate"] == pytest.approx(fmean(r.mean_rate for r in results))
    assert row["spikes_per_image"] == pytest.approx(fmean(r.spikes for r in results))
    # The page.
    options = DetectOptions(
        sources=(str(photos[0]),), weights=path, method=method, T=T, steps=STEPS, page="a.html"
    )
    run = DetectRun(options)
    page = PhotographsPage(tmp_path / "a.html", run)
    run.results([page])
    (photo,) = page.photographs
    assert photo["rate"][-1] == pytest.approx(expected, rel=1e-3)
    assert photo["digits"][-1] == pytest.approx(results[0].last.sent["digits"], rel=1e-3)
    assert photo["spikes"][-1] == pytest.approx(results[0].spikes, rel=1e-3)
    digits = [layer["digits"][-1] for layer in photo["layers"] if layer["digits"]]
    assert sum(digits) == pytest.approx(photo["digits"][-1], rel=1e-2)
