"""Recipes as data: JSON, --set, and what they refuse."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.recipe import (
    Calibration,
    Encoding,
    Msat,
    Neuron,
    Preparation,
    Readout,
    Recipe,
    Threshold,
    settings_table,
)

SLOTS = {
    "threshold": Threshold,
    "neuron": Neuron,
    "msat": Msat,
    "calibration": Calibration,
    "encoding": Encoding,
    "readout": Readout,
    "preparation": Preparation,
}


@pytest.mark.parametrize("name", list_methods())
def test_json_round_trip_of_every_method(name: str, tmp_path: Path):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert Recipe.from_json(recipe.to_json()) == recipe
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    assert get_recipe(path) == recipe


@pytest.mark.parametrize("name", list_methods())
def test_every_method_says_where_it_comes_from(name: str):
    method = list_methods()[name]
    assert method.reference and method.limits and 1990 < method.year < 2100


def test_default_is_a_method():
    assert DEFAULT in list_methods()


def test_settings_table_lists_every_field_with_its_default():
    listed = {key: default for key, default, _ in settings_table()}
    assert listed == {
        f"{slot}.{f.name}": f.default for slot, cls in SLOTS.items() for f in fields(cls)
    }
    assert all(doc for _, _, doc in settings_table())
    assert "[subtract|zero]" in next(
        doc for key, _, doc in settings_table() if key == "neuron.reset"
    )


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("neuron.gamma", "4", 4),
        ("neuron.initial", "-0.5", -0.5),
        ("neuron.reset", "zero", "zero"),
        ("neuron.pool_first", "False", False),
        ("neuron.pool_first", "1", True),
        ("threshold.percentile", "99", 99.0),
        ("threshold.percentile", 99, 99.0),
        ("threshold.rule", "mmse", "mmse"),
        ("readout.skip", "3", 3),
    ],
)
def test_settings_are_parsed_to_the_type_of_their_key(key: str, text: Any, value: Any):
    slot, name = key.split(".")
    recipe = Recipe("plain").with_settings({key: text})
    got = getattr(getattr(recipe, slot), name)
    assert got == value and type(got) is type(value)
    assert Recipe("plain") == recipe.with_settings(
        {key: getattr(getattr(Recipe("plain"), slot), name)}
    )


def test_several_settings_are_applied_together():
    """Each alone would not fit the others."""
    settings = {"encoding.coding": "differential", "neuron.kind": "memory", "encoding.refine": "4"}
    recipe = Recipe("plain").with_settings(settings)
    assert (recipe.encoding, recipe.neuron.kind) == (Encoding("differential", refine=4), "memory")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": "4"}, "unknown setting 'gamma'.*neuron.gamma"),
        ({"neuron.gama": "4"}, "unknown setting 'neuron.gama'"),
        ({"neuron": "4"}, "unknown setting"),
        ({"neuron.gamma.x": "4"}, "unknown setting"),
        ({"name.x": "4"}, "unknown setting"),
        ({"neuron.gamma": "4.0"}, "must be a whole number, not '4.0'"),
        ({"neuron.gamma": "many"}, "must be a whole number"),
        ({"neuron.gamma": 2.0}, "must be a whole number"),
        ({"neuron.gamma": True}, "must be a whole number"),
        ({"neuron.initial": "half"}, "must be a number"),
        ({"neuron.pool_first": "maybe"}, "must be true or false"),
        ({"neuron.kind": "lif"}, r"must be one of if, ibt, memory.*, not 'lif'"),
        ({"neuron.kind": ["if"]}, "must be one of"),
        ({"neuron.gamma": "0"}, r"in 1\.\.65536"),
        ({"threshold.percentile": "101"}, r"in 0"),
        ({"threshold.percentile": "nan"}, r"in 0"),
        ({"threshold.scale": "0"}, "threshold.scale must be in"),
        ({"threshold.scale": "inf"}, "threshold.scale must be in"),
        ({"readout.skip": "-1"}, "at least 0"),
        ({"encoding.coding": "differential"}, "--set neuron.kind=memory"),
        ({"encoding.refine": "4"}, "need.* encoding.coding=differential"),
        (
            {"encoding.coding": "differential", "neuron.kind": "memory", "readout.skip": "1"},
            "needs encoding.coding=rate",
        ),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings: dict, message: str):
    with pytest.raises(UserError, match=message) as error:
        Recipe("plain").with_settings(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '"differential"',
        "{}",
        '{"name": 3}',
        '{"name": "../../../escaped"}',
        '{"name": "x", "neurons": {}}',
        '{"name": "x", "neuron": []}',
        '{"name": "x", "neuron": {"gamma": "four"}}',
        '{"name": "x", "neuron": {"gamma": null}}',
        '{"name": "x", "neuron": {"speed": 4}}',
    ],
)
def test_bad_json_is_refused_in_one_line(text: str):
    with pytest.raises(UserError) as error:
        Recipe.from_json(text)
    assert "\n" not in str(error.value)


def test_json_may_leave_keys_at_their_default():
    text = json.dumps({"name": "mine", "neuron": {"gamma": 2}})
    assert Recipe.from_json(text) == Recipe("mine", neuron=Neuron(gamma=2))


def test_unknown_methods_and_files_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"did you mean .channel-norm"):
        get_recipe("chanel-norm")
    with pytest.raises(UserError, match=r"missing\.json"):
        get_recipe(tmp_path / "missing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.json"):
        get_recipe(tmp_path / "binary.json")


@pytest.mark.parametrize(
    ("method", "settings", "events", "latency"),
    [
        ("p-norm", {}, 1, (4, 13)),
        ("msat-plus", {}, 8, (32, 104)),
        ("signed-digits", {}, 9, (36, 117)),  # 17 bits
        ("signed-digits", {"neuron.digits": 2}, 2, (8, 26)),
        ("signed-digits", {"neuron.gamma": 7}, 2, (8, 26)),  # 7 = 8 - 1, 5 = 4 + 1
        ("few-spikes", {}, 8, (32, 104)),
        ("srp", {}, 1, (8, 17)),  # 4 steps of preparation
        ("cos", {"preparation.rounds": 3}, 1, (16, 25)),
        ("sfn", {}, 1, (4, 13)),
        ("css", {}, 1, (4, 4)),  # its layers start one after another
    ],
)
def test_events_per_step_and_latency(
    method: str, settings: dict[str, int], events: int, latency: tuple[int, int]
):
    """T = 4, ten layers."""
    recipe = get_recipe(method).with_settings(settings)
    assert recipe.events_per_step == events and recipe.latency(4, 10) == latency


@pytest.mark.parametrize(
    "layers", ["act1:2,act2:0.5", {"act1": 2, "act2": 0.5}, [["act1", 2], ("act2", 0.5)]]
)
def test_factors_of_layers_in_every_form(layers: Any):
    assert Recipe("x", threshold=Threshold(layers=layers)).threshold.layers == (
        ("act1", 2.0),
        ("act2", 0.5),
    )


@pytest.mark.parametrize("layers", [None, 3, [["act1", "x"]], [["act1"]], ["a1"], {"act1": None}])
def test_factors_of_layers_that_are_none(layers: Any):
    with pytest.raises(UserError, match="takes LAYER:FACTOR with commas"):
        Recipe("x", threshold=Threshold(layers=layers))
