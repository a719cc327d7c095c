"""Observations against the network itself, and against norms and sums that are computed here."""

import pytest
import torch
from helpers.networks import Pooled, TinyLeaky, images, make, spiking
from helpers.video import walk

from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import forward
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.observe import Input, Observer, read_input, relative_error

T, STEPS = 6, (2, 4)


@pytest.fixture(scope="module")
def detector(weights):
    """A converted detector and its two photographs."""
    return load(weights, "dcgs"), sorted((weights.parent / "photos").iterdir())


def observer(converted, **options) -> Observer:
    return Observer(converted.network(), converted.graph, converted.spec, **options)


def test_relative_error_by_hand():
    outputs = [torch.tensor([3.0, 0.0]), torch.tensor([[1.0]])]
    expected = [torch.tensor([0.0, 4.0]), torch.tensor([[1.0]])]
    assert relative_error(outputs, expected) == pytest.approx((25 / 17) ** 0.5)
    assert relative_error(expected, expected) == 0
    assert relative_error([torch.zeros(2)], [torch.zeros(2)]) == 0


def test_a_batch_is_what_the_network_and_the_ann_give():
    x = images(3)
    converted = spiking(make(TinyLeaky), x, get_recipe("dcgs"))
    run = converted.network().run(x, T, STEPS, maps=True)
    exact = forward(converted.graph, x)
    seen = list(observer(converted).observe(map(Input, x), T, STEPS, want=("ann", "maps"), batch=3))
    assert len(seen) == 3
    for k, one in enumerate(seen):
        assert list(one.steps) == [2, 4, 6] and one.last is one.steps[6]
        assert (one.macs, one.analogue_macs) == (run.macs, run.analogue_macs)
        assert one.neurons_by_layer == run.neurons
        for output, expected in zip(one.ann_outputs, exact, strict=True):
            assert torch.equal(output, expected[k : k + 1])
        for t, step in one.steps.items():
            snapshot = run.snapshots[t]
            assert step.spikes == {name: n[k].item() for name, n in snapshot.spikes.items()}
            for name in ("sent", "pooled", "operations"):
                assert getattr(step, name) == getattr(snapshot, name).of_image(k)
            assert step.updates == snapshot.updates[k].item()
            for name, spikes in step.maps.items():
                assert torch.equal(spikes, snapshot.maps[name][k])
            flat = [torch.cat([o[k].flatten() for o in all_]) for all_ in (snapshot.outputs, exact)]
            error = (flat[0] - flat[1]).norm() / flat[1].norm()
            assert one.steps[t].error == pytest.approx(error.item(), rel=1e-9)


def test_layers_add_up():
    x = images(2)
    converted = spiking(make(Pooled), x, get_recipe("signed-digits"))
    for one in observer(converted).observe(map(Input, x), 2, want=("layers",), batch=2):
        for counting in ("spikes", "digits", "messages"):
            for name, whole in (("sent", one.last.events), ("operations", one.last.operations)):
                by_layer = getattr(one.last, f"{name}_by_layer").values()
                total = sum(counts[counting] for counts in by_layer)
                assert total == pytest.approx(whole[counting]) and total > 0


def test_only_what_is_wanted(detector):
    converted, photos = detector
    (bare,) = observer(converted).observe(photos[:1], T, want=())
    assert bare.ann is None and bare.ann_outputs == () and bare.last.prediction is None
    assert bare.last.maps == bare.last.sent_by_layer == bare.last.operations_by_layer == {}
    (full,) = observer(converted).observe(photos[:1], T, want=("boxes", "ann", "maps", "layers"))
    assert full.last.operations == bare.last.operations and full.last.maps
    assert all(map(torch.equal, full.last.outputs, bare.last.outputs))


def test_frames_cost_what_changes(detector):
    """Of a clip by a kept state: costs by frame, whose sum is what the network has counted."""
    converted = load(detector[1][0].parents[1] / "tiny.weights", "signed-digits")
    clip = walk(4, seed=2)
    network = converted.network()
    assert isinstance(network, IntegerNetwork)
    inputs = [read_input(frame, frame=n).prepared(converted.spec) for n, frame in enumerate(clip)]
    seen = list(observer(converted).follow(inputs, want=("ann",)))
    assert [one.input.frame for one in seen] == [0, 1, 2, 3]
    assert [one.fresh for one in seen] == [True, False, False, False]
    state, dead_zone = network.start(), converted.recipe.neuron.dead_zone
    for k, one in enumerate(inputs):
        run = network.run(one.x[None], state=state, dead_zone=dead_zone)
        found = run.snapshots[1].operations.digits.item()
        assert seen[k].last.operations["digits"] == found
    for one in seen:
        assert 0 < one.steps[1].error < 1


def test_frames_of_another_size_start_anew(detector):
    converted = load(detector[1][0].parents[1] / "tiny.weights", "signed-digits")
    frames = [*walk(2), *walk(3, 80, 48), *walk(1)]
    own = observer(converted)
    with pytest.warns(Notice, match="frames of 48x80 pixels follow those of 80x48") as notices:
        seen = list(own.follow(frames))
    assert len(notices) == 1
    assert [one.fresh for one in seen] == [True, False, True, False, False, True]
    assert [one.cut for one in seen] == [False, False, True, False, False, True]
    for one, frame in zip(seen[2::3], frames[2::3], strict=True):
        (alone,) = own.observe([frame], 1)
        assert alone.last.operations == one.last.operations


def test_progress_and_mistakes(detector):
    converted, photos = detector
    calls: list[int] = []
    list(observer(converted).observe(photos[:1], T, progress=calls.append))
    assert calls == list(range(1, len(calls) + 1)) and 0 < len(calls) <= T
    with pytest.raises(UserError, match="steps"):
        list(observer(converted).observe(photos[:1], T, [T + 1]))
    with pytest.raises(UserError, match="leave lossless out"):
        list(observer(converted).follow(walk(1), lossless=True))
    head = converted.graph.outputs[-1]
    converted.graph.tensors[f"{head}.bias"][0] = torch.inf
    with pytest.raises(UserError, match=f"output '{head}' has values that are not finite"):
        list(observer(converted).observe(photos[:1], T, want=["ann"]))
