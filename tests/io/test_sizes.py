"""Input sizes: every way to write one, and what every tool says to a bad one."""

from typing import Any

import pytest
from helpers.tiny import ROOT, run_tool
from hypothesis import given
from hypothesis import strategies as st

from spiking_yolo.errors import UserError
from spiking_yolo.io.names import input_size, size_name

WITHOUT_NETWORK = {"score"}
TOOLS = sorted({path.stem for path in (ROOT / "tools").glob("[!_]*.py")} - WITHOUT_NETWORK)
side = st.integers(1, 100).map(lambda k: 32 * k)


@given(side, side)
def test_every_spelling_is_height_before_width(height: int, width: int):
    for given_size in (
        (height, width),
        [height, width],
        f"{height}x{width}",
        size_name((height, width)),
    ):
        assert input_size(given_size) == (height, width)
    assert (
        input_size(height)
        == input_size(str(height))
        == input_size(f"{height}x{height}")
        == (height, height)
    )
    assert size_name((height, height)) == str(height)


WORDS = (
    "",
    "100",
    "288x100",
    "100x288",
    "0",
    "0x32",
    "-32",
    "x416",
    "288x",
    "288x416x32",
    "32 64",
    "32.0",
    "4128",
    "9" * 30,
)
NUMBERS = (
    100,
    0,
    -32,
    64.0,
    True,
    None,
    (),
    (288, 100),
    (64, 64.0),
    (32, 32, 32),
    ("32", "32"),
    (288,),
    4128,
)


@pytest.mark.parametrize("size", [*WORDS, *NUMBERS])
def test_bad_sizes_are_refused(size: Any):
    with pytest.raises(UserError, match="multiple of 32") as error:
        input_size(size)
    assert repr(size) in str(error.value) and "\n" not in str(error.value)


def test_more_digits_than_python_reads_are_refused_and_not_repeated():
    with pytest.raises(UserError, match="multiple of 32") as error:
        input_size("9" * 5000)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("size", ["288x100", "tall"])
def test_every_tool_says_so_in_one_line(tool: str, size: str, capsys):
    assert run_tool(tool, "--imgsz", size) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("error: --imgsz: ") and "multiple of 32" in err and repr(size) in err
