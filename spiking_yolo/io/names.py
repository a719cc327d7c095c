"""Names that come from files, which may say anything: made safe to show, to write to and to store
under.

Imports nothing heavy.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from numbers import Integral

from spiking_yolo.errors import UserError

LABEL, REASON = 80, 200  # characters, at most
FILE = 120  # bytes of a file's stem
_PLAIN = re.compile(r"\w[\w.+-]{0,99}")


def printable(text: object) -> str:
    """Text for a terminal or a record: what is not printable, line ends apart, becomes "?"."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def reason(error: object) -> str:
    """What an exception says, on one line of no more than REASON characters: torch's and parsers'
    fill pages.
    """
    return printable(" ".join(str(error).split()))[:REASON]


def label(text: object) -> str:
    """The name of a class on one line: no more than LABEL characters, without what would command a
    terminal.
    """
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = printable(line)
    return line[:LABEL]


def file_name(text: str) -> str:
    """The stem of a file to write: no folder, nothing hidden, and short enough for a number and a
    suffix behind it.
    """
    name = re.sub(r"[/\\\0]", "_", printable(text).replace("\n", "_")).lstrip(".") or "_"
    return name.encode()[:FILE].decode(errors="ignore")


def whole(text: str) -> int | None:
    """The number that decimal digits write, of at most nine of them; None for other text.

    Python refuses to read more than 4300 digits, and nothing here is counted to a billion.
    """
    return int(text) if text.isdecimal() and len(text) < 10 else None


def plain_name(text: object, what: str) -> str:
    """A name that is a file name, a key of tensors and a label as it is: of layers and methods.

    Raises UserError unless it has letters, digits and . _ + - only.
    """
    if not (isinstance(text, str) and _PLAIN.fullmatch(text)):
        raise UserError(
            f"{what} {ascii(text)[:LABEL]} must be named by letters, digits and . _ + - alone:"
            " rename it"
        )
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'msat'?" where a known name resembles this one, else nothing."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


# Pixels of the input per cell of the coarsest map, in all detectors here.
STRIDE = 32
# pixels; a typing error should not ask for terabytes.
LARGEST = 4096
Size = tuple[int, int]  # height, width in pixels


def input_size(given: int | str | Sequence[int]) -> Size:
    """(height, width) in pixels from the side of a square, a pair, or text: 416, (288, 416), "416"
    or "288x416".

    Raises UserError unless both are multiples of STRIDE, up to LARGEST.
    """
    if isinstance(given, str):
        sides: list[int] = [whole(part) or 0 for part in given.split("x")]
    else:
        sides = list(given) if isinstance(given, Sequence) else [given, given]
    fit = all(isinstance(s, Integral) and 0 < s <= LARGEST and s % STRIDE == 0 for s in sides)
    if not fit or (len(sides) != 2 and not (isinstance(given, str) and len(sides) == 1)):
        raise UserError(
            f"each side of the input must be a multiple of {STRIDE} pixels, at most {LARGEST}: give"
            f" 416 for a square, or height x width as in 288x416, not {given!r:.40}"
        )
    return int(sides[0]), int(sides[-1])


def size_name(size: Size) -> str:
    """(416, 416) to "416", (288, 416) to "288x416"; `input_size` reads it back."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"
