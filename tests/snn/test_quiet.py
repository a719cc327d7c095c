"""Where a run says that nothing changes any more, a far longer one changes nothing."""

from typing import Any

import pytest
import torch
from helpers.methods import Chain
from helpers.networks import TinyLeaky, images, make, spiking
from helpers.tiny import write_tiny

from spiking_yolo import SpikingYOLO
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.recipe import Encoding
from spiking_yolo.snn.coding import SILENT, next_refinement, spike_weight
from spiking_yolo.snn.readout import Quiet, Run, Snapshot

# Beyond every refinement below, the last of which is at 33 or 65.
LONG = 150
LENGTHS = (1, 2, 3, 8, 16, 17, 40, 70)
REFINED = {"encoding.refine": 16, "encoding.refine_by": 0.5, "encoding.refinements": 2}
QUICK = {"calibration.steps": 2, "calibration.T": 4}
DIFFERENTIAL = {
    "dcgs",
    "signed-digits",
    "signed-digits-tuned",
    "signed-digits-video",
}


def same(a: Snapshot, b: Snapshot) -> bool:
    """Outputs and every count, to the bit."""
    pairs = [*zip(a.outputs, b.outputs, strict=True), (a.updates, b.updates)]
    pairs += [(a.spikes[name], b.spikes[name]) for name in a.spikes]
    pairs += [*zip(a.sent, b.sent, strict=True), *zip(a.operations, b.operations, strict=True)]
    return all(torch.equal(x, y) for x, y in pairs)


def check(converted: Converted, **options: Any) -> dict[int, Run]:
    """Runs of LENGTHS, whose claims hold in a run of LONG steps: {T: run}."""
    x = images(2, seed=5)
    long = converted.network().run(x, LONG, range(1, LONG + 1), **options).snapshots
    runs = {T: converted.network().run(x, T, **options) for T in LENGTHS}
    for T, run in runs.items():
        if run.quiet is None:
            continue
        since, until = run.quiet.since, run.quiet.until
        assert since <= T < (until or LONG)
        for t in range(since, until or LONG):
            assert same(long[t], long[since]), (T, run.quiet, t)
        assert same(run.snapshots[T], long[since])
    return runs


@pytest.mark.parametrize("name", list_methods())
def test_of_every_method(name):
    recipe = get_recipe(name)
    cls = TinyLeaky if name in (*DIFFERENTIAL, "channel-norm", "dcgs", "p-norm") else Chain
    settings = {k: v for k, v in QUICK.items() if recipe.runs_network or k == "calibration.T"}
    runs = check(spiking(make(cls), images(2), recipe, {**settings, "readout.skip": 0}))
    if recipe.encoding.coding == "rate":
        assert all(run.quiet is None and run.settled is None for run in runs.values())
    elif name in DIFFERENTIAL:
        assert runs[70].settled is not None


@pytest.mark.parametrize("coarse", [0, 3])
@pytest.mark.parametrize("name", ["differential", "dcgs", "signed-digits"])
def test_refined_later(name, coarse):
    settings = {**REFINED, "encoding.coarse": coarse, **(QUICK if name == "signed-digits" else {})}
    runs = check(spiking(make(TinyLeaky), images(2), get_recipe(name), settings))
    assert runs[8].settled is runs[16].settled is runs[17].settled is None
    assert runs[16].quiet is not None and runs[16].quiet.until == 17
    quiet = runs[70].quiet
    assert quiet is not None and quiet.since == runs[70].settled >= 33 and quiet.until is None


def test_complete_values_settle_in_the_first_step():
    runs = check(spiking(make(TinyLeaky), images(2), get_recipe("signed-digits"), QUICK))
    assert {run.settled for run in runs.values()} == {1}


def test_next_image_begins_anew():
    converted = spiking(make(TinyLeaky), images(2), get_recipe("signed-digits"), QUICK)
    network = converted.network()
    network.run(images(2), 4)
    network.feed(images(2, seed=9))
    assert network.quiet is None
    network.step()
    assert network.quiet == Quiet(1)


@pytest.mark.parametrize(("coarse", "refine", "refinements", "by"), [
    (0, 0, 3, 0.5), (4, 0, 3, 0.5), (0, 1, 3, 0.75), (2, 3, 4, 0.5), (9, 4, 2, 0.5), (0, 16, 0, 0.5), (0, 5, 3, 1.0),
])  # fmt: skip
def test_next_refinement_is_the_next_change_of_the_weight(coarse, refine, refinements, by):
    e = Encoding(coarse=coarse, refine=refine, refinements=refinements, refine_by=by)
    weights = [spike_weight(e, t) for t in range(1, 200)]
    for t in range(1, 100):
        later = [s for s in range(t + 1, 200) if weights[s - 1] != weights[t - 1]]
        assert next_refinement(e, t) == (later[0] if later else None)


def test_with_silent_steps_every_step_is_finer_until_the_last_layer_is_done():
    e = Encoding(coarse=2, silent=3)
    weights = [spike_weight(e, t, before=2) for t in range(1, 12)]
    assert weights == [SILENT] * 6 + [4, 2, 1] + [SILENT] * 2
    assert [next_refinement(e, t, before=2) for t in (1, 7, 8, 9, 20)] == [2, 8, 9, None, None]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(("method", "settings"), [
    ("p-norm", {}), ("signed-digits", {"encoding.refine": 1}), ("differential", REFINED),
])  # fmt: skip
def test_a_result_claims_nothing_that_a_longer_run_disproves(weights, method, settings):
    detector = SpikingYOLO(weights, method, settings)
    photo = weights.parent / "photos" / "a.png"
    short, long = (detector.detect(photo, T) for T in (2 if method == "signed-digits" else 16, 64))
    assert short.spikes != long.spikes
    assert short.settled is None and "settled" not in short.summary()
