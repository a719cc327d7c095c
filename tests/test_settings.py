"""Options that check themselves: types, ranges, inheritance, and what each message says."""

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, FrozenInstanceError, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest

from spiking_yolo.errors import UserError, pip_install, require
from spiking_yolo.io.names import Size
from spiking_yolo.recipe import Recipe
from spiking_yolo.settings import Options, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Shared(Options):
    title = "shared"

    rate: float = setting(0.5, "how much", 0, 1)
    folder: Path = setting(Path("runs"), "where")


@dataclass(frozen=True)
class Study(Shared):
    title = "options"

    sources: tuple[str, ...] = setting(doc="what to read")
    _: KW_ONLY
    T: int = setting(64, "timesteps", 1)
    steps: tuple[int, ...] = setting((), "some timesteps", 1)
    mode: Literal["a", "b"] | None = setting(None, "which")
    size: Size | None = setting(None, "of the input")
    limit: float | None = setting(None, "of operations", above=0)
    keys: Mapping[str, Any] = setting({}, "more")
    rate: float = setting(0.25)


def test_values_of_the_right_kind_become_those_of_the_fields():
    study = Study(("a", "b"), T=1, steps=[2, 1], rate=1, folder="out", size="288x416", limit=3)  # type: ignore[arg-type]
    assert study.steps == (2, 1) and study.folder == Path("out") and study.size == (288, 416)
    assert type(study.rate) is float and type(study.limit) is float
    assert Study(("a",)).rate == 0.25 and Study(("a",)).mode is None and Study(("a",)).keys == {}
    with pytest.raises(FrozenInstanceError):
        study.T = 2  # type: ignore[misc]


WRONG = {
    "T": (0, -1, 1.0, "8", True, None, math.nan),
    "rate": (-0.1, 1.1, math.nan, math.inf, "x", None),
    "limit": (0, -1, math.inf, math.nan, "x"),
    "steps": ((0,), (1.5,), "4,8", 4, ("4",)),
    "mode": ("c", 1),
    "size": (100, (64, 65), "wide", 1.5),
    "folder": ("", 3, None),
    "keys": ((), "a=b"),
    "sources": ("a", (1,), None),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_anything_else_is_a_user_error_that_names_the_field(name: str, value: Any):
    with pytest.raises(UserError, match=name) as error:
        Study(**{"sources": ("a",), name: value})
    assert "\n" not in str(error.value)


def test_fields_say_where_they_come_from_and_what_they_mean():
    entries = settings_of(Study)
    assert entries["rate"].doc == "how much" and (entries["rate"].low, entries["rate"].high) == (
        0,
        1,
    )
    assert (
        entries["rate"].default == 0.25
        and entries["rate"].group is Shared
        and entries["T"].group is Study
    )
    assert (
        entries["sources"].positional and entries["sources"].required and not entries["T"].required
    )
    assert entries["mode"].choices == ("a", "b") and entries["mode"].documentation == "which [a|b]"


def test_a_missing_extra_is_one_line_with_the_command():
    assert require("math", "export") is math
    with pytest.raises(UserError, match=re.escape(pip_install("export"))):
        require("there_is_no_such_module", "export")


def test_a_whole_number_without_bound_fits_the_random_generators():
    from spiking_yolo.train.options import TrainOptions

    with pytest.raises(
        UserError, match=r"^seed must be at most 2147483647, not 1180591620717411303424$"
    ):
        TrainOptions(task="classify", model="resnet20", data=Path("x"), seed=2**70)


def test_choices_come_from_a_module_that_is_imported_when_one_is_not_known(tmp_path, monkeypatch):
    """As kinds of neurons do, which register themselves."""
    (tmp_path / "more_moods.py").write_text("import moods\nmoods.MOODS.append('sad')\n")
    (tmp_path / "moods.py").write_text("MOODS = ['glad']\n")
    monkeypatch.syspath_prepend(tmp_path)
    moods = import_module("moods").MOODS

    @dataclass(frozen=True, kw_only=True)
    class Mood(Options):
        mood: str = setting("glad", "how", choices=moods, provider="more_moods")

    assert settings_of(Mood)["mood"].choices == ("glad",)
    assert Mood(mood="sad").mood == "sad"
    assert settings_of(Mood)["mood"].documentation == "how [glad|sad]"
    with pytest.raises(UserError, match=r"one of glad, sad, not 'glat'; did you mean 'glad'\?"):
        Mood(mood="glat")


@pytest.mark.parametrize(
    "key", ["neuron.kind", "neuron.reset", "encoding.coding", "encoding.input"]
)
def test_every_setting_of_a_recipe_that_plug_ins_extend_refuses_others(key: str):
    with pytest.raises(UserError, match=f"{key} must be one of "):
        Recipe("x").with_settings({key: "nonsense"})
