"""Options that check themselves, from Python as from a line: types, ranges, inheritance."""

import math
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from cyclopts import App

from spiking_yolo.arguments import COMMAS, SIZE, WORDS, Options, Settings, above, at_least, within
from spiking_yolo.errors import UserError
from spiking_yolo.io.text import Size


@dataclass(frozen=True, kw_only=True)
class Shared(Options):
    rate: Annotated[float, within(0, 1)] = 0.5
    folder: Path = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Study(Shared):
    T: Annotated[int, at_least(1)] = 64
    steps: Annotated[tuple[int, ...], COMMAS, at_least(1)] = ()
    data: Annotated[tuple[Path, ...], WORDS] = ()
    mode: Literal["a", "b"] | None = None
    size: Annotated[Size | None, SIZE] = None
    limit: Annotated[float | None, above(0)] = None
    settings: Settings = field(default_factory=dict)
    rate: Annotated[float, within(0, 1)] = 0.25


def test_values_of_the_right_kind_become_those_of_the_fields():
    study = Study(T=1, steps=[2, 1], rate=1, folder="out", size="288x416", limit=3)  # type: ignore[arg-type]
    assert study.steps == (2, 1) and study.folder == Path("out") and study.size == (288, 416)
    assert type(study.rate) is float and type(study.limit) is float
    assert Study().rate == 0.25 and Study().mode is None and Study().settings == {}
    with pytest.raises(FrozenInstanceError):
        study.T = 2  # type: ignore[misc]


def study(line: str) -> Study:
    """The options of a line."""
    app = App()

    def command(options: Study = Study()) -> Study:
        return options

    app.default(command)
    return app(line, result_action="return_value", exit_on_error=False, print_error=False)


def test_a_line_gives_the_same_options():
    line = "--steps 2,1 --rate 1 --folder out --size 288x416 --limit 3 --data x y --mode b"
    read = study(f"{line} --set a.b=1 --set c=d=e")
    assert read == Study(
        steps=(2, 1),
        rate=1,
        folder=Path("out"),
        size=(288, 416),
        limit=3,
        data=(Path("x"), Path("y")),
        mode="b",
        settings={"a.b": "1", "c": "d=e"},
    )


WRONG: dict[str, Any] = {
    "T": (0, -1, 1.0, "8", True, None, math.nan, 2**70),
    "rate": (-0.1, 1.1, math.nan, math.inf, "x", None),
    "limit": (0, -1, math.inf, math.nan, "x"),
    "steps": ((0,), (1.5,), "4,8", 4, ("4",)),
    "mode": ("c", 1),
    "size": (100, (64, 65), "wide", 1.5),
    "folder": ("", 3, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_a_user_error_that_names_the_field(name: str):
    for value in WRONG[name]:
        with pytest.raises(UserError, match=name) as error:
            Study(**{name: value})
        assert "\n" not in str(error.value), value
