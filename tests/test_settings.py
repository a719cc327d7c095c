"""Settings of a method: types, ranges, choices that grow, and text from a line or a file."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from spiking_yolo.errors import UserError, pip_install, require
from spiking_yolo.recipe import Recipe
from spiking_yolo.settings import checked, setting, settings_of


@dataclass(frozen=True)
class Slot:
    rate: float = setting(0.5, "how much", 0, 1)
    count: int = setting(1, "how many", 1)
    on: bool = setting(False, "whether")
    mode: Literal["a", "b"] = setting("a", "which")


def read(name: str, value: Any) -> Any:
    return checked(name, settings_of(Slot)[name], value)


def test_values_and_texts():
    for name, value, expected in (
        ("rate", "0.25", 0.25),
        ("rate", 1, 1.0),
        ("count", "3", 3),
        ("on", "True", True),
        ("on", "0", False),
        ("mode", "b", "b"),
    ):
        assert read(name, value) == expected


WRONG = {
    "rate": (-0.1, 1.1, math.nan, "x", None, True),
    "count": (0, 1.5, "1.5", True, None, 2**70),
    "on": ("perhaps", 2, None),
    "mode": ("c", 1, None),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_anything_else_is_a_user_error_that_names_the_setting(name: str, value: Any):
    with pytest.raises(UserError, match=name) as error:
        read(name, value)
    assert "\n" not in str(error.value)


def test_every_setting_of_a_recipe_that_plug_ins_extend_refuses_others():
    for key in ("neuron.kind", "neuron.reset", "encoding.input"):
        with pytest.raises(UserError, match=f"{key} must be one of "):
            Recipe("x").with_settings({key: "nonsense"})


def test_a_missing_extra_is_one_line_with_the_command():
    assert require("math", "export") is math
    with pytest.raises(UserError, match=re.escape(pip_install("export"))):
        require("there_is_no_such_module", "export")
