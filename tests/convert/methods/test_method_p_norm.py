"""p-Norm: the threshold, the spike train by hand, Rueckauer's own form, and another library."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from helpers.methods import Chain, method, record, relative_error
from helpers.networks import images
from torch import Tensor

from spiking_yolo.convert.learn.statistics import DIVISIONS


@torch.no_grad()
def test_theta_is_the_percentile_of_the_positive_activations_of_the_layer():
    model, converted = method(Chain, "p-norm")
    first = torch.relu(model.conv1(images(2)))  # type: ignore[operator]
    exact = np.percentile(first[first > 0].numpy(), 99.9, method="inverted_cdf")
    theta = converted.neurons["relu1"]["theta"]
    assert theta.unique().numel() == 1
    assert theta[0].item() == pytest.approx(exact, rel=1 / DIVISIONS)
    assert theta[0] <= first.max().float() and converted.neurons["relu1"]["initial"] == 0


def normalised(model: Any, thetas: list[float], x: Tensor, T: int) -> list[list[Tensor]]:
    """Rueckauer 2017, section 2.2: weights times lambda_in / lambda_out, biases over lambda_out,
    unit thresholds.
    """
    model, (first, second) = copy.deepcopy(model), thetas
    for layer, before, after in ((model.conv1, 1.0, first), (model.conv2, first, second)):
        layer.weight.mul_(before / after)
        layer.bias.div_(after)
    potentials, spikes = [torch.zeros(()), torch.zeros(())], []
    for _ in range(T):
        step, s = [], x
        for i, layer in enumerate((model.conv1, model.conv2)):
            v = potentials[i] + layer(s)
            fired = (v >= 1).double()
            potentials[i] = v - fired
            step.append(fired)
            s = model.pool(fired)
        spikes.append(step)
    return spikes


@torch.no_grad()
def test_it_is_weight_normalisation():
    model, converted = method(Chain, "p-norm")
    thetas = [converted.neurons[name]["theta"][0].item() for name in ("relu1", "relu2")]
    expected = normalised(model, thetas, images(2), 40)
    got = record(converted.simulator(observed=True), images(2), 40)
    for i, name in enumerate(("relu1", "relu2")):
        assert torch.equal(got[name], torch.stack([step[i] for step in expected]))
        assert 0.02 < got[name].mean() < 0.98


@torch.no_grad()
def test_rates_equal_spikingjelly():
    """Thresholds from the same maximum; the mean of its output over T steps is our head."""
    pytest.importorskip("spikingjelly", reason="needs spikingjelly: pip install spikingjelly")
    from spikingjelly.activation_based import ann2snn, functional, neuron

    if not hasattr(ann2snn, "RateCodingRecipe"):
        pytest.skip("this spikingjelly is too old: pip install 'spikingjelly>=2'")
    model, converted = method(Chain, "p-norm", {"threshold.rule": "max"})
    # The neuron at the maximum would be at its threshold.
    calibration, x, T = images(2), images(2, seed=1), 64
    recipe = ann2snn.RateCodingRecipe([(calibration, calibration)], mode="Max")
    theirs = ann2snn.Converter(recipe, device="cpu").convert(copy.deepcopy(model)).double()
    functional.reset_net(theirs)
    counts: dict[str, Any] = {}
    for name, module in theirs.named_modules():
        if isinstance(module, neuron.IFNode):
            module.register_forward_hook(
                lambda m, i, o, n=name: counts.update({n: counts.get(n, 0) + o})
            )
    output = torch.stack([theirs(x) for _ in range(T)]).mean(0)
    ours = record(converted.simulator(observed=True), x, T)
    assert len(counts) == 2
    for name, count in zip(ours, counts.values(), strict=True):
        torch.testing.assert_close(ours[name].mean(0), count / T, rtol=0, atol=1e-5)
    run = converted.network().run(x, T).snapshots[T]
    torch.testing.assert_close(run.outputs[0], output, rtol=0, atol=1e-5)
    assert relative_error(run.outputs, model(x)) > 1e-3, "too long a run to tell conversions apart"
