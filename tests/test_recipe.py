"""Recipes as data: JSON, --set, and what they refuse."""

import json
from dataclasses import fields

import pytest

from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.recipe import SLOTS, Neuron, Recipe, settings_table


def test_json_round_trip_of_every_method():
    for name in list_methods():
        recipe = get_recipe(name)
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_json_may_leave_keys_at_their_default():
    text = json.dumps({"name": "mine", "neuron": {"gamma": 2}})
    assert Recipe.from_json(text) == Recipe("mine", neuron=Neuron(gamma=2))


def test_settings_table_lists_every_field_with_its_default():
    listed = {key: default for key, default, _ in settings_table()}
    assert listed == {
        f"{slot}.{f.name}": f.default for slot, cls in SLOTS.items() for f in fields(cls)
    }
    documentation = {key: doc for key, _, doc in settings_table()}
    assert all(documentation.values()) and "[subtract|zero]" in documentation["neuron.reset"]


def test_settings_are_parsed_to_the_type_of_their_key():
    for key, text, value in (
        ("neuron.gamma", "4", 4),
        ("neuron.initial", "-0.5", -0.5),
        ("neuron.reset", "zero", "zero"),
        ("neuron.pool_first", "False", False),
        ("neuron.pool_first", "1", True),
        ("threshold.percentile", 99, 99.0),
    ):
        slot, name = key.split(".")
        got = getattr(getattr(Recipe("plain").with_settings({key: text}), slot), name)
        assert got == value and type(got) is type(value)


def test_bad_settings_are_refused_in_one_line():
    for settings, message in (
        ({"gamma": "4"}, "unknown setting 'gamma'.*neuron.gamma"),
        ({"neuron": "4"}, "unknown setting"),
        ({"neuron.gamma.x": "4"}, "unknown setting"),
        ({"neuron.gamma": "4.5"}, "int"),
        ({"neuron.gamma": True}, "int"),
        ({"neuron.initial": "half"}, "float"),
        ({"neuron.pool_first": "maybe"}, "bool"),
        ({"neuron.kind": "lif"}, "if, ibt"),
        ({"neuron.gamma": "0"}, ">= 1"),
        ({"threshold.percentile": "nan"}, "percentile"),
        ({"threshold.scale": "inf"}, "scale"),
        ({"readout.skip": "-1"}, ">= 0"),
        ({"neuron.events": "digits"}, "neuron.kind"),
        ({"neuron.slack": 0.1}, "neuron.events=digits"),
        ({"threshold.rule": "sensitivity"}, "complete values"),
        ({"calibration.kind": "trained"}, "complete values"),
        ({"neuron.kind": "ibt", "neuron.reset": "zero"}, "neuron.kind=if"),
    ):
        with pytest.raises(UserError, match=message) as error:
            Recipe("plain").with_settings(settings)
        assert "\n" not in str(error.value)
