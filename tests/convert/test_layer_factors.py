"""threshold.layers: a factor on theta per layer, as text, as JSON, and in the converted network."""

from typing import Any

import pytest
import torch
from helpers.networks import TinyLeaky, images, make, spiking

from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Recipe


@pytest.mark.parametrize("method", ["p-norm", "signed-memory", "rmp"])
def test_layer_factors_scale_the_thresholds_of_one_layer(method: str):
    model, x, recipe = make(TinyLeaky), images(1), get_recipe(method)
    settings = {"calibration.T": 4}
    plain = spiking(model, x, recipe, settings).neurons
    # The first layer is left alone: with balanced thresholds, what it sends decides those of the
    # others.
    scaled = spiking(model, x, recipe, settings | {"threshold.layers": "act3:0.5"}).neurons
    for name, own in plain.items():
        for key in own.keys() & {"theta", "theta_off"}:
            assert torch.equal(scaled[name][key], own[key] * (0.5 if name == "act3" else 1.0))


def test_factors_of_unknown_layers_are_refused():
    with pytest.raises(
        UserError,
        match=r"names 'conv9': the layers of this network are conv 1 \(act1\), conv 2 \(act2\), ",
    ):
        spiking(
            make(TinyLeaky), images(1), get_recipe("p-norm"), {"threshold.layers": "act1:2,conv9:2"}
        )


@pytest.mark.parametrize(
    "value",
    [
        "act1",
        "act1:",
        ":2",
        "act1:two",
        "act1:0",
        "act1:nan",
        "act1:-1",
        "a:1,a:2",
        3,
        [["a"]],
        [[1, 2.0]],
        [["a", {}]],
    ],
)
def test_bad_factors_are_refused_in_one_line(value: Any):
    with pytest.raises(UserError, match=r"^threshold\.layers") as error:
        Recipe("plain").with_settings({"threshold.layers": value})
    assert "\n" not in str(error.value)


def test_factors_survive_json():
    recipe = Recipe("plain").with_settings({"threshold.layers": "act1:0.5,with:colon:3"})
    assert recipe.threshold.layers == (("act1", 0.5), ("with:colon", 3.0))
    assert Recipe.from_json(recipe.to_json()) == recipe
