"""Where a run says that nothing changes any more, a far longer one changes nothing."""

import pytest
import torch
from helpers.methods import Chain
from helpers.networks import TinyLeaky, images, make, same, spiking

from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.recipe import Encoding
from spiking_yolo.snn.coding import SILENT, schedule_end, spike_weight

RATE = ["p-norm", "channel-norm", "msat"]
LONG, LENGTHS = 60, (1, 2, 8, 16, 40)
# Nothing settles in rate coding, of which these are the three kinds of neurons.
FOUND = [name for name in list_methods() if get_recipe(name).differential] + RATE
QUICK = {"calibration.steps": 2, "calibration.T": 4}


@pytest.mark.parametrize("name", FOUND)
def test_of_every_method(name: str):
    recipe, x = get_recipe(name), images(2, seed=5)
    cls = TinyLeaky if recipe.differential and name != "css" else Chain
    settings = {k: v for k, v in QUICK.items() if recipe.runs_network or k == "calibration.T"}
    converted = spiking(make(cls), images(2), recipe, {**settings, "readout.skip": 0})
    long = converted.network().run(x, LONG, range(1, LONG + 1))
    if not recipe.differential:
        assert long.settled is None
    for T in LENGTHS:
        run = converted.network().run(x, T)
        if run.settled is not None:
            assert run.settled == long.settled <= T
            for t in range(run.settled, LONG + 1):
                a, b = long.snapshots[t], run.snapshots[T]
                assert same(a, b) and torch.equal(a.updates, b.updates), (T, t)


def test_a_layer_sends_in_its_own_steps_from_coarse_to_fine():
    e = Encoding(coarse=2)
    assert [spike_weight(e, t) for t in range(1, 5)] == [4, 2, 1, SILENT]
    assert [spike_weight(e, t, before=2) for t in range(1, 7)] == [SILENT] * 2 + [4, 2, 1, SILENT]
    assert schedule_end(e, before=2) == 5 and schedule_end(Encoding(), before=2) == 0
