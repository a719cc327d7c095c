"""Text from files and command lines, made safe to print and to use as a name; input sizes.

Imports nothing heavy.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from numbers import Integral

from spiking_yolo.errors import UserError

# The most characters.
LABEL, REASON = 80, 200
# The most bytes of the stem of a file.
FILE = 120
_PLAIN = re.compile(r"\w[\w.+-]{0,99}")


def printable(text: object) -> str:
    """Text for a terminal or a record: what is not printable, line ends apart, becomes "?"."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def reason(error: object) -> str:
    """An exception's message on one line of at most REASON characters; torch's fill pages."""
    return printable(" ".join(str(error).split()))[:REASON]


def label(text: object) -> str:
    """The name of a class on one line of at most LABEL printable characters."""
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = printable(line)
    return line[:LABEL]


def file_name(text: str) -> str:
    """The stem of a file to write: without folders, not hidden, with room for a suffix."""
    name = re.sub(r"[/\\\0]", "_", printable(text).replace("\n", "_")).lstrip(".") or "_"
    return name.encode()[:FILE].decode(errors="ignore")


def whole(text: str) -> int | None:
    """The number in a text of one to nine decimal digits, None for other text.

    Python refuses to read more than 4300 digits, and nothing here is counted to a billion.
    """
    return int(text) if text.isdecimal() and len(text) < 10 else None


def plain_name(text: object, what: str) -> str:
    """Check the name of a layer or method, which is used for files, tensors and labels as it is.

    Raises:
        UserError: It has other characters than letters, digits and . _ + -.
    """
    if not (isinstance(text, str) and _PLAIN.fullmatch(text)):
        shown = f"{what} {ascii(text)[:LABEL]}"
        raise UserError(f"{shown} must be named by letters, digits and . _ + - alone")
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'msat'?" if a known name resembles this one, else ""."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


# The largest whole number without another bound: random generators take no larger seed.
LARGEST_INTEGER = 2**31 - 1
# Pixels of the input per cell of the coarsest map, in all detectors here.
STRIDE = 32
# The most pixels of a side: a typing error should not ask for terabytes.
LARGEST = 4096
# Height and width in pixels.
Size = tuple[int, int]


def input_size(value: int | str | Sequence[int]) -> Size:
    """Height and width in pixels.

    Args:
        value: The side of a square, a pair, or text: 416, (288, 416), "416" or "288x416".

    Raises:
        UserError: A side is no multiple of STRIDE up to LARGEST.
    """
    if isinstance(value, str):
        sides = [whole(part) or 0 for part in value.split("x")]
        if len(sides) == 1:
            sides *= 2
    elif isinstance(value, Sequence):
        sides = list(value)
    else:
        sides = [value, value]
    fit = all(isinstance(s, Integral) and 0 < s <= LARGEST and s % STRIDE == 0 for s in sides)
    if not fit or len(sides) != 2:
        rule = f"each side of the input must be a multiple of {STRIDE} pixels, at most {LARGEST}"
        raise UserError(f"{rule}: give 416, or HEIGHTxWIDTH as in 288x416, not {value!r:.40}")
    return int(sides[0]), int(sides[1])


def side_or_size(value: int | str | Sequence[int]) -> int | Size:
    """The longer side alone where nothing else is said: 416, but (288, 416) or (416, 416)."""
    size = input_size(value)
    one = isinstance(value, Integral) or (isinstance(value, str) and "x" not in value)
    return size[0] if one else size


def size_name(size: Size) -> str:
    """ "416" for (416, 416) and "288x416" for (288, 416); `input_size` reads both."""
    height, width = size
    if height == width:
        return str(height)
    return f"{height}x{width}"
