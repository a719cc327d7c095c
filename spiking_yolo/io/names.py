"""Names that come from files, which may say anything: made safe to show, to write to and to store under.

Imports nothing heavy.
"""

import re

from spiking_yolo.errors import UserError

LABEL, REASON = 80, 200  # characters, at most
FILE = 120  # bytes of a file's stem
_PLAIN = re.compile(r"\w[\w.+-]{0,99}")


def shown(text: object) -> str:
    """Text for a terminal or a record: what is not printable, line ends apart, becomes "?"."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text))


def reason(error: object) -> str:
    """What an exception says, on one line of no more than REASON characters: torch's and parsers' fill pages."""
    return shown(" ".join(str(error).split()))[:REASON]


def label(text: object) -> str:
    """The name of a class on one line: no more than LABEL characters, without what would command a terminal."""
    return shown(" ".join(str(text).split()))[:LABEL]


def file_name(text: str) -> str:
    """The stem of a file to write: no folder, nothing hidden, and short enough for a number and a suffix behind it."""
    name = re.sub(r"[/\\\0]", "_", shown(text).replace("\n", "_")).lstrip(".") or "_"
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
        raise UserError(f"{what} {ascii(text)[:LABEL]} must be named by letters, digits and . _ + - alone: rename it")
    return text
