"""Options of a line: types, ranges, inheritance."""

from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from cyclopts import App, CycloptsError

from spiking_yolo.arguments import COMMAS, SIZE, WORDS, Options, Settings, above, at_least, within
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


def test_defaults_are_those_of_the_class_and_cannot_be_changed():
    assert Study().rate == 0.25 and Study().mode is None and Study().settings == {}
    with pytest.raises(FrozenInstanceError):
        Study().T = 2  # type: ignore[misc]


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


WRONG: dict[str, tuple[str, ...]] = {
    "T": ("0", "-1", "1.5", "x", "nan", str(2**70)),
    "rate": ("-0.1", "1.1", "nan", "inf", "x"),
    "limit": ("0", "-1", "inf", "nan", "x"),
    "steps": ("0", "4,x"),
    "mode": ("c", "1"),
    "size": ("100", "64x65", "wide"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_an_error_that_names_the_option(name: str):
    for value in WRONG[name]:
        with pytest.raises(CycloptsError) as error:
            study(f"--{name} {value}")
        assert name in str(error.value), value
